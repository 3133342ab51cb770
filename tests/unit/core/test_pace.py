"""How many acks a canary and a limit let go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.pace import LONGEST, Budget, First, Free, Limit, Limited, Pace, Rate, in_flight, share


def test_free_is_free() -> None:
    pace = Free(500)
    pace.used(10_000)
    assert (pace.prefetch, pace.allowed(0.0, 0), pace.finished(10**9)) == (500, -1, False)


@pytest.mark.parametrize(("rate", "prefetch"), [(0.1, 1), (1.0, 1), (20.0, 2), (25.0, 3), (100_000.0, 500)])
def test_what_is_in_flight_is_a_tenth_of_a_second(rate: float, prefetch: int) -> None:
    assert Rate(rate, 500, 0.0).prefetch == prefetch


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 2.0), max_size=50))
def test_never_more_than_the_rate(rate: float, waits: list[float]) -> None:
    pace, now, let_go = Rate(rate, 500, 0.0), 0.0, 0
    for wait in waits:
        now += wait
        allowed = pace.allowed(now, 0)
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
        allowed = min(pace.allowed(0.0, handed_out), handed_out - acked)
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


class Queue:
    """A queue with more messages than anybody can take: what is acked is there again at once."""

    def __init__(self, limits: list[Limit], window: int = 500, total: int | None = None) -> None:
        size = in_flight(limits, window)
        inner: Pace = Free(size) if total is None else First(total, size)
        self.pace = Limited(inner, limits)
        self.taken = self.pace.prefetch
        self.acked = 0
        self.times: list[float] = []
        self.longest = 0.0
        self.since = [0.0] * self.taken

    def look(self, now: float) -> None:
        allowed = self.pace.allowed(now, self.taken)
        count = self.taken - self.acked if allowed < 0 else min(allowed, self.taken - self.acked)
        if not count:
            return
        self.pace.used(count)
        self.acked += count
        self.taken += count
        self.longest = max(self.longest, now - self.since[0])
        self.since = self.since[count:] + [now] * count
        self.times += [now] * count


def run(queues: list[Queue], seconds: float, tick: float = 0.05, now: float = 0.0) -> float:
    """Let all queues look again and again; those after the first at odd moments."""
    for step in range(1, round(seconds / tick) + 1):
        for number, queue in enumerate(queues):
            queue.look(now + (step + number / len(queues) / 2) * tick)
    return now + seconds


@pytest.mark.parametrize("rate", [0.1, 1.0, 7.0, 20.0, 1000.0])
def test_a_limit_is_kept_from_the_first_second_on(rate: float) -> None:
    queue = Queue([Limit(rate, 0.0)])
    run([queue], 20)
    assert queue.acked <= 20 * rate + 1
    assert queue.acked >= 20 * rate * 0.97 - 1


def test_queues_that_share_a_limit_get_the_same_and_together_the_whole() -> None:
    limit = Limit(100.0, 0.0)
    limit.queues = 3
    queues = [Queue([limit]) for _ in range(3)]
    run(queues, 30)
    assert sum(queue.acked for queue in queues) == pytest.approx(3000, rel=0.02)
    assert [queue.acked for queue in queues] == [pytest.approx(1000, rel=0.03)] * 3


def test_what_one_queue_does_not_take_the_others_have() -> None:
    limit = Limit(100.0, 0.0)
    limit.queues = 2
    idle, busy = Limited(Free(5), [limit]), Queue([limit])
    for step in range(1, 200):
        assert idle.allowed(step * 0.05, 0) == 0
        busy.look(step * 0.05)
    assert busy.acked == pytest.approx(1000, rel=0.02)


def test_a_queue_that_comes_later_has_its_share_at_once() -> None:
    limit = Limit(100.0, 0.0)
    limit.queues = 2
    first = Queue([limit])
    now = run([first], 10)
    second = Queue([limit])
    before = first.acked
    run([first, second], 10, now=now)
    assert second.acked == pytest.approx(500, rel=0.1)
    assert first.acked - before == pytest.approx(500, rel=0.1)


def test_the_smallest_of_several_limits_counts() -> None:
    own, all_together = Limit(10.0, 0.0), Limit(50.0, 0.0)
    all_together.queues = 2
    slow, fast = Queue([own, all_together]), Queue([all_together])
    run([slow, fast], 20)
    assert slow.acked == pytest.approx(200, rel=0.03)
    assert fast.acked == pytest.approx(800, rel=0.03)


def test_a_rate_is_changed_while_messages_wait_for_their_turn() -> None:
    limit = Limit(10.0, 0.0)
    queue = Queue([limit])
    now = run([queue], 10)
    limit.change(40.0, now)
    before = queue.acked
    now = run([queue], 10, now=now)
    # It has as much in flight as ten a second need, which a round trip or tick gives back.
    assert queue.acked - before > 150
    limit.change(None, now)
    before = queue.acked
    now = run([queue], 1, now=now)
    assert queue.acked - before == 20 * queue.pace.prefetch, "all that is in flight, at each look"
    limit.change(2.0, now)
    before = queue.acked
    run([queue], 10, now=now)
    assert queue.acked - before == pytest.approx(20, abs=1)


def test_no_limit_is_no_limit() -> None:
    limit = Limit(None, 0.0)
    assert in_flight([limit], 500) == 500
    queue = Queue([limit])
    queue.look(0.0)
    assert queue.acked == 500
    assert Limited(Free(500), []).allowed(1.0, 3) == -1


def test_the_first_so_many_under_a_limit_are_still_no_more() -> None:
    limit = Limit(20.0, 0.0)
    pace = Limited(First(7, in_flight([limit], 500)), [limit])
    assert pace.prefetch == 2
    handed_out = acked = 0
    for step in range(40):
        handed_out = min(acked + pace.prefetch, 7)
        if pace.finished(handed_out):
            break
        count = min(pace.allowed(step * 0.05, handed_out), handed_out - acked)
        pace.used(count)
        acked += count
    assert handed_out == 7
    assert step == pytest.approx(6, abs=1), "the fifth ack lets the seventh come, a quarter of a second after the first"


def test_beginning_anew_gains_nothing() -> None:
    limit = Limit(2.0, 0.0)
    for _ in range(10):
        # A subscription that ends acks what it has, whatever the limit: the next one pays for that.
        assert Limited(Free(1), [limit]).allowed(1.0, 1) in (0, 1)
    queue = Queue([limit])
    run([queue], 3, now=1.0)
    assert queue.acked == 0, "what was taken too early is waited for now"
    run([queue], 2, now=4.0)
    assert queue.acked == pytest.approx(1, abs=1)


def test_what_nobody_wanted_is_kept_for_a_moment_only() -> None:
    limit = Limit(100.0, 0.0)
    pace = Limited(Free(500), [limit])
    assert pace.allowed(3600.0, 500) == 11


@given(st.integers(1, 200), st.floats(0.05, 100.0))
def test_nothing_waits_longer_than_half_a_minute_for_its_turn(messages: int, rate: float) -> None:
    limit = Limit(rate, 0.0)
    pace = Limited(Free(messages), [limit])
    pace.allowed(0.0, messages)
    assert pace.allowed(LONGEST + 0.001, messages) >= min(messages, 1)
    assert pace.allowed(LONGEST * 1.01, messages) == messages


@pytest.mark.parametrize(
    ("rate", "queues", "each"),
    [(100.0, 1, 10), (100.0, 50, 10), (100.0, 500, 1), (1000.0, 1000, 5), (0.1, 1, 1), (1e6, 1, 500)],
)
def test_queues_that_share_a_limit_have_seconds_of_it_in_flight(rate: float, queues: int, each: int) -> None:
    limit = Limit(rate, 0.0)
    limit.queues = queues
    assert in_flight([limit, Limit(None, 0.0)], 500) == each
