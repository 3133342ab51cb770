"""What is still to be made on the target, step by step, and what is in the way (design, section 5).

1. **Only what is not there.** On an applied vhost there is no step; after an interruption there is what is left.
2. **In the order in which nothing is missing**: policies before the queues they are for, exchanges and queues before
   their bindings, the ladder before its exits.
3. **Nothing is deleted or declared anew.** What is there in another shape is a `Conflict`, and a person's to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bridge.core import ladder, sister_policies
from bridge.core.pairs import Pair
from bridge.core.rights import Right
from bridge.core.topology import Binding, Exchange, Policy, Vhost
from bridge.core.wanted import (
    QUARANTINE_BINDING,
    QUARANTINE_EXCHANGE,
    QUEUE_TYPE,
    Declared,
    Topology,
    Wanted,
    entries,
    exits,
    kombu_ladder,
    own,
    serves,
    shown,
    wanted,
)

#: From here on the default queue type of a vhost that exists can be changed.
CHANGES_QUEUE_TYPE = (4, 0)
#: Keys of definitions.json, in the order in which RabbitMQ imports them.
_KINDS = ("vhosts", "policies", "queues", "exchanges", "bindings")
_APPLY = "apply the plan"


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the HTTP API that makes one thing.

    Attributes:
        sentence: what it does, for people.
        method: `PUT` or `POST`.
        path: after `/api/`, encoded.
        body: of the call.
        kind: `vhost`, `policy`, `exchange`, `queue`, `binding`.
        name: of what is made; of a binding, source and destination.
        needs: rights in the vhost.
        tag: of the user: `management`, `policymaker` or `administrator`.
        optional: the migration works without it.
        definition: the same thing in a definitions.json.
    """

    sentence: str
    method: str
    path: str
    body: Mapping[str, object]
    kind: str
    name: str
    needs: tuple[Right, ...]
    tag: str
    definition: Mapping[str, object]
    optional: bool = False

    def as_json(self) -> dict[str, Any]:
        """As `bridge plan --json` prints it."""
        return {
            "sentence": self.sentence,
            "method": self.method,
            "path": f"/api/{self.path}",
            "body": dict(self.body),
            "resource": {"kind": self.kind, "name": self.name},
            "needs": {"tag": self.tag, "rights": [f"{need.right} on {need.kind} {need.name}" for need in self.needs]},
            "optional": self.optional,
        }


