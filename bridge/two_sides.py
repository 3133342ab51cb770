"""Two live sides in the inline layout: who gets a message, and where they go while one of the two takes nothing.

1. A canary never waits for the target: while that takes nothing, the legacy side gets everything. `dual` waits for
   both, or with `when_away: degrade` goes on with the living one.
2. A side takes nothing while it is not connected, or blocked, or throttled; and for a while after it refused what it
   was sent, longer each time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import gevent

from bridge.core.relay import Relay
from bridge.core.route import Route
from bridge.core.split import ByTask, Everything, FirstOnes, Percent, PerSecond, Split
from bridge.errors import BridgeError
from bridge.links import Links
from bridge.mover import Owner
from bridge.shared import Faulted
from bridge.terms import Share
from bridge.way import Rest, Way

#: Seconds for which a side that refused is left alone at first, and at most.
FIRST, MOST = 1.0, 30.0
#: Seconds without a refusal after which it is left alone as shortly as at first.
FORGOTTEN = 60.0


@dataclass(frozen=True, slots=True)
class Course:
    """Which of the two sides are written to."""

    target: bool = True
    legacy: bool = True
    #: Why one is not.
    note: str = ""


@dataclass(slots=True)
class _Refusal:
    text: str
    wait: float
    #: Monotonic seconds.
    until: float


class TwoSides:
    """What one queue's two sides are doing.

    Args:
        owner: the queue; it is woken when a side is to be tried again.
        links: the connections.
    """

    def __init__(self, owner: Owner, links: Links) -> None:
        self._owner = owner
        self._links = links
        self._refusals: dict[str, _Refusal] = {}
        self._split: Split | None = None
        self._split_of: tuple[Route, Share | None, int] | None = None

    def course(self, route: Route, left_alone: str, *, degrade: bool) -> Course | Rest:
        """Where messages go now on `canary` or `dual`.

        Args:
            route: one of these.
            left_alone: why the target is, though it may be there; empty when it is not.
            degrade: `dual` goes on with the living side.
        """
        forward = self._links.forward
        target, legacy = forward.down() or left_alone, forward.leg_down() or ""
        if route is Route.CANARY or degrade:
            target = target or self._refused(forward.target.name)
        if degrade and route is Route.DUAL and forward.leg is not None:
            legacy = legacy or self._refused(forward.leg.name)
        if not target and not legacy:
            return Course()
        if target and not legacy and (route is Route.CANARY or degrade):
            return Course(target=False, note=f"only to the legacy side: {target}")
        if legacy and not target and route is Route.DUAL and degrade:
            return Course(legacy=False, note=f"only to the target: {legacy}")
        if target == left_alone and not legacy:
            return Rest("throttled", left_alone)
        return Rest("waiting", "; ".join(one for one in (target, legacy) if one))

    def _refused(self, side: str) -> str:
        refusal = self._refusals.get(side)
        return refusal.text if refusal is not None and time.monotonic() < refusal.until else ""

    def failed(self, way: Way, fault: BridgeError) -> None:
        """What was written to both sides failed: the one that refused is left alone for a while."""
        if not way.leg or not isinstance(fault, Faulted) or not fault.side:
            return
        now, before = time.monotonic(), self._refusals.get(fault.side)
        wait = FIRST if before is None or now - before.until > FORGOTTEN else min(before.wait * 2, MOST)
        if fault.silent:
            # By then its connection is closed, should it be dead: asking it anything before would take as long.
            wait = MOST
        self._refusals[fault.side] = _Refusal(str(fault), wait, now + wait)
        gevent.spawn_later(wait, self._owner.wake)

    def split(self, way: Way, taken: int) -> Split | None:
        """Who gets each message on this way; None where all go to one side.

        Args:
            way: the one that begins.
            taken: how many a canary took before.
        """
        if not way.leg:
            # What went back goes another way now, and whoever has it may get it again.
            self._split = self._split if way.route is Route.CANARY else None
            return None
        which = way.route, way.share, way.anew
        if self._split is None or self._split_of != which:
            self._split, self._split_of = _split(way.route, way.share, taken), which
        return self._split

    def left(self, relay: Relay) -> int | None:
        """A subscription ended; how many messages the canary took by now, None when it was no such one, or an older."""
        leg = relay.leg
        if leg is None:
            return None
        leg.split.undone(*leg.undone)
        return leg.split.taken if leg.split is self._split else None


def _split(route: Route, share: Share | None, taken: int) -> Split:
    if route is Route.DUAL or share is None:
        return Everything()
    if share.first is not None:
        return FirstOnes(share.first, taken)
    made: Split
    if share.rate is not None:
        made = PerSecond(share.rate)
    elif share.percent is not None:
        made = Percent(share.percent)
    else:
        made = ByTask(share.tasks or ())
    return made
