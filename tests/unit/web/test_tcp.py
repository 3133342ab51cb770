from __future__ import annotations

import pytest

from bridge.address import HostPort
from bridge.errors import Refused
from bridge.web import tcp


def test_an_address_that_is_taken_is_said() -> None:
    with tcp.listen(HostPort("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            Refused, match=rf"admin\.listen: cannot listen on 127\.0\.0\.1:{port}: address already in use"
        ):
            tcp.listen(HostPort("127.0.0.1", port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_said(host: str) -> None:
    with pytest.raises(Refused, match=r"admin\.listen: cannot listen on ") as caught:
        tcp.listen(HostPort(host, 8642))
    assert "admin.listen" in caught.value.hint
