"""Routes and the verbs that change them, as a table: what is not in it is refused, with the sentence that says why.

1. What a queue's route means is a set of flows: read here, written there. Verbs change the set, leaving before taking.
2. No two flows of a queue read the same side, and none reads what another writes: never both directions at once.
3. `paused` lies over the route: no flow at all. A verb that changes the route of a paused queue leaves it paused.
"""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bridge.core.gate import Facts, Gate, Refused, gate

__all__ = [
    "FLOWS",
    "TABLE",
    "VERB_OF",
    "Cell",
    "Effect",
    "Facts",
    "Flow",
    "Layout",
    "Moved",
    "Refused",
    "Route",
    "Side",
    "State",
    "Unchanged",
    "Verb",
    "cell",
    "contradiction",
    "flows",
    "gate",
    "next_verbs",
    "sentence",
    "step",
    "walk",
]


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
        """Whether the bridge takes messages on this route in either layout."""
        return self is not Route.LEGACY


class Verb(enum.StrEnum):
    """What an operator can ask for."""

    CUTOVER = "cutover"
    CANARY = "canary"
    DUAL = "dual"
    LEGACY = "legacy"
    ROLLBACK = "rollback"
    REVERSE = "reverse"
    PAUSE = "pause"
    RESUME = "resume"

    @property
    def typed(self) -> str:
        """The verb as it is typed."""
        return "rollback --reverse" if self is Verb.REVERSE else self.value


#: The verb that a changed `route:` in the configuration stands for.
VERB_OF = {
    Route.LEGACY: Verb.LEGACY,
    Route.CANARY: Verb.CANARY,
    Route.DUAL: Verb.DUAL,
    Route.QUORUM: Verb.CUTOVER,
    Route.REVERSE: Verb.REVERSE,
}


class Side(enum.StrEnum):
    """The ends there are; the legacy side is one of its own only in the inline layout."""

    SOURCE = "source"
    TARGET = "target"
    LEGACY = "legacy"


class Flow(enum.Enum):
    """What is read where and written where."""

    SHARE = (Side.SOURCE, (Side.TARGET,), "a share goes to the target")
    SPLIT = (Side.SOURCE, (Side.TARGET, Side.LEGACY), "a share goes to the target, the rest to the legacy side")
    BOTH = (Side.SOURCE, (Side.LEGACY, Side.TARGET), "everything goes to the legacy side and to the target")
    FORWARD = (Side.SOURCE, (Side.TARGET,), "everything goes to the target")
    ASIDE = (Side.SOURCE, (Side.LEGACY,), "everything goes to the legacy side")
    BACK = (Side.TARGET, (Side.SOURCE,), "what waits on the target goes back into the old queue")
    BACK_ASIDE = (Side.TARGET, (Side.LEGACY,), "what waits on the target goes to the legacy side")

    def __init__(self, reads: Side, writes: tuple[Side, ...], text: str) -> None:
        self.reads = reads
        self.writes = writes
        self.text = text


#: What each route means. A queue that takes over has no second side of its own for `dual`: nothing flows.
FLOWS: dict[tuple[Layout, Route], tuple[Flow, ...]] = {
    (Layout.TAKEOVER, Route.LEGACY): (),
    (Layout.TAKEOVER, Route.CANARY): (Flow.SHARE,),
    (Layout.TAKEOVER, Route.DUAL): (),
    (Layout.TAKEOVER, Route.QUORUM): (Flow.FORWARD,),
    (Layout.TAKEOVER, Route.REVERSE): (Flow.BACK,),
    (Layout.INLINE, Route.LEGACY): (Flow.ASIDE,),
    (Layout.INLINE, Route.CANARY): (Flow.SPLIT,),
    (Layout.INLINE, Route.DUAL): (Flow.BOTH,),
    (Layout.INLINE, Route.QUORUM): (Flow.FORWARD,),
    (Layout.INLINE, Route.REVERSE): (Flow.ASIDE, Flow.BACK_ASIDE),
}


