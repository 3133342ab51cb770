"""Which policy a queue gets, as the broker decides it (`rabbit_policy:match` of 3.10.8, 4.0.5 and 4.3.6).

1. A policy must be meant for the queue's type (`apply-to`), match its name, and hold no key foreign to the type:
   one `ha-mode` beside them, and none of its other keys reaches a quorum queue.
2. Of those the one with the highest priority is the only one; the operator policy is chosen apart and merged in.
3. A pattern is found anywhere in the name. The broker's regular expressions are PCRE; those that mean something else in
   Python cannot be judged, and `None` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from bridge.core.topology import Policy, Vhost

#: Policy keys that keep a policy from a queue of a type altogether.
UNSUPPORTED: Mapping[str, frozenset[str]] = {
    "classic": frozenset(
        {
            *("max-age", "stream-max-segment-size-bytes", "queue-leader-locator", "initial-cluster-size"),
            *("delivery-limit", "dead-letter-strategy", "target-group-size"),
        }
    ),
    "quorum": frozenset(
        {
            *("max-priority", "queue-mode", "queue-master-locator", "max-age", "stream-max-segment-size-bytes"),
            *("ha-mode", "ha-params", "ha-sync-mode", "ha-promote-on-shutdown", "ha-promote-on-failure"),
            "initial-cluster-size",
        }
    ),
}
_APPLY_TO = {
    "classic": frozenset({"all", "queues", "classic_queues"}),
    "quorum": frozenset({"all", "queues", "quorum_queues"}),
}
#: Sets within sets and POSIX classes: Python warns that it reads them otherwise.
_OTHERWISE = re.compile(r"\[[^\]]*(\[|--|&&|~~|\|\|)")
#: Keys of which the smaller value counts when policy and operator policy both set them; the operator's of all others.
_SMALLER = frozenset({"message-ttl", "expires", "max-length", "max-length-bytes", "delivery-limit"})


class Applied(NamedTuple):
    """The keys in force on a queue, and the names of the policies they come from."""

    keys: Mapping[str, object]
    names: tuple[str, ...]


def pattern_matches(pattern: str, name: str) -> bool | None:
    """Whether a policy's pattern matches a name; None when Python cannot tell."""
    if _OTHERWISE.search(pattern):
        return None
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return None


def unsupported(policy: Policy, kind: str) -> frozenset[str]:
    """The keys that keep a policy from queues of a type."""
    return UNSUPPORTED[kind] & policy.definition.keys()


def meant_for(policy: Policy, name: str, kind: str) -> bool:
    """Whether a policy is meant for a queue of that name and type, whether or not its keys let it apply."""
    return policy.apply_to in _APPLY_TO[kind] and pattern_matches(policy.pattern, name) is True


def chosen(policies: Iterable[Policy], name: str, kind: str, *, operator: bool) -> Policy | None:
    """The one policy (or operator policy) that a queue gets."""
    matching = (
        policy
        for policy in policies
        if policy.operator is operator and meant_for(policy, name, kind) and not unsupported(policy, kind)
    )
    return max(matching, key=lambda policy: policy.priority, default=None)


def applied(vhost: Vhost, name: str, kind: str) -> Applied:
    """What policies say for a queue: as the broker tells for one that exists, as it would decide for another.

    Args:
        vhost: the side.
        name: the queue's.
        kind: `quorum` or `classic`, for a queue that does not exist yet.
    """
    queue = vhost.queues.get(name)
    if queue is not None:
        names = (queue.policy_name, queue.operator_policy_name)
        return Applied(queue.policy, tuple(name for name in names if name))
    keys: dict[str, object] = {}
    names_chosen = []
    for operator in (False, True):
        policy = chosen(vhost.policies, name, kind, operator=operator)
        if policy is not None:
            names_chosen.append(policy.name)
            for key, value in policy.definition.items():
                keys[key] = _merged(key, keys[key], value) if key in keys else value
    return Applied(MappingProxyType(keys), tuple(names_chosen))


def _merged(key: str, value: object, operators: object) -> object:
    if key in _SMALLER and isinstance(value, int) and isinstance(operators, int):
        return min(value, operators)
    return operators
