"""A relay between ends made of the same core: deliver in, publish (and a copy) out, confirm in, ack out."""

from __future__ import annotations

from dataclasses import dataclass

from pika import frame as pika_frame
from pika import spec

from bridge.core import envelope, frames
from bridge.core.copies import Backup, Copies
from bridge.core.counts import Counts
from bridge.core.legs import Leg
from bridge.core.pace import Budget, Free, Pace
from bridge.core.relay import Destination, Outbox, Relay
from bridge.core.split import Split
from bridge.core.wires import SourceWire, TargetWire

#: 2030-01-01T00:00:00Z
WALL = 1_893_456_000.0


@dataclass(frozen=True)
class Published:
    """A message as it left for the target or for the backup."""

    exchange: str
    routing_key: str
    header: bytes
    body: bytes
    wire: bytes


def _method(wire: bytes) -> tuple[int, object]:
    """How long the first frame of `wire` is, and the method in it as pika reads it."""
    consumed, read = pika_frame.decode_frame(wire)
    assert isinstance(read, pika_frame.Method)
    return consumed, read.method


def split(stream: bytes, channel: int) -> list[Published]:
    """The publishes on one channel in what was sent, read by pika."""
    found: list[Published] = []
    while stream:
        consumed, method = _method(stream)
        assert isinstance(method, spec.Basic.Publish)
        assert method.mandatory
        stream = stream[consumed:]
        size = frames.frame_at(stream, 0)[2]
        header, left = stream[7 : 7 + size], int.from_bytes(stream[11:19], "big")
        stop = frames.content_stop(stream, size + frames.OVERHEAD, channel, left)
        assert stop, "a publish whose content is not whole"
        body = frames.body_of(stream[:stop], size + frames.OVERHEAD)
        assert len(body) == left
        found.append(Published(str(method.exchange), str(method.routing_key), header, body, stream[:stop]))
        stream = stream[stop:]
    return found