@dataclass(frozen=True, slots=True)
class State:
    """The route of a queue and whether it is paused."""

    route: Route
    paused: bool = False

    def __str__(self) -> str:
        return f"{self.route}, paused" if self.paused else self.route.value


def flows(state: State, layout: Layout) -> tuple[Flow, ...]:
    """What flows in this state."""
    return () if state.paused else FLOWS[layout, state.route]


def sentence(state: State, layout: Layout) -> str:
    """What happens to the messages of a queue in this state."""
    if state.paused:
        if layout is Layout.INLINE:
            return "nothing moves until resume: messages wait in the source queue"
        return "nothing moves until resume: the old workers have what is in the old queue"
    rest = {Route.LEGACY: "the bridge takes nothing, the old workers have this queue"}
    if state.route is Route.CANARY and layout is Layout.TAKEOVER:
        rest[Route.CANARY] = "the old workers have the rest"
    told = [flow.text for flow in flows(state, layout)]
    if layout is Layout.TAKEOVER:
        told += [rest[state.route]] if state.route in rest else []
    return ", ".join(told)


class Act(enum.StrEnum):
    """What is done with a flow."""

    LEAVE = "leave"
    TAKE = "take"


@dataclass(frozen=True, slots=True)
class Effect:
    """One act of a verb; several are carried out in their order."""

    act: Act
    flow: Flow


