"""What was published and is not yet confirmed, and which source deliveries may therefore be acked.

1. Source tags come in ascending order, and each is published at once: the order of the tags is the order of the
   sequence numbers.
2. A tag may be acked only when its publish was confirmed, and was neither returned nor nacked on the way.
3. `basic.return` comes before the confirm of the same message and carries no number (RabbitMQ, "publisher confirms"):
   it is matched by the bytes
   that were sent, the oldest first, and the confirm that follows does not count.
4. Tags and sequence numbers belong to one pair of channels. After a reconnect there is a new ledger.
"""

from __future__ import annotations

import enum
from collections import deque


class LedgerError(Exception):
    """The broker confirmed what was not published: nothing more on this channel can be trusted."""


class State(enum.IntEnum):
    """What became of one message."""

    SENT = 0
    CONFIRMED = 1
    #: Returned or nacked: it stays with the source.
    BACK = 2


class Entry:
    """One message between the source and the target."""

    __slots__ = ("at", "ladder", "state", "tag", "wire")

    def __init__(self, tag: int, wire: bytes, at: float, ladder: bool) -> None:
        self.tag = tag
        #: Header and body frames as they were sent.
        self.wire = wire
        #: When it was sent, in seconds of a monotonic clock.
        self.at = at
        #: It went into the ladder.
        self.ladder = ladder
        self.state = State.SENT


class Ledger:
    """The messages in flight of one queue on one pair of channels."""

    __slots__ = ("_entries", "_low", "_open", "_sent", "bytes", "lag")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._open: dict[int, Entry] = {}
        self._sent = 0
        self._low = 1
        #: Bytes of all messages that are not yet acked.
        self.bytes = 0
        #: Seconds from publish to confirm of the message confirmed last.
        self.lag = 0.0

    def __len__(self) -> int:
        """How many messages are taken from the source and not yet acked."""
        return len(self._entries)

    @property
    def unconfirmed(self) -> int:
        """How many publishes still wait for the broker's word."""
        return len(self._open)

    @property
    def at_risk(self) -> int:
        """How many messages the target may have although they go back to the source: if the channel ends now, they
        may be doubled.
        """
        return sum(entry.state != State.BACK for entry in self._entries)

    def oldest(self) -> float | None:
        """When the oldest publish without an answer was sent; None when there is none."""
        return next(iter(self._open.values())).at if self._open else None

    def send(self, tag: int, wire: bytes, at: float, ladder: bool) -> None:
        """A delivery was published; it gets the next sequence number of the channel."""
        entry = Entry(tag, wire, at, ladder)
        self._sent += 1
        self._open[self._sent] = entry
        self._entries.append(entry)
        self.bytes += len(wire)

    def hold(self, tag: int, wire: bytes, at: float) -> Entry:
        """A delivery was taken and goes somewhere else than to a publish; `release` it when it is safe there."""
        entry = Entry(tag, wire, at, False)
        self._entries.append(entry)
        self.bytes += len(wire)
        return entry

    def release(self, entry: Entry) -> None:
        """What was held is safe elsewhere, and may be acked."""
        entry.state = State.CONFIRMED

    def _answered(self, seq: int, multiple: bool) -> list[Entry]:
        """Take the entries that an answer of the broker speaks of."""
        if multiple:
            # AMQP 0-9-1, 1.8.3.13: tag zero with `multiple` is all outstanding messages.
            seq = seq or self._sent
            if seq > self._sent:
                raise LedgerError(f"confirm up to {seq} of {self._sent} published messages")
            found = [entry for number in range(self._low, seq + 1) if (entry := self._open.pop(number, None))]
            self._low = max(self._low, seq + 1)
            return found
        entry = self._open.pop(seq, None)
        if entry is None:
            raise LedgerError(f"confirm of message {seq}, which is not in flight ({self._sent} published)")
        return [entry]

    def confirm(self, seq: int, multiple: bool, at: float) -> list[Entry]:
        """The broker confirmed `seq` (and all before it): return what is thereby safe on the target.

        Raises:
            LedgerError: `seq` is not in flight.
        """
        entries = self._answered(seq, multiple)
        if entries:
            self.lag = at - entries[-1].at
        safe = [entry for entry in entries if entry.state == State.SENT]
        for entry in safe:
            entry.state = State.CONFIRMED
        return safe

    def nack(self, seq: int, multiple: bool) -> int:
        """The broker refused `seq` (and all before it): return how many that are; they stay with the source.

        Raises:
            LedgerError: `seq` is not in flight.
        """
        entries = self._answered(seq, multiple)
        for entry in entries:
            entry.state = State.BACK
        return len(entries)

    def returned(self, header: bytes, bodies: bytes) -> bool:
        """A message came back, known by its header frame and body frames; whether it is one of ours.

        RabbitMQ from 3.13 on writes the header of a return anew (semantics.md, 6.1): where no header is the same, the
        body decides.
        """
        sent = [entry for entry in self._open.values() if entry.state == State.SENT]
        same = next((entry for entry in sent if entry.wire.startswith(header)), None)
        if same is None and bodies:
            same = next((entry for entry in sent if entry.wire.endswith(bodies)), None)
        if same is None:
            return False
        same.state = State.BACK
        return True

    def ackable(self, most: int = -1) -> int:
        """Take the longest run of confirmed messages from the front, at most `most` of them; return the last tag, 0
        if none.

        All tags up to it may be acked with `multiple`.
        """
        entries, tag = self._entries, 0
        while entries and most and entries[0].state == State.CONFIRMED:
            entry = entries.popleft()
            self.bytes -= len(entry.wire)
            tag = entry.tag
            most -= 1
        return tag

    def scattered(self) -> list[int]:
        """Take the confirmed messages behind ones that are not: their tags may be acked one by one."""
        found = [entry for entry in self._entries if entry.state == State.CONFIRMED]
        self._entries = deque(entry for entry in self._entries if entry.state != State.CONFIRMED)
        self.bytes -= sum(len(entry.wire) for entry in found)
        return [entry.tag for entry in found]
