"""How many messages a canary may take: it holds acks back, so that the broker has no credit to give us and old
workers get the rest.

A consumer of higher priority takes everything it has credit for (RabbitMQ, "consumer priorities"). What limits it is
the prefetch count,
and what frees prefetch is the ack: a held ack costs nothing but a message more in flight.
"""

from __future__ import annotations

import math
from typing import Protocol

#: Seconds of traffic that a paced queue may have in flight: small, since a kill can double it.
_BURST = 0.1


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

    def allowed(self, now: float) -> int:
        """How many acks may go out now (monotonic seconds); -1 is any number."""

    def used(self, count: int) -> None:
        """So many acks went out."""

    def finished(self, taken: int) -> bool:
        """Whether everything that may be taken was taken."""


class Free:
    """No limit but the window."""

    def __init__(self, window: int) -> None:
        self.prefetch = window

    def allowed(self, now: float) -> int:
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

    def allowed(self, now: float) -> int:
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

    def allowed(self, now: float) -> int:
        return self._left

    def used(self, count: int) -> None:
        self._left -= count

    def finished(self, taken: int) -> bool:
        return taken >= self.total
