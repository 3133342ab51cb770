"""Findings about the ladder on the target: whether it is whole, what policies do to it, what stays in it."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.core import ladder
from bridge.core.check.finding import Found, listed
from bridge.core.check.policies import applied
from bridge.core.check.world import World
from bridge.core.topology import Arguments, Queue
from bridge.core.wanted import QUEUE_TYPE, exits, kombu_ladder, shown

#: Messages that the dead-letter worker of a quorum queue has under way at most: so many without an exit stop a level.
UNDER_WAY = 32
#: Policy keys that change a level in every case; message-ttl and overflow only by their value.
_HARMFUL = ("expires", "max-length", "max-length-bytes")


def whole(world: World) -> Iterator[Found]:
    """Whether the ladder is there, complete and as kombu declares it (semantics.md, 2.1)."""
    target = world.target
    names = [ladder.level_name(level) for level in range(ladder.LEVELS)]
    there = [name for name in names if name in target.queues or name in target.exchanges]
    if not there:
        todo = "run bridge apply; bridge run declares it too, if it may"
        yield Found("ladder-missing", "target vhost", target.name, "no celery_delayed_ queue or exchange", todo)
        return
    classic = [name for name in names if name in target.queues and target.queues[name].type == "classic"]
    if classic:
        seen = f"{len(classic)} of {ladder.LEVELS} levels are classic queues: {listed(classic)}"
        todo = "delete them when they are empty, then run bridge apply"
        yield Found("ladder-classic", "target vhost", target.name, seen, todo)
    wanted = kombu_ladder("quorum")
    missing = [f"queue {queue.name}" for queue in wanted.queues if queue.name not in target.queues]
    missing += [f"exchange {exchange.name}" for exchange in wanted.exchanges if exchange.name not in target.exchanges]
    bound = {(b.source, b.destination, b.destination_type, b.routing_key) for b in target.bindings}
    missing += [
        f"binding {b.source} -> {b.destination} by {b.routing_key}"
        for b in wanted.bindings
        if (b.source, b.destination, b.destination_type, b.routing_key) not in bound
    ]
    if missing:
        seen = f"{len(missing)} parts are missing: {listed(missing)}"
        yield Found("ladder-incomplete", "target vhost", target.name, seen, "run bridge apply")
    for exchange in wanted.exchanges:
        other = target.exchanges.get(exchange.name)
        if other is not None and other.type != exchange.type:
            seen = f"a {other.type} exchange, kombu declares a {exchange.type} one"
            yield Found("ladder-arguments", "target exchange", exchange.name, seen, "delete it, then run bridge apply")
    for level in wanted.queues:
        queue = target.queues.get(level.name)
        if queue is not None and (wrong := _differences(queue, level.arguments)):
            todo = "delete it when it is empty, then run bridge apply"
            yield Found("ladder-arguments", "target queue", level.name, wrong, todo)


def _differences(queue: Queue, wanted: Arguments) -> str:
    """What a level is declared with that kombu would not, or otherwise; its type is judged apart."""
    given = {key: value for key, value in queue.arguments.items() if key != QUEUE_TYPE}
    expected = {key: value for key, value in wanted.items() if key != QUEUE_TYPE}
    if queue.type == "classic":
        del expected["x-dead-letter-strategy"]
    if given == expected:
        return ""
    return f"a {queue.type} queue declared with {shown(given)}; kombu declares {shown(expected)}"


def policies(world: World) -> Iterator[Found]:
    """Policies of the target that would make tasks early, drop them, or delete levels (semantics.md, 8.3)."""
    found: dict[tuple[str, str], list[str]] = {}
    for level in range(ladder.LEVELS):
        name = ladder.level_name(level)
        keys, names = applied(world.target, name, "quorum")
        harm = {key: keys[key] for key in _HARMFUL if key in keys}
        if keys.get("overflow", "reject-publish") != "reject-publish":
            harm["overflow"] = keys["overflow"]
        ttl = keys.get("message-ttl")
        if isinstance(ttl, int) and ttl < 2**level * 1000:
            harm["message-ttl"] = ttl
        if harm:
            found.setdefault((" + ".join(names), shown(harm)), []).append(name)
    for (policy, harm_shown), levels in found.items():
        seen = f"gives {harm_shown} to {len(levels)} levels: {listed(levels)}"
        yield Found("ladder-policy", "target policy", policy, seen, "limit its pattern so that no level matches")


def stuck(world: World) -> Iterator[Found]:
    """Due messages that stay in a level."""
    for level, due in (world.probes.stuck if world.probes else {}).items():
        name = ladder.level_name(level)
        queue = world.target.queues.get(name)
        waiting = "" if queue is None else f" of {queue.messages}"
        seen = f"{due}{waiting} messages are due and stay; {UNDER_WAY} stop the level for everyone"
        todo = "look at their routing keys, and bind the queue they are for to celery_delayed_delivery"
        yield Found("level-stopped" if due >= UNDER_WAY else "level-waiting", "target queue", name, seen, todo)


def own_exits(world: World) -> Iterator[Found]:
    """Our exits: not bound yet, or caught by someone else's binding too."""
    bindings = [binding for binding in world.target.bindings if binding.source == ladder.DELIVERY_EXCHANGE]
    bound = {(binding.destination, binding.routing_key) for binding in bindings}
    present = [couple.name for couple in world.couples() if couple.new is not None]
    for wanted in exits(dict.fromkeys(present)):
        if (wanted.destination, wanted.routing_key) not in bound:
            seen = f"{ladder.DELIVERY_EXCHANGE} has no binding of ours to it"
            todo = "run bridge apply; bridge run binds it too, if it may"
            yield Found("exit-missing", "target queue", wanted.destination, seen, todo)
    # A pattern that ends with a word of its own cannot match ours, which is the key's last and only ours.
    wide = [b for b in bindings if b.routing_key.rpartition(".")[2] in ("*", "#")]
    for binding in wide:
        caught = [name for name in present if _catches(binding.routing_key, name) and name != binding.destination]
        if caught:
            seen = f'bound by "{binding.routing_key}" it gets what leaves for {listed(caught)}'
            todo = f"remove the binding from {ladder.DELIVERY_EXCHANGE}"
            yield Found("exit-shared", f"target {binding.destination_type}", binding.destination, seen, todo)


def _catches(pattern: str, name: str) -> bool:
    return ladder.topic_matches(pattern, ladder.entry(1, ladder.exit_word(name)).routing_key)
