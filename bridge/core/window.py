"""How many messages of a queue should be in flight: what full speed needs, and no more, since a kill can double them.

The size is tried out while the window is what holds the queue back: another one for some seconds, and whichever was
faster stays. Latency would tell sooner on a quiet machine; on a busy one the shortest of many answers says nothing of
the usual one, and a window made for it is too small (seen: 20 messages, a tenth of the speed).

What a queue has in flight also stands before the next message of every other queue, and most of it in the brokers:
connections of its own would change little (seen: p99 of 34 ms instead of 47 ms beside 100 messages in flight, 12 ms
beside 40, 6 ms alone). So queues that fill their windows have less in flight while another one moves that does not.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Fewest that are tried, and the first: full speed over loopback. With fewer, chunks become small, and each costs the
#: daemon and both brokers a wake-up.
LEAST = 500
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

#: Beside a queue with little traffic: what those that fill their windows have in flight together, and each at least.
#: Ten queues with 6 each were slower by a third than with 10, and the one beside them was not faster.
BESIDE = 40
FEWEST = 10
#: There more stays only if it is faster by this, as it is on a line with a delay, and is tried again after so long.
GAIN_BESIDE = 1.25
PAUSE_BESIDE = 120.0
#: Looks in a row at which a queue moved messages and did not fill its window, for its traffic to be little rather than
#: the end of a backlog; and the seconds for which it counts from then on.
LOOKS = 2
BESIDE_FOR = 10.0
#: Seconds in which each of them has what it is given, and shows what it does with it: two looks.
SETTLED = 2.0
#: Seconds after which a queue that was not looked at does not move any more.
GONE = 3.0


class Window:
    """The size for one queue.

    Args:
        most: what the configuration allows.
        crowd: the queues beside it, if there are others.
        least: fewest that are tried, and the first.
        gain: a larger size must be faster by this to stay.
        pause: seconds between a trial that changed nothing and the next one.
    """

    def __init__(
        self, most: int, crowd: Crowd | None = None, *, least: int = LEAST, gain: float = GAIN, pause: float = PAUSE
    ) -> None:
        self.most = most
        self.size = min(least, most)
        self._crowd = crowd
        self._least = least
        self._gain = gain
        self._pause = pause
        #: Messages confirmed at the last look.
        self._confirmed = 0
        #: The size in force before a trial, and its messages a second; None while none is on.
        self._before: tuple[int, float] | None = None
        self._grow = True
        self._next = 0.0
        self._since: tuple[float, int] | None = None

    def begin(self, limit: int) -> int:
        """The size of a subscription that begins, at most `limit`: what was learnt before, and not what was a limit."""
        self.size = min(max(self.size, min(self._least, self.most)), limit)
        self._before = self._since = None
        return self.size

    def look(self, now: float, confirmed: int, fullest: int, limit: int) -> int:
        """The size from now on; called about once a second. It grows only where it holds the queue back.

        Args:
            now: monotonic seconds.
            confirmed: messages confirmed so far.
            fullest: most messages that were in flight since the last look.
            limit: most messages that may be, by their share of the window and by their bytes.
        """
        moved, self._confirmed = confirmed - self._confirmed, confirmed
        full = fullest >= self.size * FULL
        most = max(1, min(self.most, limit))
        if self._crowd is not None and (each := self._crowd.look(self, now, moved, full=full)):
            # It is tried out for all of them together: each alone would be faster with more, for what others lose.
            self.size = min(each, most)
            self._before = self._since = None
            return self.size
        least = min(self._least, most)
        if self.size > most or not full:
            # Nothing can be learnt: the size is given, or it is not the window that holds the queue back.
            self.size = min(self._before[0] if self._before else self.size, most)
            self._before = self._since = None
            return self.size
        if self.size < least:
            # It was a limit that made it so small, and that is gone.
            self.size = least
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
        if rate >= before * (self._gain if self.size > size else LOSS):
            return
        self.size = size
        self._grow = not self._grow
        self._next = now + self._pause

    def _try_another(self, rate: float, least: int, most: int) -> None:
        other = min(most, int(self.size * STEP)) if self._grow else max(least, int(self.size / STEP))
        if other == self.size:
            self._grow = not self._grow
            return
        self._before = (self.size, rate)
        self.size = other


@dataclass(slots=True)
class _Seen:
    """A queue that moves: when it was looked at, whether it filled its window, and how it has not lately."""

    at: float
    full: bool = False
    looks: int = 0
    little_until: float = 0.0


class Crowd:
    """The queues that move at the same time: those that fill their windows, and those that wait behind them.

    What the first may have in flight together is tried out as the window of one queue is, and divided among them.
    """

    def __init__(self) -> None:
        #: How many fill their windows, as of the last second.
        self.busy = 0
        self._seen: dict[Window, _Seen] = {}
        self._together = Window(1 << 16, least=BESIDE, gain=GAIN_BESIDE, pause=PAUSE_BESIDE)
        #: Messages that all of them moved so far.
        self._moved = 0
        #: What each that fills its window may have; 0 while nobody waits behind it.
        self._each = 0
        #: What they have together, and when all of them know it.
        self._given = 0
        self._settled = 0.0
        self._next = 0.0

    @property
    def beside(self) -> bool:
        """Whether a queue moves that does not fill its window, beside some that do."""
        return self._each > 0

    def look(self, window: Window, now: float, moved: int, *, full: bool) -> int:
        """How many of a queue's messages may be in flight for the sake of others; 0 says nothing about it.

        Args:
            window: the queue's.
            now: monotonic seconds.
            moved: messages since the last look at it.
            full: whether they filled its window.
        """
        seen = self._seen.get(window)
        if seen is None:
            if not moved and not full:
                # A thousand queues without traffic cost nothing here.
                return 0
            seen = self._seen[window] = _Seen(now)
            # Since when it moved them is not known.
            self._moved -= moved
        seen.at, seen.full = now, full
        seen.looks = seen.looks + 1 if moved and not full else 0
        if seen.looks >= LOOKS:
            seen.little_until = now + BESIDE_FOR
        self._moved += moved
        if now >= self._next:
            self._next = now + 1.0
            self._divide(now, window.most)
        return self._each if full else 0

    def _divide(self, now: float, most: int) -> None:
        self._seen = {
            window: seen
            for window, seen in self._seen.items()
            if now - seen.at < GONE and (seen.full or seen.looks or now < seen.little_until)
        }
        self.busy = busy = sum(seen.full for seen in self._seen.values())
        beside = any(now < seen.little_until for seen in self._seen.values() if not seen.full)
        self._each = 0
        if busy and beside:
            size = self._together.size
            if self._given and now >= self._settled:
                size = self._together.look(now, self._moved, size, most)
            if size != self._given:
                self._given = size
                self._settled = now + SETTLED
            self._each = max(FEWEST, self._given // busy)
        else:
            # A trial that was on is over.
            self._together.look(now, self._moved, 0, most)
            self._given = 0