@dataclass(frozen=True, slots=True)
class Conflict:
    """What is in the way on the target, what was seen, and what a person has to do."""

    kind: str
    name: str
    seen: str
    todo: str

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}": {self.seen}'


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, what is in the way, what an operator should know, and what it was all worked out from."""

    vhost: str
    steps: tuple[Step, ...]
    conflicts: tuple[Conflict, ...]
    remarks: tuple[str, ...]
    wanted: Wanted

    def as_json(self) -> dict[str, Any]:
        """As `bridge plan --json` prints it."""
        return {
            "target": self.vhost,
            "steps": [step.as_json() for step in self.steps],
            "conflicts": [
                {"resource": {"kind": c.kind, "name": c.name}, "seen": c.seen, "todo": c.todo} for c in self.conflicts
            ],
            "remarks": list(self.remarks),
        }


def plan(source: Vhost, target: Vhost, pairs: Iterable[Pair], instance: str) -> Plan:
    """What is to be made on the target for `pairs`.

    Args:
        source: the old side.
        target: the new side.
        pairs: queues in scope and the names of their sisters.
        instance: of the bridge, as in its configuration.
    """
    want = wanted(source, target, pairs)
    diff = _Diff(target)
    diff.default_queue_type()
    policies = sister_policies.given(want.sisters, target, instance)
    diff.policies(policies)
    diff.stale(sister_policies.stale(policies, target, instance, [sister.name for sister in want.sisters]))
    diff.exchanges(want.exchanges)
    for sister in want.sisters:
        diff.sister(Declared(sister.name, sister.arguments), sister.source.name)
    rungs = kombu_ladder(diff.ladder_type())
    diff.exchanges((*rungs.exchanges, QUARANTINE_EXCHANGE))
    short = diff.entries()
    diff.exchanges(short.exchanges, optional=True)
    for level in rungs.queues:
        diff.level(level)
    for mine in own(instance, target.version):
        diff.own(mine)
    diff.bindings(want.between, "as on the source")
    diff.bindings((binding for sister in want.sisters for binding in sister.bindings), "as the application declares it")
    diff.bindings(rungs.bindings, "the ladder")
    diff.bindings(short.bindings, "the bridge's entry into the ladder", optional=True)
    diff.bindings([QUARANTINE_BINDING], "the quarantine")
    diff.bindings(exits(sister.name for sister in want.sisters), "the bridge's exit from the ladder")
    remarks = (*want.remarks, *_losses(want), *diff.remarks)
    return Plan(target.name, tuple(diff.steps), tuple(diff.conflicts), remarks, want)


def definitions(plan: Plan) -> dict[str, Any]:
    """The steps as a definitions.json that `/api/definitions`, `/api/definitions/<vhost>` and rabbitmqctl import.

    Imported for one vhost, its own part (the default queue type) is not looked at.
    """
    made: dict[str, Any] = {key: [] for key in _KINDS}
    for step in plan.steps:
        made["policies" if step.kind == "policy" else f"{step.kind}s"].append(dict(step.definition))
    return {key: entries for key, entries in made.items() if entries}


def _losses(want: Wanted) -> Iterator[str]:
    """What old queues have and sisters cannot have, each once with all the queues."""
    queues: dict[tuple[str, str], list[str]] = {}
    for sister in want.sisters:
        for key in sister.lost:
            queues.setdefault((key.key, key.reason), []).append(sister.source.name)
    for (word, reason), names in sorted(queues.items()):
        yield f"{word} of {named(names)} is not carried over: {reason}"


def named(queues: Iterable[str], few: int = 5) -> str:
    """`queue "a"`, or how many and the first few of them."""
    names = list(queues)
    if len(names) == 1:
        return f'queue "{names[0]}"'
    return f"{len(names)} queues ({', '.join(names[:few])}{', ...' if len(names) > few else ''})"


class _Diff:
    """Compares with what is there, thing by thing, and gathers steps, conflicts and remarks."""

    def __init__(self, target: Vhost) -> None:
        self._target = target
        self._there = {_key(binding) for binding in target.bindings}
        self._planned: set[tuple[str, ...]] = set()
        self.steps: list[Step] = []
        self.conflicts: list[Conflict] = []
        self.remarks: list[str] = []

    def default_queue_type(self) -> None:
        target = self._target
        if target.default_queue_type in ("quorum", None) and target.version >= CHANGES_QUEUE_TYPE:
            return  # done, or not told: then nothing is changed blindly
        if target.version < CHANGES_QUEUE_TYPE:
            self.remarks.append(
                "before RabbitMQ 4.0 the default queue type of a vhost cannot be changed: only queues that are "
                "declared with x-queue-type quorum are quorum queues"
            )
            return
        # Without description and tags the broker forgets them.
        body = {"default_queue_type": "quorum", "description": target.description, "tags": list(target.tags)}
        self.steps.append(
            Step(
                f'make quorum the default queue type of vhost "{target.name}", for queues that nobody gives a type',
                "PUT",
                _path("vhosts", target.name),
                body,
                "vhost",
                target.name,
                (),
                "administrator",
                {"name": target.name, **body},
                optional=True,
            )
        )

    def policies(self, wanted: Iterable[sister_policies.Given]) -> None:
        there = {policy.name: policy for policy in self._target.policies if not policy.operator}
        for each in wanted:
            policy = each.policy
            if there.get(policy.name) == policy:
                continue
            body = sister_policies.body(policy)
            note = f"; it {each.note}" if each.note else ""
            verb = "change" if policy.name in there else "set"
            self._add(
                f'{verb} policy "{policy.name}" for {named(each.queues)}: {shown(policy.definition)}{note}',
                "PUT",
                _path("policies", self._target.name, policy.name),
                body,
                "policy",
                policy.name,
                (),
                {"name": policy.name, **body},
                tag="policymaker",
            )

    def stale(self, policies: Iterable[Policy]) -> None:
        for policy in policies:
            self.conflicts.append(
                Conflict(
                    "policy",
                    policy.name,
                    f"of an earlier plan, still matches sister queues by {policy.pattern}",
                    "delete it on the target, then plan again",
                )
            )

    def exchanges(self, wanted: Iterable[Exchange], *, optional: bool = False) -> None:
        for exchange in wanted:
            there = self._target.exchanges.get(exchange.name)
            if exchange.name.startswith("amq."):
                continue  # every vhost has them, and nobody can declare them
            if there is None:
                self._exchange(exchange, optional=optional)
            elif there != exchange:
                self.conflicts.append(
                    Conflict(
                        "exchange",
                        exchange.name,
                        f"is there as {_of_exchange(there)}, wanted is {_of_exchange(exchange)}",
                        "delete it on the target while nothing uses it (bindings go with it), then plan again",
                    )
                )

    def _exchange(self, exchange: Exchange, *, optional: bool) -> None:
        body = {
            "type": exchange.type,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            "internal": exchange.internal,
            "arguments": dict(exchange.arguments),
        }
        needs = [_right("configure", "exchange", exchange.name)]
        if alternate := exchange.arguments.get("alternate-exchange"):
            needs += [_right("read", "exchange", exchange.name), _right("write", "exchange", str(alternate))]
        self._add(
            f'declare exchange "{exchange.name}": {_of_exchange(exchange)}',
            "PUT",
            _path("exchanges", self._target.name, exchange.name),
            body,
            "exchange",
            exchange.name,
            needs,
            {"name": exchange.name, **body},
            optional=optional,
        )

    def sister(self, queue: Declared, old: str) -> None:
        there = self._target.queues.get(queue.name)
        if there is None:
            sentence = f'declare quorum queue "{queue.name}"'
            if old != queue.name:
                sentence += f' for "{old}"'
            self._queue(queue, sentence)
        elif there.type != "quorum":
            self.conflicts.append(
                Conflict(
                    "queue",
                    queue.name,
                    f"is there as a {there.type} queue with {there.messages} messages",
                    "empty and delete it on the target, or give its sister another name (queues.settings[].target)",
                )
            )

    def ladder_type(self) -> str:
        """What kind of ladder is there, in part at least; quorum when there is none."""
        for level in range(ladder.LEVELS):
            there = self._target.queues.get(ladder.level_name(level))
            if there is not None and there.type == "classic":
                self.remarks.append(
                    "the ladder on the target has classic queues: it is used as it is, and a broker that fails between "
                    "two levels can lose a task; what is missing of it is declared classic too"
                )
                return "classic"
        return "quorum"

    def entries(self) -> Topology:
        """Our exchanges before the ladder; none where one is there in another shape: all are used or none."""
        wanted, there = entries(), self._target.exchanges
        other = [each.name for each in wanted.exchanges if there.get(each.name, each) != each]
        if not other:
            return wanted
        self.remarks.append(
            f'exchange "{other[0]}" is there as {_of_exchange(there[other[0]])}, the bridge declares '
            f"{_of_exchange(Exchange(other[0], 'fanout'))}: until it is deleted, tasks with an ETA enter the ladder by "
            "Celery's exchanges, which is slower"
        )
        return Topology((), (), ())

    def level(self, wanted: Declared) -> None:
        there = self._target.queues.get(wanted.name)
        if there is None:
            self._queue(wanted, f'declare level "{wanted.name}" of the ladder')
            return
        # A level of the other type is another's choice; what makes it a level is the rest.
        decisive = ("x-message-ttl", "x-dead-letter-exchange")
        wrong = {key: there.arguments.get(key) for key in decisive if there.arguments.get(key) != wanted.arguments[key]}
        if wrong or "x-dead-letter-routing-key" in there.arguments:
            self.conflicts.append(
                Conflict(
                    "queue",
                    wanted.name,
                    f"is there with {shown(there.arguments)}, kombu declares it with {shown(wanted.arguments)}",
                    "wait until it is empty, delete it on the target, then plan again",
                )
            )

    def own(self, wanted: Declared) -> None:
        there = self._target.queues.get(wanted.name)
        if there is None:
            self._queue(wanted, f'declare the bridge\'s own queue "{wanted.name}"')
        elif not serves(wanted, there.arguments):
            self.conflicts.append(
                Conflict(
                    "queue",
                    wanted.name,
                    f"is there with {shown(there.arguments)}, the bridge needs {shown(wanted.arguments)}",
                    "look at what it holds, delete it on the target, then plan again",
                )
            )

    def _queue(self, queue: Declared, sentence: str) -> None:
        body = {"durable": True, "auto_delete": False, "arguments": dict(queue.arguments)}
        needs = [_right("configure", "queue", queue.name)]
        if dead := queue.arguments.get("x-dead-letter-exchange"):
            needs += [_right("read", "queue", queue.name), _right("write", "exchange", str(dead))]
        rest = {key: value for key, value in queue.arguments.items() if key != QUEUE_TYPE}
        self._add(
            sentence + (f": {shown(rest)}" if rest else ""),
            "PUT",
            _path("queues", self._target.name, queue.name),
            body,
            "queue",
            queue.name,
            needs,
            {"name": queue.name, **body},
        )

    def bindings(self, wanted: Iterable[Binding], why: str, *, optional: bool = False) -> None:
        for binding in wanted:
            key = _key(binding)
            if key in self._there or key in self._planned:
                continue
            self._planned.add(key)
            place = "e" if binding.destination_type == "exchange" else "q"
            body = {"routing_key": binding.routing_key, "arguments": dict(binding.arguments)}
            self._add(
                f'bind {binding.destination_type} "{binding.destination}" to exchange "{binding.source}" by '
                f'"{binding.routing_key}" ({why})',
                "POST",
                _path("bindings", self._target.name, "e", binding.source, place, binding.destination),
                body,
                "binding",
                f"{binding.source} -> {binding.destination}",
                (
                    _right("write", binding.destination_type, binding.destination),
                    _right("read", "exchange", binding.source),
                ),
                {
                    "source": binding.source,
                    "destination": binding.destination,
                    "destination_type": binding.destination_type,
                    **body,
                },
                optional=optional,
            )

    def _add(
        self,
        sentence: str,
        method: str,
        path: str,
        body: Mapping[str, object],
        kind: str,
        name: str,
        needs: Iterable[Right],
        definition: Mapping[str, object],
        *,
        tag: str = "management",
        optional: bool = False,
    ) -> None:
        within = {"vhost": self._target.name, **definition}
        self.steps.append(Step(sentence, method, path, body, kind, name, tuple(needs), tag, within, optional))


def _right(right: str, kind: str, name: str) -> Right:
    return Right("target", right, kind, name, _APPLY)


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def _key(binding: Binding) -> tuple[str, ...]:
    arguments = repr(sorted(binding.arguments.items()))
    return binding.source, binding.destination_type, binding.destination, binding.routing_key, arguments


def _of_exchange(exchange: Exchange) -> str:
    kinds = [exchange.type, *(["transient"] if not exchange.durable else [])]
    kinds += [word for word, on in (("auto-delete", exchange.auto_delete), ("internal", exchange.internal)) if on]
    return " ".join(kinds) + (f" with {shown(exchange.arguments)}" if exchange.arguments else "")
