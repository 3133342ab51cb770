"""Rates over windows, and when what waits is moved."""

from __future__ import annotations

import pytest

from bridge.core.flow import ENOUGH, NEVER, WINDOWS, Finish, Meter, finish

SECONDS = tuple(WINDOWS.values())


def test_a_rate_is_not_known_before_there_are_seconds_of_samples() -> None:
    meter = Meter(SECONDS)
    assert meter.rates() == [None, None, None]
    meter.add(0.0, 0)
    meter.add(ENOUGH - 0.1, 100)
    assert meter.rates() == [None, None, None]
    meter.add(ENOUGH, 300)
    assert meter.rates() == [100.0, 100.0, 100.0]


def test_each_window_forgets_at_its_own_time() -> None:
    meter, number = Meter(SECONDS), 0
    for second in range(1, 1_201):
        number += 100 if second <= 1_100 else 0
        meter.add(float(second), number)
    ten, minute, long = meter.rates()
    assert (ten, minute) == (0.0, 0.0)
    assert long == pytest.approx(100 * 500 / 600, rel=0.1)


@pytest.mark.parametrize("every", [1.0, 5.0, 5.7, 10.0])
def test_a_steady_stream_has_its_rate_in_every_window(every: float) -> None:
    meter = Meter(SECONDS)
    for turn in range(200):
        meter.add(turn * every, turn * every * 20)
    assert meter.rates() == [pytest.approx(20.0)] * 3


def test_memory_does_not_grow_with_time() -> None:
    meter = Meter(SECONDS)
    for second in range(5_000):
        meter.add(float(second), second)
    assert sum(len(kept) for kept in meter._kept) <= 2 * 3 * 14


def test_a_counter_that_begins_anew_goes_on_from_where_it_was() -> None:
    meter = Meter(SECONDS)
    for second, number in enumerate([0, 1_000, 2_000, 3_000, 4_000, 1_000, 2_000]):
        meter.add(float(second), number)
    assert meter.rates()[0] == pytest.approx(1_000.0 * 6 / 6)


def test_a_number_that_stood_has_the_same_rates_as_if_it_had_been_looked_at() -> None:
    looked, stood = Meter(SECONDS), Meter(SECONDS)
    for second in range(0, 1_000, 5):
        looked.add(float(second), 700)
    stood.add(0.0, 700)
    stood.stood(1_000.0)
    for meter in (looked, stood):
        meter.add(1_000.0, 800)
    assert stood.rates() == looked.rates() == [10.0, 100 / 60, 100 / 600]


@pytest.mark.parametrize(
    ("left", "came", "went", "seconds", "why", "grows"),
    [
        (1_000, 50.0, 150.0, 10.0, "", False),
        (0, 50.0, 50.0, 0.0, "", False),
        (0, 51.0, 50.0, 0.0, "", False),
        (0, 0.9, 0.0, 0.0, "", False),
        (0, None, None, 0.0, "", False),
        (0, 9.0, None, 0.0, "", False),
        (0, 100.0, 50.0, None, "more comes than is moved now: 100.0/s come, 50.0/s are moved", False),
        (None, 1.0, 2.0, None, "how many wait is not known", False),
        (5, 1.0, None, None, "the rate is not known yet", False),
        (5, None, 1.0, None, "what comes is not known", False),
        (5, 80.0, 80.0, None, "the source grows as fast or faster: 80.0/s come, 80.0/s are moved", True),
        (5, 120.0, 80.0, None, "the source grows as fast or faster: 120.0/s come, 80.0/s are moved", True),
        (int(NEVER), 1.0, 1.5, None, "not within a year at this pace: 1.0/s come, 1.5/s are moved", False),
    ],
)
def test_the_time_to_finish_is_told_only_where_there_is_one(
    left: int | None, came: float | None, went: float | None, seconds: float | None, why: str, grows: bool
) -> None:
    assert finish(left, came, went, "what comes") == Finish(seconds, why, grows)
