"""Findings about Celery's own way through the ladder, which new producers take for their ETA tasks (semantics.md, 2.3).

Celery publishes with the bits of the delay and the queue's routing key, and binds `celery_delayed_delivery` to the
queue's exchange, and that to the queue, by `#.<routing key>`. So a key reaches every queue whose own key it ends with,
on whatever exchange; and none where a worker has not bound it. Our exits are apart from this.

Where a sister is not bound yet, the old queue's bindings say what Celery will declare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bridge.core import ladder
from bridge.core.check.finding import Found, listed
from bridge.core.check.world import World
from bridge.core.topology import Binding, Vhost
from bridge.core.wanted import CELERY_EXCHANGE


class Way(NamedTuple):
    """How tasks come to a sister: exchange, its type on the target (None: not there), routing key."""

    queue: str
    exchange: str
    type: str | None
    key: str


class _Patterns:
    """Patterns `#.<key>` by their key, so that a thousand of them are looked up and not tried one by one."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._literal: set[str] = set()
        self._wild: list[str] = []
        for pattern in patterns:
            head, _, rest = pattern.partition(".")
            if head == "#" and rest and not _is_wild(rest):
                self._literal.add(rest)
            else:
                self._wild.append(pattern)

    def matching(self, key: str) -> Iterator[str]:
        """The patterns that catch an ETA task of a routing key."""
        for suffix in _suffixes(key):
            if suffix in self._literal:
                yield f"#.{suffix}"
        delayed = _delayed(key)
        for pattern in self._wild:
            if ladder.topic_matches(pattern, delayed):
                yield pattern


def _is_wild(key: str) -> bool:
    return not {"*", "#"}.isdisjoint(key.split("."))


def _suffixes(key: str) -> Iterator[str]:
    words = key.split(".")
    return (".".join(words[start:]) for start in range(len(words)))


def _delayed(key: str) -> str:
    return ladder.entry(1, key).routing_key


def _pattern(key: str) -> str:
    """What kombu binds for a routing key."""
    return key if key.startswith("#") else f"#.{key}"


def ways(world: World) -> list[Way]:
    """How tasks come to each sister, or will come when its application has declared it."""
    new, old = _by_queue(world.target), _by_queue(world.source)
    found = []
    for couple in world.couples():
        bindings = new.get(couple.name) or old.get(couple.old.name)
        for binding in bindings or [Binding(CELERY_EXCHANGE, couple.name, "queue", couple.name)]:
            exchange = world.target.exchanges.get(binding.source)
            kind = None if exchange is None else exchange.type
            found.append(Way(couple.name, binding.source, kind, binding.routing_key))
    return found


def _by_queue(vhost: Vhost) -> Mapping[str, list[Binding]]:
    """The application's bindings of each queue, without what Celery adds for the ladder."""
    found: dict[str, list[Binding]] = {}
    for binding in vhost.bindings:
        if binding.destination_type == "queue" and ladder.PREFIX not in binding.source:
            found.setdefault(binding.destination, []).append(binding)
    for queue, bindings in found.items():
        added = {(binding.source, f"#.{binding.routing_key}") for binding in bindings}
        found[queue] = [binding for binding in bindings if (binding.source, binding.routing_key) not in added]
    return found


def collisions(world: World) -> Iterator[Found]:
    """ETA tasks of one queue that reach another one too, because one key ends with the other or is the same."""
    found = [way for way in ways(world) if way.type != "direct"]
    owners: dict[str, list[Way]] = {}
    for way in found:
        owners.setdefault(_pattern(way.key), []).append(way)
    patterns = _Patterns(owners)
    for way in found:
        for pattern in patterns.matching(way.key):
            others = [other for other in owners[pattern] if other.queue != way.queue and not _meant(way, other)]
            if not others:
                continue
            names = listed(dict.fromkeys(other.queue for other in others))
            seen = f'its ETA tasks have the key "{way.key}", which "{pattern}" catches for {names}'
            if pattern == _pattern(way.key):
                exchanges = listed(dict.fromkeys((way.exchange, *(other.exchange for other in others))))
                seen = f'its routing key "{way.key}" is that of {names} too, on exchanges {exchanges}'
                yield Found("equal-keys", "target queue", way.queue, seen, "give each its own routing key")
            else:
                todo = "give one of them a key that does not end with the other's"
                yield Found("suffix-collision", "target queue", way.queue, seen, todo)


def _meant(way: Way, other: Way) -> bool:
    """Whether a task without an ETA goes to both as well."""
    if way.exchange != other.exchange:
        return False
    return way.type == "fanout" or ladder.topic_matches(other.key, way.key)


def final_bindings(world: World) -> Iterator[Found]:
    """Whether ETA tasks of Celery's own come out: only where workers are, for they bind it."""
    by_exchange: dict[str, list[str]] = {}
    to_queue: dict[tuple[str, str], list[str]] = {}
    for binding in world.target.bindings:
        if binding.source == ladder.DELIVERY_EXCHANGE and binding.destination_type == "exchange":
            by_exchange.setdefault(binding.destination, []).append(binding.routing_key)
        elif binding.destination_type == "queue":
            to_queue.setdefault((binding.source, binding.destination), []).append(binding.routing_key)
    reached = {exchange: _Patterns(patterns) for exchange, patterns in by_exchange.items()}
    working = {couple.name for couple in world.couples() if couple.new is not None and couple.new.consumers}
    for way in ways(world):
        if way.queue not in working or way.type != "topic":
            continue
        there = way.exchange in reached and any(reached[way.exchange].matching(way.key))
        patterns = to_queue.get((way.exchange, way.queue), [])
        if not there or not any(ladder.topic_matches(pattern, _delayed(way.key)) for pattern in patterns):
            end = f'exchange "{way.exchange}"' if not there else f'queue "{way.queue}" on exchange "{way.exchange}"'
            seen = f'ETA tasks with the key "{way.key}" do not get to {end}: no binding by "{_pattern(way.key)}"'
            yield Found(
                "final-binding", "target queue", way.queue, seen, "restart one of its workers, and read its log"
            )


def exchange_types(world: World) -> Iterator[Found]:
    """Queues on exchanges that Celery's delayed delivery does not serve, or serves otherwise."""
    kinds: dict[str, list[Way]] = {}
    for way in ways(world):
        kinds.setdefault(way.queue, []).append(way)
    for queue, found in kinds.items():
        if all(way.type == "direct" for way in found):
            seen = f"bound to {listed(dict.fromkeys(way.exchange for way in found))}, of type direct"
            todo = "declare a topic exchange and bind it there"
            yield Found("direct-exchange", "target queue", queue, seen, todo)
        fanouts = [way.exchange for way in found if way.type == "fanout"]
        if fanouts:
            seen = f"bound to {listed(dict.fromkeys(fanouts))}, of type fanout"
            yield Found("fanout-exchange", "target queue", queue, seen, "send no ETA tasks to it")


def key_lengths(world: World) -> Iterator[Found]:
    """Routing keys with which Celery cannot send an ETA task."""
    for way in ways(world):
        length = len(way.key.encode())
        if length > ladder.MAX_WORD_BYTES:
            seen = f"its routing key has {length} bytes, {ladder.MAX_WORD_BYTES} are possible with an ETA"
            yield Found("long-key", "target queue", way.queue, seen, "use a shorter routing key")
