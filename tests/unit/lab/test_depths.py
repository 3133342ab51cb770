from __future__ import annotations

import socket

import pytest

from bridge.errors import LabError
from bridge.lab.depths import Depths


def test_a_broker_that_is_not_there_is_named_without_its_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        depths = Depths(f"amqp://user:secret@127.0.0.1:{port}/chost")
        with pytest.raises(LabError, match=f"broker 127.0.0.1:{port} does not answer") as caught:
            depths.waiting(["q1"])
    assert "secret" not in str(caught.value)
    depths.close()
