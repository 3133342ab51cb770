"""The rules in one list, and the findings in their order.

1. **A rule looks, and yields.** It takes the world and yields what it found; it calls no other rule and stops none.
2. **Only ids of the table.** What a rule yields gets its severity there.
3. **Notes that say the same are one.** A thousand queues that lose their lazy mode are one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bridge.core.check import delays, inline, messages, queues, routing, sides, sisters
from bridge.core.check.finding import Finding, Found, Severity, subject
from bridge.core.check.table import KINDS
from bridge.core.check.world import World

Rule = Callable[[World], Iterator[Found]]

RULES: tuple[Rule, ...] = (
    *(sides.same_vhost, sides.versions, sides.feature_flags, sides.alarms, sides.nodes, sides.room),
    *(sides.vhost_limits, sides.default_queue_type, sides.transient_queues, sides.rights, sides.not_looked_at),
    *(queues.scope, queues.available, queues.consumers, queues.settings, queues.results, queues.held_elsewhere),
    *(sisters.sisters, sisters.policies, sisters.unusable_policies, sisters.own_queues, sisters.returns),
    *(delays.whole, delays.policies, delays.stuck, delays.own_exits),
    *(routing.collisions, routing.final_bindings, routing.exchange_types, routing.key_lengths),
    *(messages.sizes, messages.expirations, messages.eta_priorities),
    *(inline.legacy_queues, inline.legacy_rights),
)

_ORDER = {severity: number for number, severity in enumerate(Severity)}


def check(world: World, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """Every finding: the gravest first, then by subject."""
    names: dict[tuple[str, str, str, str, str], list[str]] = {}
    for rule in rules:
        for found in rule(world):
            # What is not a note stays apart by name.
            alone = "" if KINDS[found.id].severity is Severity.NOTE else found.name
            same = names.setdefault((found.id, found.place, found.seen, found.todo, alone), [])
            if found.name not in same:
                same.append(found.name)
    findings = [
        Finding(kind, KINDS[kind].severity, subject(place, sorted(found)), seen, todo)
        for (kind, place, seen, todo, _), found in names.items()
    ]
    return sorted(findings, key=lambda finding: (_ORDER[finding.severity], finding.subject, finding.id, finding.seen))


def blocked(findings: Iterable[Finding]) -> bool:
    """Whether one of them is a blocker: `bridge check` exits 1."""
    return any(finding.severity is Severity.BLOCKER for finding in findings)
