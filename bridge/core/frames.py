"""AMQP 0-9-1 frames as offsets in a chunk of bytes, and the few frames we build ourselves.

1. A frame is `type(1) channel(2) size(4) payload(size) 0xCE` (AMQP 0-9-1 section 4.2.3). This is the one file that
   knows 0xCE.
2. Nothing is copied to look at it: `Cutter` keeps what is not yet whole and hands out the rest as offsets.
3. Content is `method, header, body...` on one channel; the body may come in several frames or, when empty, in none
   (section 4.2.6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

METHOD = 1
HEADER = 2
BODY = 3
HEARTBEAT = 8
END = 0xCE
_END = b"\xce"

#: Bytes around a payload: seven before it, the end octet after it.
OVERHEAD = 8
#: Bytes of the largest frame that pika negotiates (`pika.spec.FRAME_MAX_SIZE`).
LARGEST = 131072

# class id and method id of the methods the relay reads or writes itself, as they stand in the payload (section 1.8).
DELIVER = b"\x00\x3c\x00\x3c"
RETURN = b"\x00\x3c\x00\x32"
ACK = b"\x00\x3c\x00\x50"
NACK = b"\x00\x3c\x00\x78"
FLOW = b"\x00\x14\x00\x14"
FLOW_OK = b"\x00\x14\x00\x15"

#: type, channel, size
frame_at = struct.Struct(">BHI").unpack_from
#: delivery tag and the octet of bits behind it
tag_at = struct.Struct(">QB").unpack_from
#: a whole header frame up to its property flags: type, channel, size, class, weight, body size, flags
content_at = struct.Struct(">BHIHHQH").unpack_from
#: of the same, from its size on: the size of the payload and the property flags
size_and_flags_at = struct.Struct(">I12xH").unpack_from
#: The length of what `content_at` reads.
CONTENT_HEAD = 21

_frame_head = struct.Struct(">BHI").pack
_tagged = struct.Struct(">BHI4sQBB").pack


class FrameError(Exception):
    """The peer sent bytes that are not AMQP 0-9-1; the connection they came on cannot go on."""


class Cutter:
    """Cuts a stream of bytes into whole frames, however it was split on the way.

    `feed` a chunk, then walk `(type, channel, start, stop)` with `frames`, where `buffer[start:stop]` is the frame,
    head and end octet
    included. What is left over is kept for the next chunk.
    """

    __slots__ = ("_rest", "buffer")

    def __init__(self) -> None:
        self._rest = b""
        self.buffer = b""

    def feed(self, chunk: bytes) -> bytes:
        """Put `chunk` behind what was left over, and return the whole of it (also kept as `buffer`)."""
        self.buffer = self._rest + chunk if self._rest else chunk
        self._rest = b""
        return self.buffer

    def keep(self, start: int) -> None:
        """Keep `buffer[start:]` for the next chunk.

        Raises:
            FrameError: it begins a frame larger than any that was negotiated, which would be waited for in vain.
        """
        self._rest = rest = self.buffer[start:]
        self.buffer = b""
        if len(rest) >= OVERHEAD and (size := frame_at(rest, 0)[2] + OVERHEAD) > LARGEST:
            raise FrameError(f"frame of {size} bytes where {LARGEST} are allowed: the stream is out of step")

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """Walk the whole frames of the buffer; at the end the rest is kept.

        Raises:
            FrameError: a frame does not end in the end octet, or is larger than any that was negotiated.
        """
        buffer, start, end = self.buffer, 0, len(self.buffer)
        while end - start >= OVERHEAD:
            kind, channel, size = frame_at(buffer, start)
            stop = start + size + OVERHEAD
            if stop > end:
                break
            check_end(buffer, stop)
            yield kind, channel, start, stop
            start = stop
        self.keep(start)


def check_end(buffer: bytes, stop: int) -> None:
    """Raise `FrameError` unless the frame that stops at `stop` ends in the end octet (section 4.2.3)."""
    if buffer[stop - 1] != END:
        raise FrameError(f"frame ends in 0x{buffer[stop - 1]:02x} where 0xce is due: the stream is out of step")


def content_stop(buffer: bytes, start: int, channel: int, size: int) -> int:
    """Return where the body frames of a content of `size` bytes stop, the first one starting at `start`.

    Returns 0 when they are not all in `buffer`, or when another channel's frame stands between them.

    Raises:
        FrameError: a body frame does not end in the end octet, or the bodies are longer than the header said.
    """
    end = len(buffer)
    while size > 0:
        if end - start < OVERHEAD:
            return 0
        kind, at_channel, length = frame_at(buffer, start)
        stop = start + length + OVERHEAD
        if kind != BODY or at_channel != channel or stop > end:
            return 0
        check_end(buffer, stop)
        size -= length
        start = stop
    if size < 0:
        raise FrameError(f"body frames on channel {channel} hold {-size} bytes more than their header announced")
    return start


def body_of(wire: bytes, start: int) -> bytes:
    """Join the payloads of the body frames in `wire[start:]`."""
    parts = []
    end = len(wire)
    while start < end:
        length = frame_at(wire, start)[2]
        parts.append(wire[start + 7 : start + 7 + length])
        start += length + OVERHEAD
    return b"".join(parts)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Build one frame."""
    return _frame_head(kind, channel, len(payload)) + payload + _END


