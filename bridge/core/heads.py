"""Where a task with an ETA goes: its delay, and the publishes that carry it there."""

from __future__ import annotations

from bridge.core import edits, eta, frames, ladder, properties
from bridge.core.destination import Destination

_STRING = ord("S")


class Heads:
    """The method frames before the contents of one queue's messages.

    Args:
        channel: their number.
        queue: on the target.
        entries: exchanges before the ladder's queues.
    """

    __slots__ = ("_exit", "_levels", "due")

    def __init__(self, channel: int, queue: str, entries: ladder.Entries) -> None:
        #: Of a publish to the queue.
        self.due = frames.publish_head(channel, b"", queue.encode())
        # A publish into the ladder differs from another of its level by the bits of the key alone.
        word = ladder.exit_word(queue).encode()
        self._exit = word + frames.PUBLISH_END
        self._levels = [b""]
        for level in range(ladder.LEVELS):
            head = frames.publish_head(channel, entries[level], ladder.key_bytes(1 << level) + word)
            self._levels.append(head[: -len(self._exit) - ladder.BITS])

    def later(self, delay: int) -> tuple[bytes, bytes, bytes]:
        """The parts of a publish into the ladder for 1 to `ladder.MAX_DELAY` seconds."""
        return self._levels[delay.bit_length()], ladder.key_bytes(delay), self._exit


def any_of(wire: bytes, stop: int, *words: bytes) -> bool:
    """Whether one of these stands among the properties of a header frame whose payload stops at `stop`."""
    return any(wire.find(word, 7 + properties.LIST, stop) >= 0 for word in words)


def delay_of(to: Destination, wire: bytes, stop: int, hit: int, flags: int, wall: float) -> int:
    """Return the seconds that a task of protocol 2 spends in the ladder; -1: it must be looked at closely.

    Args:
        to: where it goes.
        wire: header frame and body frames; it has headers.
        stop: of the header frame's payload.
        hit: where the one `eta` is, the length before its name.
        flags: property flags.
        wall: UTC epoch seconds.

    Raises:
        Unreadable: no worker can read it.
    """
    if to.straight:
        return 0
    start = properties.table_at(wire, 7 + properties.LIST, flags)
    behind = hit + 9 + int.from_bytes(wire[hit + 5 : hit + 9], "big")
    if wire[hit + 4] != _STRING or behind > stop or not properties.begins_entry(wire, start, hit):
        return -1
    if to.cap_priority and flags & properties.PRIORITY:
        given = start + 4 + int.from_bytes(wire[start : start + 4], "big") + bool(flags & properties.DELIVERY_MODE)
        if given >= stop or wire[given] > edits.PRIORITY_CAP:
            return -1
    return eta.delay(eta.of_header_value(_STRING, wire[hit + 9 : behind]), wall)
