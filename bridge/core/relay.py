"""One queue: delivery, publish, confirm, ack; bytes in, bytes and events out.

1. A delivery is published in the turn in which it comes, and acked last of all: after the target confirmed it and did
   not return it.
2. The channel has the same number on both connections, so header and body frames of a message that needs no edit
   leave as the very slice
   they came in.
3. The first surprise ends it: nothing more is published, what is confirmed may still be acked, the rest goes back
   with the channel.
4. `Relay` knows no connection: what it wants sent stands in `to_target` and `to_source`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from bridge.core import eta, frames, ladder, properties
from bridge.core.ledger import Ledger, LedgerError
from bridge.core.pace import Pace

_NULL = ord("V")
_STRING = ord("S")
#: The names of two headers as they stand in a table, their length before them.
_ETA = b"\x03eta"
_TASK = b"\x04task"
#: Properties that decide whether a message can pass as it is: it has headers, and neither of the others.
_LOOKED_AT = properties.HEADERS | properties.EXPIRATION | properties.USER_ID
#: Where the property list stands in a header frame.
_LIST = 7 + properties.LIST
#: RabbitMQ 4.0 to 4.2 puts a priority above this in a class of its own, which holds back due messages of the ladder
#: (semantics.md, 8.2).
PRIORITY_CAP = 4
#: Seconds for which an ack that was written may not have reached the source.
ACK_UNDER_WAY = 1.0


@dataclass(slots=True)
class Counts:
    """What happened to the messages of one queue since the daemon started."""

    taken: int = 0
    moved: int = 0
    converted: int = 0
    confirmed: int = 0
    returned: int = 0
    nacked: int = 0
    eta_unreadable: int = 0
    priority_capped: int = 0
    exported: int = 0
    redelivered: int = 0
    possible_duplicates: int = 0


class Surprise(NamedTuple):
    """Why a relay stopped."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the messages of a queue go, and what its broker allows."""

    queue: str
    #: User name of the connection: a message's `user_id` must be this or be cut out.
    user: bytes = b""
    frame_max: int = 131072
    #: Bytes of the largest body the broker takes; None while it is not known.
    max_message: int | None = None
    #: Bytes of messages in flight above which nothing more is published.
    window_bytes: int = 64 * 1024**2
    #: Cap the priority of what goes into the ladder (design, section 4.11).
    cap_priority: bool = False


class Outbox:
    """What the relays of one pair of connections want sent, and which of them want to be looked at."""

    __slots__ = ("alerts", "to_source", "to_target")

    def __init__(self) -> None:
        self.to_target: list[bytes] = []
        self.to_source: list[bytes] = []
        #: Channels whose relay stopped, finished, or holds a message that no publish can carry.
        self.alerts: set[int] = set()


