"""When a target queue is left alone, and when it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.throttle import LONGEST_WAIT, Bounds, Decision, Seen, Throttle, look_again

FINE = Seen("mail", depth=0, confirm=0.002)
DEPTH = Bounds(depth=1000)
CONFIRM = Bounds(confirm=2.0)
GO_ON, TRIAL = Decision(), Decision(trial=True)


def test_without_bounds_only_an_alarm_counts() -> None:
    throttle = Throttle()
    assert throttle.look(0.0, Seen("mail", depth=10**9, confirm=600.0, waiting=600.0), Bounds()) == GO_ON
    alarm = replace(FINE, alarm="low on memory")
    assert throttle.look(1.0, alarm, Bounds()).why == "target takes no publishes now: low on memory"
    assert throttle.look(2.0, FINE, Bounds()) == GO_ON


def test_depth_closes_at_the_bound_and_opens_below_a_part_of_it() -> None:
    throttle = Throttle()
    seen = [999, 1000, 1200, 999, 800, 799, 999, 1000]
    said = [throttle.look(float(at), replace(FINE, depth=depth), DEPTH).why for at, depth in enumerate(seen)]
    assert [bool(why) for why in said] == [False, True, True, True, True, False, False, True]
    assert said[2] == 'target queue "mail" has 1200 messages ready, 1000 are the bound; it goes on below 800'


def test_a_depth_that_is_not_known_changes_nothing() -> None:
    throttle = Throttle()
    unknown = replace(FINE, depth=None)
    assert throttle.look(0.0, unknown, DEPTH) == GO_ON
    closed = throttle.look(1.0, replace(FINE, depth=1000), DEPTH)
    assert throttle.look(2.0, unknown, DEPTH) == closed
    assert throttle.look(3.0, unknown, Bounds()) == GO_ON, "the bound is gone"


@given(st.lists(st.integers(0, 2000)))
def test_between_the_two_marks_nothing_changes(depths: list[int]) -> None:
    throttle, closed = Throttle(), False
    for at, depth in enumerate(depths):
        now_closed = bool(throttle.look(float(at), replace(FINE, depth=depth), DEPTH).why)
        if 800 <= depth < 1000:
            assert now_closed is closed
        closed = now_closed


def test_slow_confirms_close_and_a_quick_trial_opens() -> None:
    throttle = Throttle()
    assert throttle.look(0.0, FINE, CONFIRM) == GO_ON
    closed = throttle.look(100.0, replace(FINE, confirm=2.5), CONFIRM)
    assert closed.why == "target took 2.5 s to confirm, 2 s are the bound; a trial of few messages follows after 5 s"
    nothing = Seen("mail")
    assert throttle.look(104.9, nothing, CONFIRM) == closed
    assert throttle.look(105.0, nothing, CONFIRM) == TRIAL
    assert throttle.look(110.0, nothing, CONFIRM) == TRIAL, "no message came: nothing was learnt"
    assert throttle.look(111.0, replace(nothing, waiting=0.5), CONFIRM) == TRIAL, "not confirmed yet"
    assert throttle.look(112.0, replace(nothing, confirm=1.6), CONFIRM) == GO_ON
    assert throttle.look(113.0, replace(nothing, confirm=1.9), CONFIRM) == GO_ON


def test_no_trial_begins_while_what_was_sent_before_waits_for_its_confirm() -> None:
    throttle = Throttle()
    closed = throttle.look(0.0, Seen("mail", waiting=2.5), CONFIRM)
    assert throttle.look(9.0, Seen("mail", confirm=9.0, waiting=0.1), CONFIRM) == closed
    assert throttle.look(10.0, Seen("mail", confirm=9.0), CONFIRM) == TRIAL


def test_a_publish_that_waits_too_long_is_slow_before_its_confirm_comes() -> None:
    assert Throttle().look(0.0, Seen("mail", waiting=2.1), CONFIRM).why
    assert not Throttle().look(0.0, Seen("mail", waiting=2.0), CONFIRM).why


def test_each_trial_that_is_slow_is_waited_for_twice_as_long() -> None:
    throttle, now, waits = Throttle(), 0.0, []
    slow = replace(FINE, confirm=1.7)
    assert throttle.look(now, slow, CONFIRM) == GO_ON, "slow for a trial only"
    assert throttle.look(now, replace(FINE, confirm=3.0), CONFIRM).why
    for _ in range(6):
        began = now
        while throttle.look(now, Seen("mail"), CONFIRM).why:
            now += 1.0
        waits.append(now - began)
        assert "to confirm a trial" in throttle.look(now, slow, CONFIRM).why
    assert waits == [5, 10, 20, 40, LONGEST_WAIT, LONGEST_WAIT]


def test_the_waits_begin_anew_after_a_sound_minute_only() -> None:
    def waits_after(sound: float) -> float:
        throttle = Throttle()
        throttle.look(0.0, replace(FINE, confirm=3.0), CONFIRM)
        throttle.look(5.0, Seen("mail"), CONFIRM)
        assert throttle.look(6.0, FINE, CONFIRM) == GO_ON
        began = now = 6.0 + sound
        throttle.look(now, replace(FINE, confirm=3.0), CONFIRM)
        while throttle.look(now, Seen("mail"), CONFIRM).why:
            now += 1.0
        return now - began

    assert (waits_after(10.0), waits_after(70.0)) == (10.0, 5.0)


def test_without_its_bound_a_wait_ends() -> None:
    throttle = Throttle()
    throttle.look(0.0, replace(FINE, confirm=3.0), CONFIRM)
    assert throttle.look(1.0, FINE, DEPTH) == GO_ON


def test_what_is_graver_is_said() -> None:
    throttle = Throttle()
    both = Bounds(depth=10, confirm=2.0)
    slow = Seen("mail", depth=3, confirm=5.0)
    assert "to confirm" in throttle.look(0.0, slow, both).why
    assert "messages ready" in throttle.look(1.0, replace(slow, depth=10), both).why
    assert "takes no publishes" in throttle.look(2.0, replace(slow, depth=10, alarm="low on disk"), both).why
    assert "messages ready" in throttle.look(3.0, replace(slow, depth=10), both).why


@pytest.mark.parametrize(
    ("seen_at", "depth", "sent", "again"),
    [
        (None, None, 0, True),
        (9.0, 500, 499, False),
        (9.0, 500, 500, True),
        (9.0, None, 5000, False),
        (9.0, 1200, 0, False),
        (5.0, 0, 0, True),
    ],
)
def test_a_depth_is_asked_for_when_it_may_have_come_to_the_bound(
    seen_at: float | None, depth: int | None, sent: int, again: bool
) -> None:
    assert look_again(10.0, seen_at, depth, sent, 5.0, DEPTH) is again
    assert look_again(10.0, seen_at, depth, sent, 5.0, Bounds(confirm=1.0)) is False
