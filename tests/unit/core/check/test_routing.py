"""Celery's own way through the ladder: whom a key reaches, and whether it reaches anyone."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bridge.core import ladder
from bridge.core.check.world import World
from bridge.core.topology import Binding, Exchange
from tests.unit.core.check.worlds import CELERYS, TARGET, Case, holds, new, old, queue, source, target, texts

OTHERS = tuple(binding for binding in TARGET.bindings if binding not in CELERYS)


def routed(*ways: tuple[str, str, str], types: dict[str, str] | None = None, celerys: bool = True) -> World:
    """Sisters with a worker each, bound as (queue, exchange, key), and as Celery's worker binds them for the ladder."""
    names = dict.fromkeys(queue for queue, _, _ in ways)
    exchanges = {name: Exchange(name, (types or {}).get(name, "topic")) for _, name, _ in ways}
    bindings = [Binding(exchange, queue, "queue", key) for queue, exchange, key in ways]
    if celerys:
        bindings += _by_worker(ways)
    world = new(*(queue(name, "quorum", consumers=1) for name in names), world=old(*(queue(name) for name in names)))
    return target(world, exchanges={**TARGET.exchanges, **exchanges}, bindings=(*OTHERS, *bindings))


def _by_worker(ways: Iterable[tuple[str, str, str]]) -> list[Binding]:
    found = []
    for name, exchange, key in ways:
        pattern = key if key.startswith("#") else f"#.{key}"
        found.append(Binding(exchange, name, "queue", pattern))
        found.append(Binding(ladder.DELIVERY_EXCHANGE, exchange, "exchange", pattern))
    return found


CASES = [
    Case(
        "suffix-collision",
        routed(("q1", "tasks", "q1"), ("a.q1", "tasks", "a.q1")),
        'target queue "a.q1": its ETA tasks have the key "a.q1", which "#.q1" catches for "q1"',
        routed(("q1", "tasks", "q1"), ("aq1", "tasks", "aq1")),
    ),
    Case(
        "suffix-collision",
        routed(("q1", "tasks", "q1"), ("a.q1", "other", "a.q1"), celerys=False),
        'target queue "a.q1"',
        routed(("q1", "tasks", "q1"), ("a.q1", "other", "a.q1"), types={"tasks": "direct", "other": "direct"}),
    ),
    Case(
        "suffix-collision",
        routed(("all", "other", "*.mail"), ("mail", "tasks", "a.b.mail")),
        'which "#.*.mail" catches for "all"',
        routed(("all", "tasks", "*.mail"), ("mail", "tasks", "b.mail")),
    ),
    Case(
        "suffix-collision",
        source(old(queue("q1"), queue("a.q1")), bindings=(Binding("tasks", "q1", "queue", "q1"),)),
        'its ETA tasks have the key "a.q1"',
        source(old(queue("q1"), queue("a.q1")), bindings=(Binding("tasks", "q1", "queue", "other"),)),
    ),
    Case(
        "suffix-collision",
        routed(("all", "other", "#"), ("mail", "tasks", "mail")),
        'target queue "mail": its ETA tasks have the key "mail", which "#" catches for "all"',
        routed(("all", "tasks", "#"), ("mail", "tasks", "mail")),
    ),
    Case(
        "equal-keys",
        routed(("mail", "tasks", "x"), ("post", "other", "x")),
        'target queue "mail": its routing key "x" is that of "post" too, on exchanges "tasks", "other"',
        routed(("mail", "tasks", "x"), ("post", "tasks", "x")),
    ),
    Case(
        "equal-keys",
        routed(("mail", "tasks", "x"), ("post", "other", "x")),
        "",
        routed(("mail", "fan", "x"), ("post", "fan", "x"), types={"fan": "fanout"}),
    ),
    Case(
        "final-binding",
        routed(("mail", "tasks", "mail"), celerys=False),
        'ETA tasks with the key "mail" do not get to exchange "tasks": no binding by "#.mail"',
        new(queue("mail", "quorum"), world=routed(("mail", "tasks", "mail"), celerys=False)),
    ),
    Case(
        "final-binding",
        target(bindings=(*OTHERS, CELERYS[0], CELERYS[2])),
        'do not get to queue "mail" on exchange "tasks"',
        target(bindings=(*OTHERS, *CELERYS[1:])),
    ),
    Case(
        "final-binding",
        routed(("mail", "tasks", "mail"), ("sms", "tasks", "sms"), celerys=False),
        'target queue "sms"',
        routed(("mail", "tasks", "mail"), types={"tasks": "fanout"}, celerys=False),
    ),
    Case(
        "direct-exchange",
        routed(("mail", "tasks", "mail"), types={"tasks": "direct"}),
        'target queue "mail": bound to "tasks", of type direct',
        routed(("mail", "tasks", "mail"), ("mail", "other", "mail"), types={"tasks": "direct"}),
    ),
    Case(
        "fanout-exchange", routed(("mail", "tasks", ""), types={"tasks": "fanout"}), 'bound to "tasks", of type fanout'
    ),
    Case(
        "long-key",
        routed(("mail", "tasks", "x" * 200)),
        "its routing key has 200 bytes, 199 are possible with an ETA",
        routed(("mail", "tasks", "x" * 199)),
    ),
    Case("long-key", old(queue("q" * 201)), "its routing key has 201 bytes"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)


def test_a_way_out_that_a_wider_binding_gives_is_enough() -> None:
    wide = Binding(ladder.DELIVERY_EXCHANGE, "tasks", "exchange", "#.*")
    assert texts(target(bindings=(*OTHERS, *CELERYS[:2], wide)), "final-binding") == []


def test_a_binding_with_a_pattern_of_its_own_is_no_way_out_unless_it_matches() -> None:
    other = Binding(ladder.DELIVERY_EXCHANGE, "tasks", "exchange", "#.sms.*")
    assert len(texts(target(bindings=(*OTHERS, *CELERYS[:2], other)), "final-binding")) == 1
