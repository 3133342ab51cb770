"""Numbers as a line of blocks: what a chart is where there is only text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

#: From nothing to the most; and the same where only ASCII can be printed.
BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII: Final = "_.-:=+*#"
#: What is full of a bar and what is empty, in both.
_BAR: Final = {BLOCKS: ("█", "░"), ASCII: ("#", ".")}


def sparkline(numbers: Sequence[float | None], width: int, blocks: str = BLOCKS) -> str:
    """The last `width` numbers as blocks, as high as they are beside the highest of them; not known is a gap.

    Shorter where there are fewer numbers.
    """
    shown = numbers[-width:] if width > 0 else ()
    top = max((one for one in shown if one is not None), default=0.0)
    return "".join(" " if one is None else blocks[_height(one, top, len(blocks))] for one in shown)


def _height(one: float, top: float, steps: int) -> int:
    # Nothing has the lowest block to itself: one message an hour is not nothing.
    if one <= 0 or top <= 0:
        return 0
    return max(1, min(steps - 1, math.ceil(one / top * (steps - 1))))


def bar(share: float, width: int, blocks: str = BLOCKS) -> str:
    """A share from 0 to 1 as a bar; full only at 1."""
    full, empty = _BAR[blocks]
    done = min(1.0, max(0.0, share))
    cells = width if done == 1.0 else min(width - 1, int(done * width))
    return full * cells + empty * (width - cells)
