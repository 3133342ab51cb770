"""The backup stream as a test sees it: what is in it now, message by message.

Everything that was published before is read, and nothing is waited for: the reading goes to a message of its own.
"""

from __future__ import annotations

import secrets
import struct
import time
from typing import TYPE_CHECKING

from bridge import sides
from bridge.backup import STREAM
from bridge.config_sections import Broker
from bridge.core import envelope
from bridge.core.copies import EXCHANGE
from bridge.errors import Unreachable
from bridge.reading import Delivery, Reader
from tests.support import wire
from tests.support.raw_amqp import Raw, RawAmqp

if TYPE_CHECKING:
    from bridge.lab.brokers import Side

#: Seconds in which the stream must deliver.
_WITHIN = 15.0
#: How the bodies of our own messages begin.
_END = b"a test reads to here: "


def parts(raw: Raw) -> tuple[bytes, bytes]:
    """Payload of the content header, and body."""
    return struct.pack(">HHQ", 60, 0, len(raw.body)) + raw.properties, raw.body


def copy(queue: str, message: Raw, at: float | None = None) -> Raw:
    """A copy of a message as it is published; `at` is when it was taken, in UTC epoch seconds."""
    sealed = envelope.seal(envelope.opening(queue), time.time() if at is None else at, *parts(message))
    return Raw(b"\x80\x00" + wire.shortstr(envelope.CONTENT_TYPE.encode()), sealed)


def deliveries(side: Side) -> list[Delivery]:
    """What is in the stream of a side now.

    Raises:
        AssertionError: it is not delivered in time.
        BridgeError: there is no stream.
    """
    mark = _END + secrets.token_hex(8).encode()
    with RawAmqp(side.amqp) as amqp:
        amqp.publish(EXCHANGE, "", Raw(b"\x00\x00", mark))
    deadline = time.monotonic() + _WITHIN
    while True:
        try:
            return _read_to(mark, side)
        except Unreachable:
            # 3.10.8 ends the connection (541) when retention takes the segment that is about to be read.
            assert time.monotonic() < deadline, "the stream cannot be read"


def _read_to(mark: bytes, side: Side) -> list[Delivery]:
    make = sides.connection("backup", Broker.model_validate({"amqp": [side.amqp]}), "test")
    found: list[Delivery] = []
    with Reader(make, STREAM, arguments={"x-stream-offset": "first"}) as reader:
        while True:
            delivery = reader.take(_WITHIN)
            assert delivery is not None, f"the stream delivers nothing for {_WITHIN:g} s"
            reader.ack(delivery.tag)
            if delivery.body == mark:
                return found
            if not delivery.body.startswith(_END):
                found.append(delivery)


def copies(side: Side) -> list[envelope.Message]:
    """The copies in the stream of a side."""
    return [envelope.unseal(delivery.body) for delivery in deliveries(side)]
