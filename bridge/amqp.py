"""A connection to a broker: pika's `GeventConnection` with the relay's fast path (design, section 9).

1. pika connects, authenticates, speaks TLS, keeps heartbeats, opens and closes. Content frames and confirms of relay
   channels go to
   `bridge.core` and what it answers goes straight to the transport.
2. pika calls back from gevent's hub, where nothing may wait. `Connection` and `Channel` turn that into calls that
   wait in their greenlet, with a
   limit, and end in one of our errors.
3. Private names of pika are used in `_FastConnection` and `amqp_loop.py` only; `tests/unit/test_amqp.py` holds the
   contract on them.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import random
import struct
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gevent
import pika
import pika.channel
import pika.exceptions
import pika.frame
import pika.spec
from gevent.event import AsyncResult, Event
from pika.adapters import gevent_connection

from bridge.amqp_faults import reason_of, unreachable, where
from bridge.amqp_loop import io_services
from bridge.errors import AccessRefused, BridgeError, Refused, Unreachable

log = logging.getLogger("bridge.amqp")

#: Seconds for one answer of a broker that is there; a quorum queue that elects a leader needs some.
ANSWER = 15.0
#: Seconds for the answer to our farewell.
FAREWELL = 5.0
#: Seconds between heartbeats unless the URL says otherwise: a dead peer is noticed within about two of them.
HEARTBEAT = 10
#: Bytes taken from the socket at once. pika's own 4 096 would be three messages a system call.
RECEIVE = 131072

#: Takes a chunk as it came from the socket, returns the frames that are pika's.
Receive = Callable[[bytes], bytes]

_INT = struct.Struct("i")


class _FastConnection(gevent_connection.GeventConnection):  # type: ignore[misc, unused-ignore]
    """Content frames of relay channels pass by pika."""

    def __init__(self, parameters: pika.connection.Parameters, receive: Receive | None, **callbacks: Any) -> None:
        self._receive = receive
        self._receiving = False
        #: Plain TCP: bytes may go to the socket past pika's watchers.
        self._plain = parameters.ssl_options is None
        super().__init__(parameters, custom_ioloop=io_services(), **callbacks)

    def start_receiving(self) -> None:
        """The connection is open: read in large pieces, through the fast path."""
        if self._transport is not None:
            self._transport._MAX_RECV_BYTES = RECEIVE  # noqa: SLF001
            if self._plain:
                # One piece for each time the socket is readable: asking again mostly ends in EAGAIN, and what is left
                # makes it readable again.
                self._transport._MAX_CONSUME_BYTES = 1  # noqa: SLF001
        self._receiving = self._receive is not None

    def _on_data_available(self, data_in: bytes) -> None:
        if not self._receiving or self._frame_buffer or self._receive is None:
            super()._on_data_available(data_in)
            return
        try:
            others = self._receive(data_in)
        except Exception as fault:  # noqa: BLE001  whatever it is: this stream cannot be trusted any more
            self._receiving = False
            self._terminate_stream(pika.exceptions.AMQPConnectionError(f"{type(fault).__name__}: {fault}"))
            return
        # pika's heartbeat checker asks whether bytes came.
        self.bytes_received += len(data_in) - len(others)
        if others:
            super()._on_data_available(others)

    def send(self, data: bytes) -> None:
        """Send frames that are whole and in order."""
        transport = self._transport
        if transport is None:
            return
        self.bytes_sent += len(data)
        sent = 0
        if self._plain and not transport._tx_buffers:  # noqa: SLF001
            # Straight to the socket; pika would make two watchers for each write. What the socket does not take, and
            # every error, goes pika's way.
            try:
                sent = transport._sock.send(data)  # noqa: SLF001
            except OSError:
                pass
        # In pieces that are views: pika copies what is left of a piece each time the socket took a part of it.
        rest = memoryview(data)[sent:]
        for start in range(0, len(rest), RECEIVE):
            self._adapter_emit_data(rest[start : start + RECEIVE])  # type: ignore[arg-type, unused-ignore]

    def carried(self) -> tuple[int, int]:
        """Bytes that the peer's host has taken so far, and bytes that wait here or on the way."""
        transport = self._transport
        if transport is None:
            return 0, 0
        waiting = transport.get_write_buffer_size()
        if self._plain:
            with contextlib.suppress(OSError):
                # Linux, tcp(7): SIOCOUTQ, what the other end has not acknowledged.
                (kernel,) = _INT.unpack(fcntl.ioctl(transport._sock, termios.TIOCOUTQ, bytes(_INT.size)))  # noqa: SLF001
                waiting += kernel
        return self.bytes_sent - waiting, waiting

    def abort(self, reason: str) -> None:
        """Cut the connection without a farewell: the peer does not answer."""
        if not self.is_closed:
            self._terminate_stream(pika.exceptions.AMQPConnectionError(reason))


