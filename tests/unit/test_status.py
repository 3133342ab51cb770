"""The snapshot of subscriptions that stand still."""

from __future__ import annotations

import json

import pytest

from bridge.clock import ClockWatch
from bridge.control import Control
from bridge.core.counts import NUMBERS, Counts
from tests.support import wire
from tests.support.standing import FakeExits, Standing, controlled, standing


@pytest.fixture
def subscriptions() -> list[Standing]:
    return standing(("a.q1", "q1"), FakeExits())


@pytest.fixture
def control(subscriptions: list[Standing]) -> Control:
    return controlled(subscriptions)


def test_the_snapshot_holds_every_number_for_each_queue_and_in_total(
    control: Control, subscriptions: list[Standing]
) -> None:
    subscriptions[0].counts = Counts(moved=5, converted=2)
    subscriptions[1].counts = Counts(moved=7)
    told = json.loads(json.dumps(control.snapshot()))
    assert [queue["name"] for queue in told["queues"]] == ["a.q1", "q1"]
    assert (told["totals"]["moved"], told["totals"]["converted"]) == (12, 2)
    assert told["source"] == {"url": "amqp://u:***@old", "connected": True, "reason": None}
    for queue in told["queues"]:
        assert {name for name in NUMBERS if not name.startswith("due_")} <= set(queue)
        assert {"in_flight", "rate", "confirm_ms", "route", "state", "why", "target", "since"} <= set(queue)
        assert {"rates", "due", "confirm", "ladder", "finish", "gate"} <= set(queue)
        assert {"paused", "planned", "limit", "by", "reason", "changed_at", "next"} <= set(queue)


def test_other_rooms_add_what_is_theirs(control: Control) -> None:
    control.more.append(lambda: {"hooks": {"failed": 0}})
    control.more_of_queue.append(lambda subscription: {"drained": subscription.queue == "q1"})
    told = control.snapshot()
    assert told["hooks"] == {"failed": 0}
    assert [queue["drained"] for queue in told["queues"]] == [False, True]


def test_without_queues_there_is_a_snapshot_too() -> None:
    told = controlled([]).snapshot()
    assert told["queues"] == []
    # Whoever reads totals does not ask first whether there are queues.
    assert told["totals"]["moved"] == 0


def test_possible_duplicates_are_listed_by_task(
    control: Control, subscriptions: list[Standing], caplog: pytest.LogCaptureFixture
) -> None:
    doubles = control.shared.doubles
    # Of a queue that is gone by now as well: a total never falls.
    subscriptions.clear()
    doubles.add("a.q1", [wire.task(id="one"), wire.task(id="two")], "came again after a restart")
    told = json.loads(json.dumps(control.duplicates()))
    assert told["total"] == 2
    assert [(one["queue"], one["id"], one["why"]) for one in told["listed"]] == [
        ("a.q1", "one", "came again after a restart"),
        ("a.q1", "two", "came again after a restart"),
    ]
    assert 'queue "a.q1": 2 possible duplicates (came again after a restart): one, two' in caplog.text


def test_a_clock_that_was_set_is_in_the_snapshot(subscriptions: list[Standing]) -> None:
    wall = 1000.0
    clock = ClockWatch(lambda: wall, lambda: 5.0)
    control = controlled(subscriptions, clock=clock)
    assert control.snapshot()["clock"] == {"jumps": 0, "last": None}
    wall += 3600
    clock.look()
    assert control.snapshot()["clock"] == {"jumps": 1, "last": {"seconds": 3600.0, "at": "1970-01-01T01:16:40+00:00"}}
