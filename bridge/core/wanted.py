"""What has to be on the target for the queues in scope, as values; `plan.py` compares it with what is there.

1. **A sister queue is declared as the application declares it.** `x-queue-type: quorum`, and of the old queue's
   arguments those that a quorum queue takes as they are: the application goes on declaring them, and a worker that
   declares anything else gets a 406. What came from a policy comes from a policy again.
2. **Direct exchanges become topic exchanges** where queues in scope are bound to them: native delayed delivery does not
   pass a direct one (semantics.md, 1.1). Other types stay, as do exchanges that only dead-letter.
3. **The ladder is kombu's**, level by level (semantics.md, 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.core import ladder
from bridge.core.check.policies import pattern_matches
from bridge.core.pairs import Pair
from bridge.core.rights import QUARANTINE, own_queues
from bridge.core.topology import Arguments, Binding, Exchange, Queue, Vhost
from bridge.core.translate import DELIVERY_LIMIT_SINCE, How, Translation, Version, translate

#: Exchange of queues that the old side binds to none but the default exchange: Celery binds every queue to one.
CELERY_EXCHANGE = "celery"
QUEUE_TYPE = "x-queue-type"
DELIVERY_LIMIT_ARGUMENT = "x-delivery-limit"


@dataclass(frozen=True, slots=True)
class Declared:
    """A durable queue and the arguments it is declared with."""

    name: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Topology:
    """Exchanges, queues and bindings that belong together."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Declared, ...]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Sister:
    """One queue of the target that takes over from an old one.

    Attributes:
        source: the old queue.
        name: of the sister.
        arguments: it is declared with.
        policy: keys that a policy has to give it, by key.
        lost: what it cannot have, each with its reason.
        bindings: of the sister, at least one; the first is the one that Celery declares.
    """

    source: Queue
    name: str
    arguments: Arguments
    policy: Arguments
    lost: tuple[Translation, ...]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that has to be on the target, and what an operator should know about it."""

    sisters: tuple[Sister, ...]
    #: Exchanges of the application, the broker's own (`amq.*`) among them.
    exchanges: tuple[Exchange, ...]
    #: Bindings between exchanges of the application; those of queues are the sisters'.
    between: tuple[Binding, ...]
    remarks: tuple[str, ...]


def arguments(queue: Queue, target_version: tuple[int, ...], source_version: tuple[int, ...]) -> dict[str, object]:
    """What the sister of an old queue is declared with."""
    return _split(queue, translate(queue, target_version, source_version))[0]


def _split(queue: Queue, found: Iterable[Translation]) -> tuple[dict[str, object], dict[str, object]]:
    """The sister's arguments, and what a policy has to give it."""
    declared: dict[str, object] = {QUEUE_TYPE: "quorum"}
    policy: dict[str, object] = {}
    for key in found:
        name = f"x-{key.key}"
        if key.how is How.ARGUMENT:
            declared[name] = key.new
        elif key.how is How.POLICY:
            taken = name in queue.arguments and key.old.value == key.new
            if taken:
                declared[name] = queue.arguments[name]
            # Where the old policy said less than the argument, the new one has to.
            if not taken or queue.arguments[name] != key.new:
                policy[key.key] = key.new
    return declared, policy


def wanted(source: Vhost, target: Vhost, pairs: Iterable[Pair]) -> Wanted:
    """What the target needs for `pairs`, the ladder and the bridge's own queues apart."""
    unique = {pair.target: pair for pair in reversed(list(pairs))}
    ordered = [unique[name] for name in sorted(unique)]
    found = {pair.target: translate(pair.source, target.version, source.version) for pair in ordered}
    to_queues, to_exchanges = _by_destination(source.bindings)
    bound = {pair.target: _bindings(to_queues.get(pair.source.name, []), pair) for pair in ordered}
    dead = {name: exchange for name, keys in found.items() if (exchange := _dead_letters_to(keys))}
    direct = _stay_direct(bound, dead)
    names = {binding.source for bindings in bound.values() for binding in bindings}
    reached, between = _reached(source, names, set(dead.values()), to_exchanges)
    exchanges = {
        name: replace(exchange, type="topic")
        if exchange.type == "direct" and name in names and name not in direct
        else exchange
        for name, exchange in reached.items()
    }
    sisters = []
    remarks = [
        *(why for name, why in sorted(direct.items()) if why and exchanges[name].type == "direct"),
        *_nobody_takes(set(dead.values()), reached, names),
        *_exchange_policies(source, reached),
    ]
    for pair in ordered:
        declared, policy = _split(pair.source, found[pair.target])
        there = target.queues.get(pair.target)
        if there is not None and there.type == "quorum":
            if dict(there.arguments) != declared:
                remarks.append(
                    f'queue "{pair.target}" is there, declared with {shown(there.arguments)} where the old queue '
                    f"comes to {shown(declared)}: it is left as it is, and workers have to declare it as it is"
                )
            declared = dict(there.arguments)
        bindings = sorted(bound[pair.target], key=lambda b: _rank(b, exchanges[b.source], pair))
        lost = tuple(key for key in found[pair.target] if key.how is How.LOST)
        sisters.append(Sister(pair.source, pair.target, declared, policy, lost, tuple(bindings)))
    return Wanted(tuple(sisters), tuple(exchanges[name] for name in sorted(exchanges)), between, tuple(remarks))


