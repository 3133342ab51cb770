"""A world in which nothing is wrong, and the means to put one thing in it that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from bridge.core import ladder
from bridge.core.check.rules import check
from bridge.core.check.world import World
from bridge.core.pairs import Pair
from bridge.core.topology import Binding, Exchange, Node, Permissions, Policy, Probes, Queue, Vhost
from bridge.core.wanted import QUARANTINE_EXCHANGE, exits, kombu_ladder, own

VERSION = (3, 13, 7)
GIB = 1024**3


def queue(name: str, kind: str = "classic", arguments: dict[str, Any] | None = None, **more: Any) -> Queue:
    flags = {"durable": True, "exclusive": False, "auto_delete": False, "policy": {}, **more}
    given = arguments or {}
    if kind != "classic":
        given = {"x-queue-type": kind, **given}
    return Queue(name, kind, arguments=given, **flags)


def node(name: str, **more: Any) -> Node:
    numbers = {"memory_used": GIB, "memory_limit": 8 * GIB, "disk_free": 50 * GIB, "disk_limit": GIB}
    return Node(name, **{**numbers, **more})


NODES = tuple(node(f"rabbit@{name}") for name in "abc")
ALL = Permissions("bridge", ".*", ".*", ".*", ("monitoring",))
LADDER = kombu_ladder("quorum")
#: What Celery's own bindings of `mail` on the topic exchange `tasks` are, the ladder's way included.
CELERYS = (
    Binding("tasks", "mail", "queue", "mail"),
    Binding("tasks", "mail", "queue", "#.mail"),
    Binding(ladder.DELIVERY_EXCHANGE, "tasks", "exchange", "#.mail"),
)


def vhost(name: str, queues: Iterable[Queue], exchanges: Iterable[Exchange], **more: Any) -> Vhost:
    values: dict[str, Any] = {
        "version": VERSION,
        "nodes": NODES,
        "feature_flags": frozenset({"quorum_queue", "stream_queue"}),
        "permissions": ALL,
        "default_queue_type": "quorum",
        **more,
    }
    return Vhost(
        name,
        queues={queue.name: queue for queue in queues},
        exchanges={exchange.name: exchange for exchange in exchanges},
        **values,
    )


SOURCE = vhost("chost", [queue("mail", ready=10, message_bytes=10_000)], [Exchange("tasks", "topic")])
TARGET = vhost(
    "qhost",
    [
        queue("mail", "quorum", consumers=2),
        *(queue(level.name, "quorum", dict(level.arguments)) for level in LADDER.queues),
        *(queue(mine.name, "quorum", dict(mine.arguments)) for mine in own("main", (4, 0))),
    ],
    [Exchange("tasks", "topic"), QUARANTINE_EXCHANGE, *LADDER.exchanges],
    bindings=(*LADDER.bindings, *exits(["mail"]), *CELERYS),
)
WORLD = World(SOURCE, TARGET, (Pair(SOURCE.queues["mail"], "mail"),), Probes(), samples={})


def old(*queues: Queue, world: World = WORLD, names: dict[str, str] | None = None) -> World:
    """The world with these source queues, all in scope, in place of the one it has."""
    there = {queue.name: queue for queue in queues}
    pairs = tuple(Pair(queue, (names or {}).get(queue.name, queue.name)) for queue in queues)
    return dataclasses.replace(world, source=dataclasses.replace(world.source, queues=there), pairs=pairs)


def source(world: World = WORLD, **changed: Any) -> World:
    return dataclasses.replace(world, source=dataclasses.replace(world.source, **changed))


def target(world: World = WORLD, **changed: Any) -> World:
    return dataclasses.replace(world, target=dataclasses.replace(world.target, **changed))


def more_old(*queues: Queue, world: World = WORLD) -> World:
    """The world with these source queues beside those it has, out of scope."""
    return source(world, queues={**world.source.queues, **{queue.name: queue for queue in queues}})


def new(*queues: Queue, world: World = WORLD) -> World:
    """The world with these target queues, in place of those of the same names."""
    return target(world, queues={**world.target.queues, **{queue.name: queue for queue in queues}})


def without(*names: str, world: World = WORLD) -> World:
    """The world without these target queues."""
    return target(world, queues={name: queue for name, queue in world.target.queues.items() if name not in names})


def policy(pattern: str, definition: dict[str, Any], apply_to: str = "all", **more: Any) -> Policy:
    return Policy("everything", pattern, apply_to, definition, **more)


def ids(world: World) -> set[str]:
    return {finding.id for finding in check(world)}


def texts(world: World, kind: str) -> list[str]:
    """`subject: seen` of the findings of a kind."""
    return [f"{finding.subject}: {finding.seen}" for finding in check(world) if finding.id == kind]


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of finding, a world that raises it, what it says there, and the nearest world that does not raise it."""

    id: str
    raises: World
    says: str
    quiet: World = WORLD


def holds(case: Case) -> None:
    """The case is as it says: the finding is there with its text, and not in the quiet world."""
    found = texts(case.raises, case.id)
    assert any(case.says in text for text in found), (found, check(case.raises))
    assert texts(case.quiet, case.id) == []
