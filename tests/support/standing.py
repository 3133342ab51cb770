"""Subscriptions that stand still: their routes can be changed, and nothing moves.

exits = FakeExits(); exits.queues = {"mail": 2}
subscriptions = standing(["mail", "reports"], exits)
control = controlled(subscriptions)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from bridge.clock import ClockWatch
from bridge.control import Control
from bridge.core.route import Route
from bridge.delayed import Exits
from bridge.doubles import Doubles
from bridge.errors import Unreachable
from bridge.link import Link
from bridge.links import Links
from bridge.shared import Shared
from bridge.subscription import Subscription
from bridge.terms import Share, Terms
from bridge.way import Kind


class FakeConnection:
    """A connection that is open and never asked for anything."""

    def __init__(self, name: str, **_: Any) -> None:
        self.name = name
        self.closed = type("Closed", (), {"is_set": staticmethod(lambda: False)})
        self.reason = ""
        self.blocked: str | None = None


class FakeExits:
    """The target's queues, as the gate looks at them.

    Attributes:
        queues: consumers of each target queue.
        silent: the target does not answer.
        bound: queues whose exit was bound.
        asked: called at each question.
    """

    fault: str | None = None
    warning: str | None = None

    def __init__(self) -> None:
        self.queues: dict[str, int] = {}
        self.silent = False
        self.bound: list[str] = []
        self.asked: Callable[[], None] = lambda: None

    def consumers(self, queue: str) -> int | None:
        self.asked()
        if self.silent:
            raise Unreachable("target: no answer within 15 s", hint="wait")
        return self.queues.get(queue)

    def bind(self, queue: str) -> None:
        self.bound.append(queue)


class Standing(Subscription):
    """A queue whose movers never run."""

    #: Why nothing can be brought back.
    back = ""

    def back_fault(self) -> str:
        return self.back

    def set_state(self, state: Any) -> None:
        self._brings_back = True  # there is no mover to start
        super().set_state(state)


def links(*, inline: bool = False) -> Links:
    """Connections over which nothing goes."""

    def link(_kind: Kind, _apart: bool) -> Link:
        return Link(
            lambda **_: cast("Any", FakeConnection("source")), lambda **_: cast("Any", FakeConnection("target"))
        )

    return Links(link, inline=inline)


def shared_with(exits: FakeExits) -> Shared:
    """What the queues share."""

    def refuse(*_: object) -> Any:
        raise AssertionError("nothing moves here")

    return Shared(cast("Exits", exits), lambda _: "quorum", refuse, Doubles(), refuse)


def standing(
    names: Sequence[str], exits: FakeExits, *, share: Share | None = None, inline: bool = False
) -> list[Standing]:
    """A subscription for each name, all with one `Shared`."""
    shared, ends = shared_with(exits), links(inline=inline)
    made = []
    for number, name in enumerate(names, start=4):
        terms = Terms(target=name, share=share, consumers=1, window=500, read_ahead=0, priority=1000, cap_priority=True)
        made.append(Standing(name, number, terms, ends, shared))
    return made


def controlled(
    subscriptions: Sequence[Subscription], *, inline: bool = False, clock: ClockWatch | None = None
) -> Control:
    """The control of these queues."""
    shared = subscriptions[0]._shared if subscriptions else shared_with(FakeExits())
    addresses = "amqp://u:***@old", "amqp://u:***@new"
    control = Control("main", links(inline=inline), shared, addresses, lambda: subscriptions, clock or ClockWatch())
    for subscription in subscriptions:
        control.appeared(subscription, Route.LEGACY)
    return control