_ByDestination = Mapping[str, list[Binding]]


def _by_destination(bindings: Iterable[Binding]) -> tuple[_ByDestination, _ByDestination]:
    """Bindings of queues and of exchanges by what is bound; those from a ladder are left out, as is the default's."""
    found: dict[str, dict[str, list[Binding]]] = {"queue": {}, "exchange": {}}
    for binding in bindings:
        if binding.source and ladder.PREFIX not in binding.source:
            found[binding.destination_type].setdefault(binding.destination, []).append(binding)
    return found["queue"], found["exchange"]


def _bindings(old: Sequence[Binding], pair: Pair) -> list[Binding]:
    """What the sister is bound to: as the old queue is, or where Celery would bind it if that has no binding."""
    # `#.key` beside `key` is what a worker with native delayed delivery added; it adds it again.
    keys = {(binding.source, f"#.{binding.routing_key}") for binding in old}
    kept = [binding for binding in old if (binding.source, binding.routing_key) not in keys]
    kept = kept or [Binding(CELERY_EXCHANGE, pair.target, "queue", pair.target)]
    return [replace(binding, destination=pair.target) for binding in kept]


def _dead_letters_to(keys: Iterable[Translation]) -> str:
    return next((str(key.new) for key in keys if key.key == "dead-letter-exchange"), "")


def _stay_direct(bound: Mapping[str, Sequence[Binding]], dead: Mapping[str, str]) -> dict[str, str]:
    """Exchanges that stay direct if they are, with what is to be said about it."""
    stay: dict[str, str] = {}
    waits = "ETA tasks that Celery sends to it wait in the worker"
    # A queue that dead-letters is not where dead letters end; an exchange with such queues does not only dead-letter.
    tasks = {binding.source for name in dead for binding in bound[name]}
    for exchange in sorted(set(dead.values()) - tasks):
        stay[exchange] = ""
    for binding in (binding for bindings in bound.values() for binding in bindings):
        name, key = binding.source, binding.routing_key
        if name.startswith("amq."):
            stay[name] = f'exchange "{name}" is direct and cannot be another: {waits}'
        elif {"*", "#"} & set(key.split(".")):
            stay[name] = f'exchange "{name}" stays direct, a topic exchange would read "{key}" as a pattern: {waits}'
    return stay


def _reached(
    source: Vhost, names: set[str], dead: set[str], to_exchanges: _ByDestination
) -> tuple[dict[str, Exchange], tuple[Binding, ...]]:
    """The exchanges of these names, all that lead to them, and all that take what they cannot route."""
    exchanges: dict[str, Exchange] = {}
    between: list[Binding] = []
    left = sorted(names | dead)
    while left:
        name = left.pop()
        exchange = source.exchanges.get(name, Exchange(name, "topic") if name in names else None)
        if name in exchanges or exchange is None:
            continue
        exchanges[name] = exchange
        if alternate := exchange.arguments.get("alternate-exchange"):
            left.append(str(alternate))
        for binding in to_exchanges.get(name, []):
            between.append(binding)
            left.append(binding.source)
    return exchanges, tuple(sorted(between, key=lambda b: (b.source, b.destination, b.routing_key)))


def _nobody_takes(dead: set[str], exchanges: Mapping[str, Exchange], names: set[str]) -> list[str]:
    return [
        f'dead-letter exchange "{name}" '
        + (
            "has no queue in scope: what it gets is dropped until one is bound to it"
            if name in exchanges
            else "is not on the source either: what is dead-lettered is dropped, as before"
        )
        for name in sorted(dead - names)
    ]


