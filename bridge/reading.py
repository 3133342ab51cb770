"""Reads a queue or a stream byte-exactly for commands that run in a process of their own.

1. pika opens, subscribes and closes; deliveries pass it by, so no header is ever decoded and encoded again.
2. What came waits here until it is taken. No more than `prefetch` messages are held and unacked, and nothing is acked
   but by `Reader.ack`: what is not goes back to its queue when the reader is closed.
3. The last act on a quorum queue is `Reader.settle`: acks are lost without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from gevent.queue import Empty, Queue

from bridge.amqp import Channel, ChannelClosed, Connection
from bridge.core import frames, properties
from bridge.core.gathered import Gathered
from bridge.errors import BridgeError, Refused
from bridge.settling import settle

#: The channel on which a reader reads.
CHANNEL = 1
TAG = "bridge"
#: Messages held and unacked: their sizes are not known, and the largest a broker takes by default has 16 MiB.
PREFETCH = 32
#: Header with the place of a message in its stream.
_OFFSET = b"x-stream-offset"


class Delivery(NamedTuple):
    """A message as it was delivered."""

    tag: int
    redelivered: bool
    #: Both as they stood on the wire: bytes that are not UTF-8 are surrogates.
    exchange: str
    routing_key: str
    #: Payload of its content header.
    header: bytes
    body: bytes

    @property
    def offset(self) -> int | None:
        """Its place in the stream that it was read from; None when it was read from a queue of another kind.

        Raises:
            properties.Malformed: its headers cannot be read.
        """
        table = properties.spans(self.header).get(properties.HEADERS)
        for entry in properties.fields(self.header, *table) if table is not None else ():
            if entry.name == _OFFSET:
                return int.from_bytes(properties.text(self.header, entry), "big")
        return None


class DeliveryWire:
    """Cuts the deliveries of one channel out of what comes from the broker.

    Args:
        channel: whose they are.
        came: is given each whole one.
    """

    def __init__(self, channel: int, came: Callable[[Delivery], None]) -> None:
        self._channel = channel
        self._came = came
        self._cutter = frames.Cutter()
        self._key = ("", "")
        self._gathered: Gathered | None = None

    def receive(self, chunk: bytes) -> bytes:
        """Hand over what is whole and return all other frames.

        Raises:
            FrameError: the stream of bytes is out of step.
        """
        buffer = self._cutter.feed(chunk)
        others: list[bytes] = []
        for kind, channel, start, stop in self._cutter.frames():
            if channel == self._channel and kind == frames.METHOD and buffer.startswith(frames.DELIVER, start + 7):
                self._begin(buffer, start + 11)
            elif channel == self._channel and kind in (frames.HEADER, frames.BODY):
                self._gather(kind, buffer[start:stop])
            else:
                others.append(buffer[start:stop])
        return b"".join(others)

    def _begin(self, buffer: bytes, at: int) -> None:
        # basic.deliver (AMQP 0-9-1, 1.8.3.9): consumer tag, delivery tag, redelivered, exchange, routing key.
        at += 1 + buffer[at]
        tag, bits = frames.tag_at(buffer, at)
        exchange = buffer[at + 10 : at + 10 + buffer[at + 9]]
        at += 10 + len(exchange)
        key = buffer[at + 1 : at + 1 + buffer[at]]
        self._key = exchange.decode(errors="surrogateescape"), key.decode(errors="surrogateescape")
        self._gathered = Gathered(tag, bits & 1)

    def _gather(self, kind: int, wire: bytes) -> None:
        gathered = self._gathered
        if gathered is None:
            raise frames.FrameError(f"content frame on channel {self._channel} without a delivery before it")
        if gathered.add(kind, wire):
            self._gathered = None
            header, *bodies = gathered.parts
            body = b"".join([part[7:-1] for part in bodies])
            self._came(Delivery(gathered.tag, bool(gathered.redelivered), *self._key, header[7:-1], body))


class _Consuming(Channel):
    """A channel whose consumer has arguments."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, connection._alive(), number)  # noqa: SLF001  as Connection.channel does

    def consume_with(self, queue: str, arguments: Mapping[str, Any]) -> None:
        """Subscribe; deliveries pass pika by."""
        self._call(
            lambda done: self._channel.basic_consume(
                queue, _unused, consumer_tag=TAG, arguments=dict(arguments), callback=done
            )
        )


class Reader:
    """A subscription to one queue or stream over a connection of its own.

    Args:
        make: makes the connection, as `sides.connection` gives it.
        queue: name of the queue or stream.
        prefetch: messages that may be unacked.
        arguments: of the consumer, such as `x-stream-offset`.

    Raises:
        Refused: there is no such queue, or we may not read it.
        Unreachable: the broker cannot be reached.
    """

    def __init__(
        self,
        make: Callable[..., Connection],
        queue: str,
        *,
        prefetch: int = PREFETCH,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._came: Queue[Delivery | None] = Queue()
        self._queue = queue
        self._connection = make(receive=DeliveryWire(CHANNEL, self._came.put_nowait).receive)
        self._connection.open()
        try:
            self._channel = _Consuming(self._connection, CHANNEL)
            # None in the queue behind the last delivery is the end.
            self._channel.on_end = lambda: self._came.put_nowait(None)
            self._channel.qos(prefetch)
            self._channel.consume_with(queue, arguments or {})
        except ChannelClosed as fault:
            self._connection.close()
            raise self._refused(fault) from None
        except BridgeError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refused(self, fault: ChannelClosed) -> Refused:
        hint = {
            403: f'grant the user read on "{self._queue}"',
            404: "check the name and the vhost: there is no such queue or stream",
        }.get(fault.code, "")
        name = self._connection.name
        return Refused(f'{name}: queue "{self._queue}" cannot be read: {fault.text} ({fault.code})', hint=hint)

    def take(self, seconds: float) -> Delivery | None:
        """The next message; None when none came in `seconds`.

        Raises:
            Refused: the broker ended the subscription.
            Unreachable: the connection is lost.
        """
        try:
            found = self._came.get(timeout=seconds)
        except Empty:
            return None
        if found is not None:
            return found
        self._came.put_nowait(None)
        error = self._channel.error
        if isinstance(error, ChannelClosed):
            raise self._refused(error)
        if error is not None:
            raise error
        raise Refused(
            f'{self._connection.name}: queue "{self._queue}" was deleted, or its node failed, while it was read'
        )

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Ack a message (and with `multiple` all before it); on a stream that only makes room for more."""
        self._connection.send(frames.ack(CHANNEL, tag, multiple=multiple))

    def cancel(self) -> None:
        """Have no more messages come; those that came before wait to be taken.

        Raises:
            Unreachable: the connection is lost.
        """
        self._channel.cancel(TAG)

    def settle(self) -> None:
        """See that the acks so far have arrived, after `cancel`; one more message may have come thereby.

        Raises:
            BridgeError: the connection is lost.
        """
        settle(self._channel, self._queue)

    def close(self) -> None:
        """Leave; what is not acked is back in its queue then."""
        self._channel.on_end = lambda: None
        self._connection.close()


def _unused(*_arguments: Any) -> None:
    """Deliveries never reach pika; it wants a callback all the same."""
