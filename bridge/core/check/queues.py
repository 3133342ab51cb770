"""Findings about the source: its queues and their consumers, what their settings come to, what cannot be moved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bridge.core import ladder
from bridge.core.check.finding import Found, listed
from bridge.core.check.world import World
from bridge.core.scope import left_alone
from bridge.core.topology import Queue, Vhost
from bridge.core.translate import TWO_CLASSES, How, Translation, effective, translate

#: States in which a queue can be neither read nor written.
_DOWN = frozenset({"down", "crashed", "stopped", "minority", "terminated"})

#: Tag of the bridge's own consumers.
OWN_TAG = "bridge"


def scope(world: World) -> Iterator[Found]:
    """Queues that are named and do not exist, or are not in scope."""
    for name in sorted(world.named - world.source.queues.keys()):
        todo = "correct the name in queues.include, or leave it for when it appears"
        yield Found("queue-vanished", "queue", name, "it does not exist on the source", todo)
    for name in sorted(world.named & world.source.queues.keys()):
        reason = left_alone(world.source.queues[name], named=True)
        if reason is not None:
            yield Found("left-alone", "queue", name, reason, "take it out of queues.include")
    for name, queue in world.source.queues.items():
        if name not in world.named and left_alone(queue, named=False) and left_alone(queue, named=True) is None:
            seen = f"{queue.messages} messages, {queue.consumers} consumers"
            todo = "name it in queues.include if a worker of that name will run on the target"
            yield Found("dq2-queue", "queue", name, seen, todo)


def available(world: World) -> Iterator[Found]:
    """Queues on either side without a leader or a majority."""
    for old, _, new in world.couples():
        for place, queue in (("queue", old), ("target queue", new)):
            if queue is not None and (fault := _fault(queue)):
                yield Found("queue-down", place, queue.name, fault, "bring its nodes back")


def _fault(queue: Queue) -> str:
    if queue.state in _DOWN:
        return f"state {queue.state}"
    if queue.members and len(queue.online) <= len(queue.members) // 2:
        return f"{len(queue.online)} of {len(queue.members)} replicas online: {listed(queue.online) or 'none'}"
    return ""


def consumers(world: World) -> Iterator[Found]:
    """Consumers on the source that our own cannot take the place of."""
    moved = {pair.source.name for pair in world.pairs}
    for consumer in world.source.consumers:
        if consumer.queue not in moved:
            continue
        priority = consumer.arguments.get("x-priority", 0)
        who = f'consumer "{consumer.tag}" of user "{consumer.user}" on {consumer.connection or "an unknown connection"}'
        if consumer.exclusive:
            yield Found("exclusive-consumer", "queue", consumer.queue, f"{who} is exclusive", "stop it at the cutover")
        elif isinstance(priority, int) and priority >= world.priority and consumer.tag != OWN_TAG:
            seen = f"{who} has priority {priority}, the bridge {world.priority}"
            todo = f"set relay.priority to {priority + 1} or more"
            yield Found("consumer-priority", "queue", consumer.queue, seen, todo)
    for old, _, _ in world.couples():
        if old.single_active_consumer:
            seen = f"x-single-active-consumer, {old.consumers} consumers"
            todo = "stop its old worker right after the cutover"
            yield Found("single-active-source", "queue", old.name, seen, todo)


#: Translated keys to the finding they are; what is not here is judged by what becomes of it.
_KINDS = {
    "message-ttl": "message-ttl",
    "max-length": "length-limit",
    "max-length-bytes": "length-limit",
    "dead-letter-exchange": "dead-letter",
    **dict.fromkeys(("queue-mode", "queue-version", "queue-master-locator"), "classic-only"),
    **dict.fromkeys(("ha-mode", "ha-params", "ha-sync-mode", "ha-sync-batch-size"), "classic-only"),
    **dict.fromkeys(("ha-promote-on-shutdown", "ha-promote-on-failure"), "classic-only"),
}
_BY_OUTCOME = {
    How.LOST: ("setting-lost", "see whether the application relies on it"),
    How.POLICY: ("setting-kept", "bridge apply gives it to the sister"),
    How.KEPT: ("setting-kept", "nothing"),
    How.ARGUMENT: ("single-active", "declare x-single-active-consumer in the application too"),
}


def settings(world: World) -> Iterator[Found]:
    """Arguments and policies of the old queues that mean something else on a quorum queue: old value, new value."""
    for old, _, _ in world.couples():
        for found in translate(old, world.target.version, world.source.version):
            kind, todo = _kind(found)
            seen = f"{found.key} {_shown(found.old.value)} ({found.old.origin}) -> {_shown(found.new)}: {found.reason}"
            yield Found(kind, "queue", old.name, seen, todo)
            if found.key == "dead-letter-exchange" and not _has_exchange(world.target, str(found.new)):
                seen = f'exchange "{found.new}" does not exist on the target'
                yield Found("dead-letter-exchange", "queue", old.name, seen, f'declare "{found.new}" and its queue')
        if world.target.version >= TWO_CLASSES and "max-priority" not in effective(old, world.source.version):
            seen = "no x-max-priority: priorities are ignored -> honoured"
            yield Found("priority-wakes", "queue", old.name, seen, "see that producers set none by accident")


def _kind(found: Translation) -> tuple[str, str]:
    if found.key == "max-priority" and found.how is How.LOST:
        return "priority-changes", "see what relies on the order"
    if found.key == "overflow" and found.new != found.old.value:
        return "overflow-changes", "watch for refused publishes"
    kind, todo = _BY_OUTCOME[found.how]
    return _KINDS.get(found.key, kind), "nothing" if found.key in _KINDS and found.how is How.LOST else todo


def _shown(value: object) -> str:
    return f'"{value}"' if value == "" else str(value)


def _has_exchange(vhost: Vhost, name: str) -> bool:
    # The default exchange has no name and is in every vhost.
    return name == "" or name in vhost.exchanges


_UUID = re.compile(r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$")
_TASK_ID = re.compile(r"^[0-9a-f]{32}$")


def results(world: World) -> Iterator[Found]:
    """Queues of result backends that live in the old vhost."""
    rpc, amqp = [], []
    for name, queue in world.source.queues.items():
        if queue.auto_delete or "x-expires" in queue.arguments:
            if _UUID.match(name):
                rpc.append(name)
            elif _TASK_ID.match(name):
                amqp.append(name)
    todo = "use another result backend, or move the callers together with the workers"
    if rpc:
        seen = f"{len(rpc)} reply queues of rpc:// (one per client that waits): {listed(rpc)}"
        yield Found("result-queues", "source vhost", world.source.name, seen, todo)
    if amqp or "celeryresults" in world.source.exchanges:
        names = listed(amqp) or "none now"
        seen = f'{len(amqp)} queues of amqp:// results (one per task): {names}; exchange "celeryresults"'
        yield Found("result-queues", "source vhost", world.source.name, seen, todo)


def held_elsewhere(world: World) -> Iterator[Found]:
    """What waits on the source and is in no queue that could be moved."""
    for name, exchange in world.source.exchanges.items():
        if exchange.type == "x-delayed-message":
            delayed = sum(sample.delayed for sample in (world.samples or {}).values())
            seen = "an exchange of type x-delayed-message; how much waits in it the broker does not tell"
            if delayed:
                seen += f"; {delayed} messages with x-delay came out of such a one"
            todo = "keep the source and the bridge until the longest delay has passed"
            yield Found("delayed-exchange", "exchange", name, seen, todo)
    levels = {level: world.source.queues.get(ladder.level_name(level)) for level in range(ladder.LEVELS)}
    waiting = {level: queue.messages for level, queue in levels.items() if queue is not None and queue.messages}
    if waiting:
        seen = f"{sum(waiting.values())} tasks in {len(waiting)} levels, the longest up to {2 ** (max(waiting) + 1)} s"
        todo = "keep the source and the bridge until they are out"
        yield Found("source-ladder", "source vhost", world.source.name, seen, todo)
