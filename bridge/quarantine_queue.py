"""Looks through the quarantine's queue, and takes messages out of it, for commands in a process of their own.

1. Messages are looked at as they pass: of a body only the beginning is kept, whatever its size. They come unacked and
   go back in their order at the end.
2. A whole body is held only of a message that is to be taken out.
3. pika never sees the content: headers that its decoder cannot read are no hindrance, and come out as they went in.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.queue import Empty, Queue

from bridge.amqp import Channel, ChannelClosed, Connection
from bridge.core import described, frames
from bridge.errors import Refused
from bridge.quarantine import NAME, open_channel
from bridge.settling import settle

#: Messages that one consumer can have unacked (AMQP 0-9-1, 1.8.3.1): no more are looked at.
MOST = 65535
#: Bytes of a body that are kept of each message while it is looked at: of the largest that is read for an ETA.
HEAD = 2**18
#: Seconds without a message after which whoever looks may do something else.
QUIET = 1.0
#: Seconds without a byte of a message after which no more will come: a busy broker needs some for large ones.
PATIENCE = 10.0
#: Seconds for the queue to count what was returned; fewer come back when others take them. And between two questions.
RETURNED = 5.0
LOOK_EVERY = 0.02
TAG = "bridge"


@dataclass(slots=True, eq=False)
class Passing:
    """A message as it passes."""

    tag: int
    exchange: str
    key: str
    #: Payload of its content header, as it was before the quarantine.
    header: bytes = b""
    size: int = 0
    #: The beginning of its body, or all of it when it is `whole`.
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    digest: Any = None
    left: int = 0

    @property
    def id(self) -> str:
        """The same for messages of the same content, each time they are looked at."""
        return str(self.digest.hexdigest()[:12])

    @property
    def queue(self) -> str:
        """Its source queue; empty when it was not the bridge that put it here."""
        return self.key.rpartition(".")[0] if self.exchange == NAME else ""

    @property
    def reason(self) -> str:
        """Why it is here."""
        return self.key.rpartition(".")[2] if self.exchange == NAME else "unknown"


def digest_of(header: bytes) -> Any:
    """The beginning of a message's fingerprint; its body is still to be added."""
    return hashlib.sha256(described.stable(header))


class Passage:
    """Cuts what comes on one channel into messages.

    Args:
        channel: its number.
        wants: whether the whole body of a message is to be held, asked when its header is there.
        passed: told each message, from the hub.
    """

    def __init__(self, channel: int, wants: Callable[[Passing], bool], passed: Callable[[Passing], None]) -> None:
        self._channel = channel
        self._wants = wants
        self._passed = passed
        self._coming: Passing | None = None
        #: When the last frame came (monotonic seconds).
        self.heard = time.monotonic()

    def take(self, kind: int, frame: bytes) -> bool:
        """Take a frame of the channel; False when it is not content.

        Raises:
            FrameError: it is out of place.
        """
        if kind == frames.METHOD and frame.startswith(frames.DELIVER, 7):
            self._begin(frame)
            return True
        if kind not in (frames.HEADER, frames.BODY):
            return False
        self.heard = time.monotonic()
        coming = self._coming
        if coming is None:
            raise frames.FrameError(f"content frame on channel {self._channel} without a delivery before it")
        if kind == frames.HEADER:
            coming.header = described.restored(frame[7:-1])
            coming.size = coming.left = int.from_bytes(frame[11:19], "big")
            coming.digest = digest_of(coming.header)
            coming.whole = self._wants(coming)
        else:
            piece = memoryview(frame)[7:-1]
            coming.left -= len(piece)
            coming.digest.update(piece)
            coming.body += piece if coming.whole else piece[: max(0, HEAD - len(coming.body))]
        if coming.left <= 0:
            self._coming = None
            self._passed(coming)
        return True

    def _begin(self, frame: bytes) -> None:
        # basic.deliver (AMQP 0-9-1, 1.8.3.9): consumer tag, delivery tag, redelivered, exchange, routing key.
        at = 11 + 1 + frame[11]
        tag, _ = frames.tag_at(frame, at)
        exchange = frame[at + 10 : at + 10 + frame[at + 9]]
        at += 10 + len(exchange)
        key = frame[at + 1 : at + 1 + frame[at]]
        self._coming = Passing(tag, exchange.decode(errors="replace"), key.decode(errors="replace"))


