"""The gate: what must be so before messages go to the target, and before they go back (design, section 3)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Gate(enum.StrEnum):
    """What is asked before a verb is carried out."""

    NONE = ""
    #: The target side: its queue, its workers, our exit from the ladder.
    TARGET = "target"
    #: The way back: the old queue and its broker.
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the gates ask about a queue and its ends; the way back asks for `back_fault` alone."""

    queue: str
    target: str
    #: None: the target queue does not exist.
    consumers: int | None
    #: None: not known, because the target's HTTP API is not configured.
    type: str | None
    #: Why our exit from the ladder is not bound, empty when it is.
    exit_fault: str
    consumers_wanted: int
    #: Why the target takes nothing now, empty when it does.
    alarm: str = ""
    #: Why the queue is faulted on the way it goes now, empty when it is not.
    fault: str = ""
    #: Why nothing can be brought back to the old side now, empty when it can.
    back_fault: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The verb changes nothing: why, and what to do."""

    text: str
    hint: str


def _alarm(facts: Facts) -> Refused | None:
    if not facts.alarm:
        return None
    return Refused(
        f"{_target(facts)}: the target takes no publishes now: {facts.alarm}",
        "clear the alarm on the target, then ask again",
    )


def _there(facts: Facts) -> Refused | None:
    if facts.consumers is not None:
        return None
    return Refused(
        f"{_target(facts)} does not exist",
        f'declare "{facts.target}" as a quorum queue on the target: start its workers once',
    )


def _quorum(facts: Facts) -> Refused | None:
    if facts.type in (None, "quorum"):
        return None
    return Refused(
        f"{_target(facts)} is a {facts.type} queue, not a quorum queue",
        f'delete it and declare "{facts.target}" with x-queue-type: quorum',
    )


def _exit(facts: Facts) -> Refused | None:
    if not facts.exit_fault:
        return None
    return Refused(
        f"{_target(facts)} has no exit from the ladder: {facts.exit_fault}", "ETA tasks need it: see the reason"
    )


def _workers(facts: Facts) -> Refused | None:
    there = facts.consumers or 0
    if there >= facts.consumers_wanted:
        return None
    return Refused(
        f"{_target(facts)} has {there} consumers, {facts.consumers_wanted} are wanted",
        "start workers on the target; --force for this queue, or gate.consumers: 0, goes without",
    )


def _way_back(facts: Facts) -> Refused | None:
    if not facts.back_fault:
        return None
    return Refused(
        f'queue "{facts.queue}": nothing can be brought back now: {facts.back_fault}',
        "the old queue must be there, and its broker take publishes: see the reason",
    )


#: The checks of each gate by name, in the order in which they are made.
CHECKS: dict[Gate, dict[str, Callable[[Facts], Refused | None]]] = {
    Gate.NONE: {},
    Gate.TARGET: {"publishes": _alarm, "queue": _there, "type": _quorum, "exit": _exit, "workers": _workers},
    Gate.BACK: {"way back": _way_back},
}


def gate(facts: Facts, which: Gate = Gate.TARGET) -> Refused | None:
    """The first check of a gate that fails; None when all pass.

    That the queue is faulted is not among them: who tries a faulted queue again asks the gate too.
    """
    for check in CHECKS[which].values():
        refused = check(facts)
        if refused is not None:
            return refused
    return None


class Checked(NamedTuple):
    """What one check says: that it passes, or why not and what to do."""

    check: str
    ok: bool
    text: str
    hint: str = ""


def checked(facts: Facts, which: Gate = Gate.TARGET) -> list[Checked]:
    """Every check of a gate, in their order; those that nobody could look for have not passed."""
    found: list[Checked] = []
    if facts.fault:
        hint = "see the reason; legacy or pause ends the attempts meanwhile"
        found.append(Checked("not faulted", False, f"it is faulted: {facts.fault}", hint))
    unseen = ""
    for name, check in CHECKS[which].items():
        refused = None if unseen else check(facts)
        if unseen:
            found.append(Checked(name, False, unseen))
        elif refused is None:
            found.append(Checked(name, True, _passed(name, facts)))
        else:
            found.append(Checked(name, False, refused.text, refused.hint))
        if refused is not None and name in _BEFORE_ALL:
            unseen = f"not looked at: {_BEFORE_ALL[name]}"
    return found


#: Checks without which the ones after them cannot be made, and why.
_BEFORE_ALL = {"publishes": "the target takes no publishes now", "queue": "the target queue does not exist"}


def _passed(name: str, facts: Facts) -> str:
    """What is so, where a check passes."""
    return {
        "publishes": "the target takes publishes",
        "queue": f'target queue "{facts.target}" is there',
        "type": "it is a quorum queue" if facts.type else "its type is not known: target.api is not set",
        "exit": "the ladder is there",
        "workers": f"{facts.consumers} consumers, {facts.consumers_wanted} are wanted",
        "way back": f'queue "{facts.queue}" is there on the old side, and its broker takes publishes',
    }[name]


def _target(facts: Facts) -> str:
    return f'queue "{facts.queue}": target queue "{facts.target}"'
