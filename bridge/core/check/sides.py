"""Findings about the two brokers and vhosts: versions, alarms, room, limits, rights."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bridge.core import ladder
from bridge.core.check.finding import Found, dotted, listed, size
from bridge.core.check.world import World
from bridge.core.rights import BACKUP, ENTER, LADDER, MEASURE, OWN, Right, Verdict, judge, needed, own_queues
from bridge.core.topology import Vhost
from bridge.core.translate import effective

OLDEST, NEWEST = (3, 10), (4, 3)
#: From here on feature flags that we need are always on.
FLAGS_REQUIRED = (4, 0)
#: From here on queues that are neither durable nor exclusive are denied.
TRANSIENT_DENIED = (4, 3)
#: Replicas of a quorum queue that is declared without a number.
REPLICAS = 3
#: Bytes of a message beside its body on disk: properties, headers and the log's own.
AROUND = 1024
#: Bytes of index in memory per message, and with a TTL (RabbitMQ's guide on quorum queues, Resource Use).
INDEX, INDEX_TTL = 32, 48
#: Bytes of a node's write-ahead log before it is written to segments, and how many of them memory should hold.
LOG, LOGS = 512 * 1024**2, 3


def same_vhost(world: World) -> Iterator[Found]:
    """Source and target must not be one."""
    if world.same_broker and world.source.name == world.target.name:
        yield Found(
            *("same-vhost", "vhost", world.source.name),
            "source and target are this vhost of one broker",
            "make another vhost for the quorum queues and name it in target.amqp",
        )


def versions(world: World) -> Iterator[Found]:
    """3.10 to 4.3 are tested; nothing older can be a target."""
    for side, vhost in world.sides():
        seen = f"RabbitMQ {dotted(vhost.version)}"
        if side == "target" and vhost.version < OLDEST:
            todo = f"upgrade it to {dotted(OLDEST)} or later"
            yield Found("target-too-old", f"{side} vhost", vhost.name, seen, todo)
        elif not OLDEST <= vhost.version[:2] <= NEWEST:
            todo = f"rehearse with it: {dotted(OLDEST)} to {dotted(NEWEST)} are tested"
            yield Found("version-untested", f"{side} vhost", vhost.name, seen, todo)


def feature_flags(world: World) -> Iterator[Found]:
    """Quorum queues must be enabled on the target, and streams where the backup is kept."""
    needs = [("target", "quorum_queue")]
    if world.backup is not None:
        needs.append((world.backup, "stream_queue"))
    vhosts = dict(world.sides())
    for side, flag in needs:
        vhost = vhosts[side]
        if vhost.feature_flags is None or vhost.version >= FLAGS_REQUIRED or flag in vhost.feature_flags:
            continue
        todo = f"rabbitmqctl enable_feature_flag {flag}"
        yield Found("feature-flag", f"{side} vhost", vhost.name, f"feature flag {flag} is off", todo)


def alarms(world: World) -> Iterator[Found]:
    """An alarm blocks publishers: ours on the target, the application's on the source."""
    for side, vhost in world.sides():
        for node in vhost.nodes:
            seen = []
            if node.memory_alarm:
                seen.append(f"memory alarm: {_of(node.memory_used, node.memory_limit)} used")
            if node.disk_alarm:
                seen.append(f"disk alarm: {_of(node.disk_free, node.disk_limit)} free")
            if seen:
                yield Found(f"{side}-alarm", f"{side} node", node.name, "; ".join(seen), "give it room until it clears")


def _of(number: int | None, limit: int | None) -> str:
    return f"{'?' if number is None else size(number)} of a limit of {'?' if limit is None else size(limit)}"


def nodes(world: World) -> Iterator[Found]:
    """Nodes that are down or see a partition, and targets too small for a majority without one node."""
    for side, vhost in world.sides():
        for node in vhost.nodes:
            if node.partitions:
                seen = f"does not see {listed(node.partitions)}"
                yield Found("partition", f"{side} node", node.name, seen, "heal the partition, then check again")
            if not node.running:
                yield Found("node-down", f"{side} node", node.name, "not running", "start it")
    if 0 < len(world.target.nodes) < REPLICAS:
        seen = f"{len(world.target.nodes)} of {REPLICAS} nodes that keep a majority when one fails"
        yield Found("few-nodes", "target vhost", world.target.name, seen, "use three nodes if queues shall survive one")


def room(world: World) -> Iterator[Found]:
    """Disk and memory of the target for everything that waits on the source."""
    messages = stored = index = 0
    for old, _, _ in world.couples():
        messages += old.messages
        stored += old.message_bytes + old.messages * AROUND
        ttl = "message-ttl" in effective(old, world.source.version)
        index += old.messages * (INDEX_TTL if ttl else INDEX)
    running = [node for node in world.target.nodes if node.running]
    if not messages or not running:
        return
    replicas = min(REPLICAS, len(running))
    # Replicas are spread over the nodes, so each holds its share of the queues.
    share = replicas / len(running)
    disk = stored * share + LOG
    memory = index * share + min(stored * share, LOGS * LOG)
    backlog = f"{messages} messages, {size(stored)}, {replicas} replicas on {len(running)} nodes"
    for node in running:
        free = _room(node.disk_free, node.disk_limit)
        if free is not None and free < disk:
            seen = f"{backlog}: {size(disk)} of disk needed here, {size(max(free, 0))} free above the limit"
            yield Found("disk-room", "target node", node.name, seen, "add disk, or let the backlog shrink first")
        free = _room(node.memory_limit, node.memory_used)
        if free is not None and free < memory:
            seen = f"{backlog}: up to {size(memory)} of memory needed here, {size(max(free, 0))} left below the limit"
            yield Found("memory-room", "target node", node.name, seen, "add memory, or let the backlog shrink first")


