"""The window on simulated pipes: enough for full speed, and no more, however long the pipe is full."""

from __future__ import annotations

import random

import pytest

from bridge.core.window import LEAST, PAUSE, STEP, TRIAL, Window

HOUR = 3600


class Pipe:
    """A backlog through a pipe that answers after `lag` seconds at best and carries `rate` messages a second."""

    def __init__(self, window: Window, lag: float, rate: float, *, scatter: float = 0.0) -> None:
        self.window = window
        self.lag = lag
        self.rate = rate
        self.scatter = scatter
        self.chance = random.Random(7)
        self.now = 0.0
        self.confirmed = 0.0

    def run(self, seconds: int, limit: int = 1 << 16) -> list[tuple[float, int]]:
        """Speed and size of each second."""
        looks = []
        for _ in range(seconds):
            # Little's law: what does not fit into the pipe stands in line, and waits.
            speed = min(self.rate, self.window.size / self.lag) * self.chance.uniform(1 - self.scatter, 1.0)
            self.now += 1.0
            self.confirmed += speed
            self.window.look(self.now, int(self.confirmed), self.window.size, limit)
            looks.append((speed, self.window.size))
        return looks


@pytest.mark.parametrize(
    ("lag", "rate"), [(0.0002, 15_000.0), (0.001, 11_000.0), (0.02, 11_000.0), (0.1, 3000.0), (0.005, 200.0)]
)
@pytest.mark.parametrize("scatter", [0.0, 0.04])
def test_full_speed_with_little_in_flight(lag: float, rate: float, scatter: float) -> None:
    looks = Pipe(Window(5000), lag, rate, scatter=scatter).run(HOUR)
    settled = looks[60:]
    assert sum(speed for speed, _ in settled) / len(settled) > 0.9 * rate
    # A minute or an hour makes no difference: what is in flight is a small multiple of what the pipe holds.
    holds = max(lag * rate, LEAST)
    assert max(size for _, size in settled) <= holds * STEP**3
    mean = sum(size for _, size in settled) / len(settled)
    assert mean <= holds * STEP**2


def test_what_is_enough_at_first_is_enough_for_long() -> None:
    looks = Pipe(Window(500), 0.001, 11_000.0).run(HOUR)
    larger = [size for _, size in looks if size > LEAST]
    # Each half minute or so a larger one is tried for two seconds, and left again.
    assert max(larger) == int(LEAST * STEP)
    assert len(larger) < 0.2 * HOUR


def test_a_pipe_that_becomes_longer_gets_more() -> None:
    pipe = Pipe(Window(5000), 0.001, 11_000.0)
    pipe.run(100)
    pipe.lag = 0.03
    assert pipe.run(120)[-1][0] > 0.9 * 11_000


def test_a_pipe_that_becomes_shorter_gets_less() -> None:
    pipe = Pipe(Window(5000), 0.05, 11_000.0)
    pipe.run(100)
    assert pipe.window.size > 500
    pipe.lag = 0.001
    pipe.run(600)
    assert pipe.window.size <= LEAST * STEP**2


def test_a_queue_that_does_not_fill_it_changes_nothing() -> None:
    window = Window(500)
    assert [window.look(float(at), at * 200, 3, 500) for at in range(300)] == [LEAST] * 300


def looks(window: Window, rate: float, since: float, until: float) -> int:
    """A queue that fills its window at a constant rate, looked at four times a second."""
    at = since
    while at <= until:
        size = window.look(at, int(at * rate), window.size, 500)
        at += 0.25
    return size


def test_a_larger_one_that_is_not_faster_is_left() -> None:
    window = Window(500)
    assert looks(window, 1000.0, 0.0, TRIAL - 0.25) == LEAST, "it takes some seconds to know the speed"
    assert looks(window, 1000.0, TRIAL, TRIAL) == int(LEAST * STEP)
    assert looks(window, 1000.0, TRIAL + 0.25, 2 * TRIAL + 0.25) == LEAST
    assert looks(window, 1000.0, 2 * TRIAL + 0.5, PAUSE) == LEAST, "the next is tried half a minute later"


def test_a_trial_ends_when_the_queue_is_not_full_any_more() -> None:
    window = Window(500)
    assert looks(window, 1000.0, 0.0, TRIAL) == int(LEAST * STEP)
    assert window.look(TRIAL + 0.5, 2500, 20, 500) == LEAST


@pytest.mark.parametrize("most", [1, 5, 40, 500])
def test_never_more_than_is_allowed(most: int) -> None:
    seen = Pipe(Window(most), 0.1, 10_000.0).run(200)
    assert all(1 <= size <= most for _, size in seen)
    assert max(size for _, size in seen) == most


def test_the_limit_of_the_moment_holds_at_once() -> None:
    window = Window(500)
    pipe = Pipe(window, 0.1, 10_000.0)
    pipe.run(60)
    assert window.size > LEAST
    assert pipe.run(1, limit=7)[-1][1] == 7
    assert pipe.run(1, limit=0)[-1][1] == 1, "one message may always be in flight"
    assert pipe.run(120)[-1][1] > LEAST
    # In the middle of a trial as well.
    window = Window(500)
    looks(window, 1000.0, 0.0, TRIAL)
    assert window.look(TRIAL + 0.25, 2250, window.size, 30) == 30
