"""One queue: delivery, publish, confirm, ack; bytes in, bytes and events out.

1. A delivery is published in the turn in which it comes, or in the first that has room for it, and acked last of all:
   after the target confirmed it and did not return it.
2. The channel has the same number on both connections, so header and body frames of a message that needs no edit
   leave as the very slice they came in.
3. The first surprise ends it: nothing more is published, what is confirmed may still be acked, the rest goes back
   with the channel.
4. `Relay` knows no connection: what it wants sent stands in `to_target` and `to_source`.
"""

from __future__ import annotations

from bridge.core import edits, eta, frames, properties
from bridge.core.acked import Acked, head
from bridge.core.ahead import Ahead
from bridge.core.closely import closely
from bridge.core.copies import Copies
from bridge.core.counts import Counts
from bridge.core.destination import Destination
from bridge.core.envelope import fingerprint
from bridge.core.gathered import Gathered
from bridge.core.heads import Heads, any_of, delay_of
from bridge.core.ledger import Entry, Ledger, LedgerError
from bridge.core.legs import Leg
from bridge.core.outbox import Held, Outbox, Surprise
from bridge.core.pace import Budget, Pace
from bridge.core.split import To

#: A whole message: delivery tag, whether it is redelivered, header frame and body frames, length of the header frame's
#: payload, and the property flags in it.
Delivery = tuple[int, int, bytes, int, int]

__all__ = ["Delivery", "Destination", "Held", "Outbox", "Relay", "Surprise"]

_NULL = ord("V")
#: The names of two headers as they stand in a table, their length before them.
_ETA = b"\x03eta"
_TASK = b"\x04task"
#: Properties that decide whether a message can pass as it is: headers must be there, and neither of the others.
_LOOKED_AT = properties.HEADERS | properties.EXPIRATION | properties.USER_ID
#: Where the property list stands in a header frame.
_LIST = 7 + properties.LIST