class Relay:
    """The messages of one queue on one channel number, from one subscription to its end."""

    def __init__(self, channel: int, to: Destination, pace: Pace, counts: Counts, out: Outbox) -> None:
        self.channel = channel
        self.to = to
        self.pace = pace
        self.counts = counts
        self.ledger = Ledger()
        self.taken = 0
        self.surprise: Surprise | None = None
        #: After the surprise "window": how many such messages fit into it.
        self.fits = 0
        #: Tag and frames of messages that no publish can carry: to be written to a file, then `exported`.
        self.too_large: list[tuple[int, bytes]] = []
        self._out = out
        self._to_target = out.to_target
        self._to_source = out.to_source
        self._due = frames.publish_head(channel, b"", to.queue.encode())
        # A publish into the ladder differs from another of its level by the bits of the key alone.
        word = ladder.exit_word(to.queue).encode()
        self._exit = word + frames.PUBLISH_END
        self._levels = [b""]
        for level in range(ladder.LEVELS):
            head = frames.publish_head(channel, ladder.exchange_bytes(1 << level), ladder.key_bytes(1 << level) + word)
            self._levels.append(head[: -len(self._exit) - ladder.BITS])
        self._gathered: _Gathered | None = None
        #: When the last acks were written, and for how many messages each.
        self._acks: deque[tuple[float, int]] = deque()

    def stop(self, reason: str, text: str) -> None:
        """Publish nothing more; the first reason stays."""
        if self.surprise is None:
            self.surprise = Surprise(reason, text)
            self._out.alerts.add(self.channel)

    # -- from the source
    # ------------------------------------------------------------------------------------------------

    def deliver(self, tag: int, redelivered: int, wire: bytes, size: int, flags: int, wall: float, at: float) -> None:
        """Take one whole message.

        Args:
            tag: delivery tag.
            redelivered: 1 when the broker handed it out before.
            wire: header frame and body frames.
            size: length of the header frame's payload.
            flags: its property flags.
            wall: UTC epoch seconds.
            at: monotonic seconds.
        """
        if self.surprise is not None:
            return
        if self.ledger.bytes > self.to.window_bytes:
            # What comes beyond it is not kept: it goes back with the channel, and fewer are asked for then.
            self.fits = max(1, self.to.window_bytes * len(self.ledger) // self.ledger.bytes)
            self.stop("window", f"more than {self.to.window_bytes} bytes in flight")
            return
        self.taken += 1
        counts = self.counts
        counts.taken += 1
        counts.redelivered += redelivered
        stop = 7 + size
        start = _LIST
        if flags & properties.CONTENT_TYPE:
            start += 1 + wire[start]
        if flags & properties.CONTENT_ENCODING:
            start += 1 + wire[start]
        find = wire.find
        hit = find(_ETA, start, stop)
        # The fast path: a task of protocol 2 with one `eta`, nothing to cut, and a body that fits as it is.
        if (
            hit < 0
            or find(_ETA, hit + 5, stop) >= 0
            or find(_TASK, start, stop) < 0
            or flags & _LOOKED_AT != properties.HEADERS
            # Two letters are found fast and stand in many values; only then are the names of what is cut looked for.
            or (
                find(b"x-", start, stop) >= 0
                and (find(b"-death", start, stop) >= 0 or find(b"-count", start, stop) >= 0)
            )
            or (
                find(b"CC", start, stop) >= 0
                and (find(b"\x02CC", start, stop) >= 0 or find(b"\x03BCC", start, stop) >= 0)
            )
            or len(wire) >= self.to.frame_max
        ):
            self._deliver_slowly(tag, wire, size, wall, at)
        elif wire[hit + 4] == _NULL:
            self._to_target.append(self._due)
            self._to_target.append(wire)
            self.ledger.send(tag, wire, at, False)
        else:
            self._deliver_eta(tag, wire, start, stop, hit, flags, wall, at)

    def _deliver_eta(
        self, tag: int, wire: bytes, start: int, stop: int, hit: int, flags: int, wall: float, at: float
    ) -> None:
        """A task of protocol 2 whose header table starts at `start` and whose one `eta` is at `hit`."""
        behind = hit + 9 + int.from_bytes(wire[hit + 5 : hit + 9], "big")
        if wire[hit + 4] != _STRING or behind > stop or not properties.begins_entry(wire, start, hit):
            self._deliver_slowly(tag, wire, stop - 7, wall, at)
            return
        if self.to.cap_priority and flags & properties.PRIORITY:
            table = start + 4 + int.from_bytes(wire[start : start + 4], "big")
            if wire[table + bool(flags & properties.DELIVERY_MODE)] > PRIORITY_CAP:
                self._deliver_slowly(tag, wire, stop - 7, wall, at)
                return
        try:
            delay = eta.delay(eta.of_header_value(_STRING, wire[hit + 9 : behind]), wall)
        except eta.Unreadable:
            self.counts.eta_unreadable += 1
            delay = 0
        self._publish(tag, wire, delay, at)

    def _publish(self, tag: int, wire: bytes, delay: int, at: float) -> None:
        """Send a message to its queue, or into the ladder for `delay` seconds."""
        if delay:
            self._to_target += (self._levels[delay.bit_length()], ladder.key_bytes(delay), self._exit, wire)
        else:
            self._to_target += (self._due, wire)
        self.ledger.send(tag, wire, at, delay > 0)

    def _deliver_slowly(self, tag: int, wire: bytes, size: int, wall: float, at: float) -> None:
        """The slow path: an ETA, an unusual header, or a body that must be cut again."""
        payload = wire[7 : 7 + size]
        bodies = size + frames.OVERHEAD
        try:
            found = properties.spans(payload)
            table = found.get(properties.HEADERS)
            entries = list(properties.fields(payload, *table)) if table else []
        except properties.Malformed as fault:
            self.stop("malformed", f"delivery {tag} has a content header that is not AMQP 0-9-1: {fault}")
            return
        body_size = int.from_bytes(payload[4:12], "big")
        if self.to.max_message is not None and body_size > self.to.max_message:
            self._hold(tag, wire, at)
            return
        due = self._due_at(payload, found, entries, wire, bodies)
        delay = 0 if due is None else eta.delay(due, wall)
        edited = self._edit(payload, found, entries, delay, wall)
        if len(edited) + frames.OVERHEAD > self.to.frame_max:
            # A header is one frame; for one that is too large the target closes the connection, and all queues with it.
            self._hold(tag, wire, at)
            return
        if edited is not payload or len(wire) >= self.to.frame_max:
            wire = self._rebuild(edited, wire, bodies)
        self._publish(tag, wire, delay, at)

    def _hold(self, tag: int, wire: bytes, at: float) -> None:
        """Keep what no publish can carry, to be exported."""
        self.ledger.hold(tag, wire, at)
        self.too_large.append((tag, wire))
        self._out.alerts.add(self.channel)

    def _due_at(
        self, payload: bytes, found: properties.Spans, entries: list[properties.Field], wire: bytes, bodies: int
    ) -> float | None:
        """When the task is due, in UTC epoch seconds; None when at once (design, section 4.6)."""
        task = due = None
        for entry in entries:
            if entry.name == b"eta":
                due = entry
            elif entry.name == b"task":
                task = entry
        try:
            if task is not None and due is not None:
                return eta.of_header_value(due.tag, properties.text(payload, due))
            if task is not None and wire[bodies + 7 : bodies + 8] == b"[":
                # Protocol 2 in JSON always is a list; only a hybrid of both protocols is a mapping.
                return None
            compression = next(
                (properties.text(payload, entry) for entry in entries if entry.name == b"compression"), None
            )
            return eta.of_body(
                frames.body_of(wire, bodies),
                properties.string(payload, found.get(properties.CONTENT_TYPE)),
                properties.string(payload, found.get(properties.CONTENT_ENCODING)),
                compression,
                hybrid=task is not None,
            )
        except eta.Unreadable:
            self.counts.eta_unreadable += 1
            return None

    def _edit(
        self, payload: bytes, found: properties.Spans, entries: list[properties.Field], delay: int, wall: float
    ) -> bytes:
        """Cut out what must not travel (design, section 4.4 and 4.11); `payload` itself when there is nothing to do."""
        kept = [entry for entry in entries if not properties.is_cut(entry.name)]
        drop = 0
        priority = expiration = None
        user = found.get(properties.USER_ID)
        if user is not None and properties.string(payload, user) != self.to.user:
            drop |= properties.USER_ID
        if properties.EXPIRATION in found:
            if delay:
                drop |= properties.EXPIRATION
            else:
                expiration = _time_left(payload, entries, wall)
        span = found.get(properties.PRIORITY)
        if delay and self.to.cap_priority and span is not None and payload[span[0]] > PRIORITY_CAP:
            priority = PRIORITY_CAP
            self.counts.priority_capped += 1
        if len(kept) == len(entries) and not drop and expiration is None and priority is None:
            return payload
        table = kept if len(kept) < len(entries) else None
        return properties.edit(payload, found, table=table, expiration=expiration, drop=drop, priority=priority)

    def _rebuild(self, payload: bytes, wire: bytes, bodies: int) -> bytes:
        """Put a new header before the body, and cut the body again where the target's frames are smaller."""
        header = frames.header_frame(self.channel, payload)
        largest = frames.frame_at(wire, bodies)[2] + frames.OVERHEAD if bodies < len(wire) else 0
        if largest <= self.to.frame_max:
            return header + wire[bodies:]
        return header + frames.body_frames(self.channel, frames.body_of(wire, bodies), self.to.frame_max)

    def begin(self, tag: int, redelivered: int) -> None:
        """A delivery began whose content is not whole yet."""
        self._gathered = _Gathered(tag, redelivered)

    def gather(self, kind: int, wire: bytes, wall: float, at: float) -> None:
        """The next header or body frame of the delivery that was begun."""
        gathered = self._gathered
        if gathered is None:
            raise frames.FrameError(f"content frame on channel {self.channel} without a delivery before it")
        if gathered.add(kind, wire):
            self._gathered = None
            self.deliver(
                gathered.tag, gathered.redelivered, b"".join(gathered.parts), gathered.size, gathered.flags, wall, at
            )

    # -- from the target
    # ------------------------------------------------------------------------------------------------

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """The target took the message `seq` (and all before it)."""
        try:
            safe = self.ledger.confirm(seq, multiple, at)
        except LedgerError as fault:
            self.stop("out of step", str(fault))
            return
        counts = self.counts
        counts.confirmed += len(safe)
        counts.moved += len(safe)
        counts.converted += sum([entry[3] for entry in safe])

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
            f'target rejected {count} messages for queue "{self.to.queue}" (basic.nack): it is full or failing',
        )

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """The target found no queue for a message."""
        self.counts.returned += 1
        self.stop(
            "unroutable", f'target returned a message for queue "{self.to.queue}" ({code} {text}, routing key "{key}")'
        )
        if not self.ledger.returned(header, bodies):
            # Which one it was is not known: its confirm must not lead to an ack, so there are no more acks at all.
            self.ledger = Ledger()

    # -- to the source
    # --------------------------------------------------------------------------------------------------

    def exported(self, tag: int) -> None:
        """A message that was too large is safe in a file."""
        self.counts.exported += 1
        self.ledger.release(tag)

    def turn(self, at: float) -> None:
        """Ack what may be acked: one `multiple` ack for the longest run (design, section 4.7)."""
        if self.pace.finished(self.taken):
            self._out.alerts.add(self.channel)
        most = self.pace.allowed(at)
        before = len(self.ledger)
        tag = self.ledger.ackable(most)
        while self._acks and self._acks[0][0] < at - ACK_UNDER_WAY:
            self._acks.popleft()
        if tag:
            count = before - len(self.ledger)
            self.pace.used(count)
            self._acks.append((at, count))
            self._to_source.append(frames.ack(self.channel, tag, multiple=True))

    def doubtful(self, source_lost: bool) -> int:
        """How many messages the target may have although they go back to the source, if all ends now.

        When the source's connection is lost, its last acks may be lost with it.
        """
        return self.ledger.at_risk + (sum(count for _, count in self._acks) if source_lost else 0)

    def last_turn(self) -> None:
        """The subscription is gone: ack all that is confirmed; what is not stays with the source."""
        tag = self.ledger.ackable()
        if tag:
            self._to_source.append(frames.ack(self.channel, tag, multiple=True))
        for tag in self.ledger.scattered():
            self._to_source.append(frames.ack(self.channel, tag, multiple=False))

    @property
    def finished(self) -> bool:
        """Whether a canary took all it may take."""
        return self.pace.finished(self.taken)


