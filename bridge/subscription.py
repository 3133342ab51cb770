"""One source queue and its sister on the target: its route, what lies over it, and the movers that follow.

1. A route says which way the messages go; `paused`, `throttled` and `suspended` lie over it and keep them where they
   are.
2. What is left comes before what is taken: a way begins only when the opposite one has ended, so that a queue never
   goes both ways at once.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import gevent
from gevent.event import Event

from bridge.core import delays
from bridge.core.counts import Counts
from bridge.core.pace import First, Free, Limit, Limited, Pace, Rate, in_flight
from bridge.core.relay import Relay
from bridge.core.route import Facts, Route, State, gate
from bridge.core.split import Split
from bridge.errors import BridgeError, Refused
from bridge.link import Link
from bridge.links import Links
from bridge.mover import Mover
from bridge.shared import Faulted, Shared
from bridge.terms import Share, Terms
from bridge.two_sides import TwoSides
from bridge.way import Kind, Rest, Way

log = logging.getLogger("bridge.subscription")

#: Seconds over which the rate in the status is counted.
RATE_OVER = 10.0
#: Seconds for which an old queue that refused a message, and holds no fewer since, is left alone: each try is one more
#: return to the quorum queue.
FULL = 300.0
#: Seconds for which what the gate just saw of the target counts when the subscription begins.
JUST_SEEN = 5.0
#: Routes on which messages come from the source for the target.
_FORWARD = frozenset((Route.CANARY, Route.DUAL, Route.QUORUM))


class Subscription:
    """One source queue and its sister on the target."""

    def __init__(self, queue: str, number: int, terms: Terms, links: Links, shared: Shared) -> None:
        self.queue = queue
        self.number = number
        self.terms = terms
        #: Of what is taken from the source, and of what is brought back.
        self.counts = Counts()
        self.back_counts = Counts()
        #: Of what was converted, what is not due yet.
        self.waiting = delays.Waiting()
        self.route = Route.LEGACY
        self.paused = False
        #: Why the target is left alone, empty when it is not; and why this daemon may not move anything.
        self.throttled = ""
        self.suspended = ""
        self._legacy_too = True
        #: Messages a second at most, on whatever route; None is no limit.
        self.limit: float | None = None
        self._own_limit = Limit(None, time.monotonic())
        #: Whether the target is well again is tried out with few messages.
        self._trial = Limit(None, time.monotonic())
        #: The canary's share that a verb gave; None is the configuration's.
        self.share: Share | None = None
        #: A route that waits for its gate: the configuration's at the start, when no worker may be there yet.
        self.wanted: Route | None = None
        self.canary_taken = 0
        #: Called when the state changed: the queue, and the states before and after.
        self.on_state: Callable[[Subscription, str, str], None] = lambda _queue, _before, _after: None
        #: Set when its state was another than at first.
        self.begun = Event()
        self.ended = Event()
        self._links = links
        self._shared = shared
        self._gate = ""
        self._samples: deque[tuple[float, int]] = deque()
        #: Messages taken when the last sample was.
        self._taken = 0
        self._ahead = Mover(self, self._way_ahead, self.counts, shared, terms, links.apart)
        self._behind = Mover(self, self._way_back, self.back_counts, shared, terms, links.apart)
        self._brings_back = False
        self._sides = TwoSides(self, links)
        #: Counts up whenever a canary begins anew.
        self._anew = 0
        #: When the old queue refused what was brought back (monotonic seconds), and how many it had ready then.
        self._full_at: float | None = None
        self._full: int | None = None
        #: What the gate saw of the target last, and when (monotonic seconds); it counts once.
        self._seen: tuple[float, Facts] | None = None

    # -- what others ask
    # ------------------------------------------------------------------------------------------------

    @property
    def shown(self) -> Mover:
        """The mover that the status is about."""
        return self._behind if self._behind.on is not None or self.route is Route.REVERSE else self._ahead

    @property
    def state(self) -> str:
        """What it does."""
        return self.shown.state

    @property
    def why(self) -> str:
        """Why it does not move; empty when it does."""
        return self.shown.why

    @property
    def since(self) -> datetime:
        """Since when it has its state."""
        return self.shown.since

    @property
    def relay(self) -> Relay | None:
        """The relay at work; None when there is none."""
        return self.shown.relay

    @property
    def to_target(self) -> Relay | None:
        """The relay that publishes to the target now; None when there is none."""
        on = self._ahead.on
        return self._ahead.relay if on is not None and on.kind is Kind.FORWARD else None

    @property
    def in_flight(self) -> int:
        """Messages taken and not yet acked."""
        ahead, behind = self._ahead.relay, self._behind.relay
        return (0 if ahead is None else len(ahead.ledger)) + (0 if behind is None else len(behind.ledger))

    @property
    def unsettled(self) -> tuple[int, int]:
        """Messages taken that neither arrived nor were given back: on the way ahead, and on the way back."""
        ahead, behind = (0 if mover.relay is None else mover.relay.waiting for mover in (self._ahead, self._behind))
        return ahead, behind

    def facts(self, *, bind: bool = True) -> Facts:
        """What the gate asks of the target, looked up now; our exit is bound on the way, unless `bind` is False.

        Raises:
            BridgeError: the target does not answer.
        """
        target, wanted = self.terms.target, self.terms.consumers
        down = self._links.forward.down()
        if down is not None:
            return Facts(self.queue, target, 0, None, "", wanted, alarm=down)
        consumers = self._shared.exits.consumers(target)
        kind = self._shared.target_type(target) if consumers is not None else None
        exit_fault = self._shared.exits.fault or ""
        if bind and consumers is not None and not exit_fault and kind in (None, "quorum"):
            try:
                self._shared.exits.bind(target)
            except Refused as fault:
                exit_fault = str(fault)
        facts = Facts(self.queue, target, consumers, kind, exit_fault, wanted)
        self._seen = (time.monotonic(), facts) if bind else None
        return facts

    def back_fault(self) -> str:
        """Why nothing can be brought back now; empty when it can."""
        down = self._links.back_down()
        if down is not None:
            return down
        try:
            there = self._links.old.ready(self.queue) is not None
        except BridgeError as fault:
            return str(fault)
        if there:
            return ""
        return f'queue "{self.queue}" does not exist on the old side ({self._links.old.connection.name})'

    def settle(self) -> None:
        """Look at what was converted since the last time: when it is due."""
        delays.settle(self.counts, self.waiting, time.time())

    def sample(self) -> None:
        """Remember how much was moved by now, for `rate`; to be called every second.

        Where something moves it is looked after: a subscription in which nothing does sleeps.
        """
        counts, back, samples = self.counts, self.back_counts, self._samples
        taken = counts.taken + back.taken
        ahead, behind = self._ahead.relay, self._behind.relay
        # Bytes rather than `in_flight`: no call, for each of a thousand queues.
        if taken != self._taken or (ahead and ahead.ledger.bytes) or (behind and behind.ledger.bytes):
            self._taken = taken
            self.wake()
        moved = counts.moved + counts.to_legacy + back.to_legacy
        if samples and samples[0][1] == moved:
            # A quiet queue has one sample, of when it became so.
            while len(samples) > 1:
                samples.pop()
            return
        now = time.monotonic()
        if len(samples) == 1:
            began, before = samples[0]
            samples.extend((now - ago, before) for ago in range(int(RATE_OVER), 0, -1) if now - ago > began)
        samples.append((now, moved))
        while samples[0][0] < now - RATE_OVER:
            samples.popleft()

    def rate(self) -> float:
        """Messages a second over the last ten seconds."""
        if len(self._samples) < 2:
            return 0.0
        (began, before), (ended, moved) = self._samples[0], self._samples[-1]
        return (moved - before) / (ended - began)

    # -- what others say
    # -----------------------------------------------------------------------------------------------

    def set_state(self, state: State) -> None:
        """Move to another route, or pause; the traffic follows."""
        if state.route is not self.route or (state.route is Route.CANARY and state.paused is self.paused):
            self.canary_taken = 0
            self._anew += 1
        self.route, self.paused = state.route, state.paused
        self.wanted = None
        if self.route is Route.REVERSE and not self._brings_back:
            self._brings_back = True
            gevent.spawn(self._behind.run)
        self.wake()

    def set_share(self, share: Share | None) -> None:
        """Another share for the canary; None is the configuration's."""
        if share != self.share:
            self.share = share
            self.canary_taken = 0
            self._anew += 1
            self.wake()

    def set_limit(self, rate: float | None) -> None:
        """At most so many messages a second; None is no limit."""
        self.limit = rate
        self._own_limit.change(rate, time.monotonic())
        self.wake()

    def throttle(self, reason: str, rate: float | None = None) -> None:
        """Leave the target alone for a reason; empty: go on, with at most `rate` messages a second if given."""
        if (reason, rate) != (self.throttled, self._trial.rate):
            self.throttled = reason
            self._trial.change(rate, time.monotonic())
            self.wake()

    def suspend(self, reason: str, legacy_too: bool = True) -> None:
        """Move nothing, for a reason that is this daemon's; empty: go on.

        Args:
            reason: why.
            legacy_too: inline, whether what goes to the legacy side alone waits as well.
        """
        if (reason, legacy_too) != (self.suspended, self._legacy_too):
            self.suspended, self._legacy_too = reason, legacy_too
            self.wake()

    def set_terms(self, terms: Terms) -> None:
        """Take a changed configuration over: a new target name or window means a new subscription."""
        if terms != self.terms:
            self.terms = terms
            for mover in (self._ahead, self._behind):
                mover.changed(terms)

    def hold(self, wanted: Route, why: str) -> bool:
        """The gate keeps the wanted route closed for now; whether for another reason than before."""
        self.wanted = wanted
        before, self._gate = self._gate, why
        self.wake()
        return why != before

    def may_have_crashed(self) -> None:
        """The process before this one may have moved this queue: what it had in flight comes again."""
        for mover in (self._ahead, self._behind):
            mover.may_have_crashed(self.terms.window)

    def wake(self) -> None:
        """Something changed: look around."""
        self._ahead.wake.set()
        self._behind.wake.set()

    def end(self) -> None:
        """Finish what is in flight, ack it, leave."""
        for mover in (self._ahead, self._behind):
            mover.end()

    def run(self) -> None:
        """Runs in a greenlet of its own until `end`."""
        self._ahead.run()
        if self._brings_back:
            self._behind.ended.wait()
        self.ended.set()

    # -- which way
    # ---------------------------------------------------------------------------------------------------

    @property
    def canary_done(self) -> bool:
        """Whether a canary took all it may take."""
        share = self._share
        return (
            self.route is Route.CANARY
            and share is not None
            and share.first is not None
            and self.canary_taken >= share.first
        )

    @property
    def _share(self) -> Share | None:
        return self.share or self.terms.share

    def _stopped(self) -> Rest | None:
        """What lies over every route."""
        if self.suspended and (self._legacy_too or self._links.legacy is None):
            return Rest("standby", self.suspended)
        if self.paused:
            return Rest("paused", f"paused; the route is {self.route}")
        return None

    def _way_ahead(self) -> Way | Rest:
        """From the source: for the target, or inline for the legacy side."""
        stopped = self._stopped()
        if stopped is not None:
            return stopped
        links = self._links
        if self.route in _FORWARD and not self.canary_done:
            if links.legacy is not None and self.route is not Route.QUORUM:
                return self._way_to_both(links.legacy)
            return self._way_to_target()
        if links.legacy is not None:
            return self._way(Kind.LEGACY, links.legacy, self.queue, self.queue)
        if self.canary_done:
            return Rest("done", f"canary: {self._share} were taken; the old workers have the rest")
        if self.wanted is not None:
            return Rest("waiting", f"for the gate to {self.wanted}: {self._gate}")
        return Rest("idle", f"route {self.route}: the old workers have this queue")

    def _way_to_target(self, **how: Any) -> Way | Rest:
        if self.suspended:
            return Rest("standby", self.suspended)
        if self.throttled:
            return Rest("throttled", self.throttled)
        if self._behind.on is not None:
            return Rest("waiting", "for what is being brought back to stop")
        return self._way(Kind.FORWARD, self._links.forward, self.queue, self.terms.target, **how)

    def _way_to_both(self, legacy: Link) -> Way | Rest:
        """Inline: to one side or the other, or to both; while one takes nothing, perhaps to the other alone."""
        left_alone = self.throttled or self.suspended
        course = self._sides.course(self.route, left_alone, degrade=self.terms.degrade)
        if isinstance(course, Rest):
            return course
        degraded = self.route is Route.DUAL and not (course.target and course.legacy)
        if course.target:
            return self._way_to_target(leg=course.legacy, degraded=degraded, note=course.note)
        return self._way(Kind.LEGACY, legacy, self.queue, self.queue, degraded=degraded, note=course.note)

    def _way_back(self) -> Way | Rest:
        """From the target's queue to the old side."""
        stopped = self._stopped()
        if stopped is not None:
            return stopped
        if self.suspended:
            return Rest("standby", self.suspended)
        if self.route is not Route.REVERSE:
            return Rest("idle", f"route {self.route}: nothing is brought back")
        ahead = self._ahead.on
        if ahead is not None and ahead.kind is Kind.FORWARD:
            return Rest("waiting", "for what is still moved to the target to stop")
        return self._way(Kind.BACK, self._links.back, self.terms.target, self.queue)

    def _way(self, kind: Kind, link: Link, reads: str, writes: str, *, leg: bool = False, **how: Any) -> Way:
        canary = self.route is Route.CANARY and kind is Kind.FORWARD
        share, anew = (self._share, self._anew) if canary else (None, 0)
        rates = [limit.rate for limit in self._limits(kind, leg) if limit.rate is not None]
        return Way(
            kind, self.route, link, reads, writes, self.terms, share, min(rates, default=None), leg, anew=anew, **how
        )

    def _limits(self, kind: Kind, leg: bool) -> list[Limit]:
        """What holds messages back on such a way, in force or not; none of the old workers' for the target's sake."""
        trial = kind is Kind.FORWARD and not (leg and self.route is Route.CANARY)
        return [self._own_limit, self._shared.limit, *([self._trial] if trial else [])]

    # -- what the movers ask
    # ------------------------------------------------------------------------------------------------

    def pace(self, way: Way, window: int) -> Pace:
        """How much may be taken on this way, at most `window` at once."""
        now = time.monotonic()
        # With two sides the share is chosen from what comes; nothing is left to others.
        share = None if way.leg else way.share
        self._shared.limit.queues = self._links.forward.queues
        limits = [limit for limit in self._limits(way.kind, way.leg) if limit.rate is not None]
        window = in_flight(limits, window)
        inner: Pace = Free(window)
        if share is not None and share.first is not None:
            inner = First(share.first - self.canary_taken, window)
        elif share is not None and share.rate is not None:
            inner = Rate(share.rate, window, now)
        return Limited(inner, limits) if limits else inner

    def verify(self, way: Way) -> None:
        """The target is ready for this queue, or a `Refused` says what is missing; workers may have gone meanwhile."""
        if way.kind is Kind.BACK:
            self._verify_back()
        if way.kind is Kind.LEGACY or way.leg:
            self._verify_legacy()
        if way.kind is Kind.FORWARD:
            self._verify_target(way)

    def _verify_target(self, way: Way) -> None:
        side = self._links.forward.target.name
        try:
            refused = gate(dataclasses.replace(self._just_seen() or self.facts(), consumers_wanted=0))
        except BridgeError as fault:
            if way.leg:
                raise Faulted(str(fault), hint=fault.hint, side=side) from None
            raise
        if refused is not None and way.leg:
            raise Faulted(refused.text, hint=refused.hint, side=side)
        if refused is not None:
            raise Refused(refused.text, hint=refused.hint)

    def _just_seen(self) -> Facts | None:
        """What the gate saw a moment ago: it asked the same, and with a thousand queues each question counts."""
        seen, self._seen = self._seen, None
        if seen is None or seen[1].target != self.terms.target or time.monotonic() - seen[0] > JUST_SEEN:
            return None
        return seen[1]

    def _verify_legacy(self) -> None:
        """Inline: the queue of the old workers is there, or nothing is taken for it."""
        old = self._links.old
        if old.ready(self.queue) is None:
            raise Faulted(
                f'queue "{self.queue}" does not exist on the legacy side: nothing is taken for it',
                hint=f'declare "{self.queue}" in the legacy vhost: start its old workers once',
                side=old.connection.name,
            )

    def split(self, way: Way) -> Split | None:
        """Who gets each message, where there are two live sides."""
        return self._sides.split(way, self.canary_taken)

    def failed(self, way: Way, fault: BridgeError) -> None:
        """A subscription ended, or did not begin, because something failed."""
        self._sides.failed(way, fault)

    def _verify_back(self) -> None:
        """The old queue is there and has room, as far as can be seen; nothing is taken for it before."""
        fault = self.back_fault()
        if fault:
            raise Refused(fault)
        refused_at = self._full_at
        if refused_at is None:
            return
        ready = self._links.old.ready(self.queue) or 0
        if self._full is None:
            self._full = ready
        if ready >= self._full and time.monotonic() - refused_at < FULL:
            raise Refused(
                f'queue "{self.queue}": it refused what was brought back, and has {ready} messages ready since: '
                "fewer are waited for",
                hint="start its old workers, or raise its limit; until then the messages stay on the target",
            )
        self._full_at = self._full = None

    def left(self, way: Way, relay: Relay) -> None:
        """A subscription ended: what a canary took counts."""
        surprise = relay.surprise
        if way.kind is Kind.BACK and surprise is not None and surprise.reason == "nacked":
            self._full_at = time.monotonic()
        taken = self._sides.left(relay)
        if way.share is None or self.route is not Route.CANARY or way.anew != self._anew:
            return
        if taken is not None:
            self.canary_taken = taken
        else:
            self.canary_taken += relay.taken - len(relay.ledger)

    def said(self, before: str, after: str) -> None:
        """The state of a mover changed."""
        self.begun.set()
        self.on_state(self, before, after)
