"""The least rights of the bridge's users, as RabbitMQ takes them: three regular expressions a vhost, and tags.

1. **Names, not patterns.** An expression lists the names it is for; the ladder's are written as one pattern.
2. **A pattern of `queues.include` stays one** where every queue that it matches is in scope: queues that appear later
   are then covered. `*` never is: it would match everybody's queues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bridge.core import ladder
from bridge.core.pairs import Pair
from bridge.core.plan import Plan, Step
from bridge.core.rights import OF_LEGACY, Right, needed, of_reverse
from bridge.core.sister_policies import escape

#: The ladder's 28 levels, and with its delivery exchange.
_LEVELS = frozenset(map(ladder.level_name, range(ladder.LEVELS)))
_LEVELS_PATTERN = "celery_delayed_([0-9]|1[0-9]|2[0-7])"
#: Our exchanges before them.
_ENTRIES = frozenset(map(ladder.entry_name, range(ladder.LEVELS)))
_ENTRIES_PATTERN = escape(ladder.ENTRY_PREFIX) + "([0-9]|1[0-9]|2[0-7])"
_LADDER_PATTERN = "celery_delayed_([0-9]|1[0-9]|2[0-7]|delivery)"
#: Tags, the one that may least first; each may what those before it may.
_TAGS = ("management", "policymaker", "administrator")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user needs in a vhost. The tag is for the HTTP API only."""

    configure: str
    write: str
    read: str
    tag: str

    def as_json(self) -> dict[str, str]:
        """As `bridge permissions --json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Grants:
    """What the daemon needs on both sides, and what the daemon and `bridge apply` need together on the target."""

    source: Grant
    target: Grant
    apply: Grant
    #: What the daemon needs on the legacy side of the inline layout; None in the other.
    legacy: Grant | None = None

    def as_json(self) -> dict[str, Any]:
        """As `bridge permissions --json` prints it."""
        every = {"source": self.source, "target": self.target, "apply": self.apply, "legacy": self.legacy}
        return {name: grant.as_json() for name, grant in every.items() if grant is not None}


def grants(
    pairs: Iterable[Pair],
    every: Iterable[str],
    include: Sequence[str],
    plan: Plan,
    instance: str,
    backup: str | None = None,
    probe: str = "",
    *,
    inline: bool = False,
    reverse: bool = False,
) -> Grants:
    """The rights for `pairs`.

    Args:
        pairs: queues in scope and their sisters.
        every: names of all queues of the source.
        include: `queues.include`.
        plan: for a target on which nothing is yet: what is there already needs no right.
        instance: of the bridge.
        backup: side of the backup stream; None: there is none.
        probe: queue of the probe; empty: there is none.
        inline: there is a legacy side.
        reverse: tasks are to be brought back as well.
    """
    listed = list(pairs)
    both = [(pair.source.name, pair.target) for pair in listed]
    rights = [*needed(both, instance, backup, probe), *(of_reverse(both, inline=inline) if reverse else ())]
    same = {pair.source.name for pair in listed if pair.target == pair.source.name}
    scope = {pair.source.name for pair in listed}
    names = set(every)
    patterns = {
        pattern: caught
        for pattern in include
        if (caught := _caught(pattern, names)) and caught <= scope and len(caught) > 1
    }
    on_target = {pattern: caught for pattern, caught in patterns.items() if caught <= same}
    steps = [right for step in plan.steps for right in step.needs]
    return Grants(
        _grant((right for right in rights if right.side == "source"), patterns),
        _grant((right for right in rights if right.side == "target"), on_target),
        _grant([*(right for right in rights if right.side == "target"), *steps], on_target, _tag(plan.steps)),
        _grant([OF_LEGACY], {}) if inline else None,
    )


def _tag(steps: Iterable[Step]) -> str:
    return max((step.tag for step in steps if not step.optional), key=_TAGS.index, default=_TAGS[0])


def _caught(pattern: str, names: Iterable[str]) -> set[str]:
    """The names that a shell pattern with something of its own matches; `*` alone, or a plain name, catches nothing."""
    if not re.sub(r"[*?]", "", pattern) or not re.search(r"[*?]", pattern) or "[" in pattern:
        return set()
    expression = re.compile(_expression(pattern), re.DOTALL)
    return {name for name in names if expression.fullmatch(name)}


def _expression(pattern: str) -> str:
    """A shell pattern of `*` and `?` as a regular expression."""
    return "".join({"*": ".*", "?": "."}.get(char) or escape(char) for char in pattern)


def _grant(rights: Iterable[Right], patterns: Mapping[str, set[str]], tag: str = _TAGS[0]) -> Grant:
    names: dict[str, set[str]] = {"configure": set(), "write": set(), "read": set()}
    for right in rights:
        names[right.right].add(right.name)
    return Grant(
        configure=_covering(names["configure"], patterns),
        write=_covering(names["write"], patterns),
        read=_covering(names["read"], patterns),
        tag=tag,
    )


def _covering(names: set[str], patterns: Mapping[str, set[str]]) -> str:
    """One expression for all `names`; `^$`, which matches nothing, for none."""
    left = set(names)
    parts: list[str] = []
    if left >= _LEVELS:
        delivery = ladder.DELIVERY_EXCHANGE in left
        left -= _LEVELS | {ladder.DELIVERY_EXCHANGE}
        parts.append(_LADDER_PATTERN if delivery else _LEVELS_PATTERN)
    if left >= _ENTRIES:
        left -= _ENTRIES
        parts.append(_ENTRIES_PATTERN)
    for pattern, caught in patterns.items():
        if caught <= names:
            parts.append(_expression(pattern))
            left -= caught
    parts += [escape(name) for name in sorted(left)]
    if not parts:
        return "^$"
    return f"^{parts[0]}$" if len(parts) == 1 else f"^({'|'.join(parts)})$"
