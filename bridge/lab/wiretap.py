"""What really crosses the wire of a rehearsal's producers and workers: raw property bytes, taken from py-amqp.

A Celery message read through a client library is what that library made of it: py-amqp reads eight integer types as one
`int`. The rehearsal compares types as well as values, so it keeps the content-header bytes themselves, on the way out
and on the way in. Only the processes that the rehearsal starts load this room; it changes py-amqp in memory, nothing on
disk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import amqp.serialization as wire
from amqp.basic_message import Message
from amqp.channel import Channel

#: Bytes of a content-header payload before the property flags: class id, weight, body size (AMQP 0-9-1, section
#: 4.2.6.1).
_BEFORE_FLAGS = 12


@dataclass(frozen=True)
class Typed:
    """A header value of a type that py-amqp cannot express: its AMQP tag and its encoded bytes."""

    tag: bytes
    payload: bytes


@dataclass(frozen=True)
class Delivery:
    """One message as a consumer got it: where from, and its property and body bytes untouched."""

    task_id: str
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    properties: bytes
    body: bytes


class Outgoing:
    """Remembers the property and body bytes of the last message that this process published."""

    def __init__(self) -> None:
        self.properties = b""
        self.body = b""

    def attach(self) -> None:
        """Listen to py-amqp's serialiser, and teach it `Typed` header values."""
        serialize = wire.GenericContent._serialize_properties  # noqa: SLF001 - no public door to the bytes
        write_item = wire._write_item  # noqa: SLF001

        def keep(content: Any) -> bytes:
            properties: bytes = serialize(content)
            self.properties = properties
            self.body = _body(content)
            return properties

        def write(value: Any, put: Callable[[bytes], object], bits: list[int]) -> None:
            if isinstance(value, Typed):
                put(value.tag + value.payload)
            else:
                write_item(value, put, bits)

        wire.GenericContent._serialize_properties = keep  # noqa: SLF001
        wire._write_item = write  # noqa: SLF001


def listen(on_delivery: Callable[[Delivery], None]) -> None:
    """Call `on_delivery` for every message that a consumer of this process gets, before anything looks into it.

    Consumer tags are remembered with their queue, since a delivery names its exchange and key, not the queue it came
    from.
    """
    inbound_header = Message.inbound_header
    consume = Channel.basic_consume
    deliver = Channel._on_basic_deliver  # noqa: SLF001
    queues: dict[str, str] = {}

    def keep_header(message: Any, buf: bytes, offset: int = 0) -> int:
        message.raw_properties = bytes(buf[offset + _BEFORE_FLAGS :])
        end: int = inbound_header(message, buf, offset)
        return end

    def keep_queue(channel: Any, queue: str = "", consumer_tag: str = "", *args: Any, **options: Any) -> Any:
        queues[consumer_tag] = queue
        return consume(channel, queue, consumer_tag, *args, **options)

    def keep_delivery(
        channel: Any, consumer_tag: str, delivery_tag: int, redelivered: bool, exchange: str, key: str, message: Any
    ) -> None:
        on_delivery(
            Delivery(
                task_id=message.properties.get("correlation_id", ""),
                queue=queues.get(consumer_tag, ""),
                exchange=exchange,
                routing_key=key,
                redelivered=redelivered,
                properties=message.raw_properties,
                body=_body(message),
            )
        )
        deliver(channel, consumer_tag, delivery_tag, redelivered, exchange, key, message)

    Message.inbound_header = keep_header
    Channel.basic_consume = keep_queue
    Channel._on_basic_deliver = keep_delivery  # noqa: SLF001


def _body(message: Any) -> bytes:
    # py-amqp decodes a UTF-8 body before anyone sees it, and encodes a text before it sends it: both are exact.
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)


def small(tag: str, value: float) -> Typed:
    """Return `value` as a header value of the numeric AMQP type `tag` (one of b B s u i l f)."""
    return Typed(tag.encode(), struct.pack(">" + _STRUCT[tag], value))


#: AMQP field tag to struct letter, as RabbitMQ reads them (its errata: s is a signed 16-bit integer, l a signed 64-bit
#: one).
_STRUCT = {"b": "b", "B": "B", "s": "h", "u": "H", "i": "I", "l": "q", "f": "f"}