class Relay:
    """The messages of one queue on one channel number, from one subscription to its end.

    Args:
        channel: its number on all connections.
        to: where the messages go.
        pace: how fast.
        counts: what happened is added to these.
        out: what is to be sent.
        budget: bytes in flight, shared with other relays.
        copies: the second publish of each message; None without backup.
        leg: the second live side, which gets all messages or some; None where there is one side.
        unsure: how many that come redelivered are kept in `came_again`: after a crash, those that were in flight.
        poison: fingerprints of messages that close a channel.
    """

    def __init__(
        self,
        channel: int,
        to: Destination,
        pace: Pace,
        counts: Counts,
        out: Outbox,
        *,
        budget: Budget | None = None,
        copies: Copies | None = None,
        leg: Leg | None = None,
        unsure: int = 0,
        poison: frozenset[bytes] = frozenset(),
    ) -> None:
        self.channel = channel
        self.to = to
        self.pace = pace
        self.counts = counts
        self.ledger = Ledger()
        self.copies = copies
        self.leg = leg
        self.taken = 0
        self.surprise: Surprise | None = None
        #: After the surprise "window": how many such messages fit into it.
        self.fits = 0
        #: Most messages in flight since it was last reset.
        self.fullest = 0
        self.held: list[Held] = []
        self.unsure = unsure
        #: Header frames of messages that came redelivered when the bridge itself may have had them before.
        self.came_again: list[bytes] = []
        self._budget = budget or Budget(1 << 62)
        #: Bytes of it that are in use here.
        self._reserved = 0
        self._poison = poison
        #: Whether each message needs more than a publish.
        self._closely = bool(poison) or copies is not None or leg is not None
        #: Where a message must be safe as well before it is acked.
        self._also = tuple(one.ledger for one in (copies, leg) if one is not None)
        if copies is not None:
            copies.on_fault = lambda text: self.stop("backup", text)
            copies.on_turn = self.turn
            copies.tally = counts
        if leg is not None:
            leg.belongs_to(self.ledger, counts, self.stop, self.turn)
        self._out = out
        self._to_target = out.to_target
        self._to_source = out.to_source
        self._heads = Heads(channel, to.queue, to.entries)
        self._gathered: Gathered | None = None
        self.ahead = Ahead()
        self._left = self._closed = self._holding = False
        self._acked = Acked()
        #: What was at risk before the last turn, whose acks may be lost as well.
        self._at_last: list[bytes] = []

    def stop(self, reason: str, text: str, side: str = "") -> None:
        """Publish nothing more; the first reason stays."""
        if self.surprise is None:
            self.surprise = Surprise(reason, text, side)
            self._out.alerts.add(self.channel)

    # -- from the source

    def deliver(self, tag: int, redelivered: int, wire: bytes, size: int, flags: int, wall: float, at: float) -> None:
        """Take one whole message: a `Delivery`, at `wall` (UTC epoch seconds) and `at` (monotonic seconds)."""
        if self.surprise is not None:
            return
        budget = self._budget
        bulk = len(wire)
        if budget.used + bulk > budget.total and budget.used:
            self._no_room()
            return
        budget.used += bulk
        self._reserved += bulk
        self._arrive([(tag, redelivered, wire, size, flags)], redelivered, wall, at)

    def _take(self, message: Delivery, wall: float, at: float) -> None:
        """Take a message that needs more than a publish; there is room for it."""
        tag, redelivered, wire, size, flags = message
        self.taken += 1
        self.counts.taken += 1
        if redelivered:
            self._came_again(wire)
            if self.to.most_returns and edits.returns(wire[7 : 7 + size]) >= self.to.most_returns:
                self._hold(tag, wire, at, "delivery-limit")
                return
        if self._poison and fingerprint(wire) in self._poison:
            self._hold(tag, wire, at, "closes-channel")
            return
        if self.leg is not None and not self._fork(self.leg, tag, redelivered, wire, size, flags, wall, at):
            return
        if self.copies is not None and not self.copies.send(tag, wire, wall, at):
            self._to_be_set_apart(Held(tag, wire, "copy-too-large"))
        self._pass([(tag, 0, wire, size, flags)], wall, at)

    def deliver_all(self, run: list[Delivery], bulk: int, again: int, wall: float, at: float) -> None:
        """Take a run of whole messages as `deliver` takes each: `bulk` bytes, `again` is 1 when one is redelivered."""
        budget = self._budget
        if self.surprise is not None or budget.used + bulk > budget.total:
            for tag, redelivered, wire, size, flags in run:
                self.deliver(tag, redelivered, wire, size, flags, wall, at)
            return
        budget.used += bulk
        self._reserved += bulk
        self._arrive(run, again, wall, at)

    def _arrive(self, run: list[Delivery], again: int, wall: float, at: float) -> None:
        """Take messages that came, or let them wait for room; `again` is not 0 when one is redelivered."""
        if self.ahead.asks or self.ahead.waiting or len(self.ledger) + len(run) > self.pace.prefetch:
            self.ahead.add(run, wall, at)
            self._go_on(at)
        else:
            self._take_all(run, again, wall, at)

    def _take_all(self, run: list[Delivery], again: int, wall: float, at: float) -> None:
        """Take messages for which there is room; `again` as above."""
        if again or self._closely:
            for message in run:
                self._take(message, wall, at)
            return
        self.taken += len(run)
        self.counts.taken += len(run)
        self._pass(run, wall, at)

    def read_ahead(self, size: int) -> None:
        """Let so many messages come beyond those that there is room for."""
        self.ahead.resize(size, self.pace.prefetch - len(self.ledger))
        self._to_source.append(frames.flow(self.channel))

    def heard(self, at: float) -> None:
        """The source answered that it has read all acks before the question."""
        self.ahead.heard()
        self._go_on(at)

    def _go_on(self, at: float) -> None:
        """Take as many as there is room for of the messages that came before there was."""
        ahead = self.ahead
        try:
            while self.surprise is None and (run := ahead.next(self.pace.prefetch, len(self.ledger))):
                self._take_all(run, sum([message[1] for message in run]), ahead.wall(at), at)
        except Exception as fault:  # noqa: BLE001  told by a confirm or an answer: no fault of these connections
            self.stop("broken", f"{type(fault).__name__}: {fault}")

    def _pass(self, run: list[Delivery], wall: float, at: float) -> None:
        """Publish messages that are taken."""
        due, later, frame_max, to_target = self._heads.due, self._heads.later, self.to.frame_max, self._to_target
        # They enter the ledger together, and before any other that must stand behind them.
        sent: list[Entry] = []
        bulk = 0
        try:
            for tag, _, wire, size, flags in run:
                stop = 7 + size
                find = wire.find
                hit = find(_ETA, _LIST, stop)
                # The fast path: a task of protocol 2 with one `eta`, nothing to cut, and a body that fits as it is.
                # One letter is found faster than two, and of `x-` the `x`, which rfind looks for, is the rarer one.
                if (
                    hit < 0
                    or flags & _LOOKED_AT != properties.HEADERS
                    or (find(b"\x03", hit + 1, stop) >= 0 and find(_ETA, hit + 1, stop) >= 0)
                    or find(_TASK, _LIST, stop) < 0
                    or (wire.rfind(b"x-", _LIST, stop) >= 0 and any_of(wire, stop, b"-death", b"-count"))
                    or (find(b"C", _LIST, stop) >= 0 and any_of(wire, stop, b"\x02CC", b"\x03BCC"))
                    or len(wire) >= frame_max
                ):
                    delay = -1
                elif wire[hit + 4] == _NULL:
                    delay = 0
                else:
                    try:
                        delay = delay_of(self.to, wire, stop, hit, flags, wall)
                    except eta.Unreadable:
                        self.counts.eta_unreadable += 1
                        delay = 0
                if delay == 0:
                    to_target += (due, wire)
                elif delay > 0:
                    to_target += (*later(delay), wire)
                else:
                    self.ledger.send_all(sent, bulk)
                    sent, bulk = [], 0
                    self._deliver_slowly(tag, wire, size, wall, at)
                    continue
                sent.append((tag, wire, at, delay))
                bulk += len(wire)
        finally:
            self.ledger.send_all(sent, bulk)

    def _deliver_slowly(self, tag: int, wire: bytes, size: int, wall: float, at: float) -> None:
        """The slow path: an ETA, an unusual header, or a body that must be cut again."""
        found = closely(self.channel, self.to, self.counts, wire, size, wall)
        if isinstance(found, str):
            self._set_aside(tag, wire, at, found)
            return
        made, delay = found
        self._give(len(wire) - len(made))
        self._to_target += (*self._heads.later(delay), made) if delay else (self._heads.due, made)
        self.ledger.send(tag, made, at, delay)

    def _give(self, size: int) -> None:
        """So many bytes are not in flight any more."""
        self._budget.used -= size
        self._reserved -= size

    def _set_aside(self, tag: int, wire: bytes, at: float, reason: str) -> None:
        """Hold a message of which a copy was sent already: that one counts for nothing."""
        self.ledger.hold(tag, wire, at)
        self._to_be_set_apart(Held(tag, wire, reason))

    def _to_be_set_apart(self, held: Held) -> None:
        self.held.append(held)
        self._out.alerts.add(self.channel)

    def _hold(self, tag: int, wire: bytes, at: float, reason: str) -> None:
        """Hold a message; what it is set apart in is its copy."""
        for other in (self.copies, self.leg):
            if other is not None:
                other.skip(tag, at)
        self._set_aside(tag, wire, at, reason)

    def _fork(
        self, leg: Leg, tag: int, redelivered: int, wire: bytes, size: int, flags: int, wall: float, at: float
    ) -> bool:
        """Give the second side what it is to have of a message; whether the target gets one."""
        to = leg.choose(tag, redelivered, wire, size, at)
        if to is To.TARGET:
            leg.skip(tag, at)
            return True
        if to is To.NEITHER:
            # Taken once more, and on both sides once more by the books, though not by a publish.
            self.counts.confirmed += 1
            self.ledger.hold(tag, wire, at)
            self.ledger.release(tag)
            for other in (self.copies, leg):
                if other is not None:
                    other.skip(tag, at)
            self._out.alerts.add(self.channel)
            return False
        alone = to is To.LEGACY
        reason = leg.send(tag, wire, size, flags, wall, at, alone=alone)
        if alone and reason:
            self._hold(tag, wire, at, reason)
        elif alone:
            # Released when the second side confirms it. Copies are made of what goes to the target.
            self.ledger.hold(tag, wire, at)
            if self.copies is not None:
                self.copies.skip(tag, at)
        elif reason:
            leg.ledger.hold(tag, wire, at)
            self._to_be_set_apart(Held(tag, wire, reason, leg=True))
        return not alone

    def _no_room(self) -> None:
        """What comes beyond the window is not kept: it goes back with the channel, and fewer are asked for then."""
        self.fits = max(1, len(self.ledger) * 3 // 4)
        self.stop("window", f"more than {self._budget.total} bytes would be in flight")

    def _came_again(self, wire: bytes) -> None:
        self.counts.redelivered += 1
        if self.unsure:
            self.unsure -= 1
            if not self.came_again:
                # A process that is killed again has said it by then.
                self._out.alerts.add(self.channel)
            self.came_again.append(head(wire))

    def begin(self, tag: int, redelivered: int) -> None:
        """A delivery began whose content is not whole yet."""
        self._gathered = Gathered(tag, redelivered)

    def gather(self, kind: int, wire: bytes, wall: float, at: float) -> None:
        """The next header or body frame of the delivery that was begun."""
        gathered = self._gathered
        if gathered is None:
            raise frames.FrameError(f"content frame on channel {self.channel} without a delivery before it")
        whole = gathered.add(kind, wire)
        if kind == frames.HEADER and self.surprise is None:
            size = gathered.left + len(wire)
            if self._budget.take(size):
                self._reserved += size
                gathered.reserved = size
            else:
                self._no_room()
        if self.surprise is not None and not gathered.dropped:
            gathered.drop()
            self._give(gathered.reserved)
            gathered.reserved = 0
        if whole:
            self._gathered = None
            if not gathered.dropped:
                self._give(gathered.reserved)
                joined = b"".join(gathered.parts)
                self.deliver(gathered.tag, gathered.redelivered, joined, gathered.size, gathered.flags, wall, at)

    # -- from the target

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """The target took the message `seq` (and all before it)."""
        try:
            safe = self.ledger.confirm(seq, multiple, at)
        except LedgerError as fault:
            self.stop("out of step", str(fault))
            return
        counts = self.counts
        counts.confirmed += len(safe)
        if self.to.degraded:
            counts.degraded += len(safe)
        if self.to.straight:
            counts.to_legacy += len(safe)
            return
        counts.moved += len(safe)
        if sum([entry[3] for entry in safe]):
            counts.waits.update(delays := [entry[3] for entry in safe if entry[3]])
            counts.converted += len(delays)

    def nacked(self, seq: int, multiple: bool) -> None:
        """The target refused the message `seq` (and all before it)."""
        try:
            count = self.ledger.nack(seq, multiple)
        except LedgerError as fault:
            self.stop("out of step", str(fault))
            return
        self.counts.nacked += count
        self.stop(
            "nacked",
            f'{self.to.side} rejected {count} messages for queue "{self.to.queue}" (basic.nack): it is full or failing',
            self.to.side,
        )

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """The target found no queue for a message."""
        self.counts.returned += 1
        self.stop(
            "unroutable" if key == self.to.queue else "ladder",
            f'{self.to.side} returned a message for queue "{self.to.queue}" ({code} {text}, routing key "{key}")',
            self.to.side,
        )
        if not self.ledger.returned(header, bodies):
            # Which one it was is not known: its confirm must not lead to an ack, so there are no more acks at all.
            self.ledger.distrust()

    # -- to the source

    def set_apart(self, held: Held) -> None:
        """What was held is safe in a file or in the quarantine."""
        if held.reason == "copy-too-large":
            if self.copies is not None:
                self.copies.filed(held.tag)
            return
        if held.leg and self.leg is not None:
            self.leg.ledger.release(held.tag)
            return
        self.ledger.release(held.tag)

    def leave(self) -> None:
        """The source's channel is about to close: no ack may be sent on it, whatever is still confirmed."""
        self.ahead.drop()
        self._left = True

    def turn(self, at: float) -> None:
        """Ack what may be acked: one `multiple` ack for the longest run (design, section 4.7)."""
        if self._left:
            return
        if self.finished:
            self._out.alerts.add(self.channel)
        before = len(self.ledger)
        if before > self.fullest:
            self.fullest = before
        most = self.pace.allowed(at, self.taken)
        if most == 0 and before and not self._holding:
            # Whoever looks after this queue must look often from now on, and no earlier.
            self._out.alerts.add(self.channel)
        self._holding = most == 0 and before > 0
        bytes_before = self.ledger.bytes
        found = self.ledger.ackable(most, self._also)
        self._acked.expire(at)
        if found:
            self._give(bytes_before - self.ledger.bytes)
            self.pace.used(len(found))
            self.counts.lags.append(self.lag)
            self._to_source.append(frames.ack(self.channel, found[-1][0], multiple=True))
            if self.ahead.asks:
                self.ahead.acked(len(found))
                self._to_source.append(frames.flow(self.channel))
            self._acked.add(at, found, max(self.pace.prefetch, self.ahead.unheard))
        if self.ahead.waiting:
            self._go_on(at)

    def doubtful(self, source_lost: bool) -> list[bytes]:
        """The messages that the target may have although they go back to the source, if all ends now.

        When the source's connection is lost, its last acks may be lost with it. Each begins with its header frame.
        """
        found = self._at_risk()
        return (self._at_last or found) + self._acked.wires if source_lost else found

    def _at_risk(self) -> list[bytes]:
        return self.ledger.at_risk(() if self.leg is None else (self.leg.ledger,))

    def last_turn(self) -> None:
        """The subscription is gone: ack all that is confirmed; what is not, or waits, stays with the source."""
        self.ahead.drop()
        self._at_last = self._at_risk()
        before = self.ledger.bytes
        found = self.ledger.ackable(also=self._also)
        if found:
            self._to_source.append(frames.ack(self.channel, found[-1][0], multiple=True))
        for tag in self.ledger.scattered(self._also):
            self._to_source.append(frames.ack(self.channel, tag, multiple=False))
        self._give(before - self.ledger.bytes)

    def close(self) -> None:
        """Both channels are gone: what is left is not in flight any more."""
        self.stop("ended", "the subscription ended")
        self.counts.given_back += self.waiting
        if self.leg is not None and not self._closed:
            self.leg.remember()
        self._closed = True
        self._give(self._reserved)
        self._gathered = None

    @property
    def waiting(self) -> int:
        """How many messages were taken and neither arrived nor were given back: what the books call in flight."""
        return 0 if self._closed else self.ledger.waiting

    @property
    def finished(self) -> bool:
        """Whether a canary took all it may take."""
        return self.pace.finished(self.taken) or (self.leg is not None and self.leg.finished)

    @property
    def lag(self) -> float:
        """Seconds from publish to confirm of the message confirmed last, on the slower side; 0 before the first."""
        return self.ledger.lag if self.leg is None else max(self.ledger.lag, self.leg.ledger.lag)
