"""Quantiles are right to 6 %, and forget what is older than their slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.quantiles import Quantiles


@given(st.lists(st.floats(1e-5, 60.0), min_size=1, max_size=200))
def test_they_are_right_to_six_percent(values: list[float]) -> None:
    found = Quantiles(3)
    found.add(values)
    ordered = sorted(values)
    for share, told in zip((0.5, 0.99), found.of((0.5, 0.99)), strict=True):
        exact = ordered[max(0, -int(-share * len(values) // 1) - 1)]
        assert told == pytest.approx(exact, rel=0.07)


def test_many_are_kept_in_few_bins() -> None:
    found = Quantiles(2)
    found.add(number / 1e6 for number in range(100_000))
    assert len(found._all) < 130
    assert found.of([0.5])[0] == pytest.approx(0.05, rel=0.06)


def test_a_slot_tells_its_own_median_and_is_forgotten_in_its_turn() -> None:
    found = Quantiles(2)
    assert found.turn() is None
    assert found.of((0.5, 0.99)) == [None, None]
    assert found.empty
    found.add([0.001] * 3)
    assert not found.empty
    assert found.turn() == pytest.approx(0.001, rel=0.06)
    found.add([1.0] * 4)
    assert found.turn() == pytest.approx(1.0, rel=0.06)
    assert found.of((0.1, 0.9)) == [pytest.approx(0.001, rel=0.06), pytest.approx(1.0, rel=0.06)]
    assert found.turn() is None
    assert found.of([0.1]) == [pytest.approx(1.0, rel=0.06)]
    assert found.turn() is None
    assert found.turn() is None
    assert found.of([0.5]) == [None]
    assert found.empty


def test_nothing_is_a_time_too() -> None:
    found = Quantiles(2)
    found.add([0.0, -0.5])
    assert found.of([1.0]) == [pytest.approx(1.5e-6)]
