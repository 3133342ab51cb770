"""Which queues stand still, read off their status: one answer for the terminal and for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: States of a queue that its route, or the one it waits for, asks to move and that does not.
STALLED: Final = frozenset(("waiting", "throttled", "faulted"))
#: Graver first: the order in which people want to read them.
_ORDER: Final = {"faulted": 0, "waiting": 1, "throttled": 2, "ended": 3, "leaving": 3, "paused": 4, "moving": 5}
_REST: Final = 6


def stalled(queue: Mapping[str, Any]) -> bool:
    """Whether a queue should move and does not: what a metric says and an alert waits on."""
    return queue.get("state") in STALLED


def stands(queue: Mapping[str, Any]) -> bool:
    """Whether a queue is to be looked at first: it should move and does not, or somebody paused it."""
    return stalled(queue) or bool(queue.get("paused"))


def gravity(queue: Mapping[str, Any]) -> int:
    """Where a queue stands in a list: what is faulted first, what moves after it, what is left alone last."""
    if queue.get("paused"):
        return _ORDER["paused"]
    return _ORDER.get(str(queue.get("state")), _REST)
