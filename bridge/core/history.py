"""Numbers over the last hour, for charts: a ring of points for each queue, small enough for a thousand of them.

1. All rings are written at the same moments, so the times are kept once. While they are written, nobody sees the new
   point: `turn` is what ends it.
2. A number is kept in 16 bits, as a binary mantissa of 11 and an exponent of 5: up to 2 048 it is exact, beyond that to
   0.05 %.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, TypeAlias

#: What stands for a number that is not known.
_NONE: Final = 0xFFFF
_MANTISSA: Final = 11
_ONE: Final = 1 << _MANTISSA
#: The largest number, about 4e12.
_MOST: Final = _NONE - 1

#: A ring of points.
Ring: TypeAlias = "array[int]"


def pack(number: int) -> int:
    """A number of at least 0 in 16 bits; what is too large for them is the largest."""
    if number < _ONE:
        return max(0, number)
    exponent = number.bit_length() - _MANTISSA
    return min(_MOST, (exponent << _MANTISSA) | (number >> (exponent - 1)) & (_ONE - 1))


def unpack(packed: int) -> int:
    """The number that `pack` made smaller."""
    exponent = packed >> _MANTISSA
    if exponent == 0:
        return packed
    return (packed & (_ONE - 1) | _ONE) << (exponent - 1)


class History:
    """Rings of points.

    Args:
        scales: of each number of a point, how many parts of 1 are told apart.
        points: that a ring has.
    """

    def __init__(self, scales: Sequence[int], points: int) -> None:
        self._scales = tuple(scales)
        # One more is being written.
        self._slots = points + 1
        self._times = array("d", bytes(8 * self._slots))
        self._next = 0

    def ring(self) -> Ring:
        """A ring without a point."""
        return array("H", b"\xff" * (2 * self._slots * len(self._scales)))

    def turn(self, now: float) -> None:
        """The point is whole, every ring has its numbers; `now` in UTC epoch seconds."""
        self._times[self._next % self._slots] = now
        self._next += 1

    def put(self, ring: Ring, numbers: Sequence[float | None]) -> None:
        """The numbers of the point that is being written; None: not known."""
        width = len(self._scales)
        start = self._next % self._slots * width
        packed = [
            _NONE if number is None else pack(int(number * scale + 0.5))
            for number, scale in zip(numbers, self._scales, strict=True)
        ]
        ring[start : start + width] = array("H", packed)

    def again(self, ring: Ring) -> None:
        """The numbers of the point that is being written are those of the one before."""
        width = len(self._scales)
        before, start = ((self._next + back) % self._slots * width for back in (-1, 0))
        ring[start : start + width] = ring[before : before + width]

    def points(self, ring: Ring) -> list[list[float | None]]:
        """The points of a ring of which something is known, the oldest first: its time, then its numbers."""
        width, found = len(self._scales), []
        for number in range(max(0, self._next - self._slots + 1), self._next):
            slot = number % self._slots
            row = ring[slot * width : (slot + 1) * width]
            if any(packed != _NONE for packed in row):
                point: list[float | None] = [round(self._times[slot], 1)]
                for packed, scale in zip(row, self._scales, strict=True):
                    point.append(None if packed == _NONE else unpack(packed) / scale)
                found.append(point)
        return found
