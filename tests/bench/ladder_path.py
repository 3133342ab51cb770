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

    @property
    def passed(self) -> int:
        """How many exchanges send it on at once."""
        return self.entry + 1 - len(self.levels)


@dataclass(frozen=True)
class Cost:
    """Microseconds of the broker's processor time.

    Attributes:
        once: publish and arrival, however long the task waits.
        hop: each queue that it waits in.
        passed: each exchange that sends it on.
    """

    once: float
    hop: float
    passed: float

    @classmethod
    def of(cls, one: float, four: float, top: float) -> Cost:
        """Solve for what a task of 8 s cost from level 3 (1 hop, 3 passed), of 15 s (4 hops), and of 8 s from 27."""
        passed = (top - one) / (Path.of(8, top=True).passed - Path.of(8).passed)
        hop = (four - one + 3 * passed) / 3
        return cls(four - 4 * hop, hop, passed)

    def of_path(self, path: Path) -> float:
        """Return what a task costs that goes this way."""
        return self.once + self.hop * len(path.levels) + self.passed * path.passed


def mean_bits(most: int) -> float:
    """Return how many bits are set in a delay of 1 to `most` seconds, on average of all of them."""
    total = 0
    for level in range(most.bit_length()):
        # The bit is set in the second half of every 2^(level+1) numbers.
        whole, rest = divmod(most + 1, 2 << level)
        total += whole * (1 << level) + max(0, rest - (1 << level))
    return total / most


def mean_top(most: int) -> float:
    """Return the level of the highest set bit of a delay of 1 to `most` seconds, on average of all of them."""
    counts = [min(most, (2 << level) - 1) - (1 << level) + 1 for level in range(most.bit_length())]
    return sum(level * count for level, count in enumerate(counts)) / most


def of_life(cost: Cost, most: int, *, top: bool) -> float:
    """Return what a task costs on average whose delay is anything from 1 to `most` seconds."""
    hops = mean_bits(most)
    return cost.once + cost.hop * hops + cost.passed * ((_TOP if top else mean_top(most)) + 1 - hops)


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
