"""What changed from one status to the next: little goes to whoever looks on, however many queues there are.

1. Of the whole and of each queue, only the keys that changed.
2. An age (`age_s`) that has only grown is no change: who looks on can count himself, from `now` on.
3. A key or a queue that is gone is said too: the key is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Where a part of the status says how old it is, in seconds.
AGE = "age_s"
#: Keys of the status that have a form of their own in a change.
_APART = frozenset(("now", "queues", "totals"))
#: Keys of a queue that its row has as they are.
_LISTED = ("target", "route", "paused", "state", "why", "drained", "next", "rate")
_MISSING = object()


def around(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What changed beside the queues: `now` (of `after`), `top` and `totals` (keys that changed)."""
    top = ({key: value for key, value in status.items() if key not in _APART} for status in (before, after))
    return {
        "now": after.get("now"),
        "top": changed_keys(*top),
        "totals": changed_keys(before["totals"], after["totals"]),
    }


def listed(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What changed among queues: `queues` (of each that changed, its `name` and the keys that changed; all keys of one
    that is new), `gone` (names).
    """
    known = {queue["name"]: queue for queue in before}
    queues = []
    for queue in after:
        changed = changed_keys(known.pop(queue["name"], {}), queue)
        if changed:
            queues.append({"name": queue["name"], **changed})
    return {"queues": queues, "gone": list(known)}


def rows(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a list of queues shows of each: a tenth of what the status says.

    `depth` is [ready, unacked, consumers of the old queue, ready, consumers of the new one]; `planned` whether a verb
    is; `shut` the first check of the gate that fails, empty where all pass, null where nobody looked.
    """
    return [_row(queue) for queue in status["queues"]]


def _row(queue: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: queue.get(key) for key in _LISTED}
    depth, gate = queue.get("depth") or {}, queue.get("gate")
    old, new = depth.get("old") or {}, depth.get("new") or {}
    row["name"] = queue["name"]
    row["depth"] = [old.get("ready"), old.get("unacked"), old.get("consumers"), new.get("ready"), new.get("consumers")]
    row["planned"] = queue.get("planned") is not None
    row["shut"] = None if gate is None else next((check["text"] for check in gate if not check["ok"]), "")
    return row


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `after` with another value than before, and null for those that it has no more."""
    if before == after:
        return {}
    changed = {key: value for key, value in after.items() if _differs(before.get(key, _MISSING), value)}
    for key in before:
        if key not in after:
            changed[key] = None
    return changed


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
