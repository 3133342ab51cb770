"""The window on simulated pipes: enough for full speed, and no more, however long the pipe is full."""

from __future__ import annotations

import random

import pytest

from bridge.core.window import BESIDE, BESIDE_FOR, FEWEST, GONE, LEAST, LOOKS, PAUSE, STEP, TRIAL, Crowd, Window

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
    looks = Pipe(Window(2500), 0.001, 11_000.0).run(HOUR)
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
    window = Window(2500)
    assert [window.look(float(at), at * 200, 3, 2500) for at in range(300)] == [LEAST] * 300


def looks(window: Window, rate: float, since: float, until: float) -> int:
    """A queue that fills its window at a constant rate, looked at four times a second."""
    at = since
    while at <= until:
        size = window.look(at, int(at * rate), window.size, 2500)
        at += 0.25
    return size


def test_a_larger_one_that_is_not_faster_is_left() -> None:
    window = Window(2500)
    assert looks(window, 1000.0, 0.0, TRIAL - 0.25) == LEAST, "it takes some seconds to know the speed"
    assert looks(window, 1000.0, TRIAL, TRIAL) == int(LEAST * STEP)
    assert looks(window, 1000.0, TRIAL + 0.25, 2 * TRIAL + 0.25) == LEAST
    assert looks(window, 1000.0, 2 * TRIAL + 0.5, PAUSE) == LEAST, "the next is tried half a minute later"


def test_a_trial_ends_when_the_queue_is_not_full_any_more() -> None:
    window = Window(2500)
    assert looks(window, 1000.0, 0.0, TRIAL) == int(LEAST * STEP)
    assert window.look(TRIAL + 0.5, 2500, 20, 2500) == LEAST


@pytest.mark.parametrize("most", [1, 5, 40, 500])
def test_never_more_than_is_allowed(most: int) -> None:
    seen = Pipe(Window(most), 0.1, 10_000.0).run(200)
    assert all(1 <= size <= most for _, size in seen)
    assert max(size for _, size in seen) == most


def test_the_limit_of_the_moment_holds_at_once() -> None:
    window = Window(2500)
    pipe = Pipe(window, 0.1, 10_000.0)
    pipe.run(60)
    assert window.size > LEAST
    assert pipe.run(1, limit=7)[-1][1] == 7
    assert pipe.run(1, limit=0)[-1][1] == 1, "one message may always be in flight"
    assert pipe.run(120)[-1][1] > LEAST
    # In the middle of a trial as well.
    window = Window(2500)
    looks(window, 1000.0, 0.0, TRIAL)
    assert window.look(TRIAL + 0.25, 2250, window.size, 30) == 30


class Beside:
    """Backlogs that share one pipe, and a queue with little traffic beside them."""

    def __init__(self, queues: int = 1, lag: float = 0.001, rate: float = 11_000.0) -> None:
        self.crowd = crowd = Crowd()
        self.backlogs = [Window(500, crowd) for _ in range(queues)]
        self.little = Window(500, crowd)
        self.lag = lag
        self.rate = rate
        self.now = 0.0
        self.confirmed = dict.fromkeys((*self.backlogs, self.little), 0.0)

    def run(self, seconds: int, little: int = 20) -> float:
        """Messages of the backlogs in the last second; `little` is how many the other queue moves in each."""
        speed = 0.0
        for _ in range(seconds):
            self.now += 1.0
            self.confirmed[self.little] += little
            self.little.look(self.now, int(self.confirmed[self.little]), min(little, 2), 500)
            there = sum(window.size for window in self.backlogs)
            speed = min(self.rate, there / self.lag)
            for window in self.backlogs:
                self.confirmed[window] += speed * window.size / there
                window.look(self.now, int(self.confirmed[window]), window.size, 500)
        return speed

    @property
    def together(self) -> int:
        return sum(window.size for window in self.backlogs)


def test_a_backlog_has_less_in_flight_beside_a_queue_with_little_traffic() -> None:
    beside = Beside()
    assert not beside.crowd.beside
    assert beside.run(LOOKS + 1) == 11_000
    assert beside.crowd.beside
    assert beside.together == BESIDE
    assert beside.little.size == LEAST, "a queue that does not fill its window is left alone"
    for _ in range(30):
        beside.run(1)
        assert beside.together in (BESIDE, int(BESIDE * STEP)), "more is tried, and left again"


def test_alone_again_it_has_what_it_had() -> None:
    beside = Beside()
    beside.run(10)
    assert beside.run(int(BESIDE_FOR) - 1, little=0)
    assert beside.together == BESIDE, "a message every few seconds has its traffic too"
    beside.run(3, little=0)
    assert beside.together == LEAST
    assert not beside.crowd.beside


def test_backlogs_share_what_they_have_together() -> None:
    beside = Beside(3)
    beside.run(LOOKS + 1)
    assert {window.size for window in beside.backlogs} == {BESIDE // 3}
    many = Beside(30)
    many.run(5)
    assert {window.size for window in many.backlogs} == {FEWEST}


def test_backlogs_alone_leave_each_other_nothing() -> None:
    beside = Beside(10)
    beside.run(30, little=0)
    assert min(window.size for window in beside.backlogs) >= LEAST


@pytest.mark.parametrize("queues", [1, 4])
def test_a_line_with_a_delay_gets_what_it_needs_all_the_same(queues: int) -> None:
    beside = Beside(queues, lag=0.05, rate=6000.0)
    assert beside.run(60) > 0.8 * 6000


def test_the_end_of_a_backlog_is_not_little_traffic() -> None:
    crowd = Crowd()
    ending, other = Window(500, crowd), Window(500, crowd)
    for at, (confirmed, fullest) in enumerate([(1000, LEAST), (2000, LEAST), (2050, 50), (2050, 0), (2050, 0)]):
        ending.look(float(at), confirmed, fullest, 500)
        other.look(float(at), 1000 * at, other.size, 500)
        assert other.size >= LEAST


def test_a_queue_begins_with_its_share_and_has_more_when_it_needs_it() -> None:
    window = Window(2500)
    assert window.begin(100) == 100
    assert [window.look(float(at), at * 20, 3, 2500) for at in range(60)] == [100] * 60, "it does not need more"
    assert window.look(60.0, 2000, 90, 2500) == LEAST
    assert window.begin(1) == 1
    assert window.begin(100) == 100, "what was a limit is not learnt"
    assert window.begin(2500) == LEAST


def test_it_knows_how_many_are_busy() -> None:
    beside = Beside(3)
    assert beside.crowd.busy == 0
    beside.run(3)
    assert beside.crowd.busy == 3
    for at in range(4, 8):
        beside.crowd.look(beside.little, float(at + GONE), 5, full=False)
    assert beside.crowd.busy == 0


def test_a_queue_that_left_is_forgotten() -> None:
    crowd = Crowd()
    assert not crowd.look(Window(500), 0.0, 0, full=False), "it never moved"
    for at in range(LOOKS):
        assert not crowd.look(Window(500), float(at), 5, full=False)
    little, backlog = Window(500), Window(500)
    for at in range(10, 10 + LOOKS + 1):
        crowd.look(little, float(at), 5, full=False)
        last = crowd.look(backlog, float(at), 1000, full=True)
    assert last == BESIDE
    assert not crowd.look(backlog, at + GONE, 1000, full=True)
