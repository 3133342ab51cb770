"""One sentence: why it is not moving, or what waits. The gravest reason comes first; others of its kind are counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Side(NamedTuple):
    """An end: what it is called, whether it is connected, and why it is not, or why it takes no publishes."""

    name: str
    connected: bool
    reason: str


class Stand(NamedTuple):
    """How a queue stands: its state and why, its route, and whether more comes than is moved."""

    name: str
    state: str
    why: str
    route: str
    grows: str = ""


#: States in which a queue does not move and should, the gravest first, and what is said of it.
_STATES = {
    "faulted": "is faulted: ",
    "throttled": "is throttled: ",
    "waiting": "waits ",
    "leaving": "leaves: ",
    "standby": "is on standby: ",
    "paused": "is ",
}


def why_first(
    state: str, standby: str, sides: Sequence[Side], stuck: Sequence[int], ladder: str, queues: Sequence[Stand]
) -> str:
    """The sentence; empty when all moves.

    Args:
        state: of the daemon.
        standby: who is the active one, while this one is not.
        sides: the ends.
        stuck: levels of the ladder in which due messages stay.
        ladder: why ETA tasks cannot move; empty when they can.
        queues: all in scope.
    """
    kinds: dict[str, list[Stand]] = {name: [] for name in _STATES}
    for one in queues:
        kinds.get(one.state, []).append(one)
    reasons = itertools.chain(
        _of_daemon(state, standby), _of_sides(sides), _of_queues(kinds, queues, stuck, ladder), _of_rest(queues)
    )
    return next(reasons, "")


def _of_daemon(state: str, standby: str) -> Iterator[str]:
    if standby:
        yield f"on standby: {standby}"
    if state != "active":
        yield f"the bridge is {state}"


def _of_sides(sides: Sequence[Side]) -> Iterator[str]:
    for side in sides:
        if not side.connected:
            yield f"{side.name} is not connected: {side.reason or 'no reason known'}"
    for side in sides:
        if side.reason:
            yield f"{side.name} takes no publishes: {side.reason}"


def _of_queues(
    kinds: Mapping[str, Sequence[Stand]], queues: Sequence[Stand], stuck: Sequence[int], ladder: str
) -> Iterator[str]:
    """What keeps queues from moving."""
    if not queues:
        yield "no queue is in scope"
    for name, said in _STATES.items():
        found = kinds[name]
        if found:
            # A reason may name its queue itself.
            why = found[0].why.replace(f'queue "{found[0].name}": ', "", 1)
            yield _more(f'queue "{found[0].name}" {said}{why}', len(found) - 1)
        if name != "faulted":
            continue
        if ladder:
            yield f"ETA tasks cannot move: {ladder}"
        if stuck:
            levels = ("level " if len(stuck) == 1 else "levels ") + ", ".join(map(str, stuck))
            yield f"due messages stay in {levels} of the target's ladder"


def _of_rest(queues: Sequence[Stand]) -> Iterator[str]:
    """What is to be known where nothing is wrong."""
    growing = [one for one in queues if one.grows]
    if growing:
        yield _more(f'queue "{growing[0].name}": {growing[0].grows}', len(growing) - 1)
    if all(one.route == "legacy" and one.state != "moving" for one in queues):
        named = "the queue is" if len(queues) == 1 else f"all {len(queues)} queues are"
        yield f"nothing is moved: {named} on route legacy"


def _more(text: str, more: int) -> str:
    return f"{text}, and {more} more" if more else text