def back_off(first: float = 0.5, most: float = 30.0) -> Iterator[float]:
    """Seconds to wait before each further try: doubled up to `most`, with jitter so that many bridges do not come at
    once.
    """
    wait = first
    while True:
        yield wait * random.uniform(0.5, 1.0)
        wait = min(wait * 2, most)


class Connection:
    """One connection to the first of several addresses that takes us."""

    def __init__(
        self, name: str, addresses: Sequence[pika.connection.Parameters], receive: Receive | None = None
    ) -> None:
        self.name = name
        self.addresses = list(addresses)
        #: Set while there is no open connection.
        self.closed = Event()
        self.closed.set()
        #: Why it closed last.
        self.reason = "not connected yet"
        #: The code with which the peer closed it; None when it was lost without one.
        self.close_code: int | None = None
        #: The broker's reason for not taking publishes now (`connection.blocked`), or None.
        self.blocked: str | None = None
        self.on_blocked: Callable[[], None] = lambda: None
        #: User name of the open connection.
        self.user = ""
        self._receive = receive
        self._pika: _FastConnection | None = None
        self._leaving = False

    def open(self) -> None:
        """Try each address once.

        Raises:
            AccessRefused: a broker answered and refused user, password or vhost.
            Unreachable: no broker answered.
        """
        faults: list[BridgeError] = []
        for parameters in self.addresses:
            try:
                self._open(parameters)
                return
            except Unreachable as fault:
                faults.append(fault)
        refused = [fault for fault in faults if isinstance(fault, AccessRefused)]
        raise (refused or faults)[0]

    def _open(self, parameters: pika.connection.Parameters) -> None:
        opened: AsyncResult[None] = AsyncResult()

        def on_open(connection: _FastConnection) -> None:
            connection.start_receiving()
            opened.set(None)

        def on_error(_connection: _FastConnection, error: Exception) -> None:
            opened.set_exception(unreachable(self.name, parameters, error))

        def on_close(connection: _FastConnection, error: Exception) -> None:
            if self._pika is connection:
                self._lost(error)

        connection = _FastConnection(
            parameters,
            self._receive,
            on_open_callback=on_open,
            on_open_error_callback=on_error,
            on_close_callback=on_close,
        )
        opened.get()  # pika's own stack_timeout bounds it
        self._pika = connection
        self.blocked = None
        self.user = str(getattr(parameters.credentials, "username", ""))
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self.reason = ""
        self.closed.clear()
        log.info("%s: connected to %s", self.name, where(parameters))

    def _lost(self, error: Exception) -> None:
        self.reason = reason_of(error)
        self.close_code = error.reply_code if isinstance(error, pika.exceptions.ConnectionClosedByBroker) else None
        self._pika = None
        self.blocked = None
        self.closed.set()
        log.log(logging.INFO if self._leaving else logging.WARNING, "%s: connection closed: %s", self.name, self.reason)

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked = str(frame.method.reason)
        log.warning("%s: the broker takes no publishes now: %s", self.name, self.blocked)
        self.on_blocked()

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = None
        log.info("%s: the broker takes publishes again", self.name)
        self.on_blocked()

    @property
    def frame_max(self) -> int:
        """Negotiated bytes of the largest frame, head and end octet included."""
        return int(self._alive().params.frame_max)

    @property
    def channel_max(self) -> int:
        """Negotiated highest channel number."""
        return int(self._alive().params.channel_max)

    @property
    def server_version(self) -> tuple[int, ...]:
        """The broker's version as numbers, such as (3, 10, 8)."""
        text = str((self._alive().server_properties or {}).get("version", "0"))
        return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in text.split(".")[:3])

    def _alive(self) -> _FastConnection:
        if self._pika is None or not self._pika.is_open:
            raise Unreachable(f"{self.name}: no connection: {self.reason}")
        return self._pika

    def carried(self) -> tuple[int, int]:
        """Bytes that the peer's host has taken so far, and bytes that wait for it: a slow peer is not a silent one."""
        return (0, 0) if self._pika is None else self._pika.carried()

    def send(self, data: bytes) -> None:
        """Send whole frames; what is sent on a connection that just closed is dropped with it, as its channels are."""
        if self._pika is not None:
            self._pika.send(data)

    def channel(self, number: int) -> Channel:
        """Open a channel with this number.

        Raises:
            Unreachable: the connection is gone, or the broker does not answer.
        """
        connection = self._alive()
        if number > connection.params.channel_max:
            raise Refused(
                f"{self.name}: channel {number} is above the broker's limit ({connection.params.channel_max})",
                hint="raise channel_max on the broker or leave queues out with queues.exclude",
            )
        return Channel(self, connection, number)

    def close(self) -> None:
        """Say farewell, and cut the connection if it is not answered."""
        connection = self._pika
        if connection is None:
            return
        self._leaving = True
        if connection.is_open:
            connection.close()
        if not self.closed.wait(FAREWELL):
            connection.abort("no answer to connection.close")

    def abort(self, reason: str) -> None:
        """Cut the connection: the peer does not answer."""
        if self._pika is not None:
            self._pika.abort(reason)


