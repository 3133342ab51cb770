"""The ladder on the target, policies over it, what stays in it, our exits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bridge.core import ladder
from bridge.core.check.world import World
from bridge.core.topology import Binding, Exchange, Probes, Queue
from tests.unit.core.check.worlds import (
    LADDER,
    TARGET,
    WORLD,
    Case,
    holds,
    ids,
    new,
    policy,
    queue,
    target,
    texts,
    without,
)

LEVELS = [level.name for level in LADDER.queues]
NONE = target(
    without(*LEVELS),
    exchanges={"tasks": TARGET.exchanges["tasks"]},
    bindings=(Binding("tasks", "mail", "queue", "mail"),),
)


def level(number: int, kind: str = "quorum", **changed: Any) -> Queue:
    given = dict(next(each for each in LADDER.queues if each.name == ladder.level_name(number)).arguments)
    given = {key: value for key, value in given.items() if key != "x-queue-type"}
    if kind == "classic":
        del given["x-dead-letter-strategy"]
    return queue(ladder.level_name(number), kind, {**given, **changed})


def policed(**keys: Any) -> World:
    """The ladder under a policy, as the broker tells it."""
    changed = {key.replace("_", "-"): value for key, value in keys.items()}
    return new(*(dataclasses.replace(TARGET.queues[name], policy=changed, policy_name="everything") for name in LEVELS))


def waits(**due: int) -> World:
    stuck = {int(name.removeprefix("level")): count for name, count in due.items()}
    return dataclasses.replace(WORLD, probes=Probes(stuck=stuck))


def bound(*bindings: Binding) -> World:
    return target(bindings=(*TARGET.bindings, *bindings))


CASES = [
    Case("ladder-missing", NONE, 'target vhost "qhost": no celery_delayed_ queue or exchange'),
    Case(
        "ladder-incomplete",
        without("celery_delayed_4"),
        '1 parts are missing: "queue celery_delayed_4"',
        NONE,
    ),
    Case(
        "ladder-incomplete",
        target(bindings=tuple(b for b in TARGET.bindings if b.source != "celery_delayed_27")),
        'binding celery_delayed_27 -> celery_delayed_27 by 1.#"',
    ),
    Case(
        "ladder-incomplete",
        target(exchanges={name: e for name, e in TARGET.exchanges.items() if name != ladder.DELIVERY_EXCHANGE}),
        '"exchange celery_delayed_delivery"',
    ),
    Case(
        "ladder-classic",
        new(*(level(number, "classic") for number in range(28))),
        '28 of 28 levels are classic queues: "celery_delayed_0"',
    ),
    Case(
        "ladder-arguments",
        new(level(3, **{"x-message-ttl": 9000})),
        'target queue "celery_delayed_3": a quorum queue declared with',
        new(*(level(number, "classic") for number in range(28))),
    ),
    Case(
        "ladder-arguments",
        target(exchanges={**TARGET.exchanges, "celery_delayed_3": Exchange("celery_delayed_3", "direct")}),
        'target exchange "celery_delayed_3": a direct exchange, kombu declares a topic one',
    ),
    Case(
        "ladder-policy",
        policed(expires=60000),
        'target policy "everything": gives expires: 60000 to 28 levels: "celery_delayed_0"',
    ),
    Case("ladder-policy", policed(overflow="drop-head"), "overflow: drop-head", policed(overflow="reject-publish")),
    Case(
        "ladder-policy",
        policed(message_ttl=4000),
        'message-ttl: 4000 to 25 levels: "celery_delayed_3"',
        policed(message_ttl=2**27 * 1000),
    ),
    Case(
        "ladder-policy",
        target(NONE, policies=(policy(".", {"max-length": 9}), policy("_2$", {"max-length-bytes": 9}, operator=True))),
        'target policy "everything + everything": gives max-length: 9, max-length-bytes: 9 to 1 levels',
        target(NONE, policies=(policy("^mail", {"max-length": 9}),)),
    ),
    Case("level-stopped", waits(level3=32), '"celery_delayed_3": 32 of 0 messages are due and stay', waits(level3=31)),
    Case("level-waiting", waits(level3=31), "31 of 0 messages are due", waits()),
    Case(
        "level-waiting",
        dataclasses.replace(NONE, probes=Probes(stuck={3: 2})),
        "2 messages are due and stay; 32 stop",
        dataclasses.replace(WORLD, probes=None),
    ),
    Case(
        "exit-missing",
        target(bindings=tuple(b for b in TARGET.bindings if "bridge:" not in b.routing_key)),
        'target queue "mail": celery_delayed_delivery has no binding of ours',
        without("mail"),
    ),
    Case(
        "exit-shared",
        bound(Binding(ladder.DELIVERY_EXCHANGE, "tasks", "exchange", "#")),
        'target exchange "tasks": bound by "#" it gets what leaves for "mail"',
        bound(Binding(ladder.DELIVERY_EXCHANGE, "mail", "queue", "#")),
    ),
    Case(
        "exit-shared",
        bound(Binding(ladder.DELIVERY_EXCHANGE, "log", "queue", "#.*")),
        'target queue "log"',
        bound(Binding(ladder.DELIVERY_EXCHANGE, "log", "queue", "*.*")),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)


def test_a_ladder_that_is_not_there_has_no_gaps() -> None:
    assert ids(NONE) & {"ladder-incomplete", "ladder-arguments", "ladder-classic"} == set()


def test_a_classic_level_among_quorum_ones_is_no_other_fault() -> None:
    world = new(level(5, "classic"))
    assert texts(world, "ladder-classic") == [
        'target vhost "qhost": 1 of 28 levels are classic queues: "celery_delayed_5"'
    ]
    assert "ladder-arguments" not in ids(world)
