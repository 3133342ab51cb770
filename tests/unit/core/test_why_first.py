"""The gravest reason comes first, and others of its kind are counted."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.core.why_first import Side, Stand, why_first

MOVING = Stand("mail", "moving", "", "quorum")
UP = [Side("source", True, ""), Side("target", True, "")]


def said(**changed: Any) -> str:
    given = {"state": "active", "standby": "", "sides": UP, "stuck": (), "ladder": "", "queues": [MOVING], **changed}
    return why_first(**given)


def test_nothing_is_said_when_all_moves() -> None:
    assert said() == ""
    assert said(queues=[MOVING, Stand("old", "idle", "route legacy: the old workers have this queue", "legacy")]) == ""


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"standby": "host a is active", "state": "standby"}, "on standby: host a is active"),
        ({"state": "stopping"}, "the bridge is stopping"),
        (
            {"sides": [Side("source", False, ""), Side("target", True, "alarm")]},
            "source is not connected: no reason known",
        ),
        ({"sides": [UP[0], Side("target", False, "refused")]}, "target is not connected: refused"),
        ({"sides": [UP[0], Side("target", True, "low on memory")]}, "target takes no publishes: low on memory"),
        ({"queues": []}, "no queue is in scope"),
        ({"ladder": "celery_delayed_3 is missing"}, "ETA tasks cannot move: celery_delayed_3 is missing"),
        ({"stuck": [12]}, "due messages stay in level 12 of the target's ladder"),
        ({"stuck": [3, 12]}, "due messages stay in levels 3, 12 of the target's ladder"),
        (
            {"queues": [MOVING, Stand("a", "waiting", 'for the gate to quorum: queue "a": 0 consumers', "legacy")]},
            'queue "a" waits for the gate to quorum: 0 consumers',
        ),
        (
            {"queues": [Stand("a", "throttled", "target: 5000 ready", "quorum"), MOVING]},
            'queue "a" is throttled: target: 5000 ready',
        ),
        (
            {"queues": [Stand("a", "paused", "paused; the route is quorum", "quorum"), MOVING]},
            'queue "a" is paused; the route is quorum',
        ),
        (
            {"queues": [MOVING, MOVING._replace(grows="the source grows"), MOVING._replace(name="b", grows="so")]},
            'queue "mail": the source grows, and 1 more',
        ),
        (
            {"queues": [Stand("a", "idle", "", "legacy")]},
            "nothing is moved: the queue is on route legacy",
        ),
        (
            {"queues": [Stand("a", "idle", "", "legacy"), Stand("b", "idle", "", "legacy")]},
            "nothing is moved: all 2 queues are on route legacy",
        ),
    ],
)
def test_each_reason_has_its_sentence(changed: dict[str, Any], sentence: str) -> None:
    assert said(**changed) == sentence


def test_the_gravest_kind_comes_first_and_the_others_of_it_are_counted() -> None:
    queues = [
        Stand("a", "paused", "paused; the route is quorum", "quorum"),
        Stand("b", "faulted", 'queue "b": no confirm from the target for 12.0 s', "quorum"),
        Stand("c", "faulted", 'queue "c": unroutable', "quorum"),
    ]
    expected = 'queue "b" is faulted: no confirm from the target for 12.0 s, and 1 more'
    assert said(queues=queues, ladder="x", stuck=[1]) == expected


def test_inline_the_route_legacy_moves() -> None:
    assert said(queues=[Stand("a", "moving", "", "legacy")]) == ""
