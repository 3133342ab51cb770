"""A message as people read it: its properties with their types, the beginning of its body, which task it is.

1. Nothing of a body is unpickled, and nothing of what comes out can do anything to a terminal.
2. What a quorum queue adds to a message that it hands out again is no part of the message: `restored` cuts it, and
   `stable` is the same for each time a message is handed out.
3. Whoever can publish chooses the bytes: nothing here recurses, and what is made of them is bounded.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from bridge.core import bodies, edits, eta, frames, identity, properties

#: Characters of one value that are shown.
LONGEST: Final = 200
#: Rows of one message: headers of 128 KiB can have some 40 000 entries.
MOST_ROWS: Final = 300

#: Headers of the broker's own about a message that was handed out before.
_COUNTS: Final = frozenset((b"x-delivery-count", b"x-acquired-count"))
#: Each property in the order of the wire: its flag, name, and type.
_PROPERTIES: Final = (
    (properties.CONTENT_TYPE, "content_type", "shortstr"),
    (properties.CONTENT_ENCODING, "content_encoding", "shortstr"),
    (properties.HEADERS, "headers", "table"),
    (properties.DELIVERY_MODE, "delivery_mode", "octet"),
    (properties.PRIORITY, "priority", "octet"),
    (properties.CORRELATION_ID, "correlation_id", "shortstr"),
    (properties.REPLY_TO, "reply_to", "shortstr"),
    (properties.EXPIRATION, "expiration", "shortstr"),
    (properties.MESSAGE_ID, "message_id", "shortstr"),
    (properties.TIMESTAMP, "timestamp", "timestamp"),
    (properties.TYPE, "type", "shortstr"),
    (properties.USER_ID, "user_id", "shortstr"),
    (properties.APP_ID, "app_id", "shortstr"),
    (properties.CLUSTER_ID, "cluster_id", "shortstr"),
)
#: How a number is read, by its type tag (semantics.md, 6.1).
_NUMBERS: Final = {
    ord("b"): ">b",
    ord("B"): ">B",
    ord("s"): ">h",
    ord("u"): ">H",
    ord("I"): ">i",
    ord("i"): ">I",
    ord("l"): ">q",
    ord("L"): ">q",
    ord("f"): ">f",
    ord("d"): ">d",
}
#: Bytes of a value by its type tag, and the tags of those that carry their length.
_FIXED: Final = {
    **{tag: struct.calcsize(given) for tag, given in _NUMBERS.items()},
    **dict(zip(b"tTDV", (1, 8, 5, 0), strict=True)),
}
_TABLE, _ARRAY = ord("F"), ord("A")
_LONG: Final = frozenset((ord("S"), ord("x"), _TABLE, _ARRAY))
#: Bytes of a line of a body that is no text.
_HEX = 16


class Row(NamedTuple):
    """One property or header: its name, its type (of a header the tag), its value as text."""

    name: str
    type: str
    value: str


class Task(NamedTuple):
    """Which task a message is, as far as it tells."""

    name: str
    id: str
    #: When it is due, UTC epoch seconds; None: at once.
    eta: float | None
    #: Why it cannot be told when it is due; empty when it can.
    unreadable: str


class _Value(NamedTuple):
    """A value in a table or array: its path, its type tag, where the tag is, and where the value behind it stands."""

    path: str
    tag: int
    at: int
    value: int
    stop: int


def task(header: bytes, body: bytes) -> Task:
    """Which task a message is.

    Args:
        header: payload of its content header.
        body: its body, or the beginning of it.
    """
    wire = frames.header_frame(0, header) + frames.frame(frames.BODY, 0, body)
    name, number = identity.task_name(header), identity.task_id(wire)
    try:
        found = properties.spans(header)
        table = found.get(properties.HEADERS)
        entries = list(properties.fields(header, *table)) if table is not None else []
        due = edits.due_at(header, found, entries, wire, len(header) + frames.OVERHEAD)
        return Task(name or _name_in_body(header, found, entries, body), number, due, "")
    except (properties.Malformed, eta.Unreadable) as fault:
        return Task(name, number, None, safe(str(fault)))


def _name_in_body(header: bytes, found: properties.Spans, entries: list[properties.Field], body: bytes) -> str:
    """The name of a task of protocol 1; its body was read before without a fault."""
    given = {entry.name: properties.text(header, entry) for entry in entries}
    if b"task" in given:
        return ""
    named = bodies.top_level(
        body,
        properties.string(header, found.get(properties.CONTENT_TYPE)),
        properties.string(header, found.get(properties.CONTENT_ENCODING)),
        given.get(b"compression"),
    ).get("task")
    return safe(named)[:LONGEST] if isinstance(named, str) else ""


def restored(header: bytes) -> bytes:
    """The content header's payload without what a quorum queue added when it handed the message out again.

    A message that came without headers keeps the empty table that this leaves: which of both it was cannot be told.
    """
    try:
        found = properties.spans(header)
        table = found.get(properties.HEADERS)
        entries = list(properties.fields(header, *table)) if table is not None else []
    except properties.Malformed:
        return header
    kept = [entry for entry in entries if entry.name not in _COUNTS]
    return header if len(kept) == len(entries) else properties.edit(header, found, table=kept)


def stable(header: bytes) -> bytes:
    """What of a `restored` header is the same each time the message is handed out.

    3.10.8 writes the properties anew when it adds its count: headers are in the order of their names then, an `L` is an
    `l`, and a table is there where none was.
    """
    try:
        found = properties.spans(header)
        table = found.get(properties.HEADERS)
        entries = list(properties.fields(header, *table)) if table is not None else []
    except properties.Malformed:
        return header
    if not entries:
        return properties.edit(header, found, drop=properties.HEADERS)
    ordered = properties.edit(header, found, table=sorted(entries, key=lambda entry: entry.name))
    written = bytearray(ordered)
    for value in _values(ordered, *found[properties.HEADERS]):
        if value.tag == ord("L"):
            written[value.at] = ord("l")
    return bytes(written)


def rows(header: bytes) -> list[Row]:
    """Properties and headers, nested ones by their path; at most `MOST_ROWS`, the last of which says if there are more.

    Args:
        header: payload of the content header.
    """
    try:
        found = properties.spans(header)
    except properties.Malformed as fault:
        return [Row("", "malformed", safe(str(fault)))]
    listed: list[Row] = []
    for row in _rows(header, found):
        if len(listed) == MOST_ROWS:
            listed[-1] = Row("", "", "and more, which are not shown")
            break
        listed.append(row)
    return listed


def _rows(header: bytes, found: properties.Spans) -> Iterator[Row]:
    for flag, name, kind in _PROPERTIES:
        if flag not in found:
            continue
        start, stop = found[flag]
        if kind == "table":
            for value in _values(header, start, stop):
                yield Row(value.path, chr(value.tag), _shown(header, value))
        elif kind == "shortstr":
            yield Row(name, kind, _text(header[start + 1 : stop]))
        elif kind == "octet":
            yield Row(name, kind, str(header[start]))
        else:
            yield Row(name, kind, _moment(header[start:stop]))


def _values(header: bytes, start: int, stop: int) -> Iterator[_Value]:
    """All values of the table in `header[start:stop]`, what is nested behind what it is nested in.

    Where bytes cannot be read, the rest of that table or array is left out.
    """
    open_ends = [_table(header, start, stop, "")]
    while open_ends:
        value = next(open_ends[-1], None)
        if value is None:
            open_ends.pop()
            continue
        yield value
        # What is shown of a path is bounded, and so is how deep a path can be that anybody reads.
        if value.tag == _TABLE and len(open_ends) < LONGEST:
            open_ends.append(_table(header, value.value, value.stop, f"{value.path}."))
        elif value.tag == _ARRAY and len(open_ends) < LONGEST:
            open_ends.append(_array(header, value.value, value.stop, value.path))


def _table(header: bytes, start: int, stop: int, prefix: str) -> Iterator[_Value]:
    try:
        for entry in properties.fields(header, start, stop):
            path = f"{prefix}{_text(entry.name)}"[:LONGEST]
            yield _Value(path, entry.tag, entry.value - 1, entry.value, entry.stop)
    except (properties.Malformed, IndexError):
        return


def _array(header: bytes, start: int, stop: int, prefix: str) -> Iterator[_Value]:
    at, number = start + 4, 0
    while at < stop:
        tag = header[at]
        size = _FIXED.get(tag)
        if size is None and tag in _LONG and at + 5 <= stop:
            size = 4 + int.from_bytes(header[at + 1 : at + 5], "big")
        if size is None or at + 1 + size > stop:
            return
        yield _Value(f"{prefix}[{number}]"[:LONGEST], tag, at, at + 1, at + 1 + size)
        at, number = at + 1 + size, number + 1


def _shown(header: bytes, value: _Value) -> str:
    raw = header[value.value : value.stop]
    reading = _NUMBERS.get(value.tag)
    if reading is not None:
        return str(struct.unpack(reading, raw)[0])
    match chr(value.tag):
        case "S":
            return _text(raw[4:])
        case "x":
            return raw[4 : 4 + LONGEST].hex(" ")[:LONGEST]
        case "t":
            return "true" if raw[0] else "false"
        case "T":
            return _moment(raw)
        case "D":
            return f"{int.from_bytes(raw[1:], 'big')}e-{raw[0]}"
        case "V":
            return "null"
    return f"{len(raw) - 4} bytes"


def _moment(raw: bytes) -> str:
    seconds = int.from_bytes(raw, "big")
    try:
        return f"{seconds} ({datetime.fromtimestamp(seconds, UTC).isoformat()})"
    except (ValueError, OverflowError):
        return str(seconds)


def _text(raw: bytes) -> str:
    text = safe(raw[: LONGEST + 1].decode(errors="backslashreplace"))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def safe(text: str) -> str:
    """`text` with everything escaped that a terminal would not print."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


def preview(body: bytes) -> list[str]:
    """Lines of a body's beginning: its text where it is UTF-8, else bytes and what of them is ASCII.

    Args:
        body: the beginning of a body; a character may be cut off at its end.
    """
    try:
        # Not the end: it holds back what may be the first part of a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(body)
    except UnicodeDecodeError:
        text = ""
    if text and "\0" not in text:
        return [safe(line) for line in text.split("\n")]
    lines = []
    for at in range(0, len(body), _HEX):
        piece = body[at : at + _HEX]
        ascii_part = "".join([chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece])
        lines.append(f"{at:08x}  {piece.hex(' '):<{_HEX * 3}} {ascii_part}")
    return lines
