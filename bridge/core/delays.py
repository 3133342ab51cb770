"""How long converted tasks had to wait, and how many of them are not due yet.

1. What is written down for a message is its delay in whole seconds, as the ladder has it (`Counts.waits`): all that
   follows from it is worked out once a second, for all messages of one delay together.
2. The histogram is exact: less than 60 s is the next minute, less than 3 600 s the next hour, and so on.
3. When tasks are due is kept in bins, each no wider than an eighth of the delay that its tasks had: memory does not
   grow with their number. A bin is due when the mean of its tasks is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from bridge.core.counts import Counts

#: Names of the histogram's parts, and the seconds at which all but the first begin.
PARTS: Final = ("minute", "hour", "day", "week", "later")
BORDERS: Final = (60, 3_600, 86_400, 604_800)
_FIELDS: Final = tuple(f"due_{part}" for part in PARTS)
#: Bits of a delay that tell bins apart.
_BITS: Final = 4


class Waiting:
    """When the converted tasks of one queue are due."""

    __slots__ = ("_bins",)

    def __init__(self) -> None:
        #: By width (a power of two, as its exponent) and number of the bin: tasks, and the sum of their due times.
        self._bins: dict[tuple[int, int], tuple[int, float]] = {}

    def add(self, delay: int, count: int, now: float) -> None:
        """So many tasks are due in `delay` seconds; `now` is UTC epoch seconds."""
        self._put(now + delay, delay, count)

    def _put(self, due: float, delay: int, count: int) -> None:
        width = max(0, delay.bit_length() - _BITS)
        key = width, int(due) >> width
        tasks, total = self._bins.get(key, (0, 0.0))
        self._bins[key] = tasks + count, total + due * count

    @property
    def empty(self) -> bool:
        """Whether nothing is known to wait."""
        return not self._bins

    def count(self, now: float) -> int:
        """How many are not due yet; what is due is forgotten. `now` is UTC epoch seconds."""
        over = [key for key, (tasks, total) in self._bins.items() if total <= now * tasks]
        for key in over:
            del self._bins[key]
        return sum([tasks for tasks, _ in self._bins.values()])

    def take(self, count: int) -> None:
        """So many were taken out of the ladder: those that are due last first, as a look through the levels goes."""
        for key in sorted(self._bins, key=lambda one: one[1] << one[0], reverse=True):
            tasks, total = self._bins[key]
            taken = min(count, tasks)
            count -= taken
            if taken == tasks:
                del self._bins[key]
            else:
                self._bins[key] = tasks - taken, total * (tasks - taken) / tasks

    def dump(self, now: float) -> list[tuple[int, int]]:
        """When they are due (epoch seconds) and how many: a pair for each power of two of seconds that are left."""
        if not self.count(now):
            return []
        merged: dict[int, tuple[int, float]] = {}
        for tasks, total in self._bins.values():
            level = int(total / tasks - now).bit_length()
            known, sums = merged.get(level, (0, 0.0))
            merged[level] = known + tasks, sums + total
        return [(round(total / tasks), tasks) for _, (tasks, total) in sorted(merged.items())]

    def load(self, kept: Iterable[tuple[int, int]], now: float) -> None:
        """Know these instead, as `dump` gave them."""
        self._bins.clear()
        for due, tasks in kept:
            if due > now and tasks > 0:
                self._put(due, int(due - now), tasks)


def settle(counts: Counts, waiting: Waiting, now: float) -> None:
    """Look at the delays that were written down since the last time; `now` is UTC epoch seconds."""
    waits = counts.waits
    if not waits:
        return
    for delay, count in waits.items():
        name = _FIELDS[bisect_right(BORDERS, delay)]
        setattr(counts, name, getattr(counts, name) + count)
        waiting.add(delay, count, now)
    waits.clear()


def histogram(counts: Counts) -> dict[str, int]:
    """The converted tasks by how long they had to wait, as the status has it; after `settle`."""
    return {
        "minute": counts.due_minute,
        "hour": counts.due_hour,
        "day": counts.due_day,
        "week": counts.due_week,
        "later": counts.due_later,
    }
