"""Findings about the new queues: the sisters, what policies do to them, and the bridge's own queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from bridge.core.check.finding import Found, listed
from bridge.core.check.policies import Applied, applied, meant_for, pattern_matches, unsupported
from bridge.core.check.world import Couple, World
from bridge.core.rights import QUARANTINE
from bridge.core.topology import Queue
from bridge.core.translate import DELIVERY_LIMIT, DELIVERY_LIMIT_SINCE, STRICT_PRIORITIES, effective
from bridge.core.wanted import QUEUE_TYPE, arguments, own, serves, shown

#: Bytes of a queue name at most (short string, AMQP 0-9-1, 4.2.5.3).
LONGEST = 255
#: Milliseconds that a consumer may hold a message, unless configured.
CONSUMER_TIMEOUT = 1_800_000
#: Policy keys that end messages which the old queue keeps.
_ENDING = (
    "message-ttl",
    "max-length",
    "max-length-bytes",
    "dead-letter-exchange",
    "dead-letter-routing-key",
    "overflow",
)
#: Policy keys by which one of the bridge's own queues would lose what it holds.
_LOSING = ("expires", "message-ttl", "max-length", "max-length-bytes")
#: Policy keys that only say how classic queues are mirrored and stored.
_CLASSIC = frozenset({"ha-sync-batch-size", "queue-version"})


def sisters(world: World) -> Iterator[Found]:
    """Whether each sister is there, quorum, declared as its application will, empty, and has workers."""
    for old, name, new in world.couples():
        length = len(name.encode())
        if length > LONGEST or name.startswith("amq."):
            seen = f"{length} bytes, {LONGEST} are possible" if length > LONGEST else "begins with amq."
            yield Found("target-name", "target queue", name, seen, "name it otherwise in queues.settings[].target")
        elif new is None:
            seen = f'it does not exist; "{old.name}" is to go there' if old.name != name else "it does not exist"
            yield Found("target-missing", "target queue", name, seen, "run bridge apply, or start the new workers once")
        elif new.type != "quorum":
            flags = [word for word, on in (("auto-delete", new.auto_delete), ("not durable", not new.durable)) if on]
            seen = ", ".join((f"a {new.type} queue declared with {shown(new.arguments)}", *flags))
            seen += f"; {new.messages} messages"
            todo = "empty and delete it, then run bridge apply; or give the sister another name"
            yield Found("target-not-quorum", "target queue", name, seen, todo)
        else:
            yield from _sister(world, old, new)
    counts = Counter(pair.target for pair in world.pairs)
    for name, count in counts.items():
        if count > 1:
            olds = listed(pair.source.name for pair in world.pairs if pair.target == name)
            todo = "give each its own in queues.settings[].target"
            yield Found("target-shared", "target queue", name, f"the sister of {olds}", todo)


def _sister(world: World, old: Queue, new: Queue) -> Iterator[Found]:
    declared = _without_type(new.arguments)
    expected = _without_type(arguments(old, world.target.version, world.source.version))
    if declared != expected:
        seen = f"declared with {shown(declared)}; the old queue comes to {shown(expected)}"
        todo = "let the workers declare it as it is, or delete it when it is empty and run bridge apply"
        yield Found("target-arguments", "target queue", new.name, seen, todo)
    if new.messages and old.name not in world.moving:
        seen = f"{new.messages} messages, and nothing was moved from {listed([old.name])} yet"
        yield Found("target-filled", "target queue", new.name, seen, "see where they come from; purge leftovers")
    if new.consumers < world.gate_consumers:
        seen = f"{new.consumers} consumers, the gate wants {world.gate_consumers}"
        yield Found("no-workers", "target queue", new.name, seen, "start the new workers before the cutover")


def _without_type(given: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in given.items() if key != QUEUE_TYPE}


def policies(world: World) -> Iterator[Found]:
    """What policies of the target do to sisters that nothing did to the old queues."""
    changed: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
    expiring: dict[tuple[tuple[str, ...], object], list[str]] = {}
    for couple in world.couples():
        found = applied(world.target, couple.name, "quorum")
        was = effective(couple.old, world.source.version)
        if "expires" in found.keys:
            expiring.setdefault((found.names, found.keys["expires"]), []).append(couple.name)
        for key in _ENDING:
            before = was[key].value if key in was else None
            if key in found.keys and found.keys[key] != before and not _harmless(key, found, before):
                text = f"{key} {found.keys[key]}, where the old queues have {'none' if before is None else before}"
                changed.setdefault((found.names, key, text), []).append(couple.name)
    for (names, value), queues in expiring.items():
        seen = f"deletes {listed(queues)} after {value} ms without use"
        yield Found("target-expires", "target policy", " + ".join(names), seen, "limit its pattern")
    for (names, _, text), queues in changed.items():
        todo = "limit its pattern, or run bridge apply, whose policies go before it"
        yield Found("target-policy", "target policy", " + ".join(names), f"gives {listed(queues)} {text}", todo)


def _harmless(key: str, found: Applied, before: object) -> bool:
    value = found.keys[key]
    if isinstance(value, int) and isinstance(before, int):
        # It allows more than the old queue did.
        return value > before
    # An overflow without a limit does nothing; in place of reject-publish-dlx it is what the old value comes to.
    if key == "overflow":
        limited = {"max-length", "max-length-bytes"} & found.keys.keys()
        return not limited or (before == "reject-publish-dlx" and value == "reject-publish")
    return key == "dead-letter-routing-key" and "dead-letter-exchange" not in found.keys


def unusable_policies(world: World) -> Iterator[Found]:
    """Policies that are meant for sisters and reach none, and those whose pattern cannot be judged."""
    for policy in world.target.policies:
        if pattern_matches(policy.pattern, "") is None:
            seen = f'pattern "{policy.pattern}", keys {", ".join(sorted(policy.definition))}'
            yield Found("policy-unreadable", "target policy", policy.name, seen, "see by yourself what it matches")
            continue
        foreign = unsupported(policy, "quorum")
        useful = policy.definition.keys() - foreign - _CLASSIC
        missed = [
            pair.target
            for pair in world.pairs
            if foreign and meant_for(policy, pair.target, "quorum") and useful - _in_force(world, pair.target)
        ]
        if missed:
            seen = (
                f"{', '.join(sorted(foreign))} keep it from quorum queues: {listed(missed)} do not get its "
                f"{', '.join(sorted(useful))}"
            )
            todo = "make a policy without them for the sisters, or run bridge apply"
            yield Found("policy-ignored", "target policy", policy.name, seen, todo)


def _in_force(world: World, name: str) -> set[str]:
    return set(applied(world.target, name, "quorum").keys)


def own_queues(world: World) -> Iterator[Found]:
    """The bridge's own queues, if they are there, and what policies would do to them."""
    for mine in own(world.instance, world.target.version):
        there = world.target.queues.get(mine.name)
        if there is not None and (
            there.type != "quorum" or not serves(mine, {**there.arguments, QUEUE_TYPE: "quorum"})
        ):
            seen = f"a {there.type} queue declared with {shown(there.arguments)}; {there.messages} messages"
            todo = f"look at what it holds, delete it and run bridge apply: it needs {shown(mine.arguments)}"
            yield Found("own-queue", "target queue", mine.name, seen, todo)
        found = applied(world.target, mine.name, "quorum")
        losing = {key: found.keys[key] for key in _LOSING if key in found.keys}
        limit = found.keys.get("delivery-limit")
        if mine.name == QUARANTINE and isinstance(limit, int) and limit >= 0:
            # Its messages are looked at, and each look is a return.
            losing["delivery-limit"] = limit
        if losing:
            seen = f"policy {listed(found.names)} gives it {shown(losing)}"
            yield Found("own-queue", "target queue", mine.name, seen, "limit the policy's pattern")