class Playbook:
    """One queue `mail` on channel 5, and the brokers at its ends.

    Args:
        to: where messages go.
        pace: how fast.
        backup: where copies go; None makes none.
        budget: bytes in flight, shared with other playbooks.
        unsure: messages that may have been in flight before.
        poison: fingerprints of messages that close a channel.
        queue: name of the source queue.
        split: says what a second live side gets; None: there is none.
        legacy: where messages go there.
    """

    channel = 5

    def __init__(
        self,
        to: Destination | None = None,
        pace: Pace | None = None,
        *,
        backup: Backup | None = None,
        budget: Budget | None = None,
        unsure: int = 0,
        poison: frozenset[bytes] = frozenset(),
        queue: str = "mail",
        split: Split | None = None,
        legacy: Destination | None = None,
    ) -> None:
        self.out = Outbox()
        self.counts = Counts()
        self.copies = None if backup is None else Copies(self.channel, queue, backup, self.out.to_backup)
        beside = legacy or Destination("mail", b"bridge", straight=True, side="legacy")
        self.leg = None if split is None else Leg(self.channel, beside, split, self.out.to_leg)
        self.relay = Relay(
            self.channel,
            to or Destination("mail", b"bridge"),
            pace or Free(500),
            self.counts,
            self.out,
            budget=budget,
            copies=self.copies,
            leg=self.leg,
            unsure=unsure,
            poison=poison,
        )
        self.source = SourceWire()
        self.target = TargetWire()
        self.backup = TargetWire()
        self.second = TargetWire()
        self.source.relays[self.channel] = self.relay
        self.target.relays[self.channel] = self.relay
        if self.copies is not None:
            self.backup.relays[self.channel] = self.copies
        if self.leg is not None:
            self.second.relays[self.channel] = self.leg
        self.now = 100.0
        self.wall = WALL
        self.tag = 0
        #: What the source was asked and has not answered.
        self.questions = 0

    @property
    def surprise(self) -> str:
        """Why the relay stopped; empty while it goes on."""
        return "" if self.relay.surprise is None else self.relay.surprise.reason

    # -- the source's end
    # -----------------------------------------------------------------------------------------------

    def delivery(self, wire: bytes, *, redelivered: bool = False, channel: int | None = None) -> bytes:
        """A delivery as the old broker sends it, with the next tag."""
        self.tag += 1
        return frames.deliver_head(channel or self.channel, b"bridge", self.tag, redelivered, b"", b"mail") + wire

    def deliver(self, *wires: bytes) -> list[Published]:
        """Deliver messages in one chunk; what was published of them."""
        self.receive(b"".join(self.delivery(wire) for wire in wires))
        return self.published()

    def receive(self, chunk: bytes) -> bytes:
        return self.source.receive(chunk, self.wall, self.now)

    def acks(self) -> list[tuple[int, bool]]:
        """What was acked at the source since the last time: (tag, multiple)."""
        found = []
        for wire in self.out.to_source:
            method = _method(wire)[1]
            if isinstance(method, spec.Channel.Flow):
                assert method.active, "RabbitMQ knows no other"
                self.questions += 1
                continue
            assert isinstance(method, spec.Basic.Ack)
            found.append((method.delivery_tag, method.multiple))
        self.out.to_source.clear()
        return found

    def hear(self) -> None:
        """The source has read what was sent to it, and answers what it was asked."""
        self.acks()
        answer = pika_frame.Method(self.channel, spec.Channel.FlowOk(active=True)).marshal()
        answers, self.questions = answer * self.questions, 0
        assert self.receive(answers) == b""

    # -- the target's end
    # -----------------------------------------------------------------------------------------------

    def published(self) -> list[Published]:
        """What was published since the last time."""
        stream = b"".join(self.out.to_target)
        self.out.to_target.clear()
        return split(stream, self.channel)

    def answer(self, wire: bytes) -> bytes:
        return self.target.receive(wire, self.now)

    def confirm(self, seq: int, *, multiple: bool = False) -> list[tuple[int, bool]]:
        """Confirm a publish; what was acked thereby."""
        assert self.answer(frames.ack(self.channel, seq, multiple=multiple)) == b""
        return self.acks()

    def nack(self, seq: int, *, multiple: bool = False) -> list[tuple[int, bool]]:
        """Refuse a publish; what was acked thereby."""
        self.answer(frames.nack(self.channel, seq, multiple=multiple, requeue=False))
        return self.acks()

    def give_back(self, message: Published) -> None:
        """Return a message: no queue took it."""
        head = frames.return_head(
            self.channel, 312, b"NO_ROUTE", message.exchange.encode(), message.routing_key.encode()
        )
        self.answer(head + message.wire)

    # -- the backup's end
    # -----------------------------------------------------------------------------------------------

    def copied(self) -> list[envelope.Message]:
        """The copies that were published since the last time."""
        stream = b"".join(self.out.to_backup)
        self.out.to_backup.clear()
        return [envelope.unseal(copy.body) for copy in split(stream, self.channel)]

    def confirm_copy(self, seq: int, *, multiple: bool = False) -> list[tuple[int, bool]]:
        """Confirm a copy; what was acked thereby."""
        assert self.backup.receive(frames.ack(self.channel, seq, multiple=multiple), self.now) == b""
        return self.acks()

    def nack_copy(self, seq: int) -> list[tuple[int, bool]]:
        """Refuse a copy; what was acked thereby."""
        self.backup.receive(frames.nack(self.channel, seq, multiple=False, requeue=False), self.now)
        return self.acks()

    def give_back_copy(self) -> list[tuple[int, bool]]:
        """Return the oldest copy that was sent since the last time; what was acked thereby."""
        [copy, *_] = split(b"".join(self.out.to_backup), self.channel)
        head = frames.return_head(self.channel, 312, b"NO_ROUTE", copy.exchange.encode(), copy.routing_key.encode())
        self.backup.receive(head + copy.wire, self.now)
        return self.acks()

    # -- the second side's end
    # ------------------------------------------------------------------------------------------

    def beside(self) -> list[Published]:
        """What was published to the second side since the last time."""
        stream = b"".join(self.out.to_leg)
        self.out.to_leg.clear()
        return split(stream, self.channel)

    def confirm_beside(self, seq: int, *, multiple: bool = False) -> list[tuple[int, bool]]:
        """Confirm a publish there; what was acked thereby."""
        assert self.second.receive(frames.ack(self.channel, seq, multiple=multiple), self.now) == b""
        return self.acks()

    def nack_beside(self, seq: int, *, multiple: bool = False) -> list[tuple[int, bool]]:
        """Refuse a publish there; what was acked thereby."""
        self.second.receive(frames.nack(self.channel, seq, multiple=multiple, requeue=False), self.now)
        return self.acks()

    def give_back_beside(self, message: Published) -> None:
        """Return a message there: no queue took it."""
        head = frames.return_head(self.channel, 312, b"NO_ROUTE", b"", message.routing_key.encode())
        self.second.receive(head + message.wire, self.now)
