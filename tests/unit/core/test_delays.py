"""The histogram is exact at its borders; what waits is counted down as it becomes due, and survives a restart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.counts import Counts
from bridge.core.delays import PARTS, Waiting, histogram, settle
from bridge.core.ladder import MAX_DELAY

NOW = 1_700_000_000.25


@pytest.mark.parametrize(
    ("delay", "part"),
    [
        (1, "minute"),
        (59, "minute"),
        (60, "hour"),
        (63, "hour"),
        (3_599, "hour"),
        (3_600, "day"),
        (86_399, "day"),
        (86_400, "week"),
        (604_799, "week"),
        (604_800, "later"),
        (MAX_DELAY, "later"),
    ],
)
def test_a_delay_is_counted_where_it_belongs_to_the_second(delay: int, part: str) -> None:
    counts, waiting = Counts(), Waiting()
    counts.waits.update([delay, delay])
    settle(counts, waiting, NOW)
    assert histogram(counts) == {name: 2 if name == part else 0 for name in PARTS}
    assert waiting.count(NOW) == 2


def test_what_was_looked_at_is_not_counted_twice() -> None:
    counts, waiting = Counts(), Waiting()
    counts.waits.update([10])
    for _ in range(2):
        settle(counts, waiting, NOW)
    assert (counts.due_minute, waiting.count(NOW)) == (1, 1)


@given(st.lists(st.integers(1, MAX_DELAY), min_size=1, max_size=30), st.integers(0, MAX_DELAY))
def test_what_waits_is_known_to_an_eighth_of_the_delay(delays: list[int], later: int) -> None:
    waiting = Waiting()
    for delay in delays:
        waiting.add(delay, 1, NOW)
    found = waiting.count(NOW + later)
    assert (
        sum(delay > later * 1.15 + 1 for delay in delays) <= found <= sum(delay * 1.15 + 1 > later for delay in delays)
    )


def test_all_tasks_of_one_delay_are_due_at_once() -> None:
    waiting = Waiting()
    waiting.add(3_600, 1_000, NOW)
    assert waiting.count(NOW + 3_599) == 1_000
    assert waiting.count(NOW + 3_600) == 0


def test_memory_is_bounded_however_many_tasks_there_are() -> None:
    waiting = Waiting()
    for delay in range(1, 1 << 17):
        waiting.add(delay, 1, NOW)
    assert len(waiting._bins) <= 17 * 17


def test_what_waits_is_kept_in_few_pairs_and_taken_over() -> None:
    waiting, other = Waiting(), Waiting()
    for delay in range(1, 5_000):
        waiting.add(delay, 1, NOW)
    kept = waiting.dump(NOW)
    assert len(kept) <= 14
    other.add(7, 7, NOW)
    other.load(kept, NOW)
    assert other.count(NOW) == 4_999
    assert other.count(NOW + 2_500) == pytest.approx(2_500, rel=0.35)
    # The next process comes later, and some are due by then.
    other.load([(int(NOW) - 5, 3), (int(NOW) + 50, 4)], NOW)
    assert other.count(NOW) == 4


def test_what_was_brought_back_waits_no_more() -> None:
    waiting = Waiting()
    waiting.add(100, 5, NOW)
    waiting.add(10_000, 5, NOW)
    waiting.take(7)
    assert waiting.count(NOW) == 3
    assert waiting.count(NOW + 101) == 0
    waiting.take(10)
    assert waiting.count(NOW) == 0


def test_nothing_waits_before_anything_was_converted() -> None:
    waiting = Waiting()
    assert waiting.empty
    assert waiting.dump(1000.0) == []
    waiting.add(5, 1, 1000.0)
    assert not waiting.empty
