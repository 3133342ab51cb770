"""Routes and the verbs that change them, as a table: what is absent is refused, with the sentence that says why.

The takeover layout has three of the design's routes (design, section 3): `legacy`, `canary`, `quorum`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Layout(enum.StrEnum):
    """Where the bridge sits (design, section 2)."""

    TAKEOVER = "takeover"
    INLINE = "inline"


class Route(enum.StrEnum):
    """Where the messages of a queue go."""

    LEGACY = "legacy"
    CANARY = "canary"
    DUAL = "dual"
    QUORUM = "quorum"
    REVERSE = "reverse"

    @property
    def moves(self) -> bool:
        """Whether the bridge takes messages on this route."""
        return self is not Route.LEGACY


@dataclass(frozen=True, slots=True)
class State:
    """What verbs change: where the messages of a queue go, and whether they are kept where they are all the same."""

    route: Route
    paused: bool = False


class Verb(enum.StrEnum):
    """What an operator can ask for."""

    CUTOVER = "cutover"
    CANARY = "canary"
    LEGACY = "legacy"


#: The verb that a changed `route:` in the configuration stands for.
VERB_OF = {Route.LEGACY: Verb.LEGACY, Route.CANARY: Verb.CANARY, Route.QUORUM: Verb.CUTOVER}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the gate asks about the target before messages may go there."""

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


@dataclass(frozen=True, slots=True)
class Moved:
    """The verb is carried out: the queue has this route now."""

    route: Route


@dataclass(frozen=True, slots=True)
class Refused:
    """The verb changes nothing: why, and what to do."""

    text: str
    hint: str


def gate(facts: Facts) -> Refused | None:
    """The first check that keeps messages from the target; None when all pass."""
    name = f'queue "{facts.queue}": target queue "{facts.target}"'
    if facts.alarm:
        return Refused(
            f"{name}: the target takes no publishes now: {facts.alarm}", "clear the alarm on the target, then ask again"
        )
    if facts.consumers is None:
        return Refused(
            f"{name} does not exist",
            f'declare "{facts.target}" as a quorum queue on the target: start its workers once',
        )
    if facts.type not in (None, "quorum"):
        return Refused(
            f"{name} is a {facts.type} queue, not a quorum queue",
            f'delete it and declare "{facts.target}" with x-queue-type: quorum',
        )
    if facts.exit_fault:
        return Refused(f"{name} has no exit from the ladder: {facts.exit_fault}", "ETA tasks need it: see the reason")
    if facts.consumers < facts.consumers_wanted:
        return Refused(
            f"{name} has {facts.consumers} consumers, {facts.consumers_wanted} are wanted",
            "start workers on the target, or set gate.consumers to 0 to go without",
        )
    return None


#: (route, verb) to the route after it. `True`: only through the gate.
TABLE: dict[tuple[Route, Verb], tuple[Route, bool]] = {
    (Route.LEGACY, Verb.CUTOVER): (Route.QUORUM, True),
    (Route.LEGACY, Verb.CANARY): (Route.CANARY, True),
    (Route.LEGACY, Verb.LEGACY): (Route.LEGACY, False),
    (Route.CANARY, Verb.CUTOVER): (Route.QUORUM, True),
    (Route.CANARY, Verb.CANARY): (Route.CANARY, False),
    (Route.CANARY, Verb.LEGACY): (Route.LEGACY, False),
    (Route.QUORUM, Verb.CUTOVER): (Route.QUORUM, False),
    (Route.QUORUM, Verb.CANARY): (Route.CANARY, False),
    (Route.QUORUM, Verb.LEGACY): (Route.LEGACY, False),
}


def step(route: Route, verb: Verb, ask: Callable[[], Facts]) -> Moved | Refused:
    """What a verb does to a queue on this route: nothing, or the route it has afterwards.

    `ask` looks the facts up, and is called only where there is a gate: a queue leaves a target that does not answer.
    """
    after, gated = TABLE[route, verb]
    return (gate(ask()) if gated else None) or Moved(after)
