"""A TCP proxy on loopback that can cut, stall, trickle and go deaf, each way alone: the network to a broker.

    with Proxy(vhosts.new.amqp) as proxy:
        config["target"]["amqp"] = proxy.url
        proxy.stall()                   # nothing is read any more, as behind a full link
        proxy.restore()
        proxy.deafen(Way.TO_CLIENT)     # the broker hears us, we do not hear the broker
        proxy.restore()

It works on the connections that are there as well as on those that come. Two threads serve each connection.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

#: Bytes taken at once.
_CHUNK = 65536
#: Seconds in which its threads must end.
_ENDED_WITHIN = 10.0


#: Pieces a second in which a slow direction forwards.
_PIECES = 20


class Way(enum.Flag):
    """A direction through the proxy."""

    TO_SERVER = enum.auto()
    TO_CLIENT = enum.auto()
    BOTH = TO_SERVER | TO_CLIENT


class _Mode(enum.Enum):
    PASS = enum.auto()
    STALL = enum.auto()
    DEAF = enum.auto()
    TRICKLE = enum.auto()


@dataclass
class _Lane:
    """What happens to bytes of one direction now."""

    mode: _Mode = _Mode.PASS
    #: Bytes after which everything is cut; None: never.
    left: int | None = None
    #: Bytes of a piece while it trickles.
    piece: int = 1


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
        self._lanes = {Way.TO_SERVER: _Lane(), Way.TO_CLIENT: _Lane()}
        self._refusing = False
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
            self._pass()
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

    def cut_after(self, count: int, way: Way = Way.TO_SERVER) -> None:
        """Let so many more bytes go one way, then reset every connection, in the middle of a frame or not."""
        with self._changed:
            self._lanes[way].left = count

    def stall(self, way: Way = Way.BOTH) -> None:
        """Forward nothing any more: bytes wait where they are, nobody is told."""
        self._become(_Mode.STALL, way)

    def deafen(self, way: Way = Way.BOTH) -> None:
        """Take everything and throw it away: what is sent in this time is lost, nobody is told."""
        self._become(_Mode.DEAF, way)

    def trickle(self, rate: int, way: Way = Way.BOTH) -> None:
        """Forward so many bytes a second and no more; what is behind them waits."""
        with self._changed:
            for lane in self._of(way):
                lane.piece = max(1, rate // _PIECES)
        self._become(_Mode.TRICKLE, way)

    def restore(self) -> None:
        """Forward as before; connections that lost bytes to `deafen` are reset."""
        with self._changed:
            if any(lane.mode is _Mode.DEAF for lane in self._lanes.values()):
                self._cut()
            self._refusing = False
            self._pass()

    def changed(self, data: bytes, source: socket.socket) -> bytes:
        """What goes on to the server of the bytes that came from `source`; another kind of proxy may change them."""
        return data

    def _of(self, way: Way) -> list[_Lane]:
        return [lane for one, lane in self._lanes.items() if one in way]

    def _become(self, mode: _Mode, way: Way) -> None:
        with self._changed:
            for lane in self._of(way):
                lane.mode = mode
            self._changed.notify_all()

    def _pass(self) -> None:
        """Forward both ways; call it under the lock."""
        for lane in self._lanes.values():
            lane.mode = _Mode.PASS
        self._changed.notify_all()

    def _cut(self) -> None:
        """Reset every connection; call it under the lock."""
        for lane in self._lanes.values():
            lane.left = None
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
            self._start(self._forward, client, server, self._lanes[Way.TO_SERVER])
            self._start(self._forward, server, client, self._lanes[Way.TO_CLIENT])

    def _forward(self, source: socket.socket, sink: socket.socket, lane: _Lane) -> None:
        try:
            while data := source.recv(_CHUNK):
                if lane is self._lanes[Way.TO_SERVER]:
                    data = self.changed(data, source)
                while data:
                    piece, last = self._next_piece(data, source, lane)
                    data = data[len(piece) :]
                    if piece and lane.mode is not _Mode.DEAF:
                        sink.sendall(piece)
                    if last:
                        self.cut()
                        return
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # A broker that is killed may reset its connections: without us, the client would have seen that.
            _reset(source)
            _reset(sink)

    def _next_piece(self, data: bytes, source: socket.socket, lane: _Lane) -> tuple[bytes, bool]:
        """Wait until some of `data` may go on; what may, and whether everything is cut behind it."""
        with self._changed:
            # An end that was reset meanwhile has no number any more.
            self._changed.wait_for(lambda: lane.mode is not _Mode.STALL or source.fileno() < 0)
            if lane.mode is _Mode.TRICKLE:
                changed = self._changed.wait_for(lambda: lane.mode is not _Mode.TRICKLE, 1 / _PIECES)
                data = data if changed else data[: lane.piece]
            if lane.left is None or lane.mode is _Mode.DEAF:
                return data, False
            data = data[: lane.left]
            lane.left -= len(data)
            return data, lane.left == 0


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the thread that waits in recv; closing alone would not.
        end.shutdown(socket.SHUT_RDWR)
    end.close()
