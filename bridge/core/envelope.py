"""A whole message as bytes that keep every one of its own: a line of JSON, the content header's payload, the body.

Copies for the backup and messages in files are sealed like this. A stream stores what it is given in AMQP 1.0's terms
and loses header values of the types array and table on the way, `timelimit` and `stamps` of every task among them (seen
on 3.10.8 and 4.3.6), so a copy carries its header in its body.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from bridge.core import frames, properties

#: Content type of an envelope that is published.
CONTENT_TYPE = "application/vnd.bridge.message"
#: Properties that differ between two deliveries of a message, or between it and what is published of it.
_PASSING = properties.EXPIRATION | properties.PRIORITY | properties.USER_ID
#: Bytes of the longest line: a queue's name has at most 255, each of which JSON may write as six.
MAX_LINE = 4096


class NotAnEnvelope(Exception):
    """The bytes are not an envelope: what was expected, and where they end instead."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was sealed."""

    queue: str
    #: UTC epoch seconds when it was taken.
    time: float
    #: Why it was set apart; empty for a copy.
    reason: str
    #: Payload of its content header, and its body.
    header: bytes
    body: bytes


def opening(queue: str, reason: str = "") -> bytes:
    """The part of the line that is the same for all messages of a queue: made once, used for each."""
    # A percent sign in a name must survive the formatting that follows.
    line = json.dumps({"queue": queue, "reason": reason})[:-1].replace("%", "%%")
    return line.encode() + b', "time": %.6f, "header_bytes": %d, "body_bytes": %d}\n'


def seal(opening_line: bytes, time: float, header: bytes, body: bytes) -> bytes:
    """Seal a message.

    Args:
        opening_line: of `opening`.
        time: UTC epoch seconds.
        header: payload of its content header.
        body: its body.
    """
    return opening_line % (time, len(header), len(body)) + header + body


def unseal(sealed: bytes) -> Message:
    """Read an envelope.

    Raises:
        NotAnEnvelope: it is not one, or not whole.
    """
    stop = sealed.find(b"\n", 0, MAX_LINE)
    try:
        line = json.loads(sealed[: max(stop, 0)])
        queue, reason, time = str(line["queue"]), str(line["reason"]), float(line["time"])
        header_bytes, body_bytes = int(line["header_bytes"]), int(line["body_bytes"])
        if not math.isfinite(time):
            raise ValueError(time)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        raise NotAnEnvelope(f"its first line is not an envelope's ({type(fault).__name__})") from None
    body = stop + 1 + header_bytes
    if header_bytes < 0 or body_bytes < 0 or len(sealed) != body + body_bytes:
        raise NotAnEnvelope(f"it has {len(sealed)} bytes, by its first line {body + body_bytes} are due")
    return Message(queue, time, reason, sealed[stop + 1 : body], sealed[body:])


def parts_of(wire: bytes) -> tuple[bytes, bytes]:
    """Header payload and body of a message given as its header frame and body frames."""
    stop = 7 + frames.frame_at(wire, 0)[2]
    return wire[7:stop], frames.body_of(wire, stop + 1)


def fingerprint(wire: bytes) -> bytes:
    """The same for a message at each delivery and as it was published, however its frames are cut.

    So what is cut out or replaced on the way (design, section 4.4), or added by a broker, does not count.
    """
    header, body = parts_of(wire)
    try:
        found = properties.spans(header)
        table = found.get(properties.HEADERS)
        kept = (
            [entry for entry in properties.fields(header, *table) if not properties.is_cut(entry.name)] if table else []
        )
        header = properties.edit(header, found, table=kept, drop=_PASSING)
    except properties.Malformed:
        pass
    return hashlib.sha256(header + body).digest()
