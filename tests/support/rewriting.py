"""A TCP proxy that changes one sequence of bytes on the way to the server: the message that no broker survives.

Brokers of today refuse nothing that those before them took, except by size. So the test makes such a message: one that
the target would take, were it not changed under way.
"""

from __future__ import annotations

import socket

from tests.support.proxy import Proxy


class Rewriting(Proxy):
    """A proxy that puts `after` wherever `before` was, towards the server.

    Args:
        url: of the server.
        before: at least two bytes.
        after: as many.
    """

    def __init__(self, url: str, before: bytes, after: bytes) -> None:
        assert len(before) == len(after) > 1
        self._before = before
        self._after = after
        #: By connection: what may be the beginning of `before`, not forwarded yet.
        self._kept: dict[socket.socket, bytes] = {}
        super().__init__(url)

    def changed(self, data: bytes, source: socket.socket) -> bytes:
        """What goes on of `data`."""
        data = (self._kept.pop(source, b"") + data).replace(self._before, self._after)
        for count in range(min(len(self._before) - 1, len(data)), 0, -1):
            if data.endswith(self._before[:count]):
                self._kept[source] = data[-count:]
                return data[:-count]
        return data
