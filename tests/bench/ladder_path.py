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
    next exchange; the lower the level, the more of the key's words it has to walk through.

    Attributes:
        once: publish and arrival, whatever the delay.
        hop: each queue that it waits in.
        top: the exchange of level 27.
        deeper: what an exchange costs more than the one above it.
    """

    once: float
    hop: float
    top: float
    deeper: float

    @classmethod
    def of(cls, shallow: float, one: float, four: float, top: float) -> Cost:
        """Solve for what four ways cost: 1 s (1 queue), 8 s (1), 15 s (4) from their highest bit, and 8 s from 27."""
        low, high = range(1, 4), range(4, ladder.LEVELS)
        depth_low, depth_high = (sum(_TOP - level for level in levels) for levels in (low, high))
        deeper = ((one - shallow) / len(low) - (top - one) / len(high)) / (
            depth_low / len(low) - depth_high / len(high)
        )
        highest = (top - one - deeper * depth_high) / len(high)
        hop = (four - one) / 3
        return cls(shallow - hop - highest - deeper * _TOP, hop, highest, deeper)

    def exchange(self, level: int) -> float:
        """Return what the exchange of a level costs."""
        return self.top + self.deeper * (_TOP - level)

    def exchanges(self, entry: int) -> float:
        """Return what all exchanges from the entry down cost."""
        return sum(self.exchange(level) for level in range(entry + 1))

    def of_path(self, path: Path) -> float:
        """Return what a task costs that goes this way."""
        return self.once + self.hop * len(path.levels) + self.exchanges(path.entry)

    def of_life(self, most: int, *, top: bool) -> float:
        """Return what a task costs on average that is due in 1 to `most` seconds; `top`: see `Path.of`."""
        routing = self.exchanges(_TOP)
        if not top:
            routing = sum(self.exchanges(level) * share for level, share in enumerate(_entries(most)))
        return self.once + self.hop * mean_bits(most) + routing


def mean_bits(most: int) -> float:
    """Return how many bits are set in a delay of 1 to `most` seconds, on average of all of them."""
    total = 0
    for level in range(most.bit_length()):
        # The bit is set in the second half of every 2^(level+1) numbers.
        whole, rest = divmod(most + 1, 2 << level)
        total += whole * (1 << level) + max(0, rest - (1 << level))
    return total / most


def _entries(most: int) -> list[float]:
    """Return the share of delays of 1 to `most` seconds whose highest set bit is that of each level."""
    return [(min(most, (2 << level) - 1) - (1 << level) + 1) / most for level in range(most.bit_length())]


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
