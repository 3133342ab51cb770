"""Frames: whole, byte by byte, and with trailing bytes; what we build is what pika reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame as pika_frame
from pika import spec

from bridge.core import frames

FRAME = st.builds(frames.frame, st.sampled_from([1, 2, 3, 8]), st.integers(0, 65535), st.binary(max_size=300))


def cut(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    """All whole frames of a stream that came in these chunks, and what is left over."""
    cutter = frames.Cutter()
    found = []
    for chunk in chunks:
        buffer = cutter.feed(chunk)
        for kind, channel, start, stop in cutter.frames():
            assert frames.frame_at(buffer, start)[:2] == (kind, channel)
            found.append(buffer[start:stop])
    return found, cutter.feed(b"")


@given(st.lists(FRAME, max_size=6), st.binary(max_size=6))
def test_whole_and_with_trailing_bytes(wire: list[bytes], trailing: bytes) -> None:
    assert cut([b"".join(wire) + trailing]) == (wire, trailing)


@given(st.lists(FRAME, max_size=3))
def test_byte_by_byte(wire: list[bytes]) -> None:
    assert cut([bytes((byte,)) for byte in b"".join(wire)]) == (wire, b"")


@given(st.lists(FRAME, max_size=6), st.data())
def test_cut_anywhere(wire: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wire)
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]
    assert cut(chunks) == (wire, b"")


def test_a_stream_out_of_step_is_noticed() -> None:
    broken = frames.frame(frames.METHOD, 1, b"abcd")[:-1] + b"\x00"
    with pytest.raises(frames.FrameError, match="0x00 where 0xce is due"):
        cut([broken])


BODY = frames.frame(frames.BODY, 7, b"12345")


@pytest.mark.parametrize(
    ("buffer", "size", "stop"),
    [
        (b"", 0, 0),
        (BODY, 5, 13),
        (BODY + BODY, 10, 26),
        (BODY, 10, 0),  # the second frame has not come
        (BODY + BODY[:9], 10, 0),  # nor all of it
        (BODY + BODY[:5], 10, 0),  # nor its head
        (BODY + frames.frame(frames.BODY, 8, b"12345"), 10, 0),  # another channel's frame between
        (frames.frame(frames.METHOD, 7, b"12345"), 5, 0),
    ],
)
def test_where_the_content_stops(buffer: bytes, size: int, stop: int) -> None:
    assert frames.content_stop(buffer, 0, 7, size) == stop


def test_a_body_longer_than_announced_is_refused() -> None:
    with pytest.raises(frames.FrameError, match="2 bytes more"):
        frames.content_stop(BODY, 0, 7, 3)


@given(st.binary(max_size=5000), st.integers(100, 4096))
def test_a_body_is_cut_to_size_and_joined_again(body: bytes, frame_max: int) -> None:
    wire = frames.body_frames(3, body, frame_max)
    found, left = cut([wire])
    assert not left
    assert all(len(one) <= frame_max for one in found)
    assert frames.body_of(b"header" + wire, 6) == body


@given(st.integers(1, 65535), st.binary(max_size=255), st.binary(max_size=255))
def test_pika_reads_our_publish(channel: int, exchange: bytes, key: bytes) -> None:
    consumed, read = pika_frame.decode_frame(wire := frames.publish_head(channel, exchange, key))
    assert consumed == len(wire)
    assert read.channel_number == channel
    assert isinstance(read.method, spec.Basic.Publish)
    assert read.method.mandatory
    assert not read.method.immediate
    for text, sent in ((read.method.exchange, exchange), (read.method.routing_key, key)):
        assert (text if isinstance(text, bytes) else text.encode()) == sent


@given(st.integers(1, 65535), st.integers(0, 2**63), st.booleans(), st.booleans())
def test_pika_reads_our_answers(channel: int, tag: int, multiple: bool, requeue: bool) -> None:
    ack = pika_frame.decode_frame(frames.ack(channel, tag, multiple=multiple))[1]
    assert isinstance(ack.method, spec.Basic.Ack)
    assert (ack.channel_number, ack.method.delivery_tag, ack.method.multiple) == (channel, tag, multiple)
    nack = pika_frame.decode_frame(frames.nack(channel, tag, multiple=multiple, requeue=requeue))[1]
    assert isinstance(nack.method, spec.Basic.Nack)
    assert (nack.method.delivery_tag, nack.method.multiple, nack.method.requeue) == (tag, multiple, requeue)


def test_pika_reads_the_brokers_end_of_our_wire() -> None:
    deliver = pika_frame.decode_frame(frames.deliver_head(2, b"c", 9, True, b"x", b"k"))[1].method
    assert (deliver.consumer_tag, deliver.delivery_tag, deliver.redelivered, deliver.routing_key) == ("c", 9, True, "k")
    returned = pika_frame.decode_frame(frames.return_head(2, 312, b"NO_ROUTE", b"", b"k"))[1].method
    assert (returned.reply_code, returned.reply_text, returned.routing_key) == (312, "NO_ROUTE", "k")


def test_a_long_short_string_is_refused() -> None:
    with pytest.raises(ValueError, match="256 bytes, at most 255"):
        frames.shortstr(b"k" * 256)


def test_a_header_frame_is_a_header_frame() -> None:
    assert frames.header_frame(1, b"payload") == b"\x02\x00\x01\x00\x00\x00\x07payload\xce"


def test_a_frame_larger_than_any_that_was_negotiated_is_not_waited_for() -> None:
    largest = frames.frame(frames.BODY, 7, bytes(frames.LARGEST - frames.OVERHEAD))
    assert cut([largest[:-1], largest[-1:]]) == ([largest], b"")
    with pytest.raises(frames.FrameError, match="frame of 131073 bytes where 131072 are allowed"):
        cut([frames.frame(frames.BODY, 7, bytes(frames.LARGEST - frames.OVERHEAD + 1))[:8]])