class ChannelClosed(BridgeError):
    """The broker closed the channel: its reply code and text."""

    def __init__(self, name: str, code: int, text: str) -> None:
        super().__init__(f"{name}: {text} ({code})")
        self.code = code
        self.text = text


class Channel:
    """One channel; every call waits for the broker's answer and raises what it answered."""

    def __init__(self, owner: Connection, connection: _FastConnection, number: int) -> None:
        self.number = number
        self.name = owner.name
        self._owner = owner
        self.closed = Event()
        self.error: BridgeError | None = None
        #: It was closed, and not by us.
        self.lost = False
        #: Called when the channel closed or the broker cancelled our consumer.
        self.on_end: Callable[[], None] = lambda: None
        self.cancelled = False
        self._waiting: AsyncResult[Any] | None = None
        self._channel: pika.channel.Channel = self._call(
            lambda done: connection.channel(channel_number=number, on_open_callback=done)
        )

    def _call(self, start: Callable[[Callable[..., None]], Any]) -> Any:
        """Start an exchange with the broker and wait for its end."""
        if self.error is not None:
            raise self.error
        waiting: AsyncResult[Any] = AsyncResult()
        self._waiting = waiting
        try:
            opening = start(waiting.set)
            if isinstance(opening, pika.channel.Channel):
                opening.add_on_close_callback(self._on_close)
                opening.add_on_cancel_callback(self._on_cancel)
            return self._patiently(waiting.get)
        except gevent.Timeout:
            # A peer that is silent for so long is gone; its connection ends now, not when the heartbeat finds out.
            self._owner.abort(f"no answer within {ANSWER:.0f} s")
            raise Unreachable(f"{self.name}: no answer within {ANSWER:.0f} s on channel {self.number}") from None
        except pika.exceptions.AMQPError as fault:
            raise Unreachable(f"{self.name}: {reason_of(fault)}") from None
        finally:
            self._waiting = None

    def _patiently(self, wait: Callable[..., Any]) -> Any:
        """Wait for an answer, as long as what stands before the question in a slow connection still goes out."""
        taken, _ = self._owner.carried()
        while True:
            try:
                return wait(timeout=ANSWER)
            except gevent.Timeout:
                before, (taken, waiting) = taken, self._owner.carried()
                if not waiting or taken == before:
                    raise

    def _on_close(self, _channel: pika.channel.Channel, reason: Exception) -> None:
        if isinstance(reason, pika.exceptions.ChannelClosed):
            self.error = ChannelClosed(self.name, reason.reply_code, reason.reply_text)
        else:
            self.error = Unreachable(f"{self.name}: connection lost: {reason_of(reason)}")
        self.lost = not isinstance(reason, pika.exceptions.ChannelClosedByClient)
        self.closed.set()
        if self._waiting is not None and not self._waiting.ready():
            self._waiting.set_exception(self.error)
        self.on_end()

    def _on_cancel(self, _frame: Any) -> None:
        self.cancelled = True
        self.on_end()

    def qos(self, prefetch: int) -> None:
        """Let the next consumer of this channel have `prefetch` messages unacked."""
        self._call(lambda done: self._channel.basic_qos(prefetch_count=prefetch, callback=done))

    def confirm_select(self, on_answer: Callable[[int, bool, bool], None] | None = None) -> None:
        """Turn publisher confirms on.

        Args:
            on_answer: gets number, whether all before it are meant too, and whether it was taken, in the hub and for
                what passes by the fast path; it may not wait.
        """

        def answered(frame: Any) -> None:
            if on_answer is not None:
                method = frame.method
                on_answer(method.delivery_tag, method.multiple, isinstance(method, pika.spec.Basic.Ack))

        self._call(lambda done: self._channel.confirm_delivery(answered, callback=done))

    def on_return(self, tell: Callable[[str], None]) -> None:
        """Tell, in the hub and for what passes by the fast path, why no queue took a message; its confirm follows."""
        self._channel.add_on_return_callback(
            lambda _channel, method, _properties, _body: tell(f"{method.reply_text} ({method.reply_code})")
        )

    def publish(self, queue: str, body: bytes, exchange: str = "") -> None:
        """Publish a persistent message into a queue, `mandatory`, past the fast path and without waiting.

        Raises:
            BridgeError: the channel is closed.
        """
        if not self._channel.is_open:
            raise self.error or Unreachable(f"{self.name}: the connection is being closed")
        self._channel.basic_publish(exchange, queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)

    def ack(self, tag: int) -> None:
        """Ack one message, without waiting; when the channel is closed, it goes back, and that is that."""
        if self._channel.is_open:
            self._channel.basic_ack(tag)

    def consume(
        self, queue: str, tag: str, priority: int | None, on_message: Callable[[int, bytes], None] | None = None
    ) -> None:
        """Subscribe to `queue`, as many messages at once as the last `qos` allows.

        Args:
            queue: its name.
            tag: of the consumer; empty: pika makes one.
            priority: None says nothing about it; a stream takes no other.
            on_message: gets delivery tag and body in the hub, for what passes by the fast path; it may not wait.
        """
        given = {} if priority is None else {"x-priority": priority}

        def deliver(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            if on_message is not None:
                on_message(method.delivery_tag, body)

        self._call(
            lambda done: self._channel.basic_consume(queue, deliver, consumer_tag=tag, arguments=given, callback=done)
        )

    def cancel(self, tag: str) -> None:
        """End the subscription; when this returns, no further delivery comes."""
        self._call(lambda done: self._channel.basic_cancel(tag, callback=done))

    def declare_passive(self, queue: str) -> tuple[int, int]:
        """Ask for a queue: (messages ready, consumers). A missing one closes the channel with 404."""
        answer = self._call(lambda done: self._channel.queue_declare(queue, passive=True, callback=done))
        return answer.method.message_count, answer.method.consumer_count

    def exchange_passive(self, exchange: str) -> None:
        """Ask for an exchange. A missing one closes the channel with 404."""
        self._call(lambda done: self._channel.exchange_declare(exchange, passive=True, callback=done))

    def declare_exchange(self, name: str, kind: str) -> None:
        """Declare a durable exchange of a type such as `topic`. One that is there and differs closes the channel with
        406.
        """
        self._call(lambda done: self._channel.exchange_declare(name, exchange_type=kind, durable=True, callback=done))

    def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Declare a durable queue. One that is there and differs closes the channel with 406."""
        self._call(
            lambda done: self._channel.queue_declare(name, durable=True, arguments=dict(arguments), callback=done)
        )

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind `queue` to `exchange`; when it is bound already, nothing happens."""
        self._call(lambda done: self._channel.queue_bind(queue, exchange, routing_key=key, callback=done))

    def in_one_go(self, ask: Callable[[pika.channel.Channel], None], exchange: str) -> None:
        """Ask many things and wait once; the broker refuses the first that it does not like by closing the channel.

        Args:
            ask: asks on the channel it is given, without callbacks: such questions have no answer (`no-wait`).
            exchange: one that is there, or must be; when it is answered for, everything before it is done.
        """

        def start(done: Callable[..., None]) -> None:
            ask(self._channel)
            self._channel.exchange_declare(exchange, passive=True, callback=done)

        self._call(start)

    def fan_out(self, queues: Mapping[str, str], *, declare: bool) -> None:
        """Bind each queue to a durable fanout exchange of its own, and see that we may publish to these.

        Nothing is waited for in between; the broker refuses the first that it does not like: 403 without the right, 404
        where one is missing, 406 where one differs.

        Args:
            queues: by exchange.
            declare: the exchanges; they must be there otherwise.
        """

        def ask(channel: pika.channel.Channel) -> None:
            for exchange, queue in queues.items():
                channel.exchange_declare(exchange, exchange_type="fanout", durable=True, passive=not declare)
                channel.queue_bind(queue, exchange, routing_key="")
                # It takes write on the first and read on the second, and no broker minds that there is none.
                channel.exchange_unbind(exchange, exchange)

        self.in_one_go(ask, [*queues][-1])

    def close(self) -> None:
        """Close the channel and wait until the broker has done it: unacked messages are back in their queue then."""
        if self._channel.is_open:
            self._channel.close()
        try:
            self._patiently(self._wait_closed)
        except gevent.Timeout:
            self._owner.abort(f"no answer within {ANSWER:.0f} s")

    def _wait_closed(self, timeout: float) -> None:
        if not self.closed.wait(timeout):
            raise gevent.Timeout(timeout)
