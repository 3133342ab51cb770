"""Content headers that a seed makes: as brokers send them, and bent in every way."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from bridge.core import properties as p

#: UTC epoch seconds of every case: 2030-01-01T00:00:00Z.
WALL = 1_893_456_000.0

_NAMES = (
    b"task id eta expires lang retries timelimit compression CC BCC x-death x-first-death-queue x-last-death-reason "
    b"x-delivery-count x-acquired-count x-delivery-limit x-deaths x-opt cc Eta \xff\xfe eta\x00 root_id stamps"
).split(b" ")
_TEXTS = (
    b"2030-01-01T00:00:10+00:00|2030-01-01T00:00:10Z|2030-01-01T00:01:00.000001|2031-06-01T12:00:00+05:30|2030-01|soon|"
    b"2029-01-01T00:00:00Z|9999-12-31T23:59:59Z|0001-01-01T00:00:00+23:59|20300101T000100|2030-01-01T24:00:00Z||0|"
    b"2030-01-01 00:00:10|2030-01-01T00:00:60Z|\xff\xfe|2030-01-01T00:00:10\x00|tasks.add|gzip|application/zstd|"
    b"\x03eta|\x04task|x-death|CC|"
    b"application/json|60000|-1|1e9|eta\xe2\x80\xa8"
).split(b"|")
_CONTENT_TYPES = (
    b"application/json|application/x-yaml|application/x-msgpack|application/x-python-serialize|application/data|text/plain||\xff|"
    b"application/JSON"
).split(b"|")
_ENCODINGS = b"utf-8|binary|utf-16|latin-1||\xff|base64".split(b"|")
_EXPIRATIONS = b"60000|0|1|||-1|1.5|60 000|99999999999999999999|abc|\xff|00".split(b"|")

#: Values of a fixed length by their tag.
_FIXED = {
    b"t": 1,
    b"b": 1,
    b"B": 1,
    b"s": 2,
    b"u": 2,
    b"I": 4,
    b"i": 4,
    b"f": 4,
    b"l": 8,
    b"L": 8,
    b"d": 8,
    b"T": 8,
    b"D": 5,
}


def cut(name: bytes) -> bool:
    """Whether a header must not travel (design, section 4.4), said a second time for the checks."""
    return name in b"x-death x-delivery-count x-acquired-count CC BCC".split() or name.startswith(
        (b"x-first-death-", b"x-last-death-")
    )


class Header(NamedTuple):
    """The payload of a content header; `valid` as far as a broker may send it."""

    payload: bytes
    valid: bool


def shortstr(text: bytes) -> bytes:
    """A short string, cut to what one holds."""
    return bytes((min(len(text), 255),)) + text[:255]


def long(text: bytes) -> bytes:
    """A length of four bytes and what it counts."""
    return struct.pack(">I", len(text)) + text


@cache
def nested(kind: bytes, levels: int) -> bytes:
    """A value in `levels` tables (`F`) or arrays (`A`), one in another."""
    key = b"\x01a" if kind == b"F" else b""
    size = len(key) + 5
    return (
        kind + b"".join(struct.pack(">I", (levels - level) * size) + key + kind for level in range(levels)) + bytes(4)
    )


def field(chance: random.Random, depth: int = 0) -> bytes:
    """A value with its type tag."""
    roll = chance.random()
    if roll < 0.35:
        return b"S" + long(chance.choice(_TEXTS))
    if roll < 0.5:
        return b"V"
    if roll < 0.75:
        tag, size = chance.choice(list(_FIXED.items()))
        return tag + chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))
    if roll < 0.8:
        return b"x" + long(chance.choice(_TEXTS))
    if roll < 0.802:
        return nested(chance.choice((b"F", b"A")), chance.choice((100, 10_000)))
    if roll < 0.803:
        return b"S" + long(bytes(chance.choice((70_000, 131_000))))
    if depth > 3:
        return b"V"
    if roll < 0.9:
        return b"A" + long(b"".join([field(chance, depth + 1) for _ in range(chance.randrange(4))]))
    return b"F" + table(chance, depth + 1)


def table(chance: random.Random, depth: int = 0) -> bytes:
    """A table behind its length, with names that may come twice."""
    count = chance.randrange(12) if depth == 0 else chance.randrange(4)
    return long(b"".join([_entry(chance, depth) for _ in range(count)]))


def _entry(chance: random.Random, depth: int) -> bytes:
    name = chance.choice(_NAMES) if chance.random() < 0.95 else chance.randbytes(chance.choice((0, 1, 5, 255)))
    return shortstr(name) + field(chance, depth)


def task_table(chance: random.Random, **changed: bytes) -> bytes:
    """The table of a task of protocol 2, whose `eta` is what was drawn."""
    entries = {
        "lang": b"S" + long(b"py"),
        "task": b"S" + long(b"shop.tasks.mail"),
        "id": b"S" + long(b"4c1f0d5c-6a0e-4a2c-8d9a-%012x" % chance.getrandbits(48)),
        "eta": chance.choice((b"V", b"V", b"S" + long(chance.choice(_TEXTS)), b"T" + struct.pack(">Q", 1_893_456_060))),
        "expires": chance.choice((b"V", b"V", b"S" + long(chance.choice(_TEXTS)))),
        "timelimit": b"A" + long(b"Vd" + struct.pack(">d", 300.5)),
        "stamps": b"F" + bytes(4),
    }
    return long(b"".join([shortstr(name.encode()) + value for name, value in {**entries, **changed}.items()]))


def header(chance: random.Random, body_size: int, kind: bytes | None = None) -> Header:
    """A content header; `kind` is the content type that belongs to the body."""
    whole = _header(chance, body_size, kind)
    if chance.random() < 0.85:
        return Header(whole, valid=True)
    return Header(bent(chance, whole), valid=False)


def _header(chance: random.Random, body_size: int, kind: bytes | None) -> bytes:
    """A content header that is one."""
    flags = chance.getrandbits(14) << 2 if chance.random() < 0.6 else p.CONTENT_TYPE | p.HEADERS | p.DELIVERY_MODE
    if kind is not None:
        flags |= p.CONTENT_TYPE
    parts = [struct.pack(">HHQH", 60, 0, body_size, flags)]
    makers: tuple[tuple[int, Callable[[], bytes]], ...] = (
        (p.CONTENT_TYPE, lambda: shortstr(chance.choice(_CONTENT_TYPES) if kind is None else kind)),
        (p.CONTENT_ENCODING, lambda: shortstr(chance.choice(_ENCODINGS))),
        (p.HEADERS, lambda: task_table(chance) if chance.random() < 0.5 else table(chance)),
        (p.DELIVERY_MODE, lambda: chance.choice((b"\x01", b"\x02", b"\xff"))),
        (p.PRIORITY, lambda: bytes((chance.choice((0, 4, 5, 9, 255)),))),
        (p.CORRELATION_ID, lambda: shortstr(chance.choice(_TEXTS))),
        (p.REPLY_TO, lambda: shortstr(chance.choice(_TEXTS))),
        (p.EXPIRATION, lambda: shortstr(chance.choice(_EXPIRATIONS))),
        (p.MESSAGE_ID, lambda: shortstr(chance.randbytes(chance.choice((0, 8, 255))))),
        (p.TIMESTAMP, lambda: chance.randbytes(8)),
        (p.TYPE, lambda: shortstr(chance.choice(_TEXTS))),
        (p.USER_ID, lambda: shortstr(chance.choice((b"bridge", b"app", b"", b"\xff")))),
        (p.APP_ID, lambda: shortstr(chance.choice(_TEXTS))),
        (p.CLUSTER_ID, lambda: shortstr(chance.choice(_TEXTS))),
    )
    parts += [make() for flag, make in makers if flags & flag]
    return b"".join(parts)


def bent(chance: random.Random, whole: bytes) -> bytes:
    """The bytes of a header that went wrong: cut, flipped, with a length that lies, a tag or flag of its own."""
    changed = bytearray(whole)
    roll = chance.randrange(8)
    at = chance.randrange(len(changed))
    if roll == 0:
        return whole[:at]
    if roll == 1:
        return whole + chance.randbytes(chance.randrange(1, 20))
    if roll == 2:
        changed[12:14] = struct.pack(">H", chance.getrandbits(16))
    elif roll == 3:
        changed[13] |= chance.choice((1, 2, 3))
    elif roll == 4:
        changed[at : at + 4] = chance.choice(
            (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00")
        )
    elif roll == 5:
        changed[at] = chance.choice(b"UZ\x00\xff*?")
    elif roll == 6:
        for _ in range(chance.randrange(1, 8)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    else:
        cut = chance.randrange(len(changed) - at) if at < len(changed) else 0
        del changed[at : at + cut]
    return bytes(changed)
