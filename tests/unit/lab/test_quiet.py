from __future__ import annotations

from bridge.lab.quiet import AT_WORK, quiet_moment


def test_a_worker_that_holds_nothing_is_quiet_now() -> None:
    assert quiet_moment([], now=100.0, within=2.0, needed=0.05) == 100.0


def test_the_longest_pause_is_taken_after_the_task_before_it() -> None:
    assert quiet_moment([100.1, 100.2, 101.0, 101.1, 101.6], 100.0, within=1.5, needed=0.05) == 100.2 + AT_WORK


def test_a_pause_that_reaches_beyond_the_span_counts_in_full() -> None:
    assert quiet_moment([100.4, 101.4, 103.0], 100.0, within=1.5, needed=0.05) == 101.4 + AT_WORK


def test_no_pause_is_long_enough() -> None:
    busy = [100 + number * 0.05 for number in range(60)]
    assert quiet_moment(busy, 100.0, within=2.0, needed=0.05) is None


def test_a_task_that_was_due_a_moment_ago_may_still_run() -> None:
    moment = quiet_moment([99.99], 100.0, within=2.0, needed=0.05)
    assert moment == 99.99 + AT_WORK


def test_generators_are_fine() -> None:
    assert quiet_moment((eta for eta in (100.1, 103.0)), 100.0, within=1.0, needed=0.05) == 100.1 + AT_WORK
