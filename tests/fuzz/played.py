"""One case: messages through a relay, answers of a broker, and what must hold after every chunk.

1. A delivery is acked only when its own publish was confirmed and neither returned nor nacked, or when it was set
   apart. Two publishes that are the same in every byte are as good as each other.
2. What was published is what was delivered: the same body, and a header from which only what must not travel was cut.
3. Nothing is forgotten: at the end every delivery that arrived is acked, or the relay says by a surprise why it is not.
4. Nothing but `FrameError` comes out, and a surprise is never "broken".
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import dataclass, field

from bridge.core import frames, properties
from bridge.core.counts import Counts
from bridge.core.ledger import Entry, Ledger
from bridge.core.pace import Budget, Free, Pace, Rate
from bridge.core.relay import Destination, Outbox, Relay
from bridge.core.wires import SourceWire, TargetWire
from tests.fuzz.contents import body
from tests.fuzz.headers import WALL, cut, header, shortstr

CHANNEL = 5
#: Another relay's channel, and one that is pika's.
OTHERS = (6, 1)
#: Surprises that say what is wrong.
KNOWN = {"window", "malformed", "out of step", "nacked", "unroutable", "ladder"}


class Recorded(Ledger):
    """A ledger that keeps which tag got which sequence number."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []
        self.tag_of: dict[int, int] = {}

    def send_all(self, entries: list[Entry], size: int) -> None:
        super().send_all(entries, size)
        for tag, *_ in entries:
            self.taken.append(tag)
            self.tag_of[len(self.tag_of) + 1] = tag

    def hold(self, tag: int, wire: bytes, at: float) -> None:
        super().hold(tag, wire, at)
        self.taken.append(tag)


@dataclass
class Played:
    """A relay and what its brokers know of it."""

    chance: random.Random
    relay: Relay
    out: Outbox
    budget: Budget
    source: SourceWire = field(default_factory=SourceWire)
    target: TargetWire = field(default_factory=TargetWire)
    now: float = 100.0
    #: Header payload and body of each delivery, by tag.
    delivered: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    #: Header payload and body, and the whole wire, of each publish, by sequence number.
    published: dict[int, tuple[tuple[bytes, bytes], bytes]] = field(default_factory=dict)
    #: Bytes of a publish that are not whole yet, and of others' frames.
    unanswered: set[int] = field(default_factory=set)
    arrived: set[int] = field(default_factory=set)
    set_apart: set[int] = field(default_factory=set)
    acked: set[int] = field(default_factory=set)
    #: The peer broke the protocol: from then on, what it says of a message may be wrong.
    hostile: bool = False
    #: Its messages are hard to tell from each other, and many come back.
    alike: bool = False

    @property
    def ledger(self) -> Recorded:
        """The relay's."""
        assert isinstance(self.relay.ledger, Recorded)
        return self.relay.ledger

    def look(self) -> None:
        """Take what is to be sent, and see that it may be."""
        stream = b"".join(self.out.to_target)
        self.out.to_target.clear()
        at = 0
        while at < len(stream):
            at = self._published(stream, at)
        for held in self.relay.held:
            if self.chance.random() < 0.8:
                self.relay.set_apart(held)
                self.set_apart.add(held.tag)
        self.relay.held[:] = [held for held in self.relay.held if held.tag not in self.set_apart]
        acks, self.out.to_source[:] = self.out.to_source[:], []
        for ack in acks:
            self._acked(ack)
        surprise = self.relay.surprise
        assert surprise is None or surprise.reason in KNOWN, surprise
        assert self.budget.used >= 0, self.budget.used

    def _published(self, stream: bytes, at: int) -> int:
        kind, channel, size = frames.frame_at(stream, at)
        assert (kind, channel) == (frames.METHOD, CHANNEL)
        assert stream[at + 7 : at + 11] == b"\x00\x3c\x00\x28", "no basic.publish"
        direct = stream[at + 13] == 0
        at = start = at + size + frames.OVERHEAD
        kind, channel, size = frames.frame_at(stream, at)
        assert (kind, channel) == (frames.HEADER, CHANNEL)
        payload = stream[at + 7 : at + 7 + size]
        at += size + frames.OVERHEAD
        left = int.from_bytes(payload[4:12], "big")
        stop = frames.content_stop(stream, at, CHANNEL, left)
        assert stop, "a publish whose content is not whole"
        content = frames.body_of(stream[:stop], at)
        seq = len(self.published) + 1
        self.published[seq] = (payload, content), stream[start:stop]
        self.unanswered.add(seq)
        tag = self.ledger.tag_of[seq]
        if not self.hostile:
            self._unchanged(self.delivered[tag], (payload, content), direct)
        while start < stop:
            size = frames.frame_at(stream, start)[2]
            assert size + frames.OVERHEAD <= self.relay.to.frame_max, "a frame that the target does not take"
            start += size + frames.OVERHEAD
        return stop

    def _unchanged(self, came: tuple[bytes, bytes], left: tuple[bytes, bytes], direct: bool) -> None:
        assert left[1] == came[1], "the body was changed"
        if left[0] == came[0]:
            return
        before, after = properties.spans(came[0]), properties.spans(left[0])
        assert left[0][:12] == came[0][:12]
        gone = before.keys() - after.keys()
        assert after.keys() <= before.keys()
        assert gone <= {properties.USER_ID, properties.EXPIRATION}
        assert direct or properties.EXPIRATION not in after
        assert not direct or properties.EXPIRATION not in gone
        if properties.USER_ID in gone:
            assert properties.string(came[0], before[properties.USER_ID]) != self.relay.to.user
        for flag, (start, stop) in after.items():
            was, now = came[0][slice(*before[flag])], left[0][start:stop]
            if flag == properties.HEADERS:
                kept = [came[0][f.start : f.stop] for f in properties.fields(came[0], *before[flag])
                        if not cut(f.name)]  # fmt: skip
                assert now[4:] == b"".join(kept)
            elif flag == properties.EXPIRATION:
                assert was == now or now[1:].isdigit()
            elif flag == properties.PRIORITY:
                assert was == now or (not direct and self.relay.to.cap_priority and now == b"\x04" and was[0] > 4)
            else:
                assert was == now, f"property 0x{flag:04x} was changed"

    def _acked(self, ack: bytes) -> None:
        assert ack[7:11] == frames.ACK
        tag, multiple = frames.tag_at(ack, 11)
        # In the order in which they came: a bit of a tag may have been flipped on the way.
        taken = self.ledger.taken
        covered = set(taken[: taken.index(tag) + 1]) if multiple and tag in taken else {tag}
        if not self.hostile:
            # What the broker understands: everything it delivered so far.
            covered |= {known for known in self.delivered if known <= tag} if multiple else set()
        covered -= self.acked
        assert tag in self.delivered or self.hostile
        self.acked |= covered
        sequence = {known: seq for seq, known in self.ledger.tag_of.items()}
        for known in covered - self.set_apart:
            assert known in sequence, f"delivery {known} was acked, and neither published nor set apart"
        acked = Counter(self.published[sequence[known]][0] for known in self.acked - self.set_apart)
        safe = Counter(self.published[seq][0] for seq in self.arrived)
        for twin, count in acked.items():
            assert count <= safe[twin], "a message was acked that the target does not have"

    # -- the old broker

    def deliver(self, count: int) -> None:
        """So many messages, in frames between those of other channels, in chunks of any size."""
        chance = self.chance
        stream = b""
        twin: tuple[bytes, bytes] | None = None
        tags = len(self.delivered)
        for _ in range(count):
            tags += 1
            if self.alike:
                # Tasks that differ in their ids or in nothing, others that differ in their bodies alone.
                content = chance.choice((b"[[], {}, {}]", b"[[], {}, {}]", b"[[], {}, 0 ]"))
                payload = struct.pack(">HHQH", 60, 0, len(content), properties.CORRELATION_ID) + shortstr(
                    chance.choice((b"a", b"a", b"b", b"c"))
                )
            elif twin is not None and chance.random() < 0.2:
                payload, content = twin
            else:
                content, kind = body(chance)
                made = header(chance, len(content), kind if chance.random() < 0.7 else None)
                payload = made.payload
                if not made.valid and (len(payload) < 14 or payload[4:12] != struct.pack(">Q", len(content))):
                    # A header whose size is not the body's puts the stream out of step.
                    self.hostile = True
                twin = payload, content
            if len(payload) + frames.OVERHEAD > frames.LARGEST:
                tags -= 1
                continue
            self.delivered[tags] = payload, content
            stream += frames.deliver_head(CHANNEL, b"bridge", tags, chance.random() < 0.1, b"", b"mail")
            stream += self._between()
            stream += frames.header_frame(CHANNEL, payload)
            stream += self._between()
            stream += frames.body_frames(CHANNEL, content, chance.choice((4096, 131072, 131072)))
        if chance.random() < 0.1:
            stream = self._broken(stream)
        self._fed(stream, lambda chunk: self.source.receive(chunk, WALL, self.now))

    def _between(self) -> bytes:
        if self.chance.random() < 0.8:
            return b""
        return frames.frame(
            self.chance.choice((frames.METHOD, frames.HEARTBEAT)), self.chance.choice(OTHERS), b"\0" * 9
        )

    def _broken(self, stream: bytes) -> bytes:
        """A stream in which something is missing, doubled, flipped or put in."""
        self.hostile = True
        chance = self.chance
        if not stream:
            return chance.randbytes(50)
        at, stop = sorted(chance.randrange(len(stream)) for _ in range(2))
        stop = min(stop, at + 400)
        return chance.choice((
            lambda: stream[:at] + stream[stop:],
            lambda: stream[:at] + stream[at:stop] * 2 + stream[stop:],
            lambda: stream[:at] + bytes((stream[at] ^ 1 << chance.randrange(8),)) + stream[at + 1 :],
            lambda: stream[:at] + chance.randbytes(8) + stream[at:],
            lambda: stream + frames.frame(chance.choice((2, 3)), CHANNEL, chance.randbytes(19)),
            lambda: stream + struct.pack(">BHI", 3, CHANNEL, 0xFFFFFFFF) + bytes(140_000),
            lambda: stream + frames.frame(frames.METHOD, CHANNEL, frames.DELIVER + chance.randbytes(at % 30)),
        ))()  # fmt: skip

    def _fed(self, stream: bytes, receive: object) -> None:
        assert callable(receive)
        at = 0
        pieces = self.chance.choice((1, 1, 3, 20))
        while at < len(stream):
            stop = at + self.chance.randrange(1, len(stream) // pieces + 2)
            receive(stream[at:stop])
            self.look()
            self.now += 0.001
            at = stop
        for wire in (self.source, self.target):
            assert len(wire._cutter._rest) <= frames.LARGEST, "a frame that never ends is kept"

    # -- the new broker

    def answer(self, stray: bool) -> None:
        """Answer some of what was published; `stray`: and something that no broker says."""
        chance = self.chance
        stream = b""
        for _ in range(chance.randrange(1, 6)):
            if self.unanswered:
                stream += self._answered()
        if stray:
            self.hostile = True
            stream += self._stray()
        self._fed(stream, lambda chunk: self.target.receive(chunk, self.now))

    def _answered(self) -> bytes:
        """Before the bytes are on their way the target has the message, or has it not."""
        chance = self.chance
        seq = chance.choice(sorted(self.unanswered)) if chance.random() < 0.5 else min(self.unanswered)
        multiple = chance.random() < 0.5
        seqs = {one for one in self.unanswered if one <= seq} if multiple else {seq}
        self.unanswered -= seqs
        roll = chance.random()
        if roll < 0.05:
            return frames.nack(CHANNEL, seq, multiple=multiple, requeue=False)
        if roll < (0.4 if self.alike else 0.1):
            lost = chance.choice(sorted(seqs))
            self.arrived |= seqs - {lost}
            return self._return(lost) + frames.ack(CHANNEL, seq, multiple=multiple)
        self.arrived |= seqs
        return frames.ack(CHANNEL, seq, multiple=multiple)

    def _return(self, seq: int) -> bytes:
        (payload, content), wire = self.published[seq]
        head = frames.return_head(CHANNEL, 312, b"NO_ROUTE", b"", b"mail")
        roll = self.chance.random()
        if roll < 0.5:
            return head + wire
        if roll < 0.8:
            # RabbitMQ from 3.13 on writes the header anew.
            payload = payload[:12] + b"\x10\x00\x02"
        return head + frames.header_frame(CHANNEL, payload) + frames.body_frames(CHANNEL, content, 4096)

    def _stray(self) -> bytes:
        chance = self.chance
        top = len(self.published)
        # An answer to all: for those that were not answered yet, the target says it has them.
        roll = chance.randrange(12)
        if roll == 0:
            self.arrived |= self.unanswered
            self.unanswered.clear()
            return frames.ack(CHANNEL, 0, multiple=True)
        head = frames.return_head(CHANNEL, 312, chance.randbytes(5), b"", chance.randbytes(9))
        content = frames.header_frame(CHANNEL, chance.choice((b"", chance.randbytes(30), bytes(14))))
        some = frames.frame(frames.BODY, CHANNEL, chance.randbytes(chance.randrange(20)))
        return (
            frames.ack(CHANNEL, chance.choice((0, top + 1, 2**63, 2**64 - 1)), multiple=False),
            frames.ack(CHANNEL, top + chance.randrange(1, 2**32), multiple=True),
            frames.nack(CHANNEL, top + 1, multiple=chance.random() < 0.5, requeue=False),
            frames.frame(frames.METHOD, CHANNEL, frames.ACK + chance.randbytes(chance.randrange(9))),
            frames.frame(frames.METHOD, CHANNEL, frames.RETURN + chance.randbytes(chance.randrange(20))),
            head + content + some,
            head + some + content,
            head + head + content,
            content + some,
            frames.ack(CHANNEL, 1, multiple=False)[:-1] + b"\x00",
            struct.pack(">BHI", 1, CHANNEL, 0xFFFFFFFF) + bytes(140_000),
        )[roll - 1]

    # -- the end

    def end(self) -> str:
        """Answer everything, leave, and see that nothing was forgotten; what the relay says in the end."""
        relay = self.relay
        while self.unanswered:
            seq = max(self.unanswered)
            self.arrived |= self.unanswered
            self.unanswered.clear()
            self.target.receive(frames.ack(CHANNEL, seq, multiple=True), self.now)
        self.look()
        for held in list(relay.held):
            relay.set_apart(held)
            self.set_apart.add(held.tag)
        relay.held.clear()
        relay.last_turn()
        self.look()
        if relay.surprise is not None:
            return relay.surprise.reason
        if not self.hostile:
            assert self.acked == set(self.delivered), "deliveries that are neither acked nor accounted for"
            assert (len(relay.ledger), relay.ledger.bytes, self.budget.used) == (0, 0, 0)
        return "acked"


def played(chance: random.Random) -> str:
    """Play one case; what came of it."""
    out = Outbox()
    to = Destination(
        "mail",
        chance.choice((b"bridge", b"app", b"")),
        frame_max=chance.choice((4096, 131072, 131072)),
        max_message=chance.choice((None, None, 100, 2**24)),
        cap_priority=chance.random() < 0.5,
    )
    pace: Pace = Free(500) if chance.random() < 0.8 else Rate(1000.0, 500, 100.0)
    budget = Budget(chance.choice((2**62, 2**26, 3000)))
    relay = Relay(CHANNEL, to, pace, Counts(), out, budget=budget)
    relay.ledger = Recorded()
    play = Played(chance, relay, out, budget, alike=chance.random() < 0.2)
    play.source.relays[CHANNEL] = relay
    play.target.relays[CHANNEL] = relay
    try:
        for _ in range(chance.randrange(1, 4)):
            play.deliver(chance.randrange(6 if play.alike else 4))
            play.answer(chance.random() < 0.1)
    except frames.FrameError:
        assert play.hostile, "the stream was in step"
        return "frame error"
    return play.end()
