"""When a task is due: what its header or body says, read exactly as Celery's worker reads it.

1. **Protocol 2** has the top-level header `eta`; protocol 1 has it in the body, and so has a hybrid of both
   (semantics.md sections 3.3 and 4). Null or absent is "at once"; only that.
2. **Every kind of value counts as the worker counts it.** It takes ISO-8601 as text or bytes, by dateutil's `isoparse`,
   and a datetime, which an AMQP timestamp is to it; a time without a zone is UTC. Anything else it rejects, and the
   empty string and 0 even stop its handler: Unreadable.
3. **Unreadable is no fault of the bridge.** Such a message moves at once, unchanged, and is counted (`eta_unreadable`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from dateutil.parser import isoparse

from bridge.core import bodies, ladder
from bridge.core.bodies import Unreadable

__all__ = ["Unreadable", "delay", "of_body", "of_header_value", "parse"]

#: The shape Celery writes (`datetime.isoformat`), in which fromisoformat and isoparse agree; isoparse reads the rest.
_COMMON = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?"
    r"(?:(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])|)"
).fullmatch
_fromisoformat = datetime.fromisoformat

#: Seconds of the last timestamp that is a datetime, 9999-12-31T23:59:59Z.
_LAST_SECOND = 253_402_300_799
#: A body that can be a hybrid of both protocols: a JSON mapping. Protocol 2 alone is a list.
_MAPPING = re.compile(rb"[ \t\r\n]*\{").match


def parse(text: str) -> float:
    """Return the UTC epoch seconds of an ISO-8601 text, a time without a zone being UTC. Raises Unreadable."""
    common = _COMMON(text)
    if common is not None:
        try:
            if common[1] is None:
                return _fromisoformat(text + "Z").timestamp()
            return _fromisoformat(text).timestamp()
        except ValueError:
            # A field out of range, or 24:00:00: isoparse has the last word.
            pass
    try:
        return _seconds(isoparse(text))
    except (ValueError, OverflowError) as fault:
        raise Unreadable(f"eta {text[:64]!r}: {str(fault)[:200]}") from fault


def of_header_value(tag: int, raw: bytes) -> float | None:
    """Return when the top-level header `eta` says (UTC epoch seconds), None if it is null.

    Args:
        tag: the value's type tag.
        raw: the value's bytes; of a string or byte array (`S`, `x`) those behind the length.

    Raises Unreadable.
    """
    if tag == 0x56:  # V
        return None
    if tag in (0x53, 0x78):  # S, x
        return parse(_ascii(raw))
    if tag == 0x54:  # T
        seconds = int.from_bytes(raw, "big")
        if seconds <= _LAST_SECOND:
            return float(seconds)
    raise Unreadable(f"eta header of type {chr(tag)!r}: a worker takes no such value")


def of_body(
    body: bytes,
    content_type: bytes | None,
    content_encoding: bytes | None,
    compression: bytes | None,
    *,
    hybrid: bool = False,
) -> float | None:
    """Return when a body says its task is due (UTC epoch seconds); None: at once, or it is no Celery task.

    Args:
        body: the whole body, as it came.
        content_type: the property, None if absent; so `content_encoding`.
        content_encoding: the property, None if absent.
        compression: the value of the header, None if absent.
        hybrid: the headers have `task` but no `eta`. Only a JSON mapping with `args` counts then, others stay closed.

    Raises Unreadable.
    """
    if hybrid and (content_type != b"application/json" or not (compression or _MAPPING(body))):
        return None
    entries = bodies.top_level(body, content_type, content_encoding, compression)
    if ("args" if hybrid else "task") not in entries:
        return None
    value = entries.get("eta")
    return None if value is None else _of_value(value)


def delay(due: float | None, now: float) -> int:
    """Return the seconds a task spends in the ladder, 1 to ladder.MAX_DELAY; 0 when it is due (UTC epoch seconds both).

    Rounded down, so that it arrives no later than it is due; the worker waits the last part of a second. Less than a
    second is 0.
    """
    if due is None:
        return 0
    left = due - now
    # Written so that NaN is due.
    if not left >= 1:
        return 0
    return int(left) if left < ladder.MAX_DELAY else ladder.MAX_DELAY


def _of_value(value: object) -> float:
    """Return the seconds of a value that is not null."""
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, bytes):
        value = _ascii(value)
    if not isinstance(value, str):
        raise Unreadable("eta is neither text nor a datetime")
    return parse(value)


def _ascii(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as fault:
        raise Unreadable(f"eta {raw[:64]!r}: not ASCII") from fault


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
