"""One queue in one direction: when it is subscribed to, and why it does not move when it does not.

1. The reason of each end stands in the status, and another try follows with back-off.
2. A message on whose publish the broker closes the channel is looked for by halves. Where it closes its whole
   connection, or cuts it again and again, that is done on connections of the queue's own: the others move on meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from gevent.event import Event

from bridge.amqp import Connection, back_off
from bridge.core.counts import Counts
from bridge.core.pace import Pace
from bridge.core.relay import Relay
from bridge.core.split import Split
from bridge.core.window import Window
from bridge.errors import BridgeError, Refused
from bridge.link import Link
from bridge.outflow import STALL
from bridge.session import Session
from bridge.shared import Faulted, Learnt, Shared, limit
from bridge.terms import Terms
from bridge.way import Kind, Rest, Way

log = logging.getLogger("bridge.mover")

#: Codes with which a broker closes a connection for what came on it (AMQP 0-9-1, section 1.2; RabbitMQ's 541).
HARD = frozenset((501, 502, 503, 504, 505, 540, 541))
#: Connections lost in a row, each soon after the queue began to move, that make it suspect.
LOSSES = 3
#: Seconds after which a loss is not counted to the message any more.
SOON = 30.0


class Owner(Protocol):
    """The queue, as its movers ask it."""

    queue: str
    number: int

    def pace(self, way: Way, window: int) -> Pace:
        """How much may be taken on this way, at most `window` at once."""

    def verify(self, way: Way) -> None:
        """The other end is ready, or an error says what is missing."""

    def split(self, way: Way) -> Split | None:
        """Who gets each message, where there are two live sides."""

    def left(self, way: Way, relay: Relay) -> None:
        """A subscription ended."""

    def failed(self, way: Way, fault: BridgeError) -> None:
        """It ended, or did not begin, because something failed."""

    def said(self, before: str, after: str) -> None:
        """The state of a mover changed."""

    def wake(self) -> None:
        """All movers look around."""


class Mover:
    """Moves one queue the way that is wanted now, until `end`.

    Args:
        owner: the queue.
        wanted: the way, asked again and again.
        counts: what happens is added to these.
        link_apart: makes connections for this queue alone.
    """

    def __init__(
        self,
        owner: Owner,
        wanted: Callable[[], Way | Rest],
        counts: Counts,
        shared: Shared,
        terms: Terms,
        link_apart: Callable[[Kind], Link],
    ) -> None:
        self.counts = counts
        self.state = "idle"
        self.why = ""
        self.since = datetime.now(UTC)
        self.wake = Event()
        self.relay: Relay | None = None
        #: The way it goes now; None while it is not subscribed to anything.
        self.on: Way | None = None
        self.ended = Event()
        self._owner = owner
        self._wanted = wanted
        self._shared = shared
        self._link_apart = link_apart
        self._ending = False
        self._window = terms.window
        self._learnt: dict[Kind, Learnt] = {}
        self._unsure = 0
        self._losses = 0
        self._apart = False

    # -- what others ask
    # ------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Finish what is in flight, ack it, leave."""
        self._ending = True
        self.wake.set()

    def may_have_crashed(self, window: int) -> None:
        """The process before this one may have moved this queue: what it had in flight comes again."""
        self._unsure = window

    def changed(self, terms: Terms) -> None:
        """Other terms: how many should be in flight is tried out anew."""
        self._window = terms.window
        for learnt in self._learnt.values():
            learnt.window = Window(terms.window, self._shared.crowd)
        self.wake.set()

    # -- its life
    # -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Runs in a greenlet of its own until `end`."""
        waits: Iterator[float] = back_off(0.1)
        while not self._ending:
            self.wake.clear()
            way = self._wanted()
            if isinstance(way, Rest):
                self._shared.budget.waiting.discard(self)
                self._say(way.state, way.why)
                self.wake.wait()
                continue
            down = self._hindered(way)
            if down is not None:
                self._say("waiting", down)
                self.wake.wait(1.0)
                continue
            began = time.monotonic()
            learnt = self._learnt_on(way.kind)
            try:
                if self._apart:
                    self._search_apart(way, learnt)
                else:
                    self._subscribe(way, way.link, learnt)
                waits = back_off(0.1)
            except BridgeError as fault:
                if time.monotonic() - began > STALL:
                    waits = back_off(0.1)
                # What is read from a quorum queue may not come back to it often.
                learnt.cautious = learnt.cautious or way.kind is Kind.BACK
                self._fault(fault)
                self._owner.failed(way, fault)
                search = learnt.search
                if search.prefetch is not None and not search.given_up and not isinstance(fault, Refused):
                    # Each try knows more than the one before.
                    waits = back_off(0.1)
                self._pause(way, next(waits))
            except Exception as fault:
                log.debug("traceback", exc_info=True)
                self._fault(Faulted(f'queue "{self._owner.queue}": {type(fault).__name__}: {fault}'))
                self._pause(way, next(waits))
        self._shared.budget.waiting.discard(self)
        self._say("ended", "the bridge is stopping")
        self.ended.set()

    def _learnt_on(self, kind: Kind) -> Learnt:
        if kind not in self._learnt:
            self._learnt[kind] = Learnt(Window(self._window, self._shared.crowd), unsure=self._unsure)
        return self._learnt[kind]

    def _hindered(self, way: Way) -> str | None:
        """Why nothing can move now; None when it can."""
        down = way.link.down(leg=way.leg)
        if down is not None:
            return down
        budget = self._shared.budget
        if not budget.room:
            budget.waiting.add(self)
            return "for room in relay.window_bytes: large messages of other queues are in flight"
        budget.waiting.discard(self)
        return None

    def _pause(self, way: Way, seconds: float) -> None:
        """Wait out a back-off, unless another route is wanted meanwhile."""
        until = time.monotonic() + seconds
        while not self._ending and self._still(way) and (left := until - time.monotonic()) > 0:
            self.wake.clear()
            self.wake.wait(left)

    def _still(self, way: Way) -> bool:
        wanted = self._wanted()
        return isinstance(wanted, Way) and (wanted.route, wanted.kind, wanted.leg) == (way.route, way.kind, way.leg)

    def _say(self, state: str, why: str = "") -> None:
        before = self.state
        if (state, why) != (before, self.why):
            if state != before:
                self.since = datetime.now(UTC)
                log.info('queue "%s": %s%s', self._owner.queue, state, f": {why}" if why else "")
            self.state, self.why = state, why
            if state != before:
                self._owner.said(before, state)

    def _fault(self, fault: BridgeError) -> None:
        if str(fault) != self.why:
            log.warning("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        before, self.why = self.state, str(fault)
        if before != "faulted":
            self.since = datetime.now(UTC)
            self.state = "faulted"
            self._owner.said(before, "faulted")

    def _subscribe(self, way: Way, link: Link, learnt: Learnt) -> None:
        """One subscription from its beginning to its end."""
        self.on = way
        try:
            self._owner.verify(way)
            began = time.monotonic()
            most = limit(way.terms, link.queues, learnt)
            pace = self._owner.pace(way, learnt.window.begin(most))
            session = Session(
                self._owner.queue,
                self._owner.number,
                way,
                pace,
                link,
                self._shared,
                learnt,
                self.counts,
                self.wake,
                self._owner.split(way),
            )
            self.relay = session.relay
            try:
                session.run(
                    moving=lambda: self._say("moving", way.note),
                    over=lambda: self._over(way, link) or self._wanted() != way,
                    fault=self._fault,
                )
            finally:
                self.relay = None
                self._owner.left(way, session.relay)
                if session.lost is not None and not self._ending:
                    self._suspect(session, session.lost, learnt, time.monotonic() - began)
                elif time.monotonic() - began > SOON:
                    self._losses = 0
        finally:
            self.on = None
            # The opposite way may wait for this.
            self._owner.wake()

    def _over(self, way: Way, link: Link) -> bool:
        """Whether to leave for a reason that is not the subscription's own."""
        down = link.down(leg=way.leg)
        if down is not None:
            self._say("leaving", down)
        return down is not None or self._ending

    def _suspect(self, session: Session, lost: Connection, learnt: Learnt, lasted: float) -> None:
        """A connection that is written to is gone: for one of our messages?"""
        unanswered = session.unanswered(lost)
        said = lost.close_code in HARD
        if self._apart:
            learnt.search.closed(unanswered, said=said)
            return
        if not unanswered or (lasted > SOON and not said):
            self._losses = 0
            return
        self._losses += 1
        if said or self._losses >= LOSSES:
            self._losses = 0
            self._apart = True
            learnt.search.closed(unanswered, said=said)
            log.warning(
                'queue "%s": the %s closed its connection on what may be one of %d messages; '
                "looking for it on connections of its own",
                self._owner.queue,
                lost.name,
                len(unanswered),
            )

    def _search_apart(self, way: Way, learnt: Learnt) -> None:
        """Move on connections of the queue's own until the message is found, or all that were suspect are through."""
        with self._shared.turn_apart:
            link = self._link_apart(way.kind)
            link.on_change = self.wake.set
            link.on_alert = lambda _numbers: self.wake.set()
            try:
                link.open()
                self._subscribe(way, link, learnt)
            finally:
                link.close()
                if learnt.search.prefetch is None:
                    self._apart = False
