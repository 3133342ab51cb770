"""Content-header bytes: find, cut and replace entries; nothing else is decoded.

The payload of a content-header frame is `class(2) weight(2) body-size(8) flags(2) property...` (AMQP 0-9-1 section
4.2.6.1). RabbitMQ up to
3.12 hands it on as the publisher wrote it, and a decode-encode round trip of any Python client changes it
(semantics.md, 6.2), so an edit here
is a join of slices of what came in, with new bytes only where an entry is replaced.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

CONTENT_TYPE: Final = 1 << 15
CONTENT_ENCODING: Final = 1 << 14
HEADERS: Final = 1 << 13
DELIVERY_MODE: Final = 1 << 12
PRIORITY: Final = 1 << 11
CORRELATION_ID: Final = 1 << 10
REPLY_TO: Final = 1 << 9
EXPIRATION: Final = 1 << 8
MESSAGE_ID: Final = 1 << 7
TIMESTAMP: Final = 1 << 6
TYPE: Final = 1 << 5
USER_ID: Final = 1 << 4
APP_ID: Final = 1 << 3
CLUSTER_ID: Final = 1 << 2

#: Where the property list starts in the payload.
LIST: Final = 14

_SHORTSTR = -1
_TABLE = -2
#: Each property in the order of the wire, with its fixed length or how its length is found (section 1.8.1).
_LAYOUT: Final = (
    (CONTENT_TYPE, _SHORTSTR),
    (CONTENT_ENCODING, _SHORTSTR),
    (HEADERS, _TABLE),
    (DELIVERY_MODE, 1),
    (PRIORITY, 1),
    (CORRELATION_ID, _SHORTSTR),
    (REPLY_TO, _SHORTSTR),
    (EXPIRATION, _SHORTSTR),
    (MESSAGE_ID, _SHORTSTR),
    (TIMESTAMP, 8),
    (TYPE, _SHORTSTR),
    (USER_ID, _SHORTSTR),
    (APP_ID, _SHORTSTR),
    (CLUSTER_ID, _SHORTSTR),
)

#: Length of a field value by its type tag, as RabbitMQ reads them (semantics.md, 6.1); the others carry a length of
#: their own.
_FIXED: Final = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"lLdT", 8),
    ord("D"): 5,
    ord("V"): 0,
}
_LONG: Final = frozenset(b"SxAF")

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from

#: Headers of the message's past that must not enter another broker's decisions (design, section 4.4).
CUT_NAMES: Final = frozenset((b"x-death", b"x-delivery-count", b"x-acquired-count", b"CC", b"BCC"))
CUT_PREFIXES: Final = (b"x-first-death-", b"x-last-death-")


class Malformed(Exception):
    """The bytes are not a content header of class basic; a broker would not have stored them."""


class Field(NamedTuple):
    """One entry of a header table: `payload[start:stop]` is all of it, `payload[value:stop]` the value behind its
    type tag.
    """

    name: bytes
    tag: int
    start: int
    value: int
    stop: int


Spans = dict[int, tuple[int, int]]


def spans(payload: bytes) -> Spans:
    """Return `{property flag: (start, stop)}` of every property present, length octets included.

    Raises:
        Malformed: the list does not end where the payload ends, or a flag is set that class basic does not have.
    """
    if len(payload) < LIST:
        raise Malformed(f"content header of {len(payload)} bytes, at least {LIST} are due")
    flags = _u16(payload, LIST - 2)[0]
    if flags & 3:
        raise Malformed(f"property flags 0x{flags:04x}: class basic has no more than 14 properties")
    found: Spans = {}
    at, end = LIST, len(payload)
    for flag, length in _LAYOUT:
        if flags & flag:
            start = at
            if length > 0:
                at += length
            elif length == _SHORTSTR:
                at += 1 + (payload[at] if at < end else 0)
            else:
                at += 4 + (_u32(payload, at)[0] if at + 4 <= end else 0)
            if at > end or start == end:
                raise Malformed(f"property 0x{flag:04x} passes the end of the header")
            found[flag] = (start, at)
    if at != end:
        raise Malformed(f"{end - at} bytes behind the last property")
    return found


def fields(payload: bytes, start: int, stop: int) -> Iterator[Field]:
    """Walk the entries of the table in `payload[start:stop]`, whose first four bytes are its length (section 4.2.5.5).

    Raises:
        Malformed: an entry passes the end of the table, or has a type tag RabbitMQ does not know.
    """
    at = start + 4
    while at < stop:
        begin = at
        at += 1 + payload[at]
        if at >= stop:
            raise Malformed(f"header name {payload[begin + 1 : begin + 40]!r} passes the end of its table")
        name = payload[begin + 1 : at]
        tag = payload[at]
        at += 1
        value = at
        length = _FIXED.get(tag)
        if length is not None:
            at += length
        elif tag in _LONG:
            at += 4 + (_u32(payload, at)[0] if at + 4 <= stop else stop)
        else:
            raise Malformed(f"header {name!r} has the unknown type tag 0x{tag:02x}")
        if at > stop:
            raise Malformed(f"header {name!r} passes the end of its table")
        yield Field(name, tag, begin, value, at)


def table_at(buffer: bytes, at: int, flags: int) -> int:
    """Where the header table starts when the property list with these flags starts at `at`; both may pass the end."""
    if flags & CONTENT_TYPE:
        at += 1 + buffer[at]
    if flags & CONTENT_ENCODING and at < len(buffer):
        at += 1 + buffer[at]
    return at


def begins_entry(buffer: bytes, start: int, hit: int) -> bool:
    """Whether an entry of the table that starts at `start` begins at `hit`, and not something inside of a value.

    Walks no further than `hit`, and makes nothing on the way: this is asked of every task with an ETA.
    """
    at = start + 4
    while at < hit:
        at += 1 + buffer[at]
        if at >= hit:
            return False
        tag = buffer[at]
        length = _FIXED.get(tag)
        if length is not None:
            at += 1 + length
        elif tag in _LONG:
            at += 5 + _u32(buffer, at + 1)[0]
        else:
            return False
    return at == hit


def string(payload: bytes, span: tuple[int, int] | None) -> bytes | None:
    """Return the bytes of a short-string property, or None when it is absent."""
    return None if span is None else payload[span[0] + 1 : span[1]]


def text(payload: bytes, field: Field) -> bytes:
    """Return the bytes of a value behind its type tag, without the length that `S` and `x` carry."""
    return payload[field.value + 4 : field.stop] if field.tag in _LONG else payload[field.value : field.stop]


def is_cut(name: bytes) -> bool:
    """Whether a header is left behind when its message moves (design, section 4.4)."""
    return name in CUT_NAMES or name.startswith(CUT_PREFIXES)


def edit(
    payload: bytes,
    found: Spans,
    *,
    table: list[Field] | None = None,
    expiration: bytes | None = None,
    drop: int = 0,
    priority: int | None = None,
) -> bytes:
    """Return the payload with entries cut out or replaced, every other byte as it was.

    Args:
        payload: the content header.
        found: its `spans`.
        table: the header entries to keep; None keeps the table as it is.
        expiration: replaces the expiration that is there.
        drop: flags of properties to cut out.
        priority: replaces the priority that is there.
    """
    flags = _u16(payload, LIST - 2)[0] & ~drop
    parts = [payload[: LIST - 2], struct.pack(">H", flags)]
    for flag, (start, stop) in found.items():
        if flag & drop:
            continue
        if flag == HEADERS and table is not None:
            kept = b"".join([payload[field.start : field.stop] for field in table])
            parts.append(struct.pack(">I", len(kept)) + kept)
        elif flag == EXPIRATION and expiration is not None:
            parts.append(bytes((len(expiration),)) + expiration)
        elif flag == PRIORITY and priority is not None:
            parts.append(bytes((priority,)))
        else:
            parts.append(payload[start:stop])
    return b"".join(parts)
