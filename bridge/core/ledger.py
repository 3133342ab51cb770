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

from collections import deque

#: One message between the source and the target: its tag, its header and body frames as they were sent, when that was
#: (seconds of a
#: monotonic clock), and whether it went into the ladder. A plain tuple: there is one for every message that moves.
Entry = tuple[int, bytes, float, bool]


class LedgerError(Exception):
    """The broker confirmed what was not published: nothing more on this channel can be trusted."""


class Ledger:
    """The messages in flight of one queue on one pair of channels."""

    __slots__ = ("_back", "_entries", "_low", "_open", "_safe", "_sent", "bytes", "lag")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._open: dict[int, Entry] = {}
        #: Tags of messages that the target has for good, and of those that were returned or nacked and stay with the
        #: source.
        self._safe: set[int] = set()
        self._back: set[int] = set()
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
        return sum(tag not in self._back for tag, _, _, _ in self._entries)

    def oldest(self) -> float | None:
        """When the oldest publish without an answer was sent; None when there is none."""
        return next(iter(self._open.values()))[2] if self._open else None

    def send(self, tag: int, wire: bytes, at: float, ladder: bool) -> None:
        """A delivery was published; it gets the next sequence number of the channel."""
        entry = (tag, wire, at, ladder)
        self._sent = seq = self._sent + 1
        self._open[seq] = entry
        self._entries.append(entry)
        self.bytes += len(wire)

    def hold(self, tag: int, wire: bytes, at: float) -> None:
        """A delivery was taken and goes somewhere else than to a publish; `release` it when it is safe there."""
        self._entries.append((tag, wire, at, False))
        self.bytes += len(wire)

    def release(self, tag: int) -> None:
        """What was held is safe elsewhere, and may be acked."""
        self._safe.add(tag)

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
            self.lag = at - entries[-1][2]
        if self._back:
            entries = [entry for entry in entries if entry[0] not in self._back]
        self._safe.update([entry[0] for entry in entries])
        return entries

    def nack(self, seq: int, multiple: bool) -> int:
        """The broker refused `seq` (and all before it): return how many that are; they stay with the source.

        Raises:
            LedgerError: `seq` is not in flight.
        """
        entries = self._answered(seq, multiple)
        self._back.update(entry[0] for entry in entries)
        return len(entries)

    def returned(self, header: bytes, bodies: bytes) -> bool:
        """A message came back, known by its header frame and body frames; whether it is one of ours.

        RabbitMQ from 3.13 on writes the header of a return anew (semantics.md, 6.1): where no header is the same, the
        body decides.
        """
        sent = [(tag, wire) for tag, wire, _, _ in self._open.values() if tag not in self._back]
        same = next((tag for tag, wire in sent if wire.startswith(header)), None)
        if same is None and bodies:
            same = next((tag for tag, wire in sent if wire.endswith(bodies)), None)
        if same is None:
            return False
        self._back.add(same)
        return True

    def ackable(self, most: int = -1) -> int:
        """Take the longest run of confirmed messages from the front, at most `most` of them; return the last tag, 0
        if none.

        All tags up to it may be acked with `multiple`.
        """
        entries, safe, tag = self._entries, self._safe, 0
        while entries and most and entries[0][0] in safe:
            tag, wire, _, _ = entries.popleft()
            safe.remove(tag)
            self.bytes -= len(wire)
            most -= 1
        return tag

    def scattered(self) -> list[int]:
        """Take the confirmed messages behind ones that are not: their tags may be acked one by one."""
        found = [entry for entry in self._entries if entry[0] in self._safe]
        self._entries = deque(entry for entry in self._entries if entry[0] not in self._safe)
        self._safe.clear()
        self.bytes -= sum(len(wire) for _, wire, _, _ in found)
        return [entry[0] for entry in found]
