"""The second live side of the inline layout: a leg beside the target, confirmed before a message is acked (design,
sections 2 and 3).

1. Every message has an entry in the leg's ledger, in the order of the main one: published here, or skipped. The relay
   acks what is safe in both.
2. What goes to the leg goes straight into its queue, ETA tasks too, cut as for a direct publish (design, 4.4).
3. A message only for the leg is held in the main ledger until the leg has confirmed it.
4. A surprise here ends the relay as one on the target does: nothing more goes to either side, and the source has what
   is not safe on both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bridge.core import edits, frames, properties
from bridge.core.counts import Counts
from bridge.core.destination import Destination
from bridge.core.envelope import fingerprint
from bridge.core.ledger import Ledger, LedgerError
from bridge.core.split import Everything, Split, To

#: Properties that a direct publish may have to change.
_LOOKED_AT = properties.EXPIRATION | properties.USER_ID


class Stop(Protocol):
    """Ends a relay, with a reason, a sentence, and the side that it is for."""

    def __call__(self, reason: str, text: str, side: str) -> None: ...


class _Unfit(Exception):
    """No publish can carry it; the text is the reason (`relay.Held`)."""


class Leg:
    """What goes to the second side of one queue's messages, on one channel.

    Args:
        channel: its number, the same as on the other connections.
        to: where the messages go.
        split: says which.
        out: where frames for its connection go.
    """

    def __init__(self, channel: int, to: Destination, split: Split, out: list[bytes]) -> None:
        self.to = to
        self.split = split
        self.ledger = Ledger()
        self._channel = channel
        self._out = out
        self._head = frames.publish_head(channel, b"", to.queue.encode())
        self._main = Ledger()
        #: Tags of what came again and a side has from before.
        self._target_has: set[int] = set()
        self._leg_has: set[int] = set()
        self._counts = Counts()
        self._stop: Stop = lambda _reason, _text, _side: None
        self._on_turn: Callable[[float], None] = lambda _at: None

    def belongs_to(self, main: Ledger, counts: Counts, stop: Stop, on_turn: Callable[[float], None]) -> None:
        """Join a relay: its ledger, what it counts, how it is ended, and its turn."""
        self._main, self._counts, self._stop, self._on_turn = main, counts, stop, on_turn

    @property
    def finished(self) -> bool:
        """Whether the target gets no more: then the leg's side needs nobody beside it."""
        return self.split.finished

    @property
    def undone(self) -> tuple[int, int]:
        """Messages only for the target, and only for this side, that are not acked."""
        return self.ledger.held, self._main.held

    def choose(self, tag: int, redelivered: int, wire: bytes, size: int, at: float) -> To:
        """Who gets a message (`Split.choose`); one for both that came again, only who does not have it."""
        to = self.split.choose(wire, size, at)
        if to is To.BOTH and redelivered and self.split.had:
            to = self.split.had.missing(wire)
            if to in (To.LEGACY, To.NEITHER):
                self._target_has.add(tag)
            if to in (To.TARGET, To.NEITHER):
                self._leg_has.add(tag)
        elif to is To.UNREADABLE:
            self._counts.task_unreadable += 1
            return To.LEGACY
        return to

    def remember(self) -> None:
        """All ends: of what is for both, what one side has goes only to the other when it comes again."""
        if not isinstance(self.split, Everything):
            return
        had = self.split.had
        for tag, wire in self._main.left():
            target = self._main.arrived(tag) or tag in self._target_has
            leg = self.ledger.arrived(tag) or tag in self._leg_has
            if target or leg:
                mark = fingerprint(wire)
                had.target.update([mark] * target)
                had.legacy.update([mark] * leg)

    def skip(self, tag: int, at: float) -> None:
        """A message is not for this side."""
        self.ledger.hold(tag, b"", at)
        self.ledger.release(tag)

    def send(self, tag: int, wire: bytes, size: int, flags: int, wall: float, at: float, *, alone: bool) -> str:
        """Publish a message; empty, or the reason for which no publish can carry it.

        Args:
            tag: delivery tag.
            wire: header frame and body frames.
            size: length of the header frame's payload.
            flags: its property flags.
            wall: UTC epoch seconds.
            at: monotonic seconds.
            alone: the target does not get it.
        """
        find, stop = wire.find, 7 + size
        if (
            flags & _LOOKED_AT
            or len(wire) >= self.to.frame_max
            or (self.to.max_message is not None and len(wire) > self.to.max_message)
            or find(b"x-", 7, stop) >= 0
            or find(b"CC", 7, stop) >= 0
        ):
            try:
                wire = self._edited(wire, size, wall)
            except _Unfit as fault:
                return str(fault)
        self._out += (self._head, wire)
        self.ledger.send(tag, wire, at, alone)
        return ""

    def _edited(self, wire: bytes, size: int, wall: float) -> bytes:
        """The message as it may go, `wire` itself where nothing has to be cut."""
        payload, bodies, to = wire[7 : 7 + size], size + frames.OVERHEAD, self.to
        try:
            found = properties.spans(payload)
            table = found.get(properties.HEADERS)
            entries = list(properties.fields(payload, *table)) if table else []
        except properties.Malformed:
            raise _Unfit("malformed") from None
        if to.max_message is not None and int.from_bytes(payload[4:12], "big") > to.max_message:
            raise _Unfit("too-large")
        edited = edits.edit(payload, found, entries, user=to.user, ladder=False, cap_priority=False, wall=wall)
        if len(edited) + frames.OVERHEAD > to.frame_max:
            raise _Unfit("header-too-large")
        if edited is payload and edits.fits(wire, bodies, to.frame_max):
            return wire
        return edits.rebuild(self._channel, edited, wire, bodies, to.frame_max)

    # -- from the second side's broker
    # ----------------------------------------------------------------------------------

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """It has the message `seq` (and all before it)."""
        try:
            safe = self.ledger.confirm(seq, multiple, at)
        except LedgerError as fault:
            self._stop("out of step", str(fault), self.to.side)
            return
        alone = [entry[0] for entry in safe if entry[3]]
        self._counts.to_legacy += len(safe)
        # A message for both counts when the target confirms it.
        self._counts.confirmed += len(alone)
        for tag in alone:
            self._main.release(tag)

    def nacked(self, seq: int, multiple: bool) -> None:
        """It refused the message `seq` (and all before it)."""
        try:
            count = self.ledger.nack(seq, multiple)
        except LedgerError as fault:
            self._stop("out of step", str(fault), self.to.side)
            return
        self._counts.nacked += count
        self._stop(
            "nacked",
            f'{self.to.side} rejected {count} messages for queue "{self.to.queue}" (basic.nack): it is full or failing',
            self.to.side,
        )

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """It found no queue for a message."""
        self._counts.returned += 1
        self._stop(
            "unroutable",
            f'{self.to.side} returned a message for queue "{self.to.queue}" ({code} {text}, routing key "{key}")',
            self.to.side,
        )
        if not self.ledger.returned(header, bodies):
            # Which one it was is not known: its confirm must not lead to an ack, so there are no more acks at all.
            self.ledger.distrust()

    def turn(self, at: float) -> None:
        """Let the relay ack what is safe on both sides."""
        self._on_turn(at)
