"""One queue: when it is subscribed to, and why it does not move when it does not.

1. The reason of each end stands in the status, and another try follows with back-off.
2. A message on whose publish the target closes the channel is looked for by halves. Where the target closes its whole
   connection, or cuts it again and again, that is done on connections of the queue's own: the others move on meanwhile.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

from gevent.event import Event

from bridge.amqp import back_off
from bridge.core.pace import First, Free, Pace, Rate
from bridge.core.relay import Counts, Relay
from bridge.core.route import Facts, Route, gate
from bridge.core.window import Window
from bridge.errors import BridgeError, Refused
from bridge.link import Link
from bridge.session import STALL, Faulted, Learnt, Session, Shared, limit
from bridge.terms import Terms

log = logging.getLogger("bridge.subscription")

#: Seconds over which the rate in the status is counted.
RATE_OVER = 10.0
#: Codes with which a broker closes a connection for what came on it (AMQP 0-9-1, section 1.2; RabbitMQ's 541).
HARD = frozenset((501, 502, 503, 504, 505, 540, 541))
#: Connections to the target lost in a row, each soon after the queue began to move, that make it suspect.
LOSSES = 3
#: Seconds after which a loss is not counted to the message any more.
SOON = 30.0


class Subscription:
    """One source queue and its sister on the target."""

    def __init__(self, queue: str, number: int, terms: Terms, link: Link, shared: Shared) -> None:
        self.queue = queue
        self.number = number
        self.terms = terms
        self.counts = Counts()
        self.route = Route.LEGACY
        #: A route that waits for its gate: the configuration's at the start, when no worker may be there yet.
        self.wanted: Route | None = None
        self.state = "idle"
        self.why = ""
        self.since = datetime.now(UTC)
        self.wake = Event()
        self.relay: Relay | None = None
        self.ended = Event()
        self._link = link
        self._shared = shared
        self._ending = False
        self._canary_taken = 0
        self._canary_done = False
        self._gate = ""
        self._learnt = Learnt(Window(terms.window))
        self._losses = 0
        self._apart = False
        self._samples: deque[tuple[float, int]] = deque()

    # -- what others ask
    # ------------------------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """What the gate asks of the target, looked up now; our exit is bound on the way.

        Raises:
            BridgeError: the target does not answer.
        """
        target, wanted = self.terms.target, self.terms.consumers
        down = self._link.down()
        if down is not None:
            return Facts(self.queue, target, 0, None, "", wanted, alarm=down)
        consumers = self._shared.exits.consumers(target)
        kind = self._shared.target_type(target) if consumers is not None else None
        exit_fault = self._shared.exits.fault or ""
        if consumers is not None and not exit_fault and kind in (None, "quorum"):
            try:
                self._shared.exits.bind(target)
            except Refused as fault:
                exit_fault = str(fault)
        return Facts(self.queue, target, consumers, kind, exit_fault, wanted)

    def set_route(self, route: Route) -> None:
        """Move to another route; the subscription follows."""
        if route is not self.route or route is Route.CANARY:
            self._canary_taken = 0
            self._canary_done = False
        self.route = route
        self.wanted = None
        self.wake.set()

    def set_terms(self, terms: Terms) -> None:
        """Take a changed configuration over: a new target name or window means a new subscription."""
        if terms != self.terms:
            self.terms = terms
            self._learnt.window = Window(terms.window)
            self.wake.set()

    def end(self) -> None:
        """Finish what is in flight, ack it, leave."""
        self._ending = True
        self.wake.set()

    @property
    def in_flight(self) -> int:
        """Messages taken from the source and not yet acked."""
        return len(self.relay.ledger) if self.relay else 0

    def sample(self) -> None:
        """Remember how much was moved by now, for `rate`."""
        now = time.monotonic()
        self._samples.append((now, self.counts.moved))
        while self._samples[0][0] < now - RATE_OVER:
            self._samples.popleft()

    def rate(self) -> float:
        """Messages a second over the last ten seconds."""
        if len(self._samples) < 2:
            return 0.0
        (began, before), (ended, moved) = self._samples[0], self._samples[-1]
        return (moved - before) / (ended - began)

    # -- its life
    # -------------------------------------------------------------------------------------------------------

    def may_have_crashed(self) -> None:
        """The process before this one may have moved this queue: what it had in flight comes again."""
        self._learnt.unsure = self.terms.window

    def run(self) -> None:
        """Runs in a greenlet of its own until `end`."""
        waits: Iterator[float] = back_off(0.1)
        while not self._ending:
            self.wake.clear()
            if self._idle():
                self._link.budget.waiting.discard(self)
                self.wake.wait()
                continue
            down = self._hindered()
            if down is not None:
                self._say("waiting", down)
                self.wake.wait(1.0)
                continue
            began = time.monotonic()
            try:
                if self._apart:
                    self._search_apart()
                else:
                    self._subscribe(self._link)
                waits = back_off(0.1)
            except BridgeError as fault:
                if time.monotonic() - began > STALL:
                    waits = back_off(0.1)
                self._fault(fault)
                search = self._learnt.search
                if search.prefetch is not None and not search.given_up and not isinstance(fault, Refused):
                    # Each try knows more than the one before.
                    waits = back_off(0.1)
                self._pause(next(waits))
            except Exception as fault:
                log.debug("traceback", exc_info=True)
                self._fault(Faulted(f'queue "{self.queue}": {type(fault).__name__}: {fault}'))
                self._pause(next(waits))
        self._link.budget.waiting.discard(self)
        self._say("ended", "the bridge is stopping")
        self.ended.set()

    def _hindered(self) -> str | None:
        """Why nothing can move now; None when it can."""
        down = self._link.down()
        if down is not None:
            return down
        budget = self._link.budget
        if not budget.room:
            budget.waiting.add(self)
            return "for room in relay.window_bytes: large messages of other queues are in flight"
        budget.waiting.discard(self)
        return None

    def _pause(self, seconds: float) -> None:
        """Wait out a back-off, unless the route changes meanwhile."""
        route, until = self.route, time.monotonic() + seconds
        while not self._ending and self.route is route and (left := until - time.monotonic()) > 0:
            self.wake.clear()
            self.wake.wait(left)

    def _idle(self) -> bool:
        """Whether there is nothing to do on this route."""
        if self._canary_done:
            self._say("done", f"canary: {self.terms.share} were taken; the old workers have the rest")
        elif self.route.moves:
            return False
        elif self.wanted is not None:
            self._say("waiting", f"for the gate to {self.wanted}: {self._gate}")
        else:
            self._say("idle", "route legacy: the old workers have this queue")
        return True

    def hold(self, wanted: Route, why: str) -> bool:
        """The gate keeps the wanted route closed for now; whether for another reason than before."""
        self.wanted = wanted
        before, self._gate = self._gate, why
        self.wake.set()
        return why != before

    def _say(self, state: str, why: str = "") -> None:
        if (state, why) != (self.state, self.why):
            if state != self.state:
                self.since = datetime.now(UTC)
                log.info('queue "%s": %s%s', self.queue, state, f": {why}" if why else "")
            self.state, self.why = state, why

    def _fault(self, fault: BridgeError) -> None:
        if str(fault) != self.why:
            log.warning("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        if self.state != "faulted":
            self.since = datetime.now(UTC)
        self.state, self.why = "faulted", str(fault)

    def _pace(self, link: Link) -> Pace:
        canary, learnt = self.terms.share, self._learnt
        window = limit(self.terms, link, learnt)
        if self.route is not Route.CANARY or canary is None:
            return Free(min(window, learnt.window.size))
        if canary.first is not None:
            return First(canary.first - self._canary_taken, window)
        return Rate(canary.rate or 1.0, window, time.monotonic())

    def _verify(self) -> None:
        """The target is ready for this queue, or a `Refused` says what is missing; workers may have gone meanwhile."""
        refused = gate(dataclasses.replace(self.facts(), consumers_wanted=0))
        if refused is not None:
            raise Refused(refused.text, hint=refused.hint)

    def _subscribe(self, link: Link) -> None:
        """One subscription from its beginning to its end."""
        self._verify()
        terms, route, learnt = self.terms, self.route, self._learnt
        began = time.monotonic()
        session = Session(
            self.queue, self.number, terms, self._pace(link), link, self._shared, learnt, self.counts, self.wake
        )
        self.relay = session.relay
        try:
            session.run(
                moving=lambda: self._say("moving"),
                over=lambda: self._over(link) or self.route is not route or self.terms != terms,
                fault=self._fault,
            )
        finally:
            self.relay = None
            if route is Route.CANARY and self.route is route:
                self._canary_taken += session.relay.taken - len(session.relay.ledger)
                first = terms.share.first if terms.share else None
                self._canary_done = first is not None and self._canary_taken >= first
            if session.target_lost and not self._ending:
                self._suspect(session, link, time.monotonic() - began)
            elif time.monotonic() - began > SOON:
                self._losses = 0

    def _over(self, link: Link) -> bool:
        """Whether to leave for a reason that is not the subscription's own."""
        down = link.down()
        if down is not None:
            self._say("leaving", down)
        return down is not None or self._ending

    def _suspect(self, session: Session, link: Link, lasted: float) -> None:
        """The target's connection is gone: for one of our messages?"""
        unanswered = session.relay.ledger.unanswered()
        said = link.target.close_code in HARD
        if self._apart:
            self._learnt.search.closed(unanswered, said=said)
            return
        if not unanswered or (lasted > SOON and not said):
            self._losses = 0
            return
        self._losses += 1
        if said or self._losses >= LOSSES:
            self._losses = 0
            self._apart = True
            self._learnt.search.closed(unanswered, said=said)
            log.warning(
                'queue "%s": the target closed its connection on what may be one of %d messages; '
                "looking for it on connections of its own",
                self.queue,
                len(unanswered),
            )

    def _search_apart(self) -> None:
        """Move on connections of the queue's own until the message is found, or all that were suspect are through."""
        with self._shared.turn_apart:
            link = self._shared.link_apart()
            link.on_change = self.wake.set
            link.on_alert = lambda _numbers: self.wake.set()
            try:
                link.open()
                self._subscribe(link)
            finally:
                link.close()
                if self._learnt.search.prefetch is None:
                    self._apart = False
