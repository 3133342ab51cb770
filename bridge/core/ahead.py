"""What the source delivers before there is room for it: read ahead, and taken when there is.

1. A classic queue stops each time it reads the next part of a backlog from disk (seen: 0.1 s for every 4 000 messages
   of 1 KiB). What was read ahead keeps the target busy meanwhile.
2. It is not in flight: nothing of it was published, and the books do not know it. It goes back with the channel.
3. Without it the prefetch bounds what can come again when the source is lost: a message that comes shows that the acks
   before it were heard. With it they are asked for: behind its acks the bridge sends a `channel.flow` that changes
   nothing, and no more than the window is acked before RabbitMQ has answered. Were what is acked a part of the window,
   as it is without reading ahead, the target would stand still while the answer stands behind what is delivered.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.core.relay import Delivery

#: Seconds of traffic that are read ahead at most: what waits here is unacked, and a rollback waits for it.
SECONDS = 0.5
#: Bytes of one queue that are read ahead at most: they are held in memory.
BYTES = 4 * 1024**2
#: Fewer hide nothing.
LEAST = 50
#: What is read ahead changes when it should be so many times more, or so much less: each change is a consumer of its
#: own.
MORE = 1.5
LESS = 0.75
#: Seconds from the beginning of a subscription for which all queues in scope may turn out to have a backlog.
UNKNOWN = 3.0


class Ahead:
    """The messages of one subscription that wait for room."""

    __slots__ = ("_acked", "_asked", "_beyond", "_came", "_heard", "asks", "size", "unheard", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Delivery] = deque()
        #: How many messages the source may deliver beyond those in flight.
        self.size = 0
        #: Messages that were acked, and that the source may not know to be; 0 where the prefetch bounds them.
        self.unheard = 0
        #: How many were acked, of how many the source knows, and of how many it does with each answer that is to come.
        self._acked = self._heard = 0
        self._asked: deque[int] = deque()
        #: Whether the source is asked what it heard whenever something is acked.
        self.asks = False
        #: When they came (monotonic seconds), and the delivery tag of the last one of each time.
        self._came: deque[tuple[float, int]] = deque()
        #: UTC epoch seconds less monotonic ones, when the last of them came.
        self._beyond = 0.0

    def resize(self, size: int, unheard: int) -> None:
        """So many from now on; `unheard` acks may be on their way, and the source is to be asked what it heard."""
        self.size = size
        if size and not self.asks:
            self.asks = True
            self._acked += max(0, unheard)
        self._asked.append(self._acked)
        self._count()

    def acked(self, count: int) -> None:
        """So many more were acked, and the source is asked what it heard."""
        self._acked += count
        self._asked.append(self._acked)
        self._count()

    def heard(self) -> None:
        """The source answered the oldest question; an answer without a question is none."""
        if self._asked:
            self._heard = self._asked.popleft()
            self._count()

    def _count(self) -> None:
        self.asks = self.asks and (self.size > 0 or bool(self.waiting))
        self.unheard = self._acked - self._heard if self.asks else 0

    def add(self, run: Sequence[Delivery], wall: float, at: float) -> None:
        """Messages came for which there is no room, or others wait."""
        self.waiting += run
        self._came.append((at, run[-1][0]))
        self._beyond = wall - at

    def next(self, window: int, in_flight: int) -> list[Delivery]:
        """Take the oldest of them, as many as there is room for.

        Args:
            window: messages that may be in flight; as many again may be acked without the source having heard it.
            in_flight: how many are.
        """
        waiting, came = self.waiting, self._came
        room = window - in_flight - max(0, self.unheard - window)
        found = [waiting.popleft() for _ in range(min(room, len(waiting)))]
        while came and found and came[0][1] <= found[-1][0]:
            came.popleft()
        self._count()
        return found

    def wall(self, at: float) -> float:
        """UTC epoch seconds at `at` (monotonic seconds)."""
        return at + self._beyond

    @property
    def since(self) -> float | None:
        """When the oldest of them came (monotonic seconds); None when none waits."""
        return self._came[0][0] if self._came else None

    def drop(self) -> None:
        """They stay with the source."""
        self.waiting.clear()
        self._came.clear()


class ReadAhead:
    """How many messages one subscription reads ahead; none before they fill its window.

    Args:
        most: what the configuration allows, for all queues together.
        now: monotonic seconds.
        confirmed: messages confirmed so far.
    """

    def __init__(self, most: int, now: float, confirmed: int) -> None:
        self._most = most
        self._size = 0
        self._began = now
        #: When it was looked at, and how many were confirmed by then.
        self._seen = (now, confirmed)

    def look(self, now: float, confirmed: int, bulk: float, in_scope: int, busy: int, *, alone: bool) -> int:
        """The number from now on; called while the messages of the queue fill its window.

        Args:
            now: monotonic seconds.
            confirmed: messages confirmed so far.
            bulk: bytes of one message.
            in_scope: queues in scope.
            busy: queues that fill their windows, this one among them.
            alone: whether nobody waits behind what is read ahead.
        """
        (then, before), self._seen = self._seen, (now, confirmed)
        rate = (confirmed - before) / max(now - then, 1e-3)
        sharers = in_scope if now - self._began < UNKNOWN else busy
        found = int(min(self._most / max(1, sharers), rate * SECONDS, BYTES / max(1.0, bulk)))
        if found < LEAST or not alone:
            found = 0
        if not self._size * LESS <= found <= self._size * MORE:
            self._size = found
        return self._size