def header_frame(channel: int, payload: bytes) -> bytes:
    """Build a content-header frame around `payload` (section 4.2.6.1)."""
    return frame(HEADER, channel, payload)


def body_frames(channel: int, body: bytes, frame_max: int) -> bytes:
    """Cut `body` into body frames of at most `frame_max` bytes each, head and end octet included (section 4.2.6.2)."""
    step = frame_max - OVERHEAD
    return b"".join(frame(BODY, channel, body[at : at + step]) for at in range(0, len(body), step))


def shortstr(value: bytes) -> bytes:
    """Build a short string (section 4.2.5.3).

    Raises:
        ValueError: `value` is longer than 255 bytes.
    """
    if len(value) > 255:
        raise ValueError(f"short string of {len(value)} bytes, at most 255 are allowed: {value[:40]!r}...")
    return bytes((len(value),)) + value


#: What stands behind the routing key of a publish: the bit `mandatory`, and the end octet.
PUBLISH_END = b"\x01" + _END


def publish_head(channel: int, exchange: bytes, routing_key: bytes) -> bytes:
    """Build the `basic.publish` method frame, always `mandatory` (section 1.8.3.7): what no queue takes comes back."""
    return frame(METHOD, channel, b"\x00\x3c\x00\x28\x00\x00" + shortstr(exchange) + shortstr(routing_key) + b"\x01")


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Build `basic.ack` (section 1.8.3.13)."""
    return _tagged(METHOD, channel, 13, ACK, tag, multiple, END)


def flow(channel: int) -> bytes:
    """Build `channel.flow` that changes nothing (section 1.7.2.3): RabbitMQ answers when it has read all before it."""
    return struct.pack(">BHI4sBB", METHOD, channel, 5, FLOW, 1, END)


def nack(channel: int, tag: int, *, multiple: bool, requeue: bool) -> bytes:
    """Build `basic.nack` (RabbitMQ's extension to section 1.8)."""
    return _tagged(METHOD, channel, 13, NACK, tag, multiple | requeue << 1, END)


def deliver_head(
    channel: int, consumer: bytes, tag: int, redelivered: bool, exchange: bytes, routing_key: bytes
) -> bytes:
    """Build the `basic.deliver` method frame (section 1.8.3.9): the broker's end of the wire, for tests and
    rehearsals.
    """
    payload = (
        DELIVER + shortstr(consumer) + struct.pack(">QB", tag, redelivered) + shortstr(exchange) + shortstr(routing_key)
    )
    return frame(METHOD, channel, payload)


def return_head(channel: int, code: int, text: bytes, exchange: bytes, routing_key: bytes) -> bytes:
    """Build the `basic.return` method frame (section 1.8.3.8): the broker's end of the wire, for tests and
    rehearsals.
    """
    payload = RETURN + struct.pack(">H", code) + shortstr(text) + shortstr(exchange) + shortstr(routing_key)
    return frame(METHOD, channel, payload)
