"""What an old queue's arguments and policies come to on its quorum sister: old effective value, new effective value.

1. **Effective** is what the broker does when an argument and a policy say different things. Which of them wins depends
   on the key, the type of the queue and the broker's version; the rules are RabbitMQ's own, read in its 3.10.8, 4.0.5
   and 4.3.6 (`rabbit_amqqueue_process`, `rabbit_quorum_queue`).
2. **Nothing is lost in silence.** Each key that has no equal on a quorum queue has a row that says why. A key without a
   row is lost too, and says that it has none.
3. **What a policy can say may stay an argument.** The sister is declared with what the application will declare and
   nothing more, so that no worker gets a 406 (design, section 5); `wanted.py` decides which.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bridge.core.topology import Queue

Version = tuple[int, ...]

#: Priorities mean something on a quorum queue from here on: two classes, over 4 and the rest (semantics.md, 8.2).
TWO_CLASSES: Version = (4, 0)
#: And from here on 32 strict levels.
STRICT_PRIORITIES: Version = (4, 3)
#: From here on a quorum queue without a delivery limit of its own has one (semantics.md, 7.3).
DELIVERY_LIMIT_SINCE: Version = (4, 0)
DELIVERY_LIMIT = 20
#: From here on a queue can have a consumer timeout of its own; a policy with it is refused before.
TIMEOUT_PER_QUEUE: Version = (3, 12)
#: From here on `expires` of a quorum queue is the smaller of policy and argument; before it is the policy's.
_SMALLER_EXPIRES: Version = (4, 0)


class How(enum.StrEnum):
    """What becomes of a key."""

    #: The broker does the same, or the nearest it can, without being told.
    KEPT = "kept"
    #: A policy can give it to the sister; it stays an argument where the application declares it.
    POLICY = "policy"
    #: Goes into the sister's declaration: no policy can say it.
    ARGUMENT = "argument"
    #: Has no equal on a quorum queue.
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Value:
    """An effective value and where it comes from: `argument`, `policy` or `both`."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Translation:
    """One key, from the old queue to its sister.

    Attributes:
        key: without the `x-` of arguments.
        old: effective value of the old queue.
        new: effective value of the sister; for POLICY and ARGUMENT the value to give it, else what the broker does.
        how: what becomes of it.
        reason: why, and what else changes.
    """

    key: str
    old: Value
    new: object
    how: How
    reason: str


# -- effective values
# ------------------------------------------------------------------------------------------------------


def _smaller(policy: object, argument: object) -> object:
    if isinstance(policy, int) and isinstance(argument, int):
        return min(policy, argument)
    return argument


def _larger_if_unlimited(policy: object, argument: object) -> object:
    """Delivery limits since 4.0: a negative one means none and loses to a limit."""
    if isinstance(policy, int) and isinstance(argument, int) and min(policy, argument) < 0:
        return max(policy, argument)
    return _smaller(policy, argument)


def _policys(policy: object, _argument: object) -> object:
    return policy


def _arguments(_policy: object, argument: object) -> object:
    return argument


_Resolve = Callable[[object, object], object]
_SMALLER_OF = ("expires", "message-ttl", "max-length", "max-length-bytes", "consumer-timeout", "delivery-limit")
#: Which of policy and argument wins where both are set; the argument where nothing is said.
_RULES: Mapping[str, Mapping[str, _Resolve]] = {
    "classic": dict.fromkeys(_SMALLER_OF, _smaller),
    "quorum": {**dict.fromkeys(_SMALLER_OF, _smaller), "overflow": _policys},
}
#: Read from the declaration only; a policy with such a key is accepted and does nothing.
_ARGUMENT_ONLY = frozenset({"max-priority", "single-active-consumer"})


