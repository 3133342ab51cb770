"""The rate of a queue, on a clock that is set; tests/e2e/test_takeover.py has real queues."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bridge import subscription
from bridge.subscription import RATE_OVER
from tests.support.standing import FakeExits, Standing, standing


class Clock:
    """Time passes when a queue is sampled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(subscription, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.queue: Standing = standing(["mail"], FakeExits())[0]

    def pass_(self, seconds: int, moved: int = 0) -> float:
        """So many seconds, in each of which so many are moved; the rate after them."""
        for _ in range(seconds):
            self.now += 1
            self.queue.counts.moved += moved
            self.queue.sample()
        return self.queue.rate()


@pytest.mark.parametrize("quiet", [0, 3, 600])
def test_the_rate_is_that_of_the_last_ten_seconds(quiet: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert clock.queue.rate() == 0.0
    assert clock.pass_(1) == 0.0
    assert clock.pass_(quiet) == 0.0
    known = min(quiet, RATE_OVER - 4)
    assert clock.pass_(4, moved=60) == pytest.approx(240 / (known + 4))
    assert clock.pass_(20, moved=60) == pytest.approx(60)
    assert clock.pass_(4) == pytest.approx(36)
    assert clock.pass_(6) == 0.0


def test_a_quiet_queue_keeps_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    clock.pass_(20, moved=1)
    assert len(clock.queue._samples) == RATE_OVER + 1
    clock.pass_(20)
    assert len(clock.queue._samples) == 1
