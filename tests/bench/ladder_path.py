"""Ways through the delay ladder, what they cost the broker, and how late a crowd comes out of it: arithmetic alone."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.core import ladder

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOP = ladder.LEVELS - 1


@dataclass(frozen=True)
class Path:
    """A way through the ladder.

    Attributes:
        delay: seconds.
        entry: the level whose exchange the task is published to.
    """

    delay: int
    entry: int

    @classmethod
    def of(cls, delay: int, *, top: bool = False) -> Path:
        """Return the way of a delay from its highest set bit, as the bridge enters; `top`: from 27, as Celery does."""
        return cls(delay, _TOP if top else delay.bit_length() - 1)

    @property
    def levels(self) -> list[int]:
        """The levels in whose queues it waits, in order."""
        return [level for level in reversed(range(ladder.LEVELS)) if self.delay >> level & 1]


@dataclass(frozen=True)
class Cost:
    """Microseconds of the broker's processor time.

    Every exchange from the entry down to level 0 looks at the key once, whether it then goes into a queue or on to the
    next exchange. Each walks through the whole key: the upper ones have few words before `#` and many under it, the
    lower ones the reverse.

    Attributes:
        once: publish, exit and arrival, whatever the delay.
        hop: each queue that it waits in.
        exchange: each exchange from the entry down.
    """

    once: float
    hop: float
    exchange: float

    @classmethod
    def of(cls, shallow: float, one: float, four: float, top: float) -> Cost:
        """Solve for what four ways cost: 1 s (1 queue), 8 s (1), 15 s (4) from their highest bit, and 8 s from 27."""
        hop, exchange = (four - one) / 3, (top - shallow) / _TOP
        return cls(shallow - hop - exchange, hop, exchange)

    def of_path(self, path: Path) -> float:
        """Return what a task costs that goes this way."""
        return self.once + self.hop * len(path.levels) + self.exchange * (path.entry + 1)

    def of_life(self, most: int, *, top: bool) -> float:
        """Return what a task costs on average that is due in 1 to `most` seconds; `top`: see `Path.of`."""
        entry = _TOP if top else mean_entry(most)
        return self.once + self.hop * mean_bits(most) + self.exchange * (entry + 1)


def mean_bits(most: int) -> float:
    """Return how many bits are set in a delay of 1 to `most` seconds, on average of all of them."""
    total = 0
    for level in range(most.bit_length()):
        # The bit is set in the second half of every 2^(level+1) numbers.
        whole, rest = divmod(most + 1, 2 << level)
        total += whole * (1 << level) + max(0, rest - (1 << level))
    return total / most


def mean_entry(most: int) -> float:
    """Return the level of the highest set bit of a delay of 1 to `most` seconds, on average of all of them."""
    counts = [min(most, (2 << level) - 1) - (1 << level) + 1 for level in range(most.bit_length())]
    return sum(level * count for level, count in enumerate(counts)) / most


def lateness(arrivals: Sequence[tuple[float, int]], dues: Sequence[float]) -> dict[str, float]:
    """Return how late the first, the middle, the 99th of a hundred and the last task came, in seconds.

    Args:
        arrivals: looks at the queue, moment and depth, until all had come.
        dues: when each is due, in order. Tasks are not told apart: the k-th to come is taken for the k-th due.
    """
    depths = [depth for _, depth in arrivals]

    def late(number: int) -> float:
        return arrivals[bisect_left(depths, number)][0] - dues[number - 1]

    count = len(dues)
    return {
        "late_first": late(1),
        "late_p50": late((count + 1) // 2),
        "late_p99": late(max(1, count * 99 // 100)),
        "late_last": late(count),
    }
