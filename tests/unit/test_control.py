"""Verbs and the snapshot on subscriptions that stand still."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from bridge.control import Control
from bridge.core.relay import Counts
from bridge.core.route import Route, Verb
from bridge.delayed import Exits
from bridge.errors import Unreachable
from bridge.link import Link
from bridge.metrics import TABLE
from bridge.subscription import Subscription, Terms


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


@pytest.fixture
def subscriptions(exits: FakeExits) -> list[Subscription]:
    link = Link(lambda **_: cast("Any", FakeConnection("source")), lambda **_: cast("Any", FakeConnection("target")))
    made = []
    for number, name in enumerate(("a.q1", "q1"), start=2):
        terms = Terms(
            target=name, share=None, consumers=1, window=500, window_bytes=1 << 20, priority=1000, cap_priority=True
        )
        made.append(Subscription(name, number, terms, link, cast("Exits", exits), lambda _: "quorum", lambda *_: None))
    return made


@pytest.fixture
def control(subscriptions: list[Subscription], exits: FakeExits) -> Control:
    link = subscriptions[0]._link
    return Control("main", link, cast("Exits", exits), ("amqp://u:***@old", "amqp://u:***@new"), lambda: subscriptions)


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
    told = Control("main", link, cast("Exits", exits), ("", ""), list).snapshot()
    assert told["queues"] == []
    # Whoever reads totals does not ask first whether there are queues.
    assert told["totals"]["moved"] == 0
