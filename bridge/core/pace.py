"""How many messages a canary or a rate limit lets us take: acks are held back, so that the broker has no credit to give
us and old workers get the rest.

1. A consumer of higher priority takes everything it has credit for (RabbitMQ, "consumer priorities"). What limits it is
   the prefetch count, and what frees prefetch is the ack: a held ack costs nothing but a message more in flight.
2. A message gets its turn in each limit when it was taken, not when it is acked: what a subscription has in flight when
   it ends has had its turns, and ending it early gains nothing.
3. Turns are given in the order in which messages come, over all queues that share a limit: a queue gets no second one
   before the others that wait had theirs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

#: Seconds of traffic that a paced queue may have in flight: small, since a kill can double it.
_BURST = 0.1
#: The same of all queues that share a limit, and never less than a message of each.
_TOGETHER = 5.0
#: Seconds that a message waits for its turn at most: more of them than have turns in this time are let go all the same,
#: since nothing may stay unacked for a minute (design, section 4.10).
LONGEST = 30.0
#: Messages in flight that a queue may have however many others there are: enough for most of the speed there is.
_LEAST_SHARE = 100


def share(window: int, queues: int) -> int:
    """How many messages of one of `queues` queues may be in flight.

    They go over one connection: what one queue has in flight there, the next message of another waits behind.
    """
    return min(window, max(_LEAST_SHARE, window // queues))


class Budget:
    """Bytes that the messages in flight of all queues together may have."""

    __slots__ = ("total", "used", "waiting")

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        #: Who waits for room: as long as somebody does, those that use much ask for fewer messages.
        self.waiting: set[object] = set()

    def take(self, size: int) -> bool:
        """Take `size` bytes, unless that is too much; a message larger than the whole passes alone."""
        if self.used and self.used + size > self.total:
            return False
        self.used += size
        return True

    def much(self, size: int) -> bool:
        """Whether `size` bytes of one queue are too much while others wait."""
        return bool(self.waiting) and size > self.total // 4

    @property
    def room(self) -> bool:
        """Whether there is room for those that waited: half of it is free."""
        return self.used <= self.total // 2


class Pace(Protocol):
    """When acks may go out."""

    #: Messages the broker may hand us before the first ack.
    prefetch: int

    def allowed(self, now: float, taken: int) -> int:
        """How many acks may go out now (monotonic seconds), `taken` messages after the beginning; -1 is any number."""

    def used(self, count: int) -> None:
        """So many acks went out."""

    def finished(self, taken: int) -> bool:
        """Whether everything that may be taken was taken."""


class Free:
    """No limit but the window."""

    def __init__(self, window: int) -> None:
        self.prefetch = window

    def allowed(self, now: float, taken: int) -> int:
        return -1

    def used(self, count: int) -> None:
        """Nothing is counted."""

    def finished(self, taken: int) -> bool:
        return False


class Rate:
    """At most `rate` messages a second."""

    def __init__(self, rate: float, window: int, now: float) -> None:
        self.rate = rate
        self.prefetch = max(1, min(window, math.ceil(rate * _BURST)))
        self._tokens = 0.0
        self._at = now

    def allowed(self, now: float, taken: int) -> int:
        self._tokens = min(self._tokens + (now - self._at) * self.rate, float(self.prefetch))
        self._at = now
        return int(self._tokens)

    def used(self, count: int) -> None:
        self._tokens -= count

    def finished(self, taken: int) -> bool:
        return False


class First:
    """The first `total` messages and not one more: the last prefetch of them is acked only after the subscription is
    gone.
    """

    def __init__(self, total: int, window: int) -> None:
        self.total = total
        self.prefetch = min(total, window)
        self._left = total - self.prefetch

    def allowed(self, now: float, taken: int) -> int:
        return self._left

    def used(self, count: int) -> None:
        self._left -= count

    def finished(self, taken: int) -> bool:
        return taken >= self.total


class Limit:
    """At most `rate` messages a second of all that share it; changed while they move.

    Args:
        rate: messages a second; None is no limit.
        now: monotonic seconds.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self.rate = rate
        #: How many queues share it.
        self.queues = 1
        #: Turns that have come since the beginning, and when that was counted.
        self._come = 0.0
        self._at = now
        #: The turn that was given last.
        self._last = 0.0

    def change(self, rate: float | None, now: float) -> None:
        """Another rate from now on; turns that were given stay given, and come at the new pace."""
        self._count(now)
        self.rate = rate

    def turn(self, now: float) -> float:
        """Give the next turn to a message that was taken now."""
        come = self._count(now)
        if self.rate is None:
            self._last = come
            return come
        # What nobody wanted is kept for a moment only: a limit says how much at any time, not on average over a day.
        earliest = max(self._last + 1, come - self.rate * _BURST)
        self._last = min(earliest, come + self.rate * LONGEST)
        return self._last

    def has_come(self, turn: float, now: float) -> bool:
        """Whether a message with this turn may go."""
        return self.rate is None or turn <= self._count(now)

    def _count(self, now: float) -> float:
        if self.rate is not None:
            self._come += (now - self._at) * self.rate
        self._at = now
        return self._come


def in_flight(limits: Sequence[Limit], window: int) -> int:
    """How many of `window` messages a queue under these limits may have in flight."""
    each = [limit.rate * min(_BURST, _TOGETHER / limit.queues) for limit in limits if limit.rate is not None]
    return max(1, min([window, *map(math.ceil, each)]))


class Limited:
    """What `inner` allows, and within limits, each shared with other queues or not.

    Args:
        inner: made for a window of `in_flight` messages.
        limits: each message needs its turn in all of them.
    """

    def __init__(self, inner: Pace, limits: Sequence[Limit]) -> None:
        self.prefetch = inner.prefetch
        self._inner = inner
        self._taken = 0
        self._limits = [_Turns(limit) for limit in limits]

    def allowed(self, now: float, taken: int) -> int:
        new, self._taken = taken - self._taken, taken
        most = self._inner.allowed(now, taken)
        for limit in self._limits:
            come = limit.come(now, new)
            most = come if most < 0 else min(most, come)
        return most

    def used(self, count: int) -> None:
        self._inner.used(count)
        for limit in self._limits:
            limit.ready -= count

    def finished(self, taken: int) -> bool:
        return self._inner.finished(taken)


class _Turns:
    """The turns that the messages of one queue have in one limit."""

    __slots__ = ("_limit", "_waiting", "ready")

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._waiting: deque[float] = deque()
        #: Messages whose turn has come, and that are not acked.
        self.ready = 0

    def come(self, now: float, new: int) -> int:
        """How many may go, with so many new ones."""
        limit, waiting = self._limit, self._waiting
        for _ in range(new):
            waiting.append(limit.turn(now))
        while waiting and limit.has_come(waiting[0], now):
            waiting.popleft()
            self.ready += 1
        return self.ready