def returns(world: World) -> Iterator[Found]:
    """How often, and after what time, a task can come back on the target."""
    timeouts: dict[tuple[str, int], list[str]] = {}
    for couple in world.couples():
        values = _in_target(world, couple)
        limit = values.get("delivery-limit", DELIVERY_LIMIT)
        if world.target.version >= DELIVERY_LIMIT_SINCE and not (isinstance(limit, int) and limit < 0):
            exchange = values.get("dead-letter-exchange")
            then = "dropped, there is no dead-letter exchange" if exchange is None else f'sent to exchange "{exchange}"'
            counted = "lost connections only" if world.target.version >= STRICT_PRIORITIES else "every return"
            seen = f"a task that came back more than {limit} times is {then}; counted is {counted}"
            todo = "set delivery-limit by policy where tasks come back on purpose"
            yield Found("delivery-limit", "target queue", couple.name, seen, todo)
        timeout = values.get("consumer-timeout", CONSUMER_TIMEOUT)
        before = _held(world, couple.old)
        if isinstance(timeout, int) and (before is None or timeout < before):
            was = "no limit" if before is None else f"{before} ms"
            timeouts.setdefault((was, timeout), []).append(couple.name)
    for (was, timeout), queues in timeouts.items():
        seen = f"unacked for {timeout} ms at most on {listed(queues)}, {was} on the source"
        todo = "set consumer-timeout by policy where tasks run or wait longer"
        yield Found("consumer-timeout", "target vhost", world.target.name, seen, todo)


def _in_target(world: World, couple: Couple) -> dict[str, object]:
    if couple.new is not None:
        return {key: value.value for key, value in effective(couple.new, world.target.version).items()}
    return dict(applied(world.target, couple.name, "quorum").keys)


def _held(world: World, old: Queue) -> int | None:
    """Milliseconds that a consumer of an old queue may hold a message; None: for ever (semantics.md, 7.4)."""
    if world.source.version >= STRICT_PRIORITIES:
        return None
    value = effective(old, world.source.version).get("consumer-timeout")
    return value.value if value is not None and isinstance(value.value, int) else CONSUMER_TIMEOUT
