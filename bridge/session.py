"""One subscription of one queue, from its beginning to its end.

1. Before the first delivery: channels are open, confirms are on, the backup's stream is there.
2. An orderly end cancels first, waits for the confirms, acks, and only then closes the channels: no message is doubled.
3. Every other end closes the source channel: what is not acked is back in the old queue at once, and the old workers
   have it.
4. What may have been doubled thereby is listed before anything else happens.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

import gevent
from gevent.event import Event

from bridge.amqp import Channel, ChannelClosed, Connection
from bridge.core.copies import Backup, Copies
from bridge.core.counts import Counts
from bridge.core.envelope import fingerprint
from bridge.core.ledger import Ledger
from bridge.core.legs import Leg
from bridge.core.pace import Pace
from bridge.core.relay import Destination, Relay
from bridge.core.split import Split
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.link import Link
from bridge.outflow import STALL, Outflow
from bridge.prefetch import HELD_BACK, TICK, Prefetch
from bridge.settling import settle
from bridge.shared import TOO_LARGE, Faulted, Learnt, Shared, closed_on_publish
from bridge.way import Kind, Way

log = logging.getLogger("bridge.session")

#: Seconds that a stalled or ending subscription waits for confirms before the rest goes back to the source; longer
#: while bytes still go out to the target, but so that nothing is unacked for a minute.
LAST_CONFIRMS = 20.0
AT_MOST = 50.0
#: Seconds between two looks at our exit from the ladder while a queue moves; a quiet one is woken when it is missing.
EXIT_WATCH = 10.0
#: Times that a message may have come back to a quorum queue before it is set apart: from 4.0 on a broker drops it, or
#: dead-letters it, after 20 (semantics.md, 7.3), and each fault on the way back is one.
MOST_RETURNS = 10
#: Seconds between looks at a subscription in which nothing moves: whatever happens to it wakes it. A thousand queues
#: that look every second do nothing else.
QUIET = 300.0
#: The same where acks are held back to keep a rate. Only there: a thousand queues that look so often do nothing else.
PACED_TICK = 0.05
#: Seconds from the first subscription for which a redelivered message may be one of the process before this one: the
#: source notices within three heartbeats that a connection is dead.
UNSURE = 60.0


class Session:
    """The subscription.

    Args:
        queue: name of the source queue.
        number: of its channels.
        way: where it goes.
        pace: how much it may take.
        link: the connections.
        shared: what all queues use.
        learnt: what was learnt before, and is learnt now.
        counts: what happened is added to these.
        wake: set by whoever wants the session to look around.
        split: who gets each message, where there are two live sides.
    """

    def __init__(
        self,
        queue: str,
        number: int,
        way: Way,
        pace: Pace,
        link: Link,
        shared: Shared,
        learnt: Learnt,
        counts: Counts,
        wake: Event,
        split: Split | None = None,
    ) -> None:
        self.queue = queue
        self.number = number
        self.way = way
        self.terms = way.terms
        self._link = link
        self._shared = shared
        self._learnt = learnt
        self._counts = counts
        self._wake = wake
        self._exit_fault: BridgeError | None = None
        self._beside: Channel | None = None
        self._set_apart_count = 0
        copies, leg = self._copies(), self._leg(split)
        self._began = time.monotonic()
        if learnt.unsure_until is None:
            learnt.unsure_until = self._began + UNSURE
        self.relay = Relay(
            number,
            self._destination(),
            pace,
            counts,
            link.out,
            budget=link.budget,
            copies=copies,
            leg=leg,
            unsure=learnt.unsure,
            poison=frozenset(learnt.search.found),
        )
        self._prefetch = Prefetch(way, self.relay, link, shared, learnt)
        #: What is written to: the ledger of each side, and how its connection carries.
        self._written: list[tuple[Ledger, Outflow]] = [(self.relay.ledger, Outflow(link.target))]
        if leg is not None and link.leg is not None:
            self._written.append((leg.ledger, Outflow(link.leg)))
        #: The connection that was lost while messages were in flight on it.
        self.lost: Connection | None = None

    def unanswered(self, connection: Connection) -> list[bytes]:
        """The messages whose publishes on this connection have no answer."""
        return [wire for ledger, out in self._written if out.connection is connection for wire in ledger.unanswered()]

    def _destination(self) -> Destination:
        target = self._link.target
        capped = self.terms.cap_priority and (4, 0) <= target.server_version < (4, 3)
        return Destination(
            self.way.writes,
            target.user.encode(),
            target.frame_max,
            max_message=self._learnt.max_message,
            cap_priority=capped,
            entries=self._shared.exits.entries,
            straight=self.way.kind is not Kind.FORWARD,
            most_returns=MOST_RETURNS if self.way.kind is Kind.BACK else 0,
            side=target.name,
            degraded=self.way.degraded,
        )

    def _leg(self, split: Split | None) -> Leg | None:
        connection = self._link.leg
        if split is None or connection is None:
            return None
        to = Destination(
            self.queue,
            connection.user.encode(),
            connection.frame_max,
            max_message=self._learnt.leg_max_message,
            straight=True,
            side=connection.name,
        )
        return Leg(self.number, to, split, self._link.out.to_leg)

    def _copies(self) -> Copies | None:
        stream, connection = self._shared.stream, self._link.backup
        if stream is None or connection is None:
            return None
        try:
            stream.ensure()
            to = Backup(connection.frame_max, stream.max_message, stream.required)
        except BridgeError:
            if stream.required:
                raise
            to = Backup(required=False)
        copies = Copies(self.number, self.queue, to, self._link.out.to_backup)
        if stream.fault is not None:
            copies.lost(stream.fault)
        return copies

    # -- from its beginning to its end

    def run(self, moving: Callable[[], None], over: Callable[[], bool], fault: Callable[[BridgeError], None]) -> None:
        """Subscribe, and stay until there is a reason to leave.

        Args:
            moving: told when messages may come.
            over: asked again and again whether to leave.
            fault: told why it leaves, before it waits for the last confirms.

        Raises:
            BridgeError: it ended because something failed.
        """
        link, number, relay = self._link, self.number, self.relay
        source = target = backup = None
        try:
            target = link.target.channel(number)
            target.on_end = lambda: self._cut(f"the channel of the {link.target.name} closed", link.target.name)
            target.confirm_select()
            self._open_leg()
            backup = self._open_backup()
            source = link.source.channel(number)
            source.on_end = lambda: self._cut("the source's channel closed")
            # Only now: the source may have been connected anew while the target's channel was opened.
            link.source_wire.relays[number] = relay
            link.target_wire.relays[number] = relay
            self._prefetch.consume(source)
            moving()
            try:
                self._watch(source, target, over)
            except Faulted as why:
                # Said before the last confirms are waited for: leaving takes its time when the target is silent.
                fault(why)
                raise
            finally:
                self._leave(source, target)
        except ChannelClosed as why:
            raise self._explain(why, target, backup) from None
        finally:
            relay.stop("ended", "the subscription ended")
            # Confirms may come until the target's channel is closed too; an ack on a closed channel is a fault of the
            # whole connection (AMQP 0-9-1, 504).
            relay.leave()
            for channel, connection in ((target, link.target), (self._beside, link.leg)):
                if channel is not None and isinstance(channel.error, Unreachable):
                    self.lost = connection
            for channel in (source, target, backup, self._beside):
                if channel is not None:
                    channel.on_end = lambda: None
                    channel.close()
            link.forget(number)
            self._settle(source)

    def _settle(self, source: Channel | None) -> None:
        """The books of what was in flight: it is back with the source, and the target may have it too."""
        relay = self.relay
        # With a connection, or a channel that the source closed, goes what was acked on it and not yet heard.
        doubtful = relay.doubtful(source is not None and source.lost)
        self._counts.possible_duplicates += len(doubtful)
        self._shared.doubles.add(self.queue, doubtful, "in flight when the connection or channel was lost")
        self._learnt.cautious = bool(doubtful)
        self._came_again()
        self._learnt.unsure = relay.unsure
        relay.close()

    def _open_leg(self) -> None:
        """The second side's channel, if there is one."""
        leg, connection = self.relay.leg, self._link.leg
        if leg is None or connection is None:
            return
        name = connection.name
        self._beside = channel = connection.channel(self.number)
        channel.on_end = lambda: self._cut(f"the channel of the {name} side closed", name)
        channel.confirm_select()
        self._link.leg_wire.relays[self.number] = leg

    def _open_backup(self) -> Channel | None:
        """The backup's channel, if copies are made."""
        copies, connection = self.relay.copies, self._link.backup
        if copies is None or connection is None or copies.over:
            return None
        channel = connection.channel(self.number)
        channel.on_end = lambda: self._lost_backup(copies, channel)
        channel.confirm_select()
        self._link.backup_wire.relays[self.number] = copies
        return channel

    def _lost_backup(self, copies: Copies, channel: Channel) -> None:
        text = f"the backup's channel closed: {channel.error}"
        if self._shared.stream is not None:
            size = TOO_LARGE.search(str(channel.error))
            if size is not None:
                self._shared.stream.max_message = int(size[1])
            else:
                self._shared.stream.doubt(text)
        copies.lost(text)
        self._wake.set()

    def _cut(self, text: str, side: str = "") -> None:
        """A channel is gone, told from the hub: nothing more may be published under its number."""
        self.relay.stop("cut", text, side)
        self._wake.set()

    # -- while it moves

    def _watch(self, source: Channel, target: Channel, over: Callable[[], bool]) -> None:
        """Stay subscribed until there is a reason to leave; an exception is the reason of a fault."""
        relay, learnt = self.relay, self._learnt
        verified = time.monotonic()
        through = seen = self._through
        while True:
            self._wake.wait(self._tick)
            self._wake.clear()
            for channel in (source, target, self._beside):
                if channel is not None and channel.error is not None:
                    raise channel.error
            self._set_apart()
            now = time.monotonic()
            relay.turn(now)
            self._link.flush()
            if source.cancelled:
                raise Refused(
                    f'queue "{self.queue}": the {source.name} cancelled our consumer: '
                    "the queue was deleted or its node failed"
                )
            self._came_again()
            if learnt.unsure_until is not None and now > learnt.unsure_until:
                relay.unsure = 0
            before, through = through, self._through
            searched = learnt.search.passed(through - before)
            if searched or over() or self._ends(now) or (self._prefetch.opened_up(source) and self._prefetch.paced):
                return
            if self._exit_fault is not None:
                raise self._exit_fault
            # Also while nothing moves: what waits in the ladder needs its exit when it is due. Then a listing will do.
            if self.way.kind is Kind.FORWARD and now - verified > EXIT_WATCH:
                # In a greenlet of its own: a target that falls silent must be noticed meanwhile.
                gevent.spawn(self._look_at_exit, quiet=through == seen)
                verified, seen = now, through
            self._prefetch.look(source, now)

    @property
    def _tick(self) -> float:
        """Seconds until the next look if nothing wakes us."""
        relay, learnt, prefetch = self.relay, self._learnt, self._prefetch
        if prefetch.paced and len(relay.ledger):
            return PACED_TICK
        uncertain = learnt.cautious or learnt.search.prefetch is not None or relay.leg is not None
        without = relay.copies is not None and relay.copies.over
        usual = TICK if prefetch.paced or uncertain or without or len(relay.ledger) else QUIET
        return prefetch.next_look or usual

    @property
    def _through(self) -> int:
        """Messages that went through; where there are two sides, through both."""
        relay = self.relay
        if relay.leg is None:
            return self._counts.confirmed
        return relay.taken - len(relay.ledger) - self._set_apart_count

    def _look_at_exit(self, *, quiet: bool) -> None:
        try:
            (self._shared.look_at_exit if quiet else self._shared.exits.bind)(self.way.writes)
        except BridgeError as fault:
            self._exit_fault = fault
            self._wake.set()

    def _set_apart(self) -> None:
        """Put what no publish can carry where it is safe; an exception leaves it with the source."""
        relay = self.relay
        while relay.held:
            held = relay.held[0]
            where = self._shared.set_apart(self._link, self.queue, held)
            relay.held.pop(0)
            relay.set_apart(held)
            if held.reason == "closes-channel":
                self._learnt.search.apart(fingerprint(held.wire))
            if not held.moves:
                self._set_apart_count += 1
                if where == "quarantine":
                    self._counts.quarantined += 1
                else:
                    self._counts.exported += 1
            log.warning(
                'queue "%s": a message of %d bytes cannot be published (%s): it is in %s',
                self.queue,
                len(held.wire),
                held.reason,
                where,
            )

    def _came_again(self) -> None:
        """List what came redelivered, of which a process before this one may have had a part in flight."""
        again = self.relay.came_again
        if again:
            self._counts.possible_duplicates += len(again)
            self._shared.doubles.add(self.queue, again, "came again after a restart")
            again.clear()

    def _ends(self, now: float) -> bool:
        """Whether the relay or the target ends the subscription; an exception if that is a fault."""
        relay = self.relay
        surprise = relay.surprise
        if surprise is not None and surprise.reason == "window":
            self._learnt.fits = relay.fits
            log.info('queue "%s": %s: %d at a time from now on', self.queue, surprise.text, relay.fits)
            return True
        if surprise is not None:
            self._shared.doubt(surprise)
            raise Faulted(f'queue "{self.queue}": {surprise.text}', side=surprise.side)
        if relay.finished:
            return True
        for ledger, out in self._written:
            oldest, going_on = ledger.oldest(), out.going_on(now)
            if oldest is not None and now - oldest > STALL and not going_on:
                text = f"no confirm from the {out.name} for {now - oldest:.1f} s; {self.way.meanwhile}"
                raise Faulted(f'queue "{self.queue}": {text}', side=out.name, silent=True)
        copies = relay.copies
        if copies is not None:
            if copies.over:
                # Copies are made again as soon as they can be.
                stream = self._shared.stream
                return stream is not None and stream.again(copies.why, self._began, now)
            oldest = copies.ledger.oldest()
            if oldest is not None and now - oldest > STALL:
                copies.lost(f"no confirm from the backup for {now - oldest:.1f} s")
                return False
        oldest = relay.ledger.oldest_taken() if self._prefetch.paced else relay.ahead.since
        return oldest is not None and now - oldest > HELD_BACK

    # -- how it ends

    def _leave(self, source: Channel, target: Channel) -> None:
        """Cancel, wait for the last confirms, ack what is safe."""
        if source.error is not None:
            return
        relay = self.relay
        try:
            if not source.cancelled:
                source.cancel(self._prefetch.tag)
            began = time.monotonic()
            patience = LAST_CONFIRMS if self.way.others_wait else STALL
            until = began + patience
            while self._waits_for_confirms(target) and (left := until - time.monotonic()) > 0:
                self._wake.clear()
                self._wake.wait(min(left, PACED_TICK))
                if any(out.going_on(time.monotonic()) for _, out in self._written):
                    until = min(time.monotonic() + patience, began + AT_MOST)
        except BridgeError as fault:
            log.debug("leaving: %s", fault)
        relay.last_turn()
        self._link.flush()
        if self.way.kind is Kind.BACK:
            # What comes once more thereby goes back with the channel.
            relay.stop("ended", "the subscription ended")
            with contextlib.suppress(BridgeError):
                settle(source, self.way.reads)

    def _waits_for_confirms(self, target: Channel) -> bool:
        relay = self.relay
        # What was read ahead goes along, so that no worker sees it marked as delivered before.
        goes_on = bool(relay.ahead.waiting) and relay.surprise is None
        if (relay.ledger.unconfirmed or goes_on) and target.error is None:
            return True
        if relay.leg is not None and relay.leg.ledger.unconfirmed and self._beside and self._beside.error is None:
            return True
        copies = relay.copies
        lost = relay.surprise is not None and relay.surprise.reason == "backup"
        return copies is not None and copies.ledger.unconfirmed > 0 and not copies.over and not lost

    def _explain(self, fault: ChannelClosed, target: Channel | None, backup: Channel | None) -> BridgeError:
        """What a channel that the broker closed means for this queue."""
        if backup is not None and fault is backup.error:
            return Faulted(f'queue "{self.queue}": {fault}')
        # Both sides are written to; what one says is not about the other.
        leg = self._beside is not None and fault is self._beside.error
        ledger, out = self._written[1 if leg else 0]
        if fault.code == 404 and self.way.kind is Kind.FORWARD and not leg:
            self._shared.exits.doubt(fault.text)
        elif leg or (target is not None and fault is target.error) or TOO_LARGE.search(fault.text):
            return closed_on_publish(self.queue, out.name, fault, self._learnt, ledger.unanswered(), leg=leg)
        return Faulted(f'queue "{self.queue}": {fault}')