@dataclass(frozen=True, slots=True)
class Moved:
    """The verb is carried out: the queue has this state now."""

    state: State
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The queue has the state already that the verb asks for."""

    state: State


@dataclass(frozen=True, slots=True)
class Cell:
    """What a verb comes to, once its gate lets it through."""

    state: State
    gate: Gate = Gate.NONE


_L, _C, _D, _Q, _R = Route.LEGACY, Route.CANARY, Route.DUAL, Route.QUORUM, Route.REVERSE
_FREE, _GATE, _BACK = Gate.NONE, Gate.TARGET, Gate.BACK

#: (route, verb) to the route after it and its gate. There is one wherever more goes to a side than before; the way to
#: less needs none.
TABLE: dict[tuple[Route, Verb], tuple[Route, Gate]] = {
    (_L, Verb.CUTOVER): (_Q, _GATE),
    (_L, Verb.CANARY): (_C, _GATE),
    (_L, Verb.DUAL): (_D, _GATE),
    (_L, Verb.LEGACY): (_L, _FREE),
    (_L, Verb.ROLLBACK): (_L, _FREE),
    (_L, Verb.REVERSE): (_R, _BACK),
    (_C, Verb.CUTOVER): (_Q, _GATE),
    (_C, Verb.CANARY): (_C, _FREE),
    (_C, Verb.DUAL): (_D, _GATE),
    (_C, Verb.LEGACY): (_L, _FREE),
    (_C, Verb.ROLLBACK): (_L, _FREE),
    (_C, Verb.REVERSE): (_R, _BACK),
    (_D, Verb.CUTOVER): (_Q, _GATE),
    (_D, Verb.CANARY): (_C, _FREE),
    (_D, Verb.DUAL): (_D, _FREE),
    (_D, Verb.LEGACY): (_L, _FREE),
    (_D, Verb.ROLLBACK): (_L, _FREE),
    (_Q, Verb.CUTOVER): (_Q, _FREE),
    (_Q, Verb.CANARY): (_C, _FREE),
    (_Q, Verb.DUAL): (_D, _FREE),
    (_Q, Verb.LEGACY): (_L, _FREE),
    (_Q, Verb.ROLLBACK): (_L, _FREE),
    (_Q, Verb.REVERSE): (_R, _BACK),
    (_R, Verb.CUTOVER): (_Q, _GATE),
    (_R, Verb.CANARY): (_C, _GATE),
    (_R, Verb.DUAL): (_D, _GATE),
    (_R, Verb.LEGACY): (_L, _FREE),
    (_R, Verb.ROLLBACK): (_L, _FREE),
    (_R, Verb.REVERSE): (_R, _FREE),
}

_NO_DUAL = Refused(
    "dual is not possible in the takeover layout: the copy for the old workers would come back into the queue it was "
    "read from",
    "with a legacy: section in the configuration (the inline layout) both sides can have every task; a copy of what "
    "is moved is what backup: is for",
)
_NOT_BACK = Refused(
    "rollback --reverse is not possible from dual: every task is on both sides, and those brought back would run twice",
    "legacy ends the copies; leave those on the target to its workers, or purge them",
)


def cell(state: State, verb: Verb, layout: Layout) -> Cell | Refused:
    """What a verb comes to in this state, before its gate is asked."""
    if verb is Verb.PAUSE:
        return Cell(replace(state, paused=True))
    if verb is Verb.RESUME:
        return Cell(replace(state, paused=False))
    if verb is Verb.DUAL and layout is Layout.TAKEOVER:
        return _NO_DUAL
    row = TABLE.get((state.route, verb))
    if row is None:
        return _NOT_BACK
    route, which = row
    return Cell(State(route, state.paused), which)


def step(queue: str, state: State, verb: Verb, layout: Layout, ask: Callable[[], Facts]) -> Moved | Unchanged | Refused:
    """What a verb does to a queue in this state.

    `ask` looks the facts up, and is called only where there is a gate: a queue leaves a target that does not answer.
    """
    wanted = cell(state, verb, layout)
    if isinstance(wanted, Refused):
        return Refused(f'queue "{queue}": {wanted.text}', wanted.hint)
    # A canary that is asked for again counts anew.
    anew = verb is Verb.CANARY and state.route is Route.CANARY
    if wanted.state == state and not anew:
        return Unchanged(state)
    if wanted.gate is not Gate.NONE:
        facts = ask()
        refused = _faulted(facts, state, wanted.gate, layout) or gate(facts, wanted.gate)
        if refused is not None:
            return refused
    before, after = flows(state, layout), flows(wanted.state, layout)
    effects = (
        *(Effect(Act.LEAVE, flow) for flow in before if anew or flow not in after),
        *(Effect(Act.TAKE, flow) for flow in after if anew or flow not in before),
    )
    walk(before, effects)
    return Moved(wanted.state, effects)


def _faulted(facts: Facts, state: State, which: Gate, layout: Layout) -> Refused | None:
    """Nothing more goes to a target that this queue cannot reach now. What is wrong on the way back, or with the legacy
    side, does not keep it from the target.
    """
    goes_there = any(Side.TARGET in flow.writes for flow in flows(state, layout))
    if not facts.fault or which is not Gate.TARGET or not goes_there:
        return None
    return Refused(
        f'queue "{facts.queue}" is faulted: {facts.fault}',
        "see the reason; legacy or pause ends the attempts meanwhile",
    )


def contradiction(flowing: Iterable[Flow]) -> str | None:
    """Why these flows of one queue may not be at the same time; None when they may."""
    for one, other in itertools.combinations(flowing, 2):
        if one.reads is other.reads:
            return f"{one.name} and {other.name} both read the {one.reads}"
        if one.reads in other.writes or other.reads in one.writes:
            return f"{one.name} and {other.name} are both directions at once"
    return None


def walk(flowing: Iterable[Flow], effects: Iterable[Effect]) -> frozenset[Flow]:
    """What flows after these effects.

    Raises:
        ValueError: after one of them there were flows that may not be together.
    """
    now = set(flowing)
    for effect in effects:
        if effect.act is Act.LEAVE:
            now.remove(effect.flow)
        else:
            now.add(effect.flow)
        wrong = contradiction(now)
        if wrong is not None:
            raise ValueError(wrong)
    return frozenset(now)


@functools.cache
def next_verbs(state: State, layout: Layout) -> tuple[Verb, ...]:
    """The verbs that would change something, each gate aside. `rollback` is the same as `legacy`, and left out."""
    found = []
    for verb in Verb:
        wanted = cell(state, verb, layout)
        if verb is not Verb.ROLLBACK and isinstance(wanted, Cell) and wanted.state != state:
            found.append(verb)
    return tuple(found)
