"""A TCP proxy on loopback that can cut, stall and go deaf: the network between the daemon and a broker.

    with Proxy.to(vhosts.new.amqp) as proxy:
        config["target"]["amqp"] = proxy.url
        proxy.stall()      # nothing is read any more, as behind a full link
        proxy.restore()

It works on the connections that are there as well as on those that come. Two threads serve each connection.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

#: Bytes taken at once.
_CHUNK = 65536
#: Seconds in which its threads must end.
_ENDED_WITHIN = 10.0


class _Mode(enum.Enum):
    PASS = enum.auto()
    STALL = enum.auto()
    DEAF = enum.auto()


class Proxy:
    """Listens on a port of its own and forwards to the host and port of a URL.

    Attributes:
        url: the same URL with its own host and port.
        connections: how many were forwarded so far.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        userinfo, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{self._listener.getsockname()[1]}"))
        self.connections = 0
        self._changed = threading.Condition()
        self._mode = _Mode.PASS
        self._refusing = False
        #: Bytes towards the server after which everything is cut; None: never.
        self._left: int | None = None
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it with all connections."""
        with self._changed:
            # A shutdown wakes the thread that waits in accept; closing alone would not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._mode = _Mode.PASS
            self._cut()
        for thread in self._threads:
            thread.join(_ENDED_WITHIN)
        self._listener.close()

    # -- what can happen to a network ----------------------------------------------------------------------------------

    def cut(self, *, refuse: bool = False) -> None:
        """Reset every connection; with `refuse` new ones as well, until `restore`."""
        with self._changed:
            self._refusing = refuse
            self._cut()

    def cut_after(self, count: int) -> None:
        """Let so many more bytes go to the server, then reset every connection, in the middle of a frame or not."""
        with self._changed:
            self._left = count

    def stall(self) -> None:
        """Forward nothing any more: bytes wait where they are, nobody is told."""
        self._become(_Mode.STALL)

    def deafen(self) -> None:
        """Take everything and throw it away: what is sent in this time is lost, nobody is told."""
        self._become(_Mode.DEAF)

    def restore(self) -> None:
        """Forward as before; connections that lost bytes to `deafen` are reset."""
        with self._changed:
            if self._mode is _Mode.DEAF:
                self._cut()
            self._refusing = False
            self._mode = _Mode.PASS
            self._changed.notify_all()

    def _become(self, mode: _Mode) -> None:
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def _cut(self) -> None:
        """Reset every connection; call it under the lock."""
        self._left = None
        for end in self._ends:
            _reset(end)
        self._ends.clear()
        self._changed.notify_all()

    # -- its threads ---------------------------------------------------------------------------------------------------

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                if self._refusing:
                    _reset(client)
                    continue
            try:
                server = socket.create_connection(self._server, timeout=_ENDED_WITHIN)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._changed:
                self.connections += 1
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._ends.append(end)
            self._start(self._forward, client, server, True)
            self._start(self._forward, server, client, False)

    def _forward(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._changed:
                    # An end that was reset meanwhile has no number any more.
                    self._changed.wait_for(lambda: self._mode is not _Mode.STALL or source.fileno() < 0)
                    if self._mode is _Mode.DEAF:
                        continue
                    last = to_server and self._left is not None and len(data) >= self._left
                    if to_server and self._left is not None:
                        data = data[: self._left]
                        self._left -= len(data)
                sink.sendall(data)
                if last:
                    self.cut()
                    return
            sink.shutdown(socket.SHUT_WR)


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the thread that waits in recv; closing alone would not.
        end.shutdown(socket.SHUT_RDWR)
    end.close()
