"""Policies that give sister queues what a policy gave the old ones (design, section 5).

1. **Only the queues meant.** A pattern lists names, nothing else matches: a policy of ours never reaches the ladder,
   where a TTL or an overflow of its own would make tasks early or lose them (semantics.md, 8.3).
2. **One definition, one policy.** Queues with the same keys share one.
3. **RabbitMQ applies one policy to a queue, the one with the highest priority.** Where another one of the target would
   win, ours has a higher priority and carries its keys along. Of a catch-all the old queue's values count; a policy
   that was made for this queue stays as it says, and is only completed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bridge.core.check.policies import chosen, pattern_matches
from bridge.core.topology import Arguments, Policy, Vhost
from bridge.core.wanted import Sister, shown

#: From here on a policy can be for quorum queues only.
QUORUM_ONLY = (3, 12)
#: A name that no queue has: what matches it is a catch-all.
NOBODY = "~"
#: Characters of one pattern; PCRE compiles no more than 64 KiB, and people read it.
PATTERN = 8000
_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")


@dataclass(frozen=True, slots=True)
class Given:
    """A policy of ours, the queues it is for, and what is to be said about it."""

    policy: Policy
    queues: tuple[str, ...]
    note: str


def escape(name: str) -> str:
    """A name as a regular expression that RabbitMQ and people can read."""
    return _SPECIAL.sub(r"\\\g<0>", name)


def exactly(names: Iterable[str]) -> str:
    """A regular expression that matches these names and no other."""
    escaped = [escape(name) for name in names]
    return f"^{escaped[0]}$" if len(escaped) == 1 else f"^({'|'.join(escaped)})$"


def prefix(instance: str) -> str:
    """What the names of this bridge's policies begin with."""
    return f"bridge.{instance}."


def given(sisters: Iterable[Sister], target: Vhost, instance: str) -> list[Given]:
    """The policies that are wanted, those that are there already included."""
    others = [policy for policy in target.policies if not policy.name.startswith(prefix(instance))]
    apply_to = "quorum_queues" if target.version >= QUORUM_ONLY else "queues"
    groups: dict[str, list[str]] = {}
    terms: dict[str, tuple[Arguments, int, str]] = {}
    for sister in sisters:
        if not sister.policy:
            continue
        rival = chosen(others, sister.name, "quorum", operator=False)
        if rival is not None and _says(rival, sister.policy):
            continue
        # The name stays when only a value of the rival changes: the policy is then changed, not doubled.
        key = repr((sorted(sister.policy.items(), key=str), rival and rival.name))
        groups.setdefault(key, []).append(sister.name)
        terms[key] = _terms(sister.policy, rival)
    found = []
    for key, members in groups.items():
        definition, priority, note = terms[key]
        word = hashlib.sha256(key.encode()).hexdigest()[:8]
        for number, names in enumerate(_portions(members)):
            name = f"{prefix(instance)}{word}" + (f".{number}" if number else "")
            found.append(Given(Policy(name, exactly(names), apply_to, definition, priority), names, note))
    return sorted(found, key=lambda each: each.queues)


def stale(wanted: Iterable[Given], target: Vhost, instance: str, names: Iterable[str]) -> Iterator[Policy]:
    """Policies of an earlier plan that are not wanted any more and still reach a sister queue."""
    current = {each.policy.name for each in wanted}
    sisters = list(names)
    for policy in target.policies:
        if policy.operator or not policy.name.startswith(prefix(instance)) or policy.name in current:
            continue
        if any(pattern_matches(policy.pattern, name) for name in sisters):
            yield policy


def _catch_all(policy: Policy) -> bool:
    return pattern_matches(policy.pattern, NOBODY) is True


def _says(rival: Policy, keys: Arguments) -> bool:
    """Whether a policy of the target already says what is needed."""
    if _catch_all(rival):
        return all(key in rival.definition and rival.definition[key] == value for key, value in keys.items())
    return keys.keys() <= rival.definition.keys()


def _terms(keys: Arguments, rival: Policy | None) -> tuple[Arguments, int, str]:
    """Definition, priority and note of the policy for queues with these keys and this rival."""
    if rival is None:
        return dict(keys), 1, ""
    if not _catch_all(rival):
        return (
            {**keys, **rival.definition},
            rival.priority + 1,
            f'completes policy "{rival.name}", which would win, and whose keys stay as they are',
        )
    replaced = {key: value for key, value in rival.definition.items() if key in keys and keys[key] != value}
    carried = {key: value for key, value in rival.definition.items() if key not in keys}
    note = f'goes before policy "{rival.name}"'
    if carried:
        note += f", of which it carries along {shown(carried)}"
    if replaced:
        note += f", of which {shown(replaced)} does not hold for them"
    return {**carried, **keys}, rival.priority + 1, note


def _portions(names: list[str]) -> Iterator[tuple[str, ...]]:
    """The names in groups whose pattern is not too long."""
    portion: list[str] = []
    length = 0
    for name in names:
        size = len(escape(name)) + 1
        if portion and length + size > PATTERN:
            yield tuple(portion)
            portion, length = [], 0
        portion.append(name)
        length += size
    yield tuple(portion)


def body(policy: Policy) -> Mapping[str, object]:
    """A policy as the HTTP API takes it."""
    return {
        "pattern": policy.pattern,
        "definition": dict(policy.definition),
        "priority": policy.priority,
        "apply-to": policy.apply_to,
    }
