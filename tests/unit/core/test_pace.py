"""How many acks a canary lets go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.pace import Budget, First, Free, Rate, share


def test_free_is_free() -> None:
    pace = Free(500)
    pace.used(10_000)
    assert (pace.prefetch, pace.allowed(0.0), pace.finished(10**9)) == (500, -1, False)


@pytest.mark.parametrize(("rate", "prefetch"), [(0.1, 1), (1.0, 1), (20.0, 2), (25.0, 3), (100_000.0, 500)])
def test_what_is_in_flight_is_a_tenth_of_a_second(rate: float, prefetch: int) -> None:
    assert Rate(rate, 500, 0.0).prefetch == prefetch


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 2.0), max_size=50))
def test_never_more_than_the_rate(rate: float, waits: list[float]) -> None:
    pace, now, let_go = Rate(rate, 500, 0.0), 0.0, 0
    for wait in waits:
        now += wait
        allowed = pace.allowed(now)
        assert 0 <= allowed <= pace.prefetch
        pace.used(allowed)
        let_go += allowed
    assert let_go <= now * rate + 1e-6
    assert not pace.finished(let_go)


@given(st.integers(1, 1000), st.integers(1, 100), st.data())
def test_the_first_so_many_are_all_that_is_ever_handed_out(total: int, window: int, data: st.DataObject) -> None:
    pace = First(total, window)
    handed_out, acked = pace.prefetch, 0
    while not pace.finished(handed_out):
        allowed = min(pace.allowed(0.0), handed_out - acked)
        assert allowed > 0, "nothing may be acked, and not all was taken"
        count = data.draw(st.integers(1, allowed))
        pace.used(count)
        acked += count
        handed_out += count
        assert handed_out <= total
    assert handed_out == total


@pytest.mark.parametrize(
    ("window", "queues", "each"),
    [(500, 1, 500), (500, 2, 250), (500, 6, 100), (500, 1000, 100), (20, 3, 20), (5000, 4, 1250)],
)
def test_queues_share_what_may_be_in_flight(window: int, queues: int, each: int) -> None:
    assert share(window, queues) == each


def test_the_bytes_of_all_together_have_a_limit() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.used == 60, "what was refused is not counted"
    assert not budget.room
    assert budget.take(40)
    budget.used -= 50
    assert budget.room


def test_what_is_larger_than_the_whole_passes_alone() -> None:
    budget = Budget(100)
    assert budget.take(5000)
    assert not budget.take(1)
    budget.used -= 5000
    assert budget.take(1)


def test_those_that_use_much_ask_for_less_while_others_wait() -> None:
    budget = Budget(1000)
    assert not budget.much(900)
    budget.waiting.add("q1")
    assert budget.much(251)
    assert not budget.much(250)
    budget.waiting.discard("q1")
    assert not budget.much(900)
