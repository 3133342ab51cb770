"""Quantiles of the last minute from a bounded histogram: bins of logarithmic width, in slots of time that are dropped
as they grow old.

A bin is an eighth of a power of two wide, so a quantile is off by at most 6 %. The smallest is a microsecond.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

#: Bits of a value in microseconds that tell bins apart, beside the highest one.
_BITS = 3


class Quantiles:
    """Of a number in seconds, over as many slots as `turn` is called in a minute.

    Args:
        slots: how many are kept; `turn` begins the next one.
    """

    __slots__ = ("_all", "_now", "_slots")

    def __init__(self, slots: int) -> None:
        self._slots: deque[Counter[int]] = deque(maxlen=slots)
        #: Of the slot that is being filled, and of all together.
        self._now: Counter[int] = Counter()
        self._all: Counter[int] = Counter()

    @property
    def empty(self) -> bool:
        """Whether nothing was measured in these slots."""
        return not self._all

    def add(self, values: Iterable[float]) -> None:
        """Numbers that were measured, in seconds."""
        bins = [_bin(value) for value in values]
        self._now.update(bins)
        self._all.update(bins)

    def turn(self) -> float | None:
        """Begin the next slot; the median of the one that ends, in seconds, None when it is empty."""
        ended, self._now = self._now, Counter()
        if not ended and not self._all:
            return None
        if len(self._slots) == self._slots.maxlen:
            self._all -= self._slots[0]
        self._slots.append(ended)
        return _quantiles(ended, (0.5,))[0]

    def of(self, shares: Sequence[float]) -> list[float | None]:
        """The quantiles of these shares (0 to 1, ascending), in seconds; None when nothing was measured."""
        return _quantiles(self._all, shares)


def _bin(seconds: float) -> int:
    """Number of a value's bin, which rises with the value."""
    micros = max(1, int(seconds * 1e6))
    width = max(0, micros.bit_length() - 1 - _BITS)
    return (width << _BITS) + (micros >> width)


def _middle(number: int) -> float:
    """Seconds in the middle of a bin."""
    width = max(0, (number >> _BITS) - 1)
    return ((number - (width << _BITS)) + 0.5) * (1 << width) / 1e6


def _quantiles(bins: Counter[int], shares: Sequence[float]) -> list[float | None]:
    total = bins.total()
    found: list[float | None] = []
    if not total:
        return [None for _ in shares]
    wanted = iter(shares)
    share: float | None = next(wanted, None)
    passed = 0
    for number in sorted(bins):
        passed += bins[number]
        while share is not None and passed >= share * total:
            found.append(_middle(number))
            share = next(wanted, None)
    return found