def _room(more: int | None, less: int | None) -> int | None:
    return None if more is None or less is None else more - less


def vhost_limits(world: World) -> Iterator[Found]:
    """Queues and connections that a vhost's limits leave."""
    target = world.target
    wanted = {pair.target for pair in world.pairs} | {ladder.level_name(level) for level in range(ladder.LEVELS)}
    missing = len((wanted | set(own_queues(world.instance))) - target.queues.keys())
    most = target.limits.get("max-queues", -1)
    if 0 <= most < len(target.queues) + missing:
        seen = f"max-queues {most}: {len(target.queues)} there, {missing} to come"
        todo = f"raise max-queues to {len(target.queues) + missing} or more"
        yield Found("vhost-limit", "target vhost", target.name, seen, todo)
    for side, vhost in world.sides():
        most = vhost.limits.get("max-connections", -1)
        if 0 <= most <= len(vhost.connections):
            seen = f"max-connections {most}: {len(vhost.connections)} there, none left for the bridge"
            yield Found("vhost-limit", f"{side} vhost", vhost.name, seen, "raise max-connections by two")


def default_queue_type(world: World) -> Iterator[Found]:
    """What a queue becomes on the target that is declared without a type."""
    kind = world.target.default_queue_type
    if kind not in (None, "quorum"):
        seen = f"default queue type {kind}"
        yield Found("default-queue-type", "target vhost", world.target.name, seen, "bridge apply sets it to quorum")


#: Transient queues of Celery by name: what they are, and which option makes them exclusive or durable.
_TRANSIENT = (
    (
        re.compile(r"\.pidbox$"),
        "remote control",
        "control_queue_exclusive = True (Celery 5.6; the default from 5.7 on)",
    ),
    (re.compile(r"^celeryev\."), "events", "event_queue_exclusive = True (Celery 5.6; the default from 5.7 on)"),
    (
        re.compile(r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"),
        "results (rpc)",
        "Celery 5.7, which declares them durable, or another result backend",
    ),
    (re.compile(""), "unknown use", "declare them durable or exclusive"),
)


def transient_queues(world: World) -> Iterator[Found]:
    """Queues that workers declare on the source and that the target would deny them."""
    if world.target.version < TRANSIENT_DENIED:
        return
    names: dict[tuple[str, str], list[str]] = {}
    for queue in world.source.queues.values():
        if not queue.durable and not queue.exclusive:
            use, cure = next((use, cure) for pattern, use, cure in _TRANSIENT if pattern.search(queue.name))
            names.setdefault((use, cure), []).append(queue.name)
    for (use, cure), found in names.items():
        seen = f"{use}: the source has {listed(found)}, neither durable nor exclusive"
        todo = f"in the workers of the target: {cure}"
        yield Found("transient-denied", "target vhost", world.target.name, seen, todo)


#: Purposes that a right serves only as long as something is not there yet.
_MAKING = frozenset({LADDER, OWN, BACKUP})
#: Findings of purposes without which everything moves all the same.
_LESS_GRAVE = {ENTER: "permission-entry", MEASURE: "permission-probe"}


def rights(world: World) -> Iterator[Found]:
    """Rights that are needed and not there; one that is only for making what is there already, or for a shorter way, is
    less grave.
    """
    if world.probes is None:
        return
    known = {side: vhost.permissions for side, vhost in world.sides()}
    needs = needed(((p.source.name, p.target) for p in world.pairs), world.instance, world.backup, world.probe)
    refused: dict[tuple[str, str, str, str], list[Verdict]] = {}
    unsure: dict[str, list[Verdict]] = {}
    for verdict in judge(needs, known, world.probes.trials):
        right = verdict.right
        if verdict.granted is False:
            vhost = world.target if right.side == "target" else world.source
            made = right.purpose in _MAKING and _exists(vhost, right)
            kind = "permission-configure" if made else _LESS_GRAVE.get(right.purpose, "permission")
            refused.setdefault((kind, right.side, right.right, right.purpose), []).append(verdict)
        elif verdict.granted is None:
            unsure.setdefault(right.side, []).append(verdict)
    for (kind, side, right_name, purpose), verdicts in refused.items():
        permissions = known[side]
        names = listed(dict.fromkeys(verdict.right.name for verdict in verdicts))
        seen = f"no {right_name} on {names}, needed to {purpose} ({verdicts[0].text})"
        todo = f"grant {right_name} on {names}"
        yield Found(kind, f"{side} user", permissions.user if permissions else "of the bridge", seen, todo)
    for side, verdicts in unsure.items():
        names = listed(dict.fromkeys(verdict.right.name for verdict in verdicts))
        seen = f"whether there are the rights on {names} is not known: {verdicts[0].text}"
        vhost = world.target if side == "target" else world.source
        yield Found("not-looked-at", f"{side} vhost", vhost.name, seen, "let bridge check try them over AMQP")


def _exists(vhost: Vhost, right: Right) -> bool:
    return right.name in (vhost.queues if right.kind == "queue" else vhost.exchanges)


def not_looked_at(world: World) -> Iterator[Found]:
    """What the API did not tell and what was not tried."""
    for side, vhost in world.sides():
        for reason in vhost.unknown:
            todo = "give the API's user the tag monitoring and rights on the vhost"
            yield Found("not-looked-at", f"{side} vhost", vhost.name, reason, todo)
    reasons = ("nothing was tried over AMQP",) if world.probes is None else world.probes.unknown
    if world.samples is None:
        reasons = (*reasons, "messages are never taken to be looked at: each one's size, priority and TTL is not known")
    for reason in reasons:
        yield Found("not-looked-at", "target vhost", world.target.name, reason, "see it by yourself, or check again")