class _Gathered:
    """A delivery of which not all frames have come."""

    __slots__ = ("flags", "left", "parts", "redelivered", "size", "tag")

    def __init__(self, tag: int, redelivered: int) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.parts: list[bytes] = []
        self.size = self.flags = self.left = 0

    def add(self, kind: int, wire: bytes) -> bool:
        """Take a frame; whether the message is whole now."""
        if kind == frames.HEADER:
            if self.parts or len(wire) < frames.CONTENT_HEAD + 1:
                raise frames.FrameError("content header out of place or too short")
            _, _, self.size, _, _, self.left, self.flags = frames.content_at(wire)
        else:
            if not self.parts:
                raise frames.FrameError("content body before its header")
            self.left -= len(wire) - frames.OVERHEAD
            if self.left < 0:
                raise frames.FrameError("content body longer than its header announced")
        self.parts.append(wire)
        return self.left == 0


def _time_left(payload: bytes, entries: list[properties.Field], wall: float) -> bytes | None:
    """The expiration that is left by the absolute `expires` header, in milliseconds; None leaves it as it was
    (semantics.md, 8.1).
    """
    for entry in entries:
        if entry.name == b"expires" and entry.tag == ord("S"):
            try:
                left = eta.parse(properties.text(payload, entry).decode()) - wall
            except (eta.Unreadable, UnicodeDecodeError):
                return None
            return b"%d" % max(1, int(left * 1000))
    return None
