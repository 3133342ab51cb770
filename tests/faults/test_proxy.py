"""The proxy does nothing of its own: what the broker's end of a connection suffers, the daemon's end sees."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.support.proxy import Proxy, Way

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


@pytest.fixture
def pair() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, the client's end of a connection through it, and the server's."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, Proxy(f"amqp://u:p@127.0.0.1:{listener.getsockname()[1]}/v") as proxy:
        port = int(proxy.url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
            for end in (client, server):
                end.settimeout(5)
            yield proxy, client, server


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(9) == b""
    except ConnectionResetError:
        return True


def test_it_is_deaf_one_way_alone(pair: tuple[Proxy, socket.socket, socket.socket]):
    proxy, client, server = pair
    proxy.deafen(Way.TO_SERVER)
    client.sendall(b"lost")
    server.sendall(b"heard")
    assert client.recv(9) == b"heard"
    server.settimeout(0.3)
    with pytest.raises(TimeoutError):
        server.recv(9)
    proxy.restore()
    assert ended(client)


def test_it_stalls_one_way_alone_and_loses_nothing(pair: tuple[Proxy, socket.socket, socket.socket]):
    proxy, client, server = pair
    proxy.stall(Way.TO_CLIENT)
    server.sendall(b"later")
    client.sendall(b"now")
    assert server.recv(9) == b"now"
    proxy.restore()
    assert client.recv(9) == b"later"


def test_it_cuts_after_so_many_bytes_to_the_client(pair: tuple[Proxy, socket.socket, socket.socket]):
    proxy, client, server = pair
    proxy.cut_after(3, Way.TO_CLIENT)
    server.sendall(b"ab")
    assert client.recv(9) == b"ab"
    server.sendall(b"cd")
    assert client.recv(9) == b"c"
    assert ended(client)


def test_it_trickles_until_it_is_restored(pair: tuple[Proxy, socket.socket, socket.socket]):
    proxy, client, server = pair
    proxy.trickle(100)
    began = time.monotonic()
    client.sendall(bytes(1000))
    came = 0
    while came < 50:
        came += len(server.recv(1000))
    assert time.monotonic() - began > 0.3
    assert came < 500
    proxy.restore()
    while came < 1000:
        came += len(server.recv(1000))
    assert time.monotonic() - began < 5
