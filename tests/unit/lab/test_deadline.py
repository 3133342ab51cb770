"""Waiting looks at least once, and no longer than it may."""

from __future__ import annotations

from bridge.lab.deadline import until


def test_a_condition_that_holds_is_not_waited_for():
    assert until(lambda: True, 0)


def test_a_condition_that_comes_true_is_seen():
    looks = iter([False, False, True])
    assert until(lambda: next(looks), 10)


def test_the_deadline_ends_it():
    assert not until(lambda: False, 0)
