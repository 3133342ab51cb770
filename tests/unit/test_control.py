"""Verbs and the snapshot on subscriptions that stand still."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from bridge.clock import ClockWatch
from bridge.control import Control
from bridge.core.counts import Counts
from bridge.core.route import Route, Verb
from bridge.delayed import Exits
from bridge.doubles import Doubles
from bridge.errors import Unreachable
from bridge.link import Link
from bridge.metrics import TABLE
from bridge.session import Shared
from bridge.subscription import Subscription
from bridge.terms import Terms
from tests.support import wire


class FakeConnection:
    def __init__(self, name: str, **_: Any) -> None:
        self.name = name
        self.closed = type("Closed", (), {"is_set": staticmethod(lambda: False)})
        self.reason = ""
        self.blocked: str | None = None


class FakeExits:
    fault: str | None = None
    warning: str | None = None

    def __init__(self) -> None:
        #: Consumers of each target queue.
        self.queues: dict[str, int] = {}
        self.silent = False

    def consumers(self, queue: str) -> int | None:
        if self.silent:
            raise Unreachable("target: no answer within 15 s", hint="wait")
        return self.queues.get(queue)

    def bind(self, queue: str) -> None:
        pass


@pytest.fixture
def exits() -> FakeExits:
    return FakeExits()


def shared_with(exits: FakeExits) -> Shared:
    def refuse(*_: object) -> Any:
        raise AssertionError("nothing moves here")

    return Shared(cast("Exits", exits), lambda _: "quorum", refuse, Doubles(), refuse)


@pytest.fixture
def shared(exits: FakeExits) -> Shared:
    return shared_with(exits)


@pytest.fixture
def subscriptions(shared: Shared) -> list[Subscription]:
    link = Link(lambda **_: cast("Any", FakeConnection("source")), lambda **_: cast("Any", FakeConnection("target")))
    made = []
    for number, name in enumerate(("a.q1", "q1"), start=2):
        terms = Terms(target=name, share=None, consumers=1, window=500, priority=1000, cap_priority=True)
        made.append(Subscription(name, number, terms, link, shared))
    return made


@pytest.fixture
def control(subscriptions: list[Subscription], shared: Shared) -> Control:
    link = subscriptions[0]._link
    addresses = "amqp://u:***@old", "amqp://u:***@new"
    return Control("main", link, shared, addresses, lambda: subscriptions, ClockWatch())


def test_a_refused_queue_stays_and_says_why_the_others_move(
    control: Control, subscriptions: list[Subscription], exits: FakeExits, caplog: pytest.LogCaptureFixture
):
    exits.queues = {"q1": 2}
    with caplog.at_level(logging.INFO):
        refused, moved = control.apply(Verb.CUTOVER, subscriptions, "SIGUSR1")
    assert (refused.queue, refused.route) == ("a.q1", "legacy")
    assert refused.refused == 'queue "a.q1": target queue "a.q1" does not exist'
    assert refused.hint
    assert (moved.queue, moved.route, moved.refused) == ("q1", "quorum", "")
    assert [subscription.route for subscription in subscriptions] == [Route.LEGACY, Route.QUORUM]
    assert 'queue "q1": legacy -> quorum (cutover by SIGUSR1)' in caplog.text
    assert 'cutover by SIGUSR1 refused, the route stays legacy: queue "a.q1": target queue' in caplog.text


def test_a_target_that_does_not_answer_refuses(control: Control, subscriptions: list[Subscription], exits: FakeExits):
    exits.silent = True
    answers = control.apply(Verb.CUTOVER, subscriptions, "SIGUSR1")
    assert {answer.refused for answer in answers} == {"target: no answer within 15 s"}
    assert {subscription.route for subscription in subscriptions} == {Route.LEGACY}


def test_going_back_asks_no_gate(control: Control, subscriptions: list[Subscription], exits: FakeExits):
    for subscription in subscriptions:
        subscription.set_route(Route.QUORUM)
    exits.silent = True
    answers = control.apply(Verb.LEGACY, subscriptions, "SIGUSR2")
    assert [(answer.route, answer.refused) for answer in answers] == [("legacy", "")] * 2


def test_a_wanted_route_waits_for_its_gate(
    control: Control, subscriptions: list[Subscription], exits: FakeExits, caplog: pytest.LogCaptureFixture
):
    subscription = subscriptions[0]
    exits.queues = {"a.q1": 0}
    subscription.hold(Route.QUORUM, "not asked yet")
    for _ in range(3):
        control.try_wanted(subscription, Verb.CUTOVER)
    assert (subscription.route, subscription.wanted) == (Route.LEGACY, Route.QUORUM)
    assert caplog.text.count("has 0 consumers, 1 are wanted: route quorum waits for this") == 1

    exits.queues = {"a.q1": 1}
    control.try_wanted(subscription, Verb.CUTOVER)
    assert (subscription.route, subscription.wanted) == (Route.QUORUM, None)


def test_the_snapshot_holds_every_number_for_each_queue_and_in_total(
    control: Control, subscriptions: list[Subscription]
):
    subscriptions[0].counts = Counts(moved=5, converted=2)
    subscriptions[1].counts = Counts(moved=7)
    told = json.loads(json.dumps(control.snapshot()))
    assert [queue["name"] for queue in told["queues"]] == ["a.q1", "q1"]
    assert (told["totals"]["moved"], told["totals"]["converted"]) == (12, 2)
    assert told["source"] == {"url": "amqp://u:***@old", "connected": True, "reason": None}
    for queue in told["queues"]:
        assert {metric.name for metric in TABLE if metric.kind == "counter"} <= set(queue)
        assert {"in_flight", "rate", "confirm_ms", "route", "state", "why", "target", "since"} <= set(queue)


def test_without_queues_there_is_a_snapshot_too(exits: FakeExits):
    link = Link(lambda **_: cast("Any", FakeConnection("source")), lambda **_: cast("Any", FakeConnection("target")))
    told = Control("main", link, shared_with(exits), ("", ""), list, ClockWatch()).snapshot()
    assert told["queues"] == []
    # Whoever reads totals does not ask first whether there are queues.
    assert told["totals"]["moved"] == 0


def test_possible_duplicates_are_listed_by_task(
    control: Control, subscriptions: list[Subscription], shared: Shared, caplog: pytest.LogCaptureFixture
):
    # Of a queue that is gone by now as well: a total never falls.
    subscriptions.clear()
    shared.doubles.add("a.q1", [wire.task(id="one"), wire.task(id="two")], "came again after a restart")
    told = json.loads(json.dumps(control.duplicates()))
    assert told["total"] == 2
    assert [(one["queue"], one["id"], one["why"]) for one in told["listed"]] == [
        ("a.q1", "one", "came again after a restart"),
        ("a.q1", "two", "came again after a restart"),
    ]
    assert 'queue "a.q1": 2 possible duplicates (came again after a restart): one, two' in caplog.text


def test_a_clock_that_was_set_is_in_the_snapshot(subscriptions: list[Subscription], shared: Shared):
    wall = 1000.0
    clock = ClockWatch(lambda: wall, lambda: 5.0)
    control = Control("main", subscriptions[0]._link, shared, ("", ""), lambda: subscriptions, clock)
    assert control.snapshot()["clock"] == {"jumps": 0, "last": None}
    wall += 3600
    clock.look()
    assert control.snapshot()["clock"] == {"jumps": 1, "last": {"seconds": 3600.0, "at": "1970-01-01T01:16:40+00:00"}}
