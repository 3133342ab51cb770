"""The gate: what must be so before messages go to the target, and before they go back (design, section 3)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


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


#: The checks of each gate, in the order in which they are made.
CHECKS: dict[Gate, tuple[Callable[[Facts], Refused | None], ...]] = {
    Gate.NONE: (),
    Gate.TARGET: (_alarm, _there, _quorum, _exit, _workers),
    Gate.BACK: (_way_back,),
}


def gate(facts: Facts, which: Gate = Gate.TARGET) -> Refused | None:
    """The first check of a gate that fails; None when all pass.

    That the queue is faulted is not among them: who tries a faulted queue again asks the gate too.
    """
    for check in CHECKS[which]:
        refused = check(facts)
        if refused is not None:
            return refused
    return None


def _target(facts: Facts) -> str:
    return f'queue "{facts.queue}": target queue "{facts.target}"'
