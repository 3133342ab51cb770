"""Fixed input for the core's hot path: what the daemon hands to it, by shape of load.

A shape is played on the public objects of the core as `bridge.link` calls them: chunks of deliveries into
`SourceWire.receive`, confirms into `TargetWire.receive`, and what the relay wants sent is joined and taken. Each
message is one template with an id of its own, and time goes on by a fixed step: the same work in every run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.core import frames
from bridge.core import properties as p
from bridge.core.copies import Backup, Copies
from bridge.core.counts import Counts
from bridge.core.legs import Leg
from bridge.core.pace import Budget, Free
from bridge.core.relay import Delivery, Destination, Outbox, Relay
from bridge.core.split import Everything
from bridge.core.wires import SourceWire, TargetWire
from tests.support.wire import header, shortstr, table, task_headers

#: 2030-01-01T00:00:00Z, UTC epoch seconds.
WALL = 1_893_456_000.0
#: Seconds from a chunk to the next.
STEP = 0.002
#: Messages in flight: a chunk is confirmed when so many came after it.
IN_FLIGHT = 80
QUEUE = "orders"
CHANNEL = 5
USER = b"bridge"

_ID = "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11"
_TOMORROW = "2030-01-02T00:00:01.250000+00:00"
#: As RabbitMQ writes it when a message was dead-lettered once (semantics.md, 4.4).
_DEATH = [{"count": 1, "reason": "rejected", "queue": "orders", "exchange": "", "routing-keys": ["orders"]}]
_BODY = (
    b'[[4711, "web"], {"sku": "SKU-0042-XL", "quantity": 3, "price": 129.5, "currency": "EUR", "note": "%s"}, '
    b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
)


def message(
    size: int = 1024, *, priority: int = 0, expiration: bytes = b"", headers: Mapping[str, object] | None = None
) -> bytes:
    """A Celery task of protocol 2 as header frame and body frame, `size` bytes in all.

    Args:
        size: of both frames.
        priority: the property.
        expiration: the property, in milliseconds; empty is none.
        headers: those that differ from a plain task's.
    """
    present = {
        p.CONTENT_TYPE: shortstr(b"application/json"),
        p.CONTENT_ENCODING: shortstr(b"utf-8"),
        p.HEADERS: table(task_headers(**(headers or {}))),
        p.DELIVERY_MODE: b"\x02",
        p.PRIORITY: bytes((priority,)),
        p.CORRELATION_ID: shortstr(_ID.encode()),
        p.REPLY_TO: shortstr(b"5c1e0f4a-7d6b-3b52-9f0e-2f1c7a9d8e6b"),
    }
    if expiration:
        present[p.EXPIRATION] = shortstr(expiration)
    left = size - len(frames.header_frame(CHANNEL, header(present))) - frames.OVERHEAD
    body = _BODY % (b"leave at the door " * size)[: left - len(_BODY) + 2]
    return frames.header_frame(CHANNEL, header(present, len(body))) + frames.frame(frames.BODY, CHANNEL, body)


@dataclass(frozen=True)
class Shape:
    """A kind of load.

    Attributes:
        name: by which its figure is kept.
        template: one message, header frame and body frames.
        chunk: deliveries that come from the socket at once.
        cut: bytes that do; 0 cuts behind whole deliveries.
        single: each message is confirmed by a frame of its own; else one confirm `multiple` a chunk.
        cap_priority: the target's ladder wants priorities capped.
        backup: a copy of each message is made.
        dual: a second live side gets each message as well.
        relay: what moves it.
    """

    name: str
    template: bytes
    chunk: int = 40
    cut: int = 0
    single: bool = False
    cap_priority: bool = False
    backup: bool = False
    dual: bool = False
    relay: type[Relay] = Relay


SHAPES = (
    Shape("due, one at a time", message(), chunk=1),
    Shape("due, 40 a chunk", message()),
    Shape("due, confirmed one by one", message(), single=True),
    Shape("due, chunks of 16 KiB", message(), cut=16384),
    Shape("due, 16 KiB each", message(16384), chunk=4),
    Shape("ETA in a day", message(headers={"eta": _TOMORROW})),
    Shape("ETA in a day, priority 9 capped", message(headers={"eta": _TOMORROW}, priority=9), cap_priority=True),
    Shape("expiration", message(expiration=b"3600000")),
    Shape("x-death", message(headers={"x-death": _DEATH})),
    Shape("due, with backup", message(), backup=True),
    Shape("due, to both sides", message(), dual=True),
)


class Burdened(Relay):
    """Does a little more for each message than needed: what a careless change comes to."""

    def deliver_all(self, run: list[Delivery], *rest: Any) -> None:
        copied = [(tag, again, bytes(bytearray(wire)), size, flags) for tag, again, wire, size, flags in run]
        super().deliver_all(copied, *rest)


#: The second of them, dearer on purpose: the guard sees it at every run, or it is broken.
BURDENED = Shape(f"{SHAPES[1].name}, burdened", SHAPES[1].template, relay=Burdened)


class Play:
    """A relay in the middle of a shape's load."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.out = Outbox()
        self.counts = Counts()
        copies = Copies(CHANNEL, QUEUE, Backup(), self.out.to_backup) if shape.backup else None
        beside = Destination(QUEUE, USER, straight=True, side="legacy")
        leg = Leg(CHANNEL, beside, Everything(), self.out.to_leg) if shape.dual else None
        to = Destination(QUEUE, USER, cap_priority=shape.cap_priority, max_message=16 << 20)
        budget = Budget(64 << 20)
        self.relay = shape.relay(CHANNEL, to, Free(500), self.counts, self.out, budget=budget, copies=copies, leg=leg)
        self.source = SourceWire()
        self.source.relays[CHANNEL] = self.relay
        self.answering = [TargetWire()]
        self.answering[0].relays[CHANNEL] = self.relay
        for other in (copies, leg):
            if other is not None:
                wire = TargetWire()
                wire.relays[CHANNEL] = other
                self.answering.append(wire)
        self._tag = 0
        self._now = 100.0
        self._waiting: deque[bytes] = deque()

    def chunks(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next `count` messages: what comes from the source, and what is confirmed after it.

        Made before anything is counted.
        """
        found: list[tuple[bytes, bytes]] = []
        deliveries, first = [], self._tag + 1
        for _ in range(count):
            self._tag += 1
            deliveries.append(_delivery(self.shape.template, self._tag))
            if len(deliveries) == self.shape.chunk:
                self._waiting.append(_confirms(first, self._tag, single=self.shape.single))
                late = len(self._waiting) * self.shape.chunk > IN_FLIGHT
                found.append((b"".join(deliveries), self._waiting.popleft() if late else b""))
                deliveries, first = [], self._tag + 1
        return list(_cut(found, self.shape.cut)) if self.shape.cut else found

    def play(self, chunks: list[tuple[bytes, bytes]]) -> None:
        """Hand chunks over as the daemon does: this is what is counted."""
        for delivered, confirmed in chunks:
            self._now += STEP
            self.source.receive(delivered, WALL + self._now, self._now)
            self._flush()
            if confirmed:
                for wire in self.answering:
                    wire.receive(confirmed, self._now)
                    self._flush()

    def _flush(self) -> None:
        out = self.out
        for parts in (out.to_target, out.to_leg, out.to_backup, out.to_source):
            if parts:
                b"".join(parts)
                parts.clear()

    def check(self) -> None:
        """See that it moved what it was given.

        Raises:
            AssertionError: it did not; what was counted is not what is meant.
        """
        assert self.relay.surprise is None, self.relay.surprise
        assert self.counts.taken == self._tag, f"{self.counts.taken} of {self._tag} messages were taken"
        kept = len(self._waiting) * self.shape.chunk
        assert len(self.relay.ledger) == kept, f"{len(self.relay.ledger)} messages wait for a confirm, {kept} should"
        assert self.counts.moved == self._tag - kept, f"{self.counts.moved} messages were moved"


def _delivery(template: bytes, tag: int) -> bytes:
    identity = b"%08x-6a0e-4a2c-8d9a-2f1d5f3f0a11" % tag
    head = frames.deliver_head(CHANNEL, b"bridge", tag, False, b"", QUEUE.encode())
    return head + template.replace(_ID.encode(), identity)


def _confirms(first: int, last: int, *, single: bool) -> bytes:
    if single:
        return b"".join(frames.ack(CHANNEL, seq, multiple=False) for seq in range(first, last + 1))
    return frames.ack(CHANNEL, last, multiple=True)


def _cut(chunks: list[tuple[bytes, bytes]], size: int) -> Iterator[tuple[bytes, bytes]]:
    """The same stream in pieces of `size` bytes; confirms come behind the last piece of what they came behind."""
    for delivered, confirmed in chunks:
        pieces = [delivered[at : at + size] for at in range(0, len(delivered), size)]
        yield from ((piece, b"") for piece in pieces[:-1])
        yield pieces[-1], confirmed
