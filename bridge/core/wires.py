"""The two connections as the relays see them: which frames are theirs, and which belong to pika.

Each `receive` takes a chunk as it came from the socket and returns the frames that are not ours, whole and in order.
A relay that fails is
stopped with its reason, and never stops another; a stream that is out of step ends the connection (`FrameError`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Protocol

from bridge.core import frames, properties
from bridge.core.frames import BODY, CONTENT_HEAD, DELIVER, END, HEADER, METHOD, OVERHEAD, FrameError
from bridge.core.relay import Delivery, Relay

_frame_at = frames.frame_at
_tag_at = frames.tag_at
_content_at = frames.content_at
_size_and_flags_at = frames.size_and_flags_at
#: Bytes of the frame of an ack or a nack (AMQP 0-9-1, section 1.8.3.13).
_ANSWER = OVERHEAD + 13


def _failed(relay: Relay, fault: Exception) -> None:
    """A fault of ours in one relay: it ends, with nothing unconfirmed acked."""
    relay.stop("broken", f"{type(fault).__name__}: {fault}")


class SourceWire:
    """What comes from the old broker: deliveries."""

    def __init__(self) -> None:
        self.relays: dict[int, Relay] = {}
        self._cutter = frames.Cutter()

    def receive(self, chunk: bytes, wall: float, at: float) -> bytes:
        """Hand deliveries to their relays and return all other frames.

        Args:
            chunk: bytes of the socket.
            wall: UTC epoch seconds.
            at: monotonic seconds.

        Raises:
            FrameError: the stream is out of step.
        """
        buffer = self._cutter.feed(chunk)
        relays = self.relays
        others: list[bytes] = []
        start, end = 0, len(buffer)
        while end - start >= OVERHEAD:
            kind, channel, size = _frame_at(buffer, start)
            stop = start + size + OVERHEAD
            if stop > end:
                break
            if buffer[stop - 1] != END:
                frames.check_end(buffer, stop)
            relay = relays.get(channel)
            if relay is None:
                others.append(buffer[start:stop])
            elif kind == METHOD and buffer.startswith(DELIVER, start + 7):
                stop = _deliver(relay, buffer, start, stop, end, channel, wall, at)
            elif kind in (HEADER, BODY):
                try:
                    relay.gather(kind, buffer[start:stop], wall, at)
                except FrameError:
                    raise
                except Exception as fault:  # noqa: BLE001  one relay's fault must not end the others
                    _failed(relay, fault)
            elif buffer.startswith(frames.FLOW_OK, start + 7):
                relay.heard(at)
            else:
                others.append(buffer[start:stop])
            start = stop
        self._cutter.keep(start)
        return b"".join(others)

    def forget(self, channel: int) -> None:
        """The channel is gone."""
        self.relays.pop(channel, None)


@cache
def _delivery(behind: int) -> Callable[[bytes, int], tuple[int, int, int, int, int, int, int]]:
    """What reads the rest of a `basic.deliver` from its tag on, and the header frame behind it up to its flags.

    Args:
        behind: bytes of the method frame behind the bits: exchange, routing key, end octet.

    Returns:
        A function that returns tag, bits, type, channel and size of the second frame, body size, flags.
    """
    return struct.Struct(f">QB{behind}xBHI4xQH").unpack_from


def _deliver(relay: Relay, buffer: bytes, start: int, stop: int, end: int, channel: int, wall: float, at: float) -> int:
    """Hand over the delivery whose method frame is `buffer[start:stop]`, and those like it behind it.

    Returns where the first frame is that was not handed over.
    """
    at_tag = start + 12 + buffer[start + 11]
    if at_tag + 10 > stop:
        raise FrameError(f"basic.deliver on channel {channel} is cut short")
    run, bulk, again, behind = _run(buffer, start, at_tag, stop, end, channel)
    try:
        if run:
            relay.deliver_all(run, bulk, again, wall, at)
            return behind
        tag, bits = _tag_at(buffer, at_tag)
        behind = _whole_content(buffer, stop, end, channel)
        if not behind:
            relay.begin(tag, bits & 1)
            return stop
        size, flags = _size_and_flags_at(buffer, stop + 3)
        relay.deliver(tag, bits & 1, buffer[stop:behind], size, flags, wall, at)
    except FrameError:
        raise
    except Exception as fault:  # noqa: BLE001  one relay's fault must not end the others
        _failed(relay, fault)
    return behind


def _run(
    buffer: bytes, start: int, at_tag: int, stop: int, end: int, channel: int
) -> tuple[list[Delivery], int, int, int]:
    """Read deliveries that differ in little but tag and content, as those of one consumer do.

    Each is one method frame of the length of the first, a header frame and one body frame, and all here; the first
    that is not ends the run.

    Args:
        buffer: what came.
        start: where the first method frame starts.
        at_tag: where its delivery tag is.
        stop: where it stops.
        end: of what came.
        channel: of all of them.

    Returns:
        The deliveries, the bytes of all their contents, 1 when one of them is redelivered, and where the last stops.
    """
    alike = buffer[start:at_tag]
    to_tag, to_header = at_tag - start, stop - start
    read = _delivery(stop - at_tag - 9)
    last = end - to_header - CONTENT_HEAD - 2 * OVERHEAD
    found: list[Delivery] = []
    bulk = again = 0
    while start <= last and buffer.startswith(alike, start):
        tag, bits, kind, at_channel, size, left, flags = read(buffer, start + to_tag)
        header = start + to_header
        bodies = header + size + OVERHEAD
        stop = bodies + left + OVERHEAD
        if (
            stop > end
            or kind != HEADER
            or at_channel != channel
            or size < properties.LIST
            or not left
            or not buffer[header - 1] == buffer[bodies - 1] == buffer[stop - 1] == END
            or _frame_at(buffer, bodies) != (BODY, channel, left)
        ):
            break
        found.append((tag, bits & 1, buffer[header:stop], size, flags))
        bulk += stop - header
        again |= bits & 1
        start = stop
    return found, bulk, again, start


def _whole_content(buffer: bytes, start: int, end: int, channel: int) -> int:
    """Where the content stops whose header frame starts at `start`; 0 when it is not all here, or another channel's
    frame stands between.
    """
    if end - start <= CONTENT_HEAD:
        return 0
    kind, at_channel, size, _, _, left, _ = _content_at(buffer, start)
    bodies: int = start + size + OVERHEAD
    if kind != HEADER or at_channel != channel or bodies - start <= CONTENT_HEAD or bodies > end:
        return 0
    if buffer[bodies - 1] != END:
        frames.check_end(buffer, bodies)
    # Nearly every body is one frame.
    stop: int = bodies + left + OVERHEAD
    if left and stop <= end and buffer[stop - 1] == END and _frame_at(buffer, bodies) == (BODY, channel, left):
        return stop
    return frames.content_stop(buffer, bodies, channel, left)


class Publisher(Protocol):
    """Whatever publishes with confirms on a channel of its own."""

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """The broker took the message `seq` (and all before it)."""

    def nacked(self, seq: int, multiple: bool) -> None:
        """The broker refused the message `seq` (and all before it)."""

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """The broker found no queue for a message; its confirm follows."""

    def turn(self, at: float) -> None:
        """All answers of a chunk were handed over."""


class TargetWire:
    """What comes from a broker that is published to: confirms and returns."""

    def __init__(self) -> None:
        self.relays: dict[int, Publisher] = {}
        self._cutter = frames.Cutter()
        self._returns: dict[int, _Return] = {}

    def receive(self, chunk: bytes, at: float) -> bytes:
        """Hand confirms and returns to their relays, let each ack what it may, and return all other frames.

        Args:
            chunk: bytes of the socket.
            at: monotonic seconds.

        Raises:
            FrameError: the stream is out of step.
        """
        buffer = self._cutter.feed(chunk)
        relays = self.relays
        touched: set[int] = set()
        others: list[bytes] = []
        for kind, channel, start, stop in self._cutter.frames():
            relay = relays.get(channel)
            method = buffer[start + 7 : start + 11] if relay is not None and kind == METHOD else b""
            if relay is not None and method in (frames.ACK, frames.NACK):
                if stop - start != _ANSWER:
                    raise FrameError(f"basic.ack or basic.nack of {stop - start} bytes on channel {channel}")
                touched.add(channel)
                seq, bits = _tag_at(buffer, start + 11)
                if method == frames.ACK:
                    relay.confirmed(seq, bool(bits & 1), at)
                else:
                    relay.nacked(seq, bool(bits & 1))
            elif relay is not None and method == frames.RETURN:
                if channel in self._returns:
                    raise FrameError(f"basic.return on channel {channel} before the content of the one before")
                self._returns[channel] = _Return(buffer[start + 11 : stop - 1])
            elif relay is not None and kind in (HEADER, BODY):
                coming = self._returns.get(channel)
                if coming is None:
                    raise FrameError(f"content frame on channel {channel} without a return before it")
                if coming.add(kind, buffer[start:stop]):
                    del self._returns[channel]
                    relay.returned(coming.code, coming.text, coming.key, coming.header, coming.bodies)
            else:
                others.append(buffer[start:stop])
        for channel in touched:
            relays[channel].turn(at)
        return b"".join(others)

    def forget(self, channel: int) -> None:
        """The channel is gone, and with it what was coming on it."""
        self.relays.pop(channel, None)
        self._returns.pop(channel, None)


class _Return:
    """A `basic.return` (AMQP 0-9-1, 1.8.3.8) and the content behind it."""

    def __init__(self, arguments: bytes) -> None:
        self.code = int.from_bytes(arguments[:2], "big")
        at = 2
        strings = []
        for _ in range(3):
            stop = at + 1 + (arguments[at] if at < len(arguments) else 255)
            if stop > len(arguments):
                raise FrameError("basic.return is cut short")
            strings.append(arguments[at + 1 : stop].decode(errors="replace"))
            at = stop
        self.text, self.exchange, self.key = strings
        self.header = b""
        self._bodies: list[bytes] = []
        self._left = 0

    @property
    def bodies(self) -> bytes:
        """The body frames as they came."""
        return b"".join(self._bodies)

    def add(self, kind: int, wire: bytes) -> bool:
        """Take a frame; whether the message is whole now."""
        if kind == HEADER:
            if self.header or len(wire) <= CONTENT_HEAD:
                raise FrameError("the content header of a basic.return is out of place or too short")
            self.header = wire
            self._left = frames.content_at(wire)[5]
        else:
            if not self.header:
                raise FrameError("the body of a basic.return came before its header")
            self._bodies.append(wire)
            self._left -= len(wire) - OVERHEAD
        return self._left <= 0
