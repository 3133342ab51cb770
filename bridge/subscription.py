"""One queue: when it is subscribed to, how a subscription ends, and why it does not move when it does not.

1. Before the first delivery: the target queue is there, our exit is bound, confirms are on.
2. An orderly end cancels first, waits for the confirms, acks, and only then closes the channels: no message is doubled.
3. Every other end closes the source channel: what is not acked is back in the old queue at once, and the old workers
   have it.
4. The reason of each end stands in the status, and another try follows with back-off.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from gevent.event import Event

from bridge.amqp import Channel, ChannelClosed, back_off
from bridge.core.pace import First, Free, Pace, Rate, share
from bridge.core.relay import Counts, Destination, Relay
from bridge.core.route import Facts, Route, gate
from bridge.delayed import Exits
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.link import Link

log = logging.getLogger("bridge.subscription")

#: Our consumer's tag; each subscription has a channel of its own, so it need not be unique.
TAG = "bridge"
#: Seconds without a confirm after which the old workers get their queue back (the subscription ends; what is in
#: flight may still be confirmed).
STALL = 3.0
#: Seconds that a stalled or ending subscription waits for confirms before the rest goes back to the source.
LAST_CONFIRMS = 20.0
#: Seconds between two looks at our exit from the ladder while a queue moves.
EXIT_WATCH = 10.0
#: Seconds between looks at a subscription that nothing woke.
TICK = 1.0
#: The same where acks are held back to keep a rate.
PACED_TICK = 0.05
#: Seconds over which the rate in the status is counted.
RATE_OVER = 10.0

_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:the )?(?:configured )?max size (\d+)")


@dataclass(frozen=True, slots=True)
class Share:
    """What a canary takes: messages a second, or the first so many."""

    rate: float | None = None
    first: int | None = None

    def __str__(self) -> str:
        return f"at most {self.rate:g}/s" if self.rate is not None else f"the first {self.first}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of one queue."""

    target: str
    share: Share | None
    consumers: int
    window: int
    window_bytes: int
    priority: int
    cap_priority: bool


class Faulted(BridgeError):
    """The queue cannot move now; it is tried again."""


