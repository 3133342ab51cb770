from __future__ import annotations

import pytest

from bridge.sparks import ASCII, BLOCKS, bar, sparkline


@pytest.mark.parametrize(
    ("numbers", "width", "drawn"),
    [
        ([], 5, ""),
        ([0, 0], 5, "▁▁"),
        ([0, 1, 100], 5, "▁▂█"),
        ([1, 2, 3, 4, 5, 6, 7], 7, "▂▃▄▅▆▇█"),
        ([7, None, 7], 5, "█ █"),
        ([None, None], 5, "  "),
        ([9, 9, 1, 2], 2, "▅█"),
        ([5], 0, ""),
    ],
)
def test_the_last_numbers_are_as_high_as_beside_the_highest(
    numbers: list[float | None], width: int, drawn: str
) -> None:
    assert sparkline(numbers, width) == drawn


def test_ascii_has_as_many_steps() -> None:
    assert len(ASCII) == len(BLOCKS)
    assert sparkline([0, 1, 2], 3, ASCII) == "_=#"
    assert bar(0.5, 4, ASCII) == "##.."


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, "░░░░"), (0.25, "█░░░"), (0.999, "███░"), (1, "████"), (1.5, "████"), (-1, "░░░░")],
)
def test_a_bar_is_full_only_at_the_end(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn
