"""The second publish: a copy of each message for the backup stream, confirmed before the message is acked
(design, section 6).

The relay acks what is safe on the target and here. A copy that does not arrive is a surprise like any other, unless the
backup is not required: then the messages go on without, and are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bridge.core import envelope, frames, properties
from bridge.core.ledger import Ledger, LedgerError

#: The exchange that the stream is bound to; routing keys are names of source queues.
EXCHANGE = "bridge.backup"
#: Properties of an envelope: its content type, and persistent.
_PROPERTIES = frames.shortstr(envelope.CONTENT_TYPE.encode()) + b"\x02"
_FLAGS = properties.CONTENT_TYPE | properties.DELIVERY_MODE
_HEADER = struct.Struct(">HHQH").pack


@dataclass(frozen=True, slots=True)
class Backup:
    """Where copies go, and what its broker allows."""

    frame_max: int = 131072
    #: Bytes of the largest body the broker takes; None while it is not known.
    max_message: int | None = None
    required: bool = True


class Tally(Protocol):
    """Numbers that others look at while copies are made."""

    copied: int
    backup_missed: int


@dataclass(slots=True)
class _Unseen:
    """Numbers that nobody looks at."""

    copied: int = 0
    backup_missed: int = 0


class Copies:
    """The copies of one queue's messages on one channel.

    Args:
        channel: number on the backup's connection.
        queue: name of the source queue.
        to: the backup.
        out: where frames for the backup's connection go.
    """

    def __init__(self, channel: int, queue: str, to: Backup, out: list[bytes]) -> None:
        self.ledger = Ledger()
        #: Copies that arrived, and messages that go on without one.
        self.copied = 0
        self.missed = 0
        #: The same is added to these.
        self.tally: Tally = _Unseen()
        self.channel = channel
        self.to = to
        #: Told the reason when copies cannot arrive any more, and the time at each turn.
        self.on_fault: Callable[[str], None] = lambda _text: None
        self.on_turn: Callable[[float], None] = lambda _at: None
        #: Why messages go on without copies; empty while they do not.
        self.why = ""
        self._out = out
        self._head = frames.publish_head(channel, EXCHANGE.encode(), queue.encode())
        self._opening = envelope.opening(queue)
        self._queue = queue
        self._over = False

    @property
    def over(self) -> bool:
        """Whether messages go on without copies."""
        return self._over

    def send(self, tag: int, wire: bytes, wall: float, at: float) -> bool:
        """Publish a copy; False when it is too large for the backup: it is held until it is `filed`."""
        if self._over:
            self._without(tag, at)
            return True
        sealed = envelope.seal(self._opening, wall, *envelope.parts_of(wire))
        if self.to.max_message is not None and len(sealed) > self.to.max_message:
            self.ledger.hold(tag, b"", at)
            return False
        header = _HEADER(60, 0, len(sealed), _FLAGS) + _PROPERTIES
        self._out += (
            self._head,
            frames.header_frame(self.channel, header),
            frames.body_frames(self.channel, sealed, self.to.frame_max),
        )
        self.ledger.send(tag, b"", at, 0)
        return True

    def skip(self, tag: int, at: float) -> None:
        """The message goes to a file, which is its copy."""
        self.ledger.hold(tag, b"", at)
        self.ledger.release(tag)

    def filed(self, tag: int) -> None:
        """A copy that was too large is safe in a file."""
        if not self._over:
            self._count(1, 0)
            self.ledger.release(tag)

    def _without(self, tag: int, at: float) -> None:
        self._count(0, 1)
        self.skip(tag, at)

    def lost(self, text: str) -> None:
        """Copies do not arrive any more: the end of the relay, or from here on without."""
        if self._over:
            return
        if self.to.required:
            self.on_fault(text)
            return
        self._over = True
        self.why = text
        self._count(0, self.ledger.release_all())

    def _count(self, copied: int, missed: int) -> None:
        self.copied += copied
        self.missed += missed
        self.tally.copied += copied
        self.tally.backup_missed += missed

    # -- from the backup's broker
    # ---------------------------------------------------------------------------------------

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """The stream has the copy `seq` (and all before it)."""
        if self._over:
            return
        try:
            self._count(len(self.ledger.confirm(seq, multiple, at)), 0)
        except LedgerError as fault:
            self._failed(str(fault))

    def nacked(self, seq: int, multiple: bool) -> None:
        """The stream refused a copy. Those that are not acked yet are not taken for safe any more."""
        self._failed("the backup stream refused a copy (basic.nack)")

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """No stream took a copy. Which one is not looked for: none that is not acked yet is taken for safe."""
        self._failed(f'exchange "{EXCHANGE}" has no stream for a copy of queue "{self._queue}" ({code} {text})')

    def _failed(self, text: str) -> None:
        # What came late, after it was over, must not take back what was let go then.
        if not self._over:
            self.ledger.distrust()
            self.lost(text)

    def turn(self, at: float) -> None:
        """Let the relay ack what is safe on both sides."""
        self.on_turn(at)
