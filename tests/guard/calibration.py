"""A fixed piece of work of the kind that the hot path does, and none of its code: what it costs says what Python it is.

Instruction counts depend on the interpreter's version and on how it was compiled. The cost of a message in rounds of
this one depends on that much less. Never change it: all figures that are kept would have to be measured anew.
"""

from __future__ import annotations

import struct
from collections import deque

_head = struct.Struct(">BHI").unpack_from
_tag = struct.Struct(">QB").unpack_from
_pack = struct.Struct(">BHI4sQBB").pack
_TEXT = b"\x01\x00\x05\x00\x00\x00\x20" + bytes(range(256)) * 3 + b"\x03etaV\x04task" + b"x" * 64


class _Book:
    def __init__(self) -> None:
        self.open: dict[int, tuple[int, bytes, float, bool]] = {}
        self.entries: deque[tuple[int, bytes, float, bool]] = deque()
        self.safe: set[int] = set()
        self.size = 0
        self.last = 0

    def put(self, tag: int, wire: bytes, at: float) -> None:
        entry = (tag, wire, at, False)
        self.last = number = self.last + 1
        self.open[number] = entry
        self.entries.append(entry)
        self.size += len(wire)

    def answer(self, upto: int) -> int:
        found = [entry for number in range(upto - 39, upto + 1) if (entry := self.open.pop(number, None))]
        self.safe.update([entry[0] for entry in found])
        entries, safe = self.entries, self.safe
        gone = 0
        while entries and entries[0][0] in safe:
            entry = entries.popleft()
            safe.remove(entry[0])
            self.size -= len(entry[1])
            gone += 1
        return gone


def calibrate(rounds: int) -> int:
    """Do the work `rounds` times, a multiple of 40; return how much was done, which nobody needs."""
    book = _Book()
    parts: list[bytes] = []
    done = 0
    for number in range(1, rounds + 1):
        kind, channel, size = _head(_TEXT, 0)
        tag, bits = _tag(_TEXT, 7 + (number & 31))
        stop = size + 700
        wire = _TEXT[4:stop]
        find = wire.find
        hit = find(b"\x03eta", 0, len(wire))
        if hit >= 0 or find(b"\x04task", 0, len(wire)) >= 0 or kind != 1:
            done += tag & 1
        elif wire.startswith(b"\x05", 0) and bits & 1:
            done += channel
        book.put(number, wire, float(number))
        parts += (_pack(1, channel, 13, b"\x00\x3c\x00\x50", number, 1, 206), wire)
        if not number % 40:
            done += len(b"".join(parts)) + book.answer(number)
            parts.clear()
    return done
