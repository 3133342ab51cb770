"""How many messages of a queue should be in flight: what full speed needs, and no more, since a kill can double them.

The size is tried out while the window is what holds the queue back: another one for some seconds, and whichever was
faster stays. Latency would tell sooner on a quiet machine; on a busy one the shortest of many answers says nothing of
the usual one, and a window made for it is too small (seen: 20 messages, a tenth of the speed).
"""

from __future__ import annotations

#: Fewest that are tried, and the first: 85 % of full speed over loopback (design, section 4.10).
LEAST = 100
#: Seconds for which a size is measured.
TRIAL = 2.0
#: Seconds between a trial that changed nothing and the next one.
PAUSE = 30.0
#: What a trial multiplies or divides the size by.
STEP = 1.6
#: A larger size must be faster by this to stay, a smaller one may be slower by it.
GAIN = 1.1
LOSS = 0.95
#: Part of the window that must have been in use for the window to be what holds the queue back.
FULL = 0.8


class Window:
    """The size for one queue.

    Args:
        most: what the configuration allows.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(LEAST, most)
        #: The size in force before a trial, and its messages a second; None while none is on.
        self._before: tuple[int, float] | None = None
        self._grow = True
        self._next = 0.0
        self._since: tuple[float, int] | None = None

    def look(self, now: float, confirmed: int, fullest: int, limit: int) -> int:
        """The size from now on; called about once a second.

        Args:
            now: monotonic seconds.
            confirmed: messages confirmed so far.
            fullest: most messages that were in flight since the last look.
            limit: most messages that may be, by their share of the window and by their bytes.
        """
        most = max(1, min(self.most, limit))
        least = min(LEAST, most)
        if self.size < least:
            # It was a limit that made it so small, and that is gone.
            self.size = least
            self._before = self._since = None
            return self.size
        if self.size > most or fullest < self.size * FULL:
            # Nothing can be learnt: the size is given, or it is not the window that holds the queue back.
            self.size = min(self._before[0] if self._before else self.size, most)
            self._before = self._since = None
            return self.size
        if self._since is None:
            self._since = (now, confirmed)
        began, count = self._since
        if now - began < TRIAL:
            return self.size
        rate = (confirmed - count) / (now - began)
        self._since = None
        if self._before is not None:
            self._judge(now, rate, *self._before)
        elif now >= self._next:
            self._try_another(rate, least, most)
        return self.size

    def _judge(self, now: float, rate: float, size: int, before: float) -> None:
        """Keep the size that was tried, or go back to the one before."""
        self._before = None
        if rate >= before * (GAIN if self.size > size else LOSS):
            return
        self.size = size
        self._grow = not self._grow
        self._next = now + PAUSE

    def _try_another(self, rate: float, least: int, most: int) -> None:
        other = min(most, int(self.size * STEP)) if self._grow else max(least, int(self.size / STEP))
        if other == self.size:
            self._grow = not self._grow
            return
        self._before = (self.size, rate)
        self.size = other
