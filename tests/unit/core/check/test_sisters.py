"""The new queues: sisters, policies over them, the bridge's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bridge.core.check.world import World
from tests.unit.core.check.worlds import (
    WORLD,
    Case,
    holds,
    ids,
    new,
    old,
    policy,
    queue,
    source,
    target,
    texts,
    without,
)

LONG = "q" * 256
EMPTY = without("mail")


def sister(arguments: dict[str, Any] | None = None, **more: Any) -> World:
    return new(queue("mail", "quorum", arguments, **{"consumers": 1, **more}))


def ruled(*policies: Any, world: World = EMPTY) -> World:
    """A target without the sister queue, and with these policies."""
    return target(world, policies=policies)


CASES = [
    Case("target-missing", EMPTY, 'target queue "mail": it does not exist'),
    Case("target-missing", old(queue("mail"), names={"mail": "mail2"}), 'not exist; "mail" is to go there'),
    Case(
        "target-not-quorum",
        new(queue("mail", arguments={"x-max-priority": 10}, auto_delete=True, durable=False, ready=4)),
        "a classic queue declared with x-max-priority: 10, auto-delete, not durable; 4 messages",
    ),
    Case(
        "target-arguments",
        sister({"x-message-ttl": 5}),
        "declared with x-message-ttl: 5; the old queue comes to nothing",
        old(queue("mail", arguments={"x-message-ttl": 5}), world=sister({"x-message-ttl": 5})),
    ),
    Case(
        "target-filled",
        sister(ready=3, unacked=1),
        '4 messages, and nothing was moved from "mail" yet',
        dataclasses.replace(sister(ready=3), moving=frozenset({"mail"})),
    ),
    Case(
        "target-shared",
        old(queue("mail"), queue("post"), names={"post": "mail"}),
        'target queue "mail": the sister of "mail", "post"',
    ),
    Case("target-name", old(queue("mail"), names={"mail": LONG}), "256 bytes, 255 are possible"),
    Case("target-name", old(queue("mail"), names={"mail": "ü" * 128}), "256 bytes, 255 are possible"),
    Case("target-name", old(queue("mail"), names={"mail": "amq.mail"}), "begins with amq."),
    Case(
        "no-workers",
        dataclasses.replace(sister(), gate_consumers=2),
        "1 consumers, the gate wants 2",
        dataclasses.replace(sister(consumers=0), gate_consumers=0),
    ),
    Case(
        "target-policy",
        ruled(policy("ai", {"message-ttl": 500})),
        'target policy "everything": gives "mail" message-ttl 500, where the old queues have none',
        ruled(policy("^other", {"message-ttl": 500})),
    ),
    Case(
        "target-policy",
        old(queue("mail", policy={"max-length": 9}), world=ruled(policy("ai", {"max-length": 5}))),
        "max-length 5, where the old queues have 9",
        old(queue("mail", policy={"max-length": 5}), world=ruled(policy("ai", {"max-length": 5}))),
    ),
    Case(
        "target-policy",
        old(queue("mail", policy={"message-ttl": 9}), world=ruled(policy("ai", {"message-ttl": 5}))),
        "message-ttl 5, where the old queues have 9",
        old(queue("mail", policy={"message-ttl": 9}), world=ruled(policy("ai", {"message-ttl": 90}))),
    ),
    Case(
        "target-policy",
        ruled(policy("ai", {"overflow": "reject-publish", "max-length": 5})),
        "overflow reject-publish",
        ruled(policy("ai", {"overflow": "reject-publish"})),
    ),
    Case(
        "target-policy",
        old(
            queue("mail", policy={"max-length": 5}, arguments={"x-overflow": "reject-publish-dlx"}),
            world=ruled(policy("ai", {"overflow": "drop-head", "max-length": 5})),
        ),
        "overflow drop-head, where the old queues have reject-publish-dlx",
        old(
            queue("mail", policy={"max-length": 5}, arguments={"x-overflow": "reject-publish-dlx"}),
            world=ruled(policy("ai", {"overflow": "reject-publish", "max-length": 5})),
        ),
    ),
    Case(
        "target-policy",
        ruled(policy("ai", {"dead-letter-exchange": "dlx", "dead-letter-routing-key": "dead"})),
        "dead-letter-routing-key dead",
        ruled(policy("ai", {"dead-letter-routing-key": "dead"})),
    ),
    Case(
        "target-policy",
        sister(policy={"message-ttl": 500}, policy_name="short", operator_policy_name="cap"),
        'target policy "short + cap": gives "mail" message-ttl 500',
        sister(policy_name="short"),
    ),
    Case(
        "target-expires",
        ruled(policy("ai", {"expires": 60000}, "queues")),
        'target policy "everything": deletes "mail" after 60000 ms',
        ruled(policy("ai", {"expires": 60000}, "exchanges")),
    ),
    Case(
        "policy-ignored",
        ruled(policy("ai", {"ha-mode": "all", "ha-sync-mode": "automatic", "message-ttl": 500})),
        'ha-mode, ha-sync-mode keep it from quorum queues: "mail" do not get its message-ttl',
        ruled(policy("ai", {"ha-mode": "all", "ha-sync-batch-size": 5})),
    ),
    Case(
        "policy-ignored",
        ruled(policy("ai", {"ha-mode": "all", "max-length": 5})),
        "",
        ruled(policy("ai", {"ha-mode": "all", "max-length": 5}), policy("^mail$", {"max-length": 5})),
    ),
    Case(
        "policy-unreadable",
        ruled(policy("^[[:alpha:]]+$", {"max-length": 5})),
        'target policy "everything": pattern "^[[:alpha:]]+$", keys max-length',
        ruled(policy("^[a-z]+$", {"max-length": 5})),
    ),
    Case(
        "own-queue",
        new(queue("bridge.quarantine", ready=2)),
        'target queue "bridge.quarantine": a classic queue declared with nothing; 2 messages',
        without("bridge.quarantine"),
    ),
    Case(
        "own-queue",
        new(queue("bridge.control.main", "quorum")),
        'target queue "bridge.control.main": a quorum queue declared with x-queue-type: quorum; 0',
    ),
    Case(
        "own-queue",
        ruled(policy("^bridge", {"expires": 5}), world=without("bridge.quarantine")),
        'target queue "bridge.quarantine": policy "everything" gives it expires: 5',
        ruled(policy("^bridge", {"delivery-limit": -1}), world=without("bridge.quarantine")),
    ),
    Case(
        "own-queue",
        ruled(policy("^bridge", {"delivery-limit": 5}), world=without("bridge.quarantine")),
        'target queue "bridge.quarantine": policy "everything" gives it delivery-limit: 5',
        new(queue("bridge.quarantine", "quorum", {"x-queue-type": "quorum"})),
    ),
    Case(
        "delivery-limit",
        target(version=(4, 0)),
        "more than 20 times is dropped, there is no dead-letter exchange; counted is every return",
        target(sister(policy={"delivery-limit": -1}), version=(4, 0)),
    ),
    Case(
        "delivery-limit",
        target(
            old(
                queue("mail", arguments={"x-dead-letter-exchange": "tasks"}),
                world=ruled(policy("ai", {"delivery-limit": 7, "dead-letter-exchange": "tasks"})),
            ),
            version=(4, 3),
        ),
        'more than 7 times is sent to exchange "tasks"; counted is lost connections only',
    ),
    Case(
        "consumer-timeout",
        sister(policy={"consumer-timeout": 1000}),
        'target vhost "qhost": unacked for 1000 ms at most on "mail", 1800000 ms on the source',
        old(
            queue("mail", policy={"consumer-timeout": 1000}),
            world=sister(policy={"consumer-timeout": 1000}),
        ),
    ),
    Case("consumer-timeout", source(version=(4, 3)), '1800000 ms at most on "mail", no limit on the source'),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)


def test_a_queue_that_cannot_be_named_is_not_missing_as_well() -> None:
    assert "target-missing" not in ids(old(queue("mail"), names={"mail": LONG}))


def test_queues_under_one_policy_are_one_finding() -> None:
    world = old(queue("mail"), queue("sms"), world=ruled(policy("", {"message-ttl": 5})))
    assert 'gives "mail", "sms" message-ttl 5' in texts(world, "target-policy")[0]


def test_a_limit_of_the_bridges_world_alone_is_no_finding() -> None:
    assert ids(WORLD) == set()