#: Keys of policies that say something about an exchange.
_OF_EXCHANGES = frozenset({"alternate-exchange", "federation-upstream", "federation-upstream-set"})


def _exchange_policies(source: Vhost, exchanges: Iterable[str]) -> list[str]:
    return [
        f'policy "{policy.name}" of the source sets {", ".join(sorted(keys))} of exchanges: it is not carried over'
        for policy in source.policies
        if policy.apply_to in ("exchanges", "all")
        and (keys := _OF_EXCHANGES & policy.definition.keys())
        and any(pattern_matches(policy.pattern, name) for name in exchanges)
    ]


def _rank(binding: Binding, exchange: Exchange, pair: Pair) -> tuple[bool, bool, str, str]:
    """Which of several bindings Celery declares: one to a topic exchange, by the queue's name, if there is one."""
    name = binding.routing_key in (pair.source.name, pair.target)
    return exchange.type != "topic", not name, binding.source, binding.routing_key


def shown(given: Arguments) -> str:
    """Arguments as people read them."""
    return ", ".join(f"{key}: {value}" for key, value in sorted(given.items())) or "nothing"


def kombu_ladder(queue_type: str) -> Topology:
    """What kombu's `declare_native_delayed_delivery_exchanges_and_queues` declares, `queue_type` quorum or classic."""
    exchanges: list[Exchange] = []
    queues: list[Declared] = []
    bindings: list[Binding] = []
    for level in reversed(range(ladder.LEVELS)):
        name = ladder.level_name(level)
        below = ladder.level_name(level - 1) if level else ladder.DELIVERY_EXCHANGE
        stars = "*." * (ladder.LEVELS - 1 - level)
        given: dict[str, object] = {
            QUEUE_TYPE: queue_type,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**level * 1000,
            "x-dead-letter-exchange": below,
        }
        if queue_type == "quorum":
            given["x-dead-letter-strategy"] = "at-least-once"
        exchanges.append(Exchange(name, "topic"))
        queues.append(Declared(name, given))
        bindings.append(Binding(name, name, "queue", f"{stars}1.#"))
        bindings.append(Binding(name, below, "exchange", f"{stars}0.#"))
    exchanges.append(Exchange(ladder.DELIVERY_EXCHANGE, "topic"))
    return Topology(tuple(exchanges), tuple(queues), tuple(bindings))


def entries() -> Topology:
    """Our exchanges before the ladder's queues (`core.ladder`, rule 3)."""
    names = [(ladder.entry_name(level), ladder.level_name(level)) for level in range(ladder.LEVELS)]
    return Topology(
        tuple(Exchange(name, "fanout") for name, _ in names),
        (),
        tuple(Binding(name, level, "queue", "") for name, level in names),
    )


def own(instance: str, version: Version) -> tuple[Declared, ...]:
    """The bridge's own queues: its state, which one active bridge holds, and the quarantine (design, 4.9 and 8).

    Looking at the quarantine returns its messages, a bridge that ends returns the state, and what returns too often is
    dropped from 4.0 on. There -1 is no limit; 3.10.8 drops a message at its first return with it.
    """
    control, quarantine = own_queues(instance)
    unlimited = {DELIVERY_LIMIT_ARGUMENT: -1} if version >= DELIVERY_LIMIT_SINCE else {}
    return (
        Declared(control, {QUEUE_TYPE: "quorum", "x-single-active-consumer": True, **unlimited}),
        Declared(quarantine, {QUEUE_TYPE: "quorum", **unlimited}),
    )


#: Where messages enter the quarantine: their routing keys say where they were and why they are there.
QUARANTINE_EXCHANGE = Exchange(QUARANTINE, "fanout")
QUARANTINE_BINDING = Binding(QUARANTINE, QUARANTINE, "queue", "")


def serves(mine: Declared, there: Arguments) -> bool:
    """Whether a queue that is declared like this can be used as one of our own: a delivery limit is no hindrance."""
    decisive = [
        {key: value for key, value in given.items() if key != DELIVERY_LIMIT_ARGUMENT}
        for given in (mine.arguments, there)
    ]
    return decisive[0] == decisive[1]


def exits(sisters: Iterable[str]) -> tuple[Binding, ...]:
    """Our exits from the ladder (design, 4.3)."""
    return tuple(
        Binding(ladder.DELIVERY_EXCHANGE, name, "queue", ladder.exit_pattern(name)) for name in sorted(sisters)
    )
