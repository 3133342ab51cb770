"""AMQP 0-9-1 with the bytes of every message as they are: nothing of a content header is decoded or encoded.

    with RawAmqp(url) as amqp:
        amqp.publish("", "q1", Raw(properties, body))
        amqp.consume("q1")
        arrived = amqp.receive(deadline=time.monotonic() + 5)

Every Python client changes header fields on its way (semantics.md, 6.2), so none of them can tell whether the bridge
does. One connection, one channel, blocking. pika writes and reads the methods, which have no such fields here.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from pika import frame, spec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

#: Seconds for an answer to a method or a publish.
ANSWER_WITHIN = 20.0

_CHANNEL = 1
_HEAD = struct.Struct(">BHI")


@dataclass(frozen=True)
class Raw:
    """A message: property flags and values as they stand in its content header, and its body."""

    properties: bytes
    body: bytes = b""


@dataclass(frozen=True)
class Arrived(Raw):
    """A message as it was delivered, and when (UTC epoch seconds)."""

    queue: str = field(kw_only=True)
    exchange: str = field(kw_only=True)
    routing_key: str = field(kw_only=True)
    redelivered: bool = field(kw_only=True)
    tag: int = field(kw_only=True)
    at: float = field(kw_only=True)


class Closed(AssertionError):
    """The broker closed the channel or the connection (reply code and text), or cancelled a consumer."""


class RawAmqp:
    """A connection with one channel, in confirm mode.

    Args:
        url: amqp://user:password@host:port/vhost.
        user: another user, who has the same password.
    """

    def __init__(self, url: str, *, user: str | None = None) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 5672), timeout=ANSWER_WITHIN)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._arrived: deque[Arrived] = deque()
        self._head: spec.Basic.Deliver | None = None
        self._payload = b""
        self._body = bytearray()
        self._size = 0
        #: Publishes so far: the sequence number of the last one.
        self._published = 0
        login = f"\0{user or unquote(parts.username or '')}\0{unquote(parts.password or '')}".encode()
        self._socket.sendall(b"AMQP\0\0\x09\x01")
        self._expect(spec.Connection.Start)
        # Without this capability a wrong password is a closed socket instead of an answer.
        # Without the other the end of a queue goes unnoticed by its consumer.
        properties = {"capabilities": {"authentication_failure_close": True, "consumer_cancel_notify": True}}
        self._send(0, spec.Connection.StartOk(properties, "PLAIN", login.decode(), "en_US"))
        tune = self._expect(spec.Connection.Tune)
        self._frame_max = int(tune.frame_max)
        self._send(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._send(0, spec.Connection.Open(unquote(parts.path[1:])))
        self._expect(spec.Connection.OpenOk)
        self.call(spec.Channel.Open())
        self.call(spec.Confirm.Select())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    # -- what a test asks
    # -----------------------------------------------------------------------------------------------

    def call(self, method: Any) -> Any:
        """Send a method and return the broker's answer to it.

        Raises:
            Closed: the broker refused it.
        """
        self._send(_CHANNEL, method)
        return self._expect(_reply_to(method))

    def declare(self, queue: str, **arguments: Any) -> None:
        """Declare a durable queue."""
        self.call(spec.Queue.Declare(queue=queue, durable=True, arguments=arguments))

    def declare_exchange(self, exchange: str, kind: str) -> None:
        """Declare a durable exchange."""
        self.call(spec.Exchange.Declare(exchange=exchange, type=kind, durable=True))

    def depth(self, queue: str) -> int:
        """Return how many messages are ready in a queue."""
        return int(self.call(spec.Queue.Declare(queue=queue, passive=True)).message_count)

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind a queue to an exchange."""
        self.call(spec.Queue.Bind(queue=queue, exchange=exchange, routing_key=key))

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Take such a binding away."""
        self.call(spec.Queue.Unbind(queue=queue, exchange=exchange, routing_key=key))

    def publish(self, exchange: str, routing_key: str, message: Raw) -> None:
        """Publish a message and wait for its confirm.

        Raises:
            Closed: the broker refused it.
            AssertionError: no queue took it.
        """
        self.publish_all(exchange, routing_key, [message])

    def publish_all(self, exchange: str, routing_key: str, messages: Iterable[Raw]) -> None:
        """Publish messages in one go and wait until each is confirmed.

        Raises:
            Closed: the broker refused one.
            AssertionError: no queue took one.
        """
        method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        head = frame.Method(_CHANNEL, method).marshal()
        published = [head + self._content(message) for message in messages]
        first, self._published = self._published + 1, self._published + len(published)
        self._socket.sendall(b"".join(published))
        waiting = set(range(first, self._published + 1))
        while waiting:
            answer = self._expect(spec.Basic.Ack)
            number = answer.delivery_tag
            waiting.discard(number)
            if answer.multiple:
                waiting = {one for one in waiting if one > number}

    def _content(self, message: Raw) -> bytes:
        size = len(message.body)
        payload = struct.pack(">HHQ", spec.BasicProperties.INDEX, 0, size) + message.properties
        most = self._frame_max - spec.FRAME_HEADER_SIZE - spec.FRAME_END_SIZE
        bodies = [_frame(spec.FRAME_BODY, message.body[at : at + most]) for at in range(0, size, most)]
        return _frame(spec.FRAME_HEADER, payload) + b"".join(bodies)

    def consume(self, queue: str, *, prefetch: int = 0) -> None:
        """Take what comes to a queue from now on; with a prefetch each message is to be acked, else nothing is."""
        if prefetch:
            self.call(spec.Basic.Qos(prefetch_count=prefetch))
        self.call(spec.Basic.Consume(queue=queue, consumer_tag=queue, no_ack=not prefetch))

    def ack(self, arrived: Arrived) -> None:
        """Ack one message; nobody answers."""
        self._send(_CHANNEL, spec.Basic.Ack(delivery_tag=arrived.tag))

    def receive(self, deadline: float) -> Arrived | None:
        """Return the next message of the queues that are consumed; None: none came before `deadline` (monotonic).

        Raises:
            Closed: no more will come.
        """
        while not self._arrived:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                method = self._next()
            except TimeoutError:
                return None
            finally:
                self._socket.settimeout(ANSWER_WITHIN)
            if isinstance(method, spec.Channel.Close | spec.Connection.Close):
                raise Closed(f"{method.reply_code} {method.reply_text}")
            if isinstance(method, spec.Basic.Cancel):
                raise Closed(f"the consumer of {method.consumer_tag} was cancelled")
        return self._arrived.popleft()

    # -- frames
    # ---------------------------------------------------------------------------------------------------------

    def _send(self, channel: int, method: Any) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _expect(self, *wanted: Any) -> Any:
        """Read on until one of these methods comes."""
        while True:
            method = self._next()
            if isinstance(method, spec.Channel.Close | spec.Connection.Close):
                raise Closed(f"{method.reply_code} {method.reply_text}")
            if isinstance(method, spec.Basic.Return | spec.Basic.Nack):
                raise AssertionError(f"the broker answered a publish with {method}")
            if isinstance(method, wanted):
                return method

    def _next(self) -> Any:
        """Read one frame; the method in it, None when it was content."""
        while len(self._buffer) < _HEAD.size or len(self._buffer) < _HEAD.size + self._frame_size() + 1:
            chunk = self._socket.recv(1 << 20)
            if not chunk:
                raise Closed("the broker closed the socket")
            self._buffer += chunk
        kind, size = self._buffer[0], self._frame_size()
        stop = _HEAD.size + size + 1
        whole = bytes(self._buffer[:stop])
        del self._buffer[:stop]
        payload = whole[_HEAD.size : -1]
        if kind == spec.FRAME_METHOD:
            method: Any = frame.decode_frame(whole)[1]
            method = method.method
            if isinstance(method, spec.Basic.Deliver):
                self._head = method
                return None
            return method
        if kind == spec.FRAME_HEADER:
            self._payload, self._size = payload, int.from_bytes(payload[4:12], "big")
            self._body.clear()
        elif kind == spec.FRAME_BODY:
            self._body += payload
        if kind != spec.FRAME_HEARTBEAT and len(self._body) == self._size and self._head is not None:
            self._arrived.append(
                Arrived(
                    self._payload[12:],
                    bytes(self._body),
                    queue=self._head.consumer_tag,
                    exchange=self._head.exchange,
                    routing_key=self._head.routing_key,
                    redelivered=self._head.redelivered,
                    tag=self._head.delivery_tag,
                    at=time.time(),
                )
            )
            self._head = None
        return None

    def _frame_size(self) -> int:
        return int(_HEAD.unpack_from(self._buffer)[2])


def _frame(kind: int, payload: bytes) -> bytes:
    return _HEAD.pack(kind, _CHANNEL, len(payload)) + payload + bytes((spec.FRAME_END,))


def _reply_to(method: Any) -> Any:
    """The method that answers a synchronous one, by its name."""
    name = f"{method.NAME}Ok"
    methods: dict[int, Any] = spec.methods
    return next(known for known in methods.values() if name == known.NAME)
