"""What the target needs: sisters declared as the application declares them, exchanges, bindings, kombu's ladder."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.connection import Connection
from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues

from bridge.core.pairs import Pair, pairs
from bridge.core.topology import Arguments, Binding, Exchange, Policy, Vhost
from bridge.core.wanted import Wanted, arguments, entries, exits, kombu_ladder, own, serves, wanted
from tests.support.topologies import queue, vhost

EMPTY = vhost("qhost", version=(4, 3, 6), default_queue_type="quorum")


def all_of(source: Vhost, target: Vhost = EMPTY) -> Wanted:
    return wanted(source, target, pairs(source, lambda _: True, set(), lambda name: name))


def types(want: Wanted) -> dict[str, str]:
    return {exchange.name: exchange.type for exchange in want.exchanges}


# -- how a sister is declared


@pytest.mark.parametrize(
    ("old", "policy", "declared", "by_policy"),
    [
        ({}, {}, {}, {}),
        # What the application declares and a quorum queue takes, it goes on declaring.
        ({"x-message-ttl": 5, "x-queue-type": "classic"}, {}, {"x-message-ttl": 5}, {}),
        ({"x-single-active-consumer": True}, {}, {"x-single-active-consumer": True}, {}),
        ({"x-overflow": "reject-publish"}, {}, {"x-overflow": "reject-publish"}, {}),
        # What a policy gave, a policy gives.
        ({}, {"message-ttl": 5}, {}, {"message-ttl": 5}),
        # Both: the smaller one holds, as before.
        ({"x-max-length": 9}, {"max-length": 5}, {}, {"max-length": 5}),
        ({"x-max-length": 5}, {"max-length": 9}, {"x-max-length": 5}, {}),
        # What a quorum queue refuses is not declared.
        ({"x-max-priority": 10, "x-queue-mode": "lazy"}, {"ha-mode": "all"}, {}, {}),
        ({"x-overflow": "reject-publish-dlx"}, {}, {}, {"overflow": "reject-publish"}),
    ],
)
def test_arguments_stay_arguments_and_policies_policies(
    old: Arguments, policy: Arguments, declared: Arguments, by_policy: Arguments
) -> None:
    source = vhost("chost", queue("q", old, policy))
    (sister,) = all_of(source).sisters
    if old.get("x-max-length") == 9:
        declared = {"x-max-length": 9}  # the application declares it; the policy holds, being smaller
    assert sister.arguments == {"x-queue-type": "quorum", **declared}
    assert sister.policy == by_policy
    assert arguments(source.queues["q"], EMPTY.version, source.version) == sister.arguments


def test_what_is_lost_has_a_reason() -> None:
    (sister,) = all_of(vhost("chost", queue("q", {"x-max-priority": 10}, {"ha-mode": "all"})), EMPTY).sisters
    assert [lost.key for lost in sister.lost] == ["ha-mode"]
    (sister,) = all_of(vhost("chost", queue("q", {"x-max-priority": 10})), vhost("qhost", version=(4, 0, 5))).sisters
    assert [lost.key for lost in sister.lost] == ["max-priority"]


def test_a_sister_that_is_there_is_what_workers_have_to_declare() -> None:
    source = vhost("chost", queue("q", {"x-max-length": 5}), queue("r"), queue("s"))
    there = (
        queue("q", {"x-queue-type": "quorum"}, kind="quorum"),
        queue("r", {"x-queue-type": "quorum"}, kind="quorum"),
        queue("s"),
    )
    want = all_of(source, vhost("qhost", *there, version=(4, 3)))
    assert want.sisters[0].arguments == {"x-queue-type": "quorum"}
    (remark,) = want.remarks
    assert remark == (
        'queue "q" is there, declared with x-queue-type: quorum where the old queue comes to x-max-length: 5, '
        "x-queue-type: quorum: it is left as it is, and workers have to declare it as it is"
    )


def test_two_old_queues_with_one_sister_are_one() -> None:
    source = vhost("chost", queue("a"), queue("b"))
    want = wanted(source, EMPTY, [Pair(source.queues["a"], "both"), Pair(source.queues["b"], "both")])
    assert [(sister.name, sister.source.name) for sister in want.sisters] == [("both", "a")]


# -- exchanges and bindings


def test_direct_exchanges_of_queues_in_scope_become_topic() -> None:
    source = vhost(
        "chost",
        queue("mail"),
        exchanges=(Exchange("celery", "direct", durable=False), Exchange("fan", "fanout"), Exchange("else", "direct")),
        bindings=(("celery", "mail", "mail"), ("fan", "mail", ""), ("else", "not in scope", "k")),
    )
    want = all_of(source)
    assert want.exchanges == (Exchange("celery", "topic", durable=False), Exchange("fan", "fanout"))
    assert [(b.source, b.routing_key) for b in want.sisters[0].bindings] == [("celery", "mail"), ("fan", "")]
    assert want.remarks == ()


def test_a_queue_without_a_binding_gets_the_one_that_celery_declares() -> None:
    want = all_of(vhost("chost", queue("mail")))
    assert want.exchanges == (Exchange("celery", "topic"),)
    assert want.sisters[0].bindings == (Binding("celery", "mail", "queue", "mail"),)


def test_a_sister_of_another_name_keeps_the_keys() -> None:
    source = vhost("chost", queue("mail"), exchanges=(Exchange("x", "topic"),), bindings=(("x", "mail", "mail.#"),))
    want = wanted(source, EMPTY, [Pair(source.queues["mail"], "mail-v2")])
    assert want.sisters[0].bindings == (Binding("x", "mail-v2", "queue", "mail.#"),)


def test_the_binding_of_celery_is_the_first() -> None:
    source = vhost(
        "chost",
        queue("mail"),
        exchanges=(Exchange("a", "fanout"), Exchange("b", "topic"), Exchange("c", "direct")),
        bindings=(("a", "mail", "mail"), ("b", "mail", "letters"), ("c", "mail", "mail")),
    )
    assert [binding.source for binding in all_of(source).sisters[0].bindings] == ["c", "b", "a"]


def test_what_a_worker_with_native_delayed_delivery_bound_is_left_to_the_next_one() -> None:
    source = vhost(
        "chost",
        queue("mail"),
        exchanges=(Exchange("celery", "topic"), Exchange("celery_delayed_delivery", "topic")),
        bindings=(("celery", "mail", "mail"), ("celery", "mail", "#.mail"), ("celery_delayed_delivery", "mail", "#.m")),
    )
    want = all_of(source)
    assert [(b.source, b.routing_key) for b in want.sisters[0].bindings] == [("celery", "mail")]
    assert types(want) == {"celery": "topic"}


def test_exchanges_that_lead_here_and_that_take_the_rest_come_along() -> None:
    source = vhost(
        "chost",
        queue("mail"),
        exchanges=(
            Exchange("front", "direct"),
            Exchange("celery", "direct", arguments={"alternate-exchange": "rest"}),
            Exchange("rest", "fanout", arguments={"alternate-exchange": "gone"}),
        ),
        bindings=(("celery", "mail", "mail"),),
    )
    between = (Binding("front", "celery", "exchange", "k"), Binding("celery", "front", "exchange", "back"))
    source = Vhost(
        source.name,
        source.version,
        queues=source.queues,
        exchanges=source.exchanges,
        bindings=(*source.bindings, *between, Binding("celery_delayed_delivery", "celery", "exchange", "#.mail")),
    )
    want = all_of(source)
    assert types(want) == {"celery": "topic", "front": "direct", "rest": "fanout"}
    assert want.between == (between[1], between[0])


def test_an_exchange_that_only_dead_letters_stays_direct() -> None:
    dead = {"x-dead-letter-exchange": "dlx"}
    source = vhost(
        "chost",
        queue("mail", dead),
        queue("dead"),
        exchanges=(Exchange("celery", "direct"), Exchange("dlx", "direct")),
        bindings=(("celery", "mail", "mail"), ("dlx", "dead", "mail")),
    )
    want = all_of(source)
    assert types(want) == {"celery": "topic", "dlx": "direct"}
    assert want.remarks == ()


def test_a_pair_of_exchanges_that_retries_by_dead_lettering_is_topic() -> None:
    source = vhost(
        "chost",
        queue("mail", {"x-dead-letter-exchange": "wait"}),
        queue("mail.wait", {"x-dead-letter-exchange": "celery", "x-message-ttl": 5}),
        exchanges=(Exchange("celery", "direct"), Exchange("wait", "direct")),
        bindings=(("celery", "mail", "mail"), ("wait", "mail.wait", "mail")),
    )
    assert types(all_of(source)) == {"celery": "topic", "wait": "topic"}


def test_dead_letters_that_nobody_takes_are_said() -> None:
    source = vhost(
        "chost",
        queue("a", {"x-dead-letter-exchange": "dlx"}),
        queue("b", {"x-dead-letter-exchange": "nowhere"}),
        queue("c", {"x-dead-letter-exchange": ""}),
        exchanges=(Exchange("dlx", "fanout"),),
    )
    want = all_of(source)
    assert types(want) == {"celery": "topic", "dlx": "fanout"}
    assert want.remarks == (
        'dead-letter exchange "dlx" has no queue in scope: what it gets is dropped until one is bound to it',
        'dead-letter exchange "nowhere" is not on the source either: what is dead-lettered is dropped, as before',
    )


def test_direct_exchanges_that_cannot_be_topic_are_said() -> None:
    source = vhost(
        "chost",
        queue("a"),
        queue("b"),
        queue("c"),
        exchanges=(Exchange("amq.direct", "direct"), Exchange("odd", "direct"), Exchange("amq.topic", "topic")),
        bindings=(("amq.direct", "a", "a"), ("odd", "b", "b.*"), ("amq.topic", "c", "c")),
    )
    want = all_of(source)
    assert types(want) == {"amq.direct": "direct", "amq.topic": "topic", "odd": "direct"}
    waits = "ETA tasks that Celery sends to it wait in the worker"
    assert want.remarks == (
        f'exchange "amq.direct" is direct and cannot be another: {waits}',
        f'exchange "odd" stays direct, a topic exchange would read "b.*" as a pattern: {waits}',
    )


def test_policies_of_exchanges_are_said() -> None:
    policies = (
        Policy("mine", "^celery$", "exchanges", {"alternate-exchange": "rest"}),
        Policy("not mine", "^other$", "all", {"alternate-exchange": "rest"}),
        Policy("of queues", ".*", "all", {"max-length": 1}),
        Policy("queues only", ".*", "queues", {"alternate-exchange": "ignored"}),
    )
    assert all_of(vhost("chost", queue("a"), policies=policies)).remarks == (
        'policy "mine" of the source sets alternate-exchange of exchanges: it is not carried over',
    )


# -- what is ours and kombu's


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_the_ladder_is_kombus(kind: str) -> None:
    exchanges: list[dict[str, Any]] = []
    queues: list[dict[str, Any]] = []
    bindings: list[tuple[str, str, str, str]] = []
    with Connection("memory://") as connection:
        channel = connection.default_channel

        def queue_declare(**given: Any) -> object:
            queues.append(given)
            return type("Declared", (), {"queue": given["queue"]})

        channel.queue_declare = queue_declare
        channel.exchange_declare = lambda **given: exchanges.append(given)
        channel.queue_bind = lambda queue, exchange, routing_key, arguments, **_: bindings.append(
            (exchange, queue, "queue", routing_key)
        )
        channel.exchange_bind = lambda destination, source, routing_key, arguments, **_: bindings.append(
            (source, destination, "exchange", routing_key)
        )
        connection.channel = lambda: channel
        declare_native_delayed_delivery_exchanges_and_queues(connection, kind)
    ours = kombu_ladder(kind)
    assert [(e.name, e.type, e.durable, e.auto_delete, dict(e.arguments)) for e in ours.exchanges] == [
        (e["exchange"], e["type"], e["durable"], e["auto_delete"], e["arguments"] or {}) for e in exchanges
    ]
    assert [(q.name, dict(q.arguments)) for q in ours.queues] == [(q["queue"], q["arguments"]) for q in queues]
    assert all(q["durable"] and not q["exclusive"] and not q["auto_delete"] for q in queues)
    assert sorted(bindings) == sorted(
        (b.source, b.destination, b.destination_type, b.routing_key) for b in ours.bindings
    )
    assert not any(binding.arguments for binding in ours.bindings)


def test_our_entries_lead_to_one_level_each() -> None:
    found = entries()
    assert [(exchange.name, exchange.type, exchange.durable) for exchange in found.exchanges] == [
        (f"bridge.delayed.{level}", "fanout", True) for level in range(28)
    ]
    assert [(binding.source, binding.destination, binding.routing_key) for binding in found.bindings] == [
        (f"bridge.delayed.{level}", f"celery_delayed_{level}", "") for level in range(28)
    ]
    assert found.queues == ()


def test_our_own_queues_and_exits() -> None:
    assert [(each.name, each.arguments) for each in own("blue", (4, 0, 5))] == [
        (
            "bridge.control.blue",
            {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": -1},
        ),
        ("bridge.quarantine", {"x-queue-type": "quorum", "x-delivery-limit": -1}),
    ]
    assert own("blue", (3, 13, 7))[1].arguments == {"x-queue-type": "quorum"}
    quarantine = own("blue", (4, 0, 5))[1]
    assert serves(quarantine, {"x-queue-type": "quorum"})
    assert not serves(quarantine, {"x-queue-type": "quorum", "x-max-length": 5})
    assert exits(["b", "a.q"]) == (
        Binding("celery_delayed_delivery", "a.q", "queue", "#.bridge:a%2Eq"),
        Binding("celery_delayed_delivery", "b", "queue", "#.bridge:b"),
    )