class Subscription:
    """One source queue and its sister on the target."""

    def __init__(
        self,
        queue: str,
        number: int,
        terms: Terms,
        link: Link,
        exits: Exits,
        target_type: Callable[[str], str | None],
        export: Callable[[str, int, bytes], None],
    ) -> None:
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
        self._exits = exits
        self._target_type = target_type
        self._export = export
        self._ending = False
        self._canary_taken = 0
        self._canary_done = False
        self._gate = ""
        self._max_message: int | None = None
        #: Messages that fit into the window's bytes, by the sizes seen when they did not.
        self._fits = 1 << 16
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
        consumers = self._exits.consumers(target)
        kind = self._target_type(target) if consumers is not None else None
        exit_fault = self._exits.fault or ""
        if consumers is not None and not exit_fault and kind in (None, "quorum"):
            try:
                self._exits.bind(target)
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

    def run(self) -> None:
        """Runs in a greenlet of its own until `end`."""
        waits: Iterator[float] = back_off(0.1)
        while not self._ending:
            self.wake.clear()
            if self._idle():
                self.wake.wait()
                continue
            down = self._link.down()
            if down is not None:
                self._say("waiting", down)
                self.wake.wait()
                continue
            began = time.monotonic()
            try:
                self._subscribe()
                waits = back_off(0.1)
            except BridgeError as fault:
                if time.monotonic() - began > STALL:
                    waits = back_off(0.1)
                self._fault(fault)
                self._pause(next(waits))
            except Exception as fault:
                log.debug("traceback", exc_info=True)
                self._fault(Faulted(f'queue "{self.queue}": {type(fault).__name__}: {fault}'))
                self._pause(next(waits))
        self._say("ended", "the bridge is stopping")
        self.ended.set()

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

    def _pace(self) -> Pace:
        canary = self.terms.share
        window = min(share(self.terms.window, self._link.queues), self._fits)
        if self.route is not Route.CANARY or canary is None:
            return Free(window)
        if canary.first is not None:
            return First(canary.first - self._canary_taken, window)
        return Rate(canary.rate or 1.0, window, time.monotonic())

    def _destination(self) -> Destination:
        target = self._link.target
        capped = self.terms.cap_priority and (4, 0) <= target.server_version < (4, 3)
        return Destination(
            self.terms.target,
            target.user.encode(),
            target.frame_max,
            max_message=self._max_message,
            cap_priority=capped,
        )

    def _verify(self) -> None:
        """The target is ready for this queue, or a `Refused` says what is missing; workers may have gone meanwhile."""
        refused = gate(dataclasses.replace(self.facts(), consumers_wanted=0))
        if refused is not None:
            raise Refused(refused.text, hint=refused.hint)

    def _subscribe(self) -> None:
        """One subscription from its beginning to its end."""
        self._verify()
        link, number = self._link, self.number
        terms, route = self.terms, self.route
        relay = Relay(number, self._destination(), self._pace(), self.counts, link.out)
        wires = link.source_wire, link.target_wire
        target = source = None
        try:
            target = link.target.channel(number)
            target.on_end = lambda: self._cut(relay, "the target's channel closed")
            target.confirm_select()
            source = link.source.channel(number)
            source.on_end = lambda: self._cut(relay, "the source's channel closed")
            source.qos(relay.pace.prefetch)
            wires[0].relays[number] = relay
            wires[1].relays[number] = relay
            self.relay = relay
            source.consume(self.queue, TAG, terms.priority)
            self._say("moving")
            try:
                self._watch(relay, source, target, terms, route)
            except Faulted as fault:
                # Said before the last confirms are waited for: leaving takes its time when the target is silent.
                self._fault(fault)
                raise
            finally:
                self._leave(relay, source, target)
        except ChannelClosed as fault:
            raise self._explain(fault) from None
        finally:
            relay.stop("ended", "the subscription ended")
            for channel, wire in ((source, wires[0]), (target, wires[1])):
                if channel is not None:
                    channel.on_end = lambda: None
                    channel.close()
                    wire.forget(number)
            lost = source is not None and isinstance(source.error, Unreachable)
            self.counts.possible_duplicates += relay.doubtful(source_lost=lost)
            if route is Route.CANARY:
                self._canary_taken += relay.taken - len(relay.ledger)
            self.relay = None

    def _cut(self, relay: Relay, text: str) -> None:
        """A channel is gone, told from the hub: nothing more may be published under its number."""
        relay.stop("cut", text)
        self.wake.set()

    def _watch(self, relay: Relay, source: Channel, target: Channel, terms: Terms, route: Route) -> None:
        """Stay subscribed until there is a reason to leave; an exception is the reason of a fault."""
        tick = PACED_TICK if route is Route.CANARY else TICK
        verified = time.monotonic()
        while True:
            self.wake.wait(tick)
            self.wake.clear()
            self._export_too_large(relay)
            now = time.monotonic()
            relay.turn(now)
            self._link.flush()
            for channel in (source, target):
                if channel.error is not None:
                    raise channel.error
            if source.cancelled:
                raise Refused(
                    f'queue "{self.queue}": the source cancelled our consumer: the queue was deleted or its node failed'
                )
            if self._ending or self.route is not route or self.terms != terms or self._over(relay, now):
                return
            if now - verified > EXIT_WATCH:
                self._exits.bind(terms.target)
                verified = now

    def _export_too_large(self, relay: Relay) -> None:
        """Write what no publish can carry to files; an exception leaves it with the source."""
        for tag, wire in relay.too_large:
            self._export(self.queue, tag, wire)
            relay.exported(tag)
            log.warning(
                'queue "%s": a message of %d bytes is too large for the target: exported', self.queue, len(wire)
            )
        relay.too_large.clear()

    def _over(self, relay: Relay, now: float) -> bool:
        """Whether the relay or the target ends the subscription; an exception if that is a fault."""
        if relay.surprise is not None and relay.surprise.reason == "window":
            self._fits = relay.fits
            log.info('queue "%s": %s: %d at a time from now on', self.queue, relay.surprise.text, self._fits)
            return True
        if relay.surprise is not None:
            raise Faulted(f'queue "{self.queue}": {relay.surprise.text}')
        down = self._link.down()
        if down is not None:
            self._say("leaving", down)
            return True
        if relay.finished:
            self._canary_done = True
            return True
        oldest = relay.ledger.oldest()
        if oldest is not None and now - oldest > STALL:
            raise Faulted(
                f'queue "{self.queue}": no confirm from the target for {now - oldest:.1f} s; '
                "the old workers have the queue meanwhile"
            )
        return False

    def _leave(self, relay: Relay, source: Channel, target: Channel) -> None:
        """Cancel, wait for the last confirms, ack what is safe."""
        if source.error is not None:
            return
        try:
            if not source.cancelled:
                source.cancel(TAG)
            until = time.monotonic() + LAST_CONFIRMS
            while relay.ledger.unconfirmed and target.error is None and (left := until - time.monotonic()) > 0:
                self.wake.clear()
                self.wake.wait(min(left, PACED_TICK))
        except BridgeError as fault:
            log.debug("leaving: %s", fault)
        relay.last_turn()
        self._link.flush()

    def _explain(self, fault: ChannelClosed) -> BridgeError:
        """What a channel that the broker closed means for this queue."""
        size = _TOO_LARGE.search(fault.text)
        if size is not None:
            self._max_message = int(size[1])
            return Faulted(
                f'queue "{self.queue}": a message is larger than the {size[1]} bytes the target takes; '
                "it is exported on the next try"
            )
        if fault.code == 404:
            self._exits.doubt(fault.text)
        return Faulted(f'queue "{self.queue}": {fault}')