class QuarantineQueue:
    """The queue, over a connection of its own.

    Args:
        make: makes the connection, as `sides.connection` gives it.

    Raises:
        BridgeError: the broker cannot be reached.
    """

    def __init__(self, make: Callable[..., Connection]) -> None:
        self._cutter = frames.Cutter()
        self._passages: dict[int, Passage] = {}
        self._connection = make(receive=self._receive)
        self._connection.open()
        self._number = 0

    def close(self) -> None:
        """Leave; what was not acked is back."""
        self._connection.close()

    def _receive(self, chunk: bytes) -> bytes:
        buffer = self._cutter.feed(chunk)
        others = []
        for kind, channel, start, stop in self._cutter.frames():
            passage = self._passages.get(channel)
            frame = buffer[start:stop]
            if passage is None or not passage.take(kind, frame):
                others.append(frame)
        return b"".join(others)

    @contextmanager
    def look(self, wants: Callable[[Passing], bool], prefetch: int = MOST) -> Iterator[Look]:
        """Have all messages that are there now pass once; those that are not acked in the end go back.

        Args:
            wants: whether the whole body of a message is to be held, asked from the hub when its header is there.
            prefetch: messages that may be unacked at once.

        Raises:
            BridgeError: the quarantine cannot be used, or the broker does not answer.
        """
        self._number += 1
        number = self._number
        came: Queue[Passing | None] = Queue()
        passage = Passage(number, wants, came.put_nowait)
        if not self._there(number):
            yield Look(self._connection, None, passage, came, 0, limited=False)
            return
        channel, limited = open_channel(self._connection, number)
        try:
            ready, _ = channel.declare_passive(NAME)
            self._passages[number] = passage
            if ready:
                # None behind the last message is the end.
                channel.on_end = lambda: came.put_nowait(None)
                channel.qos(min(ready, prefetch, MOST))
                channel.consume(NAME, TAG, 0)
            look = Look(self._connection, channel, passage, came, ready, limited=limited)
            yield look
            if ready and channel.error is None and not channel.cancelled:
                self._give_back(channel, ready - look.acked)
        finally:
            channel.on_end = lambda: None
            channel.close()
            self._passages.pop(number, None)

    def _give_back(self, channel: Channel, count: int) -> None:
        """Return what was not acked, and wait until the queue counts it.

        Messages of a channel that is closed are not counted before the queue noticed it: what begins meanwhile would
        miss them.
        """
        channel.cancel(TAG)
        settle(channel, NAME)
        self._connection.send(frames.nack(channel.number, 0, multiple=True, requeue=True))
        until = time.monotonic() + RETURNED
        while channel.declare_passive(NAME)[0] < count and time.monotonic() < until:
            gevent.sleep(LOOK_EVERY)

    def _there(self, number: int) -> bool:
        """Whether there is a queue: looking makes none."""
        channel = self._connection.channel(number)
        try:
            channel.declare_passive(NAME)
        except ChannelClosed as fault:
            if fault.code == 404:
                return False
            raise Refused(
                f'target: queue "{NAME}" cannot be looked at: {fault.text} ({fault.code})',
                hint=f'the user needs configure, write and read on exchange and queue "{NAME}"',
            ) from None
        channel.close()
        return True


class Look:
    """One passage of the messages that were there when it began: iterate over it.

    None comes between them when nothing passed for `QUIET` seconds: more may come when some are acked. It ends when all
    passed, or somebody else has the others.

    Attributes:
        ready: how many there were.
        limited: whether the broker drops them when they are looked at too often, the queue being declared otherwise.
    """

    def __init__(
        self,
        connection: Connection,
        channel: Channel | None,
        passage: Passage,
        came: Queue[Passing | None],
        ready: int,
        *,
        limited: bool,
    ) -> None:
        self.ready = ready
        self.limited = limited
        #: Messages that were taken out.
        self.acked = 0
        self._connection = connection
        self._channel = channel
        self._passage = passage
        self._came = came

    @property
    def quiet(self) -> float:
        """Seconds for which no byte of a message came."""
        return time.monotonic() - self._passage.heard

    def __iter__(self) -> Iterator[Passing | None]:
        seen, channel = 0, self._channel
        while channel is not None and seen < self.ready:
            try:
                message = self._came.get(timeout=QUIET)
            except Empty:
                if self.quiet > PATIENCE and not channel.declare_passive(NAME)[0]:
                    return
                yield None
                continue
            if message is None:
                raise channel.error or Refused(
                    f'{channel.name}: queue "{NAME}" was deleted, or its node failed, while it was looked at'
                )
            seen += 1
            yield message

    def ack(self, message: Passing) -> None:
        """Take a message out of the queue; the end of the look waits for the broker to have done it."""
        channel = self._channel
        # An ack for a channel that is closed would end the connection; its message is back in the queue already.
        if channel is not None and not channel.closed.is_set():
            self._connection.send(frames.ack(channel.number, message.tag, multiple=False))
            self.acked += 1
