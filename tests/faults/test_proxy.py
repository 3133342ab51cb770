"""The proxy does nothing of its own: what the broker's end of a connection suffers, the daemon's end sees."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest

from tests.support.proxy import Proxy

pytestmark = pytest.mark.faults


def test_a_reset_by_the_server_reaches_the_client():
    """As of a broker that is killed with bytes of ours unread."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, Proxy(f"amqp://u:p@127.0.0.1:{listener.getsockname()[1]}/v") as proxy:
        port = int(proxy.url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            server, _ = listener.accept()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
