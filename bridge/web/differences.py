"""What changed from one status to the next: little goes to whoever looks on, however many queues there are.

1. Of the whole and of each queue, only the keys that changed.
2. An age (`age_s`) that has only grown is no change: who looks on can count himself, from `now` on.
3. A key or a queue that is gone is said too: the key is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Where a part of the status says how old it is, in seconds.
AGE = "age_s"
#: Keys of the status that have a form of their own in a change.
_APART = frozenset(("now", "queues", "totals"))
_MISSING = object()


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be told to who knows `before`, so that he knows `after`: both are whole statuses.

    Returns:
        `now` (of `after`), `top` and `totals` (keys that changed), `queues` (of each that changed, its `name` and the
        keys that changed; all keys of one that is new), `gone` (names of queues).
    """
    known = {queue["name"]: queue for queue in before["queues"]}
    queues = []
    for queue in after["queues"]:
        changed = changed_keys(known.pop(queue["name"], {}), queue)
        if changed:
            queues.append({"name": queue["name"], **changed})
    return {
        "now": after.get("now"),
        "top": changed_keys(_without_parts(before), _without_parts(after)),
        "totals": changed_keys(before["totals"], after["totals"]),
        "queues": queues,
        "gone": list(known),
    }


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `after` with another value than before, and null for those that it has no more."""
    changed = {key: value for key, value in after.items() if _differs(before.get(key, _MISSING), value)}
    for key in before:
        if key not in after:
            changed[key] = None
    return changed


def _without_parts(status: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key not in _APART}


def _differs(before: Any, after: Any) -> bool:
    if before == after:
        return False
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return any(
            _differs(before[key], value) if key != AGE else not _grown(before[key], value)
            for key, value in after.items()
        )
    return True


def _grown(before: float | None, after: float | None) -> bool:
    return before == after or (before is not None and after is not None and after >= before)
