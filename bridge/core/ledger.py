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
from collections.abc import Sequence
from itertools import islice

from bridge.core import frames

#: One message between the source and the target: its tag, its header and body frames as they were sent, when that was
#: (seconds of a
#: monotonic clock), and a number that is given back at its confirm: the relay's is the seconds that it spends in the
#: ladder. A plain tuple: there is one for every message that moves.
Entry = tuple[int, bytes, float, int]


class LedgerError(Exception):
    """The broker confirmed what was not published: nothing more on this channel can be trusted."""


class Ledger:
    """The messages in flight of one queue on one pair of channels."""

    __slots__ = (
        "_absent",
        "_back",
        "_disowned",
        "_distrusted",
        "_entries",
        "_held",
        "_low",
        "_open",
        "_safe",
        "_sent",
        "_settled",
        "bytes",
        "lag",
    )

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._open: dict[int, Entry] = {}
        #: Tags of messages that the target has for good, and of those that were returned or nacked and stay with the
        #: source.
        self._safe: set[int] = set()
        self._back: set[int] = set()
        #: Of those that stay, the ones that the target does not have: of the look-alikes of a returned one, it has all
        #: but one.
        self._absent: set[int] = set()
        #: How many at the front are safe without standing in `_safe`: confirms mostly come in the publishes' order.
        self._settled = 0
        self._distrusted = False
        #: How many were confirmed and not acked when trust was lost.
        self._disowned = 0
        self._sent = 0
        self._low = 1
        #: Tags of what goes elsewhere.
        self._held: set[int] = set()
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
    def held(self) -> int:
        """How many of those that are not acked go elsewhere."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many messages are neither acked nor were found safe: if all ends now, they are given back."""
        return len(self._entries) - len(self._safe) - self._settled - self._disowned

    def at_risk(self, also: Sequence[Ledger] = ()) -> list[bytes]:
        """The messages that the target may have although they go back to the source, if the channel ends now: they
        may be doubled.

        Args:
            also: ledgers of other destinations of the same messages, where they may be doubled as well.
        """
        ledgers = (self, *also)
        return [wire for tag, wire, _, _ in self._entries if any(ledger.risks(tag) for ledger in ledgers)]

    def risks(self, tag: int) -> bool:
        """Whether the message with this tag was published here and may have arrived."""
        return tag not in self._absent and tag not in self._held

    def unanswered(self) -> list[bytes]:
        """The messages that were published and neither confirmed nor refused, in the order of their publishes."""
        return [entry[1] for entry in self._open.values()]

    def left(self) -> list[tuple[int, bytes]]:
        """Tag, header and body frames of each message that is not acked."""
        return [(tag, wire) for tag, wire, _, _ in self._entries]

    def arrived(self, tag: int) -> bool:
        """Whether the message with this tag, not acked yet, was published here and arrived."""
        self._spread()
        return tag in self._safe and tag not in self._held

    @property
    def safe(self) -> frozenset[int]:
        """Tags of the messages that arrived, and are not acked yet."""
        self._spread()
        return frozenset(self._safe)

    def oldest(self) -> float | None:
        """When the oldest publish without an answer was sent; None when there is none."""
        return next(iter(self._open.values()))[2] if self._open else None

    def oldest_taken(self) -> float | None:
        """When the oldest message that is not acked was taken; None when there is none."""
        return self._entries[0][2] if self._entries else None

    def send(self, tag: int, wire: bytes, at: float, note: int) -> None:
        """A delivery was published; it gets the next sequence number of the channel."""
        self.send_all([(tag, wire, at, note)], len(wire))

    def send_all(self, entries: list[Entry], size: int) -> None:
        """Deliveries of so many bytes together were published, one after the other."""
        first = self._sent + 1
        self._sent += len(entries)
        self._open.update(zip(range(first, self._sent + 1), entries, strict=True))
        self._entries.extend(entries)
        self.bytes += size

    def hold(self, tag: int, wire: bytes, at: float) -> None:
        """A delivery was taken and goes somewhere else than to a publish; `release` it when it is safe there."""
        self._entries.append((tag, wire, at, 0))
        self._held.add(tag)
        self.bytes += len(wire)

    def release(self, tag: int) -> None:
        """What was held is safe elsewhere, and may be acked."""
        self._safe.add(tag)

    def release_all(self) -> int:
        """Nothing has to be waited for any more, all may be acked; return how many had no answer yet."""
        self._spread()
        before = len(self._safe)
        self._open.clear()
        self._safe.update([entry[0] for entry in self._entries])
        return len(self._safe) - before

    def distrust(self) -> None:
        """Which messages arrived is not known any more: none is safe, now or later."""
        self._spread()
        self._distrusted = True
        self._disowned += len(self._safe)
        self._safe.clear()

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
            orderly = not (self._safe or self._held or self._back or self._distrusted)
            # All behind the settled ones are open then, in order: an answer to the oldest of them is one to a run.
            if orderly and entries[0] is self._entries[self._settled]:
                self._settled += len(entries)
                return entries
        if self._back:
            entries = [entry for entry in entries if entry[0] not in self._back]
        if self._distrusted:
            return []
        self._safe.update([entry[0] for entry in entries])
        return entries

    def _spread(self) -> None:
        """Have every safe message stand in `_safe`."""
        if self._settled:
            self._safe.update([entry[0] for entry in islice(self._entries, self._settled)])
            self._settled = 0

    def nack(self, seq: int, multiple: bool) -> int:
        """The broker refused `seq` (and all before it): return how many that are; they stay with the source.

        Raises:
            LedgerError: `seq` is not in flight.
        """
        entries = self._answered(seq, multiple)
        refused = [entry[0] for entry in entries]
        self._back.update(refused)
        self._absent.update(refused)
        return len(entries)

    def returned(self, header: bytes, bodies: bytes) -> bool:
        """A message came back, known by its header frame and body frames; whether it is one of ours.

        RabbitMQ from 3.13 on writes the header of a return anew (semantics.md, 6.1), but never a body: where no header
        is the same, the body decides. None of several that it may be can be acked, not even where they are the same in
        every byte: an answer to one, a nack, is not one to its twin. The next that comes back may be one of them.
        """
        body, known = frames.body_of(bodies, 0), self._absent
        same = [(tag, wire) for tag, wire, _, _ in self._open.values() if tag not in known and _body(wire) == body]
        found = [tag for tag, wire in same if wire.startswith(header)] or [tag for tag, _ in same]
        self._back.update(found)
        if len(found) == 1:
            self._absent.add(found[0])
        return bool(found)

    def ackable(self, most: int = -1, also: Sequence[Ledger] = ()) -> list[Entry]:
        """Take the longest run of confirmed messages from the front, at most `most` of them.

        All tags up to the last one's may be acked with `multiple`.

        Args:
            most: -1 is any number.
            also: where each message must be safe as well; they have the same ones in the same order.
        """
        found: list[Entry] = []
        if self._settled and not also:
            count = self._settled if most < 0 else min(self._settled, most)
            self._settled -= count
            most -= count
            popleft = self._entries.popleft
            found = [popleft() for _ in range(count)]
            self.bytes -= sum([len(entry[1]) for entry in found])
        while most and self.first_is_safe and (not also or _take_first(also)):
            found.append(self.take_first())
            most -= 1
        return found

    @property
    def first_is_safe(self) -> bool:
        """Whether the oldest message is safe."""
        return self._settled > 0 or (bool(self._entries) and self._entries[0][0] in self._safe)

    def take_first(self) -> Entry:
        """Take the oldest message, which is safe."""
        entry = self._entries.popleft()
        if self._settled:
            self._settled -= 1
        else:
            self._safe.remove(entry[0])
            self._held.discard(entry[0])
        self.bytes -= len(entry[1])
        return entry

    def scattered(self, also: Sequence[Ledger] = ()) -> list[int]:
        """Take the confirmed messages behind ones that are not: their tags may be acked one by one."""
        everywhere = self.safe.intersection(*[ledger.safe for ledger in also])
        for ledger in also:
            ledger.take(everywhere)
        return self.take(everywhere)

    def take(self, tags: frozenset[int]) -> list[int]:
        """Take the messages with these tags, wherever they stand; return their tags in order."""
        self._spread()
        found = [entry for entry in self._entries if entry[0] in tags]
        self._entries = deque(entry for entry in self._entries if entry[0] not in tags)
        self._safe -= tags
        self._held -= tags
        self.bytes -= sum(len(wire) for _, wire, _, _ in found)
        return [entry[0] for entry in found]


def _take_first(ledgers: Sequence[Ledger]) -> bool:
    """Take the oldest message of all of them if it is safe in all; whether it was."""
    for ledger in ledgers:
        if not ledger.first_is_safe:
            return False
    for ledger in ledgers:
        ledger.take_first()
    return True


def _body(wire: bytes) -> bytes:
    """The body of a message given as its header frame and body frames."""
    return frames.body_of(wire, frames.frame_at(wire, 0)[2] + frames.OVERHEAD)
