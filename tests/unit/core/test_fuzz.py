"""A slice of `make fuzz`: made-up headers, deliveries and answers through the whole core."""

from __future__ import annotations

from tests.fuzz.cases import cases


def test_some_of_the_cases_of_make_fuzz() -> None:
    outcomes, faults = cases(seed=7, numbers=range(1600))
    assert faults == []
    assert len(outcomes) > 10
