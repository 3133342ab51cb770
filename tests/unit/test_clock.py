"""A clock that is set is noticed; one that drifts or is slewed is not."""

from __future__ import annotations

import logging

import pytest

from bridge.clock import ClockWatch


class Clock:
    wall = 1_000_000.0
    monotonic = 50.0


@pytest.mark.parametrize(("seconds", "said"), [(3600.0, "set forward by 3600.0 s"), (-90.5, "set back by 90.5 s")])
def test_a_jump_is_noticed_once(seconds: float, said: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    watch = ClockWatch(lambda: clock.wall, lambda: clock.monotonic)
    clock.wall += 10 + seconds
    clock.monotonic += 10
    jump = watch.look()
    assert jump is not None
    assert (jump.seconds, jump.at.timestamp(), watch.jumps) == (seconds, clock.wall, 1)
    assert said in caplog.text
    assert watch.look() is None
    assert watch.last == jump


def test_time_that_passes_is_no_jump(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    watch = ClockWatch(lambda: clock.wall, lambda: clock.monotonic)
    with caplog.at_level(logging.DEBUG):
        for _ in range(1000):
            clock.wall += 60.05  # slewed
            clock.monotonic += 60
            assert watch.look() is None
    assert (watch.jumps, watch.last, caplog.text) == (0, None, "")