def effective(queue: Queue, version: Version = (4, 3)) -> Mapping[str, Value]:
    """What is in force on a queue, by key without `x-`; `queue-type` is left out.

    Args:
        queue: with its arguments and its effective policy, the operator policy merged in.
        version: the broker's.
    """
    rules = dict(_RULES.get(queue.type, {}))
    if queue.type == "quorum" and version < _SMALLER_EXPIRES:
        rules["expires"] = _policys
    if queue.type == "quorum" and version >= DELIVERY_LIMIT_SINCE:
        rules["delivery-limit"] = _larger_if_unlimited
    values = {key: Value(value, "policy") for key, value in queue.policy.items() if key not in _ARGUMENT_ONLY}
    for name, argument in queue.arguments.items():
        key = name.removeprefix("x-")
        if key == "queue-type":
            continue
        if key in values:
            values[key] = Value(rules.get(key, _arguments)(values[key].value, argument), "both")
        else:
            values[key] = Value(argument, "argument")
    return MappingProxyType(values)


# -- the table
# -------------------------------------------------------------------------------------------------------------

_Answer = tuple[object, How, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One key of the table: an example for the printed page, and what becomes of a value on a target of a version."""

    key: str
    example: object
    answer: Callable[[object, Version], _Answer]


def _to_policy(reason: str) -> Callable[[object, Version], _Answer]:
    return lambda value, _version: (value, How.POLICY, reason)


def _gone(instead: str, reason: str) -> Callable[[object, Version], _Answer]:
    return lambda _value, _version: (instead, How.LOST, reason)


def _overflow(value: object, _version: Version) -> _Answer:
    if value == "reject-publish-dlx":
        reason = "a quorum queue has no reject-publish-dlx: what does not fit is refused, and not dead-lettered as well"
        return "reject-publish", How.POLICY, reason
    if value == "reject-publish":
        return (
            value,
            How.POLICY,
            "a full sister refuses: the bridge leaves the message in the old queue and tries again",
        )
    return value, How.POLICY, "what does not fit pushes out the oldest message, as before"


def _max_priority(value: object, version: Version) -> _Answer:
    never = "x-max-priority on a quorum queue is refused (406)"
    if version < TWO_CLASSES:
        return (
            "ignored",
            How.LOST,
            f"{never}; before RabbitMQ 4.0 it delivers in order of arrival, whatever the priority",
        )
    if version < STRICT_PRIORITIES:
        reason = f"{never}; 4.0 to 4.2 know two classes, served 2 to 1: no strict order, and none within a class"
        return "two classes: 0 to 4, and 5 up", How.LOST, reason
    if isinstance(value, int) and value > 31:
        return (
            "32 levels: 0 to 31",
            How.LOST,
            f"{never}; 4.3 has 32 strict levels without being told, priorities over 31 are one",
        )
    reason = f"{never}; 4.3 has 32 strict levels without being told; a message without a priority has 4, not 0"
    return "32 levels: 0 to 31", How.KEPT, reason


def _consumer_timeout(value: object, version: Version) -> _Answer:
    if version < TIMEOUT_PER_QUEUE:
        return "the broker's", How.LOST, "before RabbitMQ 3.12 there is one for the whole broker (consumer_timeout)"
    return value, How.POLICY, "milliseconds; without it the broker's, 30 minutes unless configured"


def _single_active(value: object, _version: Version) -> _Answer:
    if value is not True:
        return "off", How.KEPT, "off is what a queue has without being told"
    return (
        True,
        How.ARGUMENT,
        "only the declaration can ask for it: the application declares it too, or its workers get a 406",
    )


_MIRRORS = (
    "mirroring ends with classic queues; a quorum queue has 3 replicas (x-quorum-initial-group-size) without being told"
)
_PLACED = "the sister's leader is placed by queue-leader-locator: client-local without being told, or balanced"

TABLE: tuple[Row, ...] = (
    Row(
        "message-ttl",
        60000,
        _to_policy(
            "milliseconds, counted anew from the moment a message is moved; never for the ladder, which it would make "
            "early"
        ),
    ),
    Row(
        "expires",
        86400000,
        _gone("never", "a queue that deletes itself takes the tasks in it along; such queues are not moved"),
    ),
    Row("max-length", 100000, _to_policy("a quorum queue can pass it by a few messages before it acts")),
    Row("max-length-bytes", 1073741824, _to_policy("bodies only, as before; can be passed by a few messages")),
    Row("overflow", "reject-publish-dlx", _overflow),
    Row(
        "dead-letter-exchange",
        "dlx",
        _to_policy("the exchange must exist on the target, or what is dead-lettered is dropped"),
    ),
    Row("dead-letter-routing-key", "dead", _to_policy("without it the message keeps its own key")),
    Row("max-priority", 10, _max_priority),
    Row("single-active-consumer", True, _single_active),
    Row(
        "queue-mode",
        "lazy",
        _gone("bodies on disk", "a quorum queue keeps bodies on disk and an index in memory, always"),
    ),
    Row("queue-version", 2, _gone("none", "it chooses the storage of classic queues")),
    Row("queue-master-locator", "min-masters", _gone("client-local", _PLACED)),
    Row("queue-leader-locator", "balanced", _to_policy("has effect when the sister is declared, not later")),
    Row("ha-mode", "all", _gone("3 replicas", _MIRRORS)),
    Row("ha-params", 2, _gone("3 replicas", _MIRRORS)),
    Row("ha-sync-mode", "automatic", _gone("always", "a replica catches up by itself")),
    Row("ha-sync-batch-size", 4096, _gone("none", "a replica catches up by itself")),
    Row(
        "ha-promote-on-shutdown",
        "when-synced",
        _gone("always", "only a replica that has every confirmed message leads"),
    ),
    Row(
        "ha-promote-on-failure", "when-synced", _gone("always", "only a replica that has every confirmed message leads")
    ),
    Row("consumer-timeout", 7200000, _consumer_timeout),
    Row("delivery-limit", 50, _to_policy("from 4.0 on it is 20 without being told; -1 is none")),
    Row(
        "federation-upstream", "east", _gone("none", "federation ties the old queue to another broker: set it up anew")
    ),
    Row(
        "federation-upstream-set",
        "all",
        _gone("none", "federation ties the old queue to another broker: set it up anew"),
    ),
)
_BY_KEY = {row.key: row for row in TABLE}


def translate(queue: Queue, target_version: Version, source_version: Version = (3, 10)) -> list[Translation]:
    """Every effective key of an old queue and what it comes to on a quorum queue of the target, by key.

    Args:
        queue: the old one.
        target_version: the target broker's.
        source_version: the source broker's.
    """
    found = []
    for key, old in sorted(effective(queue, source_version).items()):
        row = _BY_KEY.get(key)
        if row is None:
            new, how, reason = "none", How.LOST, "no row in the table: a plugin's, or newer than this version knows"
            found.append(Translation(key, old, new, how, reason))
        else:
            found.append(Translation(key, old, *row.answer(old.value, target_version)))
    return found


# -- the page
# --------------------------------------------------------------------------------------------------------------

#: Versions of the target between which an answer can change, first of each span.
_SPANS: tuple[Version, ...] = ((3, 10), (3, 12), (4, 0), (4, 3))
_HEAD = """\
# Arguments and policies of the old queues

Written from the table in `bridge/core/translate.py`; do not edit.

What is in force on an old queue comes from its arguments and its policy. Where both say something, the smaller number
wins for TTL, expiry and lengths, and the argument for all else; on a quorum queue a policy's `overflow` wins over the
argument's. The sister queue gets it as follows: **policy** by a policy on the target, or as an argument again where the
application declares it; **argument** by the declaration only; **kept** the broker does without being told; **lost** has
no equal, for the reason given. `bridge check` shows for each queue the old effective value and the new one.

| key | for example | target | becomes | how | reason |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The table as a page of the documentation, in Markdown."""
    lines = []
    for row in TABLE:
        spans: list[tuple[Version, _Answer]] = []
        for version in _SPANS:
            answer = row.answer(row.example, version)
            if not spans or spans[-1][1] != answer:
                spans.append((version, answer))
        for version, (new, how, reason) in spans:
            target = "any" if len(spans) == 1 else f"from {version[0]}.{version[1]}"
            lines.append(f"| `{row.key}` | {row.example} | {target} | {new} | {how} | {reason} |\n")
    return _HEAD + "".join(lines)
