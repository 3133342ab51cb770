"""Deliveries cut out of what a broker sends: whole, byte by byte, and with other frames between."""

from __future__ import annotations

import struct

import pytest

from bridge.core import frames, properties
from bridge.reading import Delivery, DeliveryWire
from tests.support import wire

HEARTBEAT = frames.frame(frames.HEARTBEAT, 0, b"")
ODD = b"\x03odd?"  # a value of a type that no broker has


def header(size: int, headers: dict[str, object] | None = None) -> bytes:
    """Payload of a content header that announces so many bytes."""
    table = {} if headers is None else {properties.HEADERS: wire.table(headers)}
    return wire.header({properties.DELIVERY_MODE: b"\x02", **table}, size)


def delivery(tag: int, payload: bytes, *bodies: bytes, channel: int = 1, exchange: bytes = b"e") -> bytes:
    parts = [frames.deliver_head(channel, b"bridge", tag, tag > 1, exchange, b"a.key")]
    parts.append(frames.header_frame(channel, payload))
    return b"".join(parts + [frames.frame(frames.BODY, channel, body) for body in bodies])


@pytest.fixture
def came() -> list[Delivery]:
    return []


def test_whole_and_byte_by_byte(came: list[Delivery]):
    stream = delivery(1, header(5), b"abc", b"de") + HEARTBEAT + delivery(2, header(0)) + delivery(3, header(1), b"x")
    expected = [
        Delivery(1, False, "e", "a.key", header(5), b"abcde"),
        Delivery(2, True, "e", "a.key", header(0), b""),
        Delivery(3, True, "e", "a.key", header(1), b"x"),
    ]
    assert DeliveryWire(1, came.append).receive(stream) == HEARTBEAT
    assert came == expected
    came.clear()
    cut = DeliveryWire(1, came.append)
    assert b"".join(cut.receive(stream[at : at + 1]) for at in range(len(stream))) == HEARTBEAT
    assert came == expected


def test_headers_that_nobody_can_read_pass_as_they_are(came: list[Delivery]):
    payload = struct.pack(">HHQH", 60, 0, 1, properties.HEADERS) + len(ODD).to_bytes(4, "big") + ODD
    DeliveryWire(1, came.append).receive(delivery(1, payload, b"x"))
    assert came[0].header == payload
    with pytest.raises(properties.Malformed):
        _ = came[0].offset


def test_other_channels_and_methods_are_left_to_others(came: list[Delivery]):
    other = delivery(1, header(1), b"x", channel=2)
    cancel = frames.frame(frames.METHOD, 1, b"\x00\x3c\x00\x1e\x06bridge\x01")
    assert DeliveryWire(1, came.append).receive(other + cancel) == other + cancel
    assert came == []


def test_content_without_a_delivery_ends_the_connection(came: list[Delivery]):
    with pytest.raises(frames.FrameError):
        DeliveryWire(1, came.append).receive(frames.header_frame(1, header(0)))


def test_the_offset_of_a_message_of_a_stream(came: list[Delivery]):
    placed = header(0, {"x-stream-offset": b"l" + struct.pack(">q", 2**40 + 7)})
    for payload in (placed, header(0, {"task": "a"}), header(0)):
        DeliveryWire(1, came.append).receive(delivery(1, payload))
    assert [one.offset for one in came] == [2**40 + 7, None, None]
