"""What answers and the journal say, in words."""

from __future__ import annotations

from bridge.asked import Request
from bridge.core.route import Layout, State, Verb, sentence
from bridge.records import Plan
from bridge.units import show_rate


def told(before: State, after: State, request: Request, layout: Layout) -> list[str]:
    """What happens now, in words."""
    said = [sentence(after, layout)]
    if before.paused and after.paused:
        said = [f"it stays paused, with the route {after.route} after resume", *said]
    if request.force and request.verb in (Verb.CUTOVER, Verb.CANARY, Verb.DUAL):
        said.append("workers on the target were not asked for (--force)")
    return said


def already(state: State, verb: Verb) -> str:
    """Why a verb changes nothing."""
    if verb in (Verb.PAUSE, Verb.RESUME):
        return "it is paused already" if state.paused else "it is not paused"
    return f"the route is {state.route} already"


def taken_back(plan: Plan) -> str:
    """That a postponed verb will not come."""
    return f"the {plan.verb.typed} that {plan.by} planned {plan.when} is taken back"


def limit(rate: float | None) -> str:
    """A limit, in messages a second."""
    return "no limit" if rate is None else f"at most {show_rate(rate)}"
