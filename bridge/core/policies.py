"""Which policies apply to a queue, and what they come to, as RabbitMQ works it out (semantics.md, 8.3).

The broker reports the outcome with its statistics, seconds late; for a queue that was just made, or that is only
planned, this says it at once. RabbitMQ matches with PCRE; a pattern that Python cannot read matches nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from bridge.core.topology import Arguments, Policy

_APPLIES = {
    "all": ("classic", "quorum", "stream"),
    "queues": ("classic", "quorum", "stream"),
    "classic_queues": ("classic",),
    "quorum_queues": ("quorum",),
    "streams": ("stream",),
}


class Applied(NamedTuple):
    """What holds for one queue: names of the policy and the operator policy, and their keys merged."""

    policy: str | None
    operator: str | None
    definition: Arguments


def applied(name: str, kind: str, policies: Iterable[Policy]) -> Applied:
    """What `policies` come to for a queue.

    Args:
        name: its name.
        kind: its type: `classic`, `quorum` or `stream`.
        policies: policies and operator policies of its vhost.
    """
    matching = [policy for policy in policies if kind in _APPLIES.get(policy.apply_to, ()) and _matches(policy, name)]
    ours = max((p for p in matching if not p.operator), key=lambda p: p.priority, default=None)
    operator = max((p for p in matching if p.operator), key=lambda p: p.priority, default=None)
    merged = dict(ours.definition) if ours else {}
    for key, value in (operator.definition if operator else {}).items():
        mine = merged.get(key)
        # Of two limits the smaller holds; of anything else, the operator's.
        merged[key] = min(mine, value) if isinstance(mine, int) and isinstance(value, int) else value
    return Applied(ours.name if ours else None, operator.name if operator else None, merged)


def _matches(policy: Policy, name: str) -> bool:
    try:
        return re.search(policy.pattern, name) is not None
    except re.error:
        return False
