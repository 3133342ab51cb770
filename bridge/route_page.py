"""The page of the routes, from the table: `python -m bridge.route_page > docs/explanation/routes.md`."""

from __future__ import annotations

import sys

from bridge.core.gate import Gate
from bridge.core.route import Cell, Layout, Route, State, Verb, cell, sentence

_GATES = {Gate.NONE: "", Gate.TARGET: ", through the gate", Gate.BACK: ", through the gate of the way back"}
#: Verbs that lead to a route; `rollback` is another word for `legacy`, and `pause` and `resume` lie over all.
_VERBS = [verb for verb in Verb if verb not in (Verb.ROLLBACK, Verb.PAUSE, Verb.RESUME)]
_HEAD = """\
# Routes

Every queue has one route: where its messages go. Verbs change it, each queue by itself, through whichever door they
come: [commands, HTTP](../run/control.md), [signals, a changed file](../run/signals.md). This page is made from the
table that the daemon goes by.

| route | takeover | inline |
|---|---|---|
"""
_REST = """\
## The gate

- **Through the gate** goes what sends more to the target than before. It asks: the target takes publishes; its queue is
  there and is a quorum queue; the ladder is complete and our exit bound; as many consumers are on the queue as
  `gate.consumers` says; the queue is not faulted on its way there. `--force` passes the consumers only, and only for
  queues that are named one by one.
- **The way back** asks one thing: the old queue is there and its broker takes publishes. It does not ask the target's
  workers.
- The way to less needs no gate: a queue leaves a target that does not answer.

A refused verb changes nothing; the answer says which check failed and what to do. A route in the configuration waits
for its gate: the state is `waiting`, with the reason, and the gate is tried every 2 s.

## Over the route

- **`paused`**: nothing moves, our consumers are gone. In takeover the old workers have the old queue again; inline,
  messages wait in the source queue. A verb that changes the route of a paused queue is carried out and leaves it
  paused; `resume` makes it move, without asking the gate again (a target that is not ready faults it, with the reason).
- **`faulted`**: nothing moves, and it is tried again with back-off.
- **`throttled`**: the target is left alone for a while; the old workers have the queue meanwhile.

## What always holds

- A queue is never moved in both directions at once: no side is read while something else of this queue is written
  there. What a verb leaves is left, to the last ack, before anything is taken: the daemon waits for it.
- A message is acked only when every destination of the route has confirmed it.
- While a gate is asked, which may take seconds, a later verb on the same queue wins: the earlier one is refused.
- `canary` on a canary begins anew: of `--first 100`, another hundred.
- **`rollback --reverse` is refused from `dual`**, where every task is on both sides already. After `dual` and then
  `legacy` it is not refused, since what waits on the target may be there alone: copies that are brought back run twice.

**How a canary leaves the rest, in takeover.** A consumer of higher priority is given everything it has credit for, and
acks free credit. A canary's prefetch is small (a tenth of a second of its rate), and its acks, already confirmed by the
target, go out at the rate. While they are held the broker has nobody above the old workers to give messages to.
"""


def page() -> str:
    """The page, as Markdown."""
    rows = [f"| `{route}` | {_meaning(route, Layout.TAKEOVER)} | {_meaning(route, Layout.INLINE)} |" for route in Route]
    parts = [_HEAD + "\n".join(rows)]
    parts += [_transitions(layout) for layout in Layout]
    return "\n\n".join([*parts, _REST])


def _routes(layout: Layout) -> list[Route]:
    return [route for route in Route if layout is Layout.INLINE or route is not Route.DUAL]


def _meaning(route: Route, layout: Layout) -> str:
    if route not in _routes(layout):
        return "refused: the copy would come back into the queue it was read from"
    return sentence(State(route), layout)


def _transitions(layout: Layout) -> str:
    """Table and diagram of one layout."""
    verbs = [verb for verb in _VERBS if verb is not Verb.DUAL or layout is Layout.INLINE]
    lines = [f"## {layout.capitalize()}", "", f"| from \\ verb | {' | '.join(f'`{verb.typed}`' for verb in verbs)} |"]
    lines.append("|---" * (len(verbs) + 1) + "|")
    arrows = []
    for route in _routes(layout):
        cells = [(verb, cell(State(route), verb, layout)) for verb in verbs]
        lines.append(f"| `{route}` | {' | '.join(_told(route, found) for _, found in cells)} |")
        for verb, found in cells:
            if isinstance(found, Cell) and found.state.route is not route:
                mark = " [gate]" if found.gate is Gate.TARGET else " [old queue]" if found.gate is Gate.BACK else ""
                arrows.append(f"    {route} --> {found.state.route}: {verb.typed}{mark}")
    lines += ["", "`rollback` is the same as `legacy`. From every route `pause` and `resume`."]
    lines += ["", "```mermaid", "stateDiagram-v2", "    [*] --> legacy", *arrows, "```"]
    return "\n".join(lines)


def _told(route: Route, found: object) -> str:
    if not isinstance(found, Cell):
        return "refused"
    if found.state.route is route:
        return "anew" if route is Route.CANARY else "as it is"
    return f"`{found.state.route}`{_GATES[found.gate]}"


if __name__ == "__main__":
    sys.stdout.write(page())
