"""What was acked a moment ago: the ack may yet be lost with the connection, and the message come again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bridge.core import frames
from bridge.core.ledger import Entry

#: Seconds for which an ack that was written may not have reached the source: within three heartbeats, a connection on
#: which nothing gets through any more is closed.
ACK_UNDER_WAY = 30.0
#: Bytes up to which an acked message is kept whole for that time; of a larger one only its header is.
_KEPT_WHOLE = 4096


class Acked:
    """The messages of one subscription whose acks are under way."""

    __slots__ = ("_acks", "_count")

    def __init__(self) -> None:
        #: When acks were written, and for which messages each.
        self._acks: deque[tuple[float, list[bytes]]] = deque()
        self._count = 0

    @property
    def wires(self) -> list[bytes]:
        """These messages, the oldest first; each begins with its header frame."""
        return [wire for _, acked in self._acks for wire in acked]

    def expire(self, at: float) -> None:
        """Let go what was acked long before `at` (monotonic seconds)."""
        acks = self._acks
        while acks and acks[0][0] < at - ACK_UNDER_WAY:
            self._count -= len(acks.popleft()[1])

    def add(self, at: float, entries: Sequence[Entry], most: int) -> None:
        """Keep for a while what was acked; the source may not have heard of `most`, so no more can come again."""
        acks = self._acks
        acks.append((at, [entry[1] if len(entry[1]) <= _KEPT_WHOLE else head(entry[1]) for entry in entries]))
        self._count += len(entries)
        while len(acks) > 1 and self._count - len(acks[0][1]) >= most:
            self._count -= len(acks.popleft()[1])


def head(wire: bytes) -> bytes:
    """The header frame of a message."""
    return wire[: frames.frame_at(wire, 0)[2] + frames.OVERHEAD]
