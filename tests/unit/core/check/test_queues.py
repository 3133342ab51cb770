"""The source: scope, consumers, what settings come to, what cannot be moved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bridge.core.check.world import Sample, World
from bridge.core.topology import Consumer, Exchange
from tests.unit.core.check.worlds import WORLD, Case, holds, ids, more_old, new, old, queue, source, target, texts

NAMED = dataclasses.replace(WORLD, named=frozenset({"mail", "gone", "w@h.celery.pidbox", "w@h.dq2"}))
STRICT = target(version=(4, 3, 0))


def given(arguments: dict[str, Any] | None = None, policy: dict[str, Any] | None = None, **more: Any) -> World:
    """The world with an old queue of these settings; `world` is what it stands in."""
    world = more.pop("world", WORLD)
    return old(queue("mail", arguments=arguments, policy=policy or {}, **more), world=world)


def consumer(**changed: Any) -> World:
    return source(consumers=(Consumer(**{"queue": "mail", "tag": "None1", "user": "app", **changed}),))


CASES = [
    Case("queue-vanished", NAMED, 'queue "gone": it does not exist'),
    Case(
        "left-alone",
        more_old(queue("w@h.celery.pidbox"), world=NAMED),
        'queue "w@h.celery.pidbox": Celery\'s remote control',
        NAMED,
    ),
    Case(
        "dq2-queue",
        more_old(queue("w@h.dq2", ready=3, consumers=1)),
        'queue "w@h.dq2": 3 messages, 1 consumers',
        more_old(queue("w@h.dq2"), world=NAMED),
    ),
    Case("queue-down", given(state="crashed"), 'queue "mail": state crashed', given(state="flow")),
    Case(
        "queue-down",
        new(queue("mail", "quorum", consumers=1, members=("a", "b", "c"), online=("a",))),
        'target queue "mail": 1 of 3 replicas online: "a"',
        new(queue("mail", "quorum", consumers=1, members=("a", "b", "c"), online=("a", "b"))),
    ),
    Case("exclusive-consumer", consumer(exclusive=True), 'consumer "None1" of user "app" on an unknown connection'),
    Case(
        "consumer-priority",
        consumer(arguments={"x-priority": 1000}, connection="1.2.3.4:5 -> 6"),
        "on 1.2.3.4:5 -> 6 has priority 1000, the bridge 1000",
        consumer(arguments={"x-priority": 999}),
    ),
    Case("consumer-priority", consumer(arguments={"x-priority": 2000}), "", consumer(queue="other", exclusive=True)),
    Case(
        "consumer-priority",
        consumer(arguments={"x-priority": 2000}),
        "",
        consumer(tag="bridge", arguments={"x-priority": 1000}),
    ),
    Case("single-active-source", given(single_active_consumer=True, consumers=2), "x-single-active-consumer, 2"),
    Case(
        "priority-changes",
        given({"x-max-priority": 10}),
        "max-priority 10 (argument) -> ignored: x-max-priority on a quorum queue is refused (406)",
        given({"x-max-priority": 10}, world=STRICT),
    ),
    Case("priority-wakes", STRICT, "priorities are ignored -> honoured", given({"x-max-priority": 10}, world=STRICT)),
    Case("message-ttl", given({"x-message-ttl": 500}, {"message-ttl": 300}), "message-ttl 300 (both) -> 300: millis"),
    Case("length-limit", given(policy={"max-length": 5}), "max-length 5 (policy) -> 5"),
    Case(
        "overflow-changes",
        given({"x-overflow": "reject-publish-dlx"}),
        "overflow reject-publish-dlx (argument) -> reject-publish: a quorum queue has no",
        given({"x-overflow": "reject-publish"}),
    ),
    Case("dead-letter", given({"x-dead-letter-exchange": ""}), 'dead-letter-exchange "" (argument) -> "": the exch'),
    Case(
        "dead-letter-exchange",
        given({"x-dead-letter-exchange": "dlx"}),
        'exchange "dlx" does not exist on the target',
        given({"x-dead-letter-exchange": ""}),
    ),
    Case(
        "dead-letter-exchange",
        given({"x-dead-letter-exchange": "dlx"}),
        "",
        given({"x-dead-letter-exchange": "tasks"}),
    ),
    Case("single-active", given({"x-single-active-consumer": True}), "single-active-consumer True (argument) -> True"),
    Case("classic-only", given({"x-queue-mode": "lazy"}, {"ha-mode": "all"}), "queue-mode lazy (argument) -> bodies"),
    Case("setting-lost", given({"x-message-deduplication": True}), "message-deduplication True (argument) -> none"),
    Case("setting-kept", given({"x-overflow": "drop-head"}), "overflow drop-head (argument) -> drop-head"),
    Case("setting-kept", given({"x-max-priority": 9}, world=STRICT), "max-priority 9 (argument) -> 32 levels"),
    Case(
        "result-queues",
        more_old(queue("1b671a64-40d5-491e-99b0-da01ff1f3341", auto_delete=True)),
        '1 reply queues of rpc:// (one per client that waits): "1b671a64',
        more_old(queue("1b671a64-40d5-491e-99b0-da01ff1f3341"), queue("amq.gen-1", auto_delete=True)),
    ),
    Case(
        "result-queues",
        more_old(queue("0" * 32, arguments={"x-expires": 86400000})),
        "1 queues of amqp:// results",
    ),
    Case(
        "result-queues",
        source(exchanges={"celeryresults": Exchange("celeryresults", "direct")}),
        "0 queues of amqp:// results (one per task): none now",
    ),
    Case(
        "delayed-exchange",
        source(exchanges={"later": Exchange("later", "x-delayed-message")}),
        'exchange "later": an exchange of type x-delayed-message; how much waits in it the broker does not tell',
    ),
    Case(
        "delayed-exchange",
        dataclasses.replace(
            source(exchanges={"later": Exchange("later", "x-delayed-message")}), samples={"mail": Sample(9, delayed=4)}
        ),
        "; 4 messages with x-delay came out",
    ),
    Case(
        "source-ladder",
        more_old(queue("celery_delayed_3", "quorum", ready=2), queue("celery_delayed_5", "quorum", ready=1)),
        "3 tasks in 2 levels, the longest up to 64 s",
        more_old(queue("celery_delayed_3", "quorum")),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)


def test_a_queue_without_any_replica_online_says_so() -> None:
    world = new(queue("mail", "quorum", consumers=1, members=("a", "b", "c")))
    assert texts(world, "queue-down") == ['target queue "mail": 0 of 3 replicas online: none']


def test_a_priority_of_another_type_is_no_priority() -> None:
    assert "consumer-priority" not in ids(consumer(arguments={"x-priority": "high"}))
