"""What must be known of a message before it moves, its ETA, and what is cut out of it (design, 4.4 and 4.6).

This is the slow path, for what is not a plain task of protocol 2.
"""

from __future__ import annotations

from bridge.core import eta, frames, properties

#: RabbitMQ 4.0 to 4.2 puts a priority above this in a class of its own, which holds back due messages of the ladder
#: (semantics.md, 8.2).
PRIORITY_CAP = 4

Fields = list[properties.Field]


def due_at(payload: bytes, found: properties.Spans, entries: Fields, wire: bytes, bodies: int) -> float | None:
    """When the task is due, in UTC epoch seconds; None when at once (design, section 4.6).

    Args:
        payload: of the content header.
        found: its properties.
        entries: its headers.
        wire: header frame and body frames.
        bodies: where the body frames begin.

    Raises:
        eta.Unreadable: there is one, and it cannot be read.
    """
    task = due = None
    for entry in entries:
        if entry.name == b"eta":
            due = entry
        elif entry.name == b"task":
            task = entry
    if task is not None and due is not None:
        return eta.of_header_value(due.tag, properties.text(payload, due))
    if task is not None and wire[bodies + 7 : bodies + 8] == b"[":
        # Protocol 2 in JSON always is a list; only a hybrid of both protocols is a mapping.
        return None
    compression = next((properties.text(payload, entry) for entry in entries if entry.name == b"compression"), None)
    return eta.of_body(
        frames.body_of(wire, bodies),
        properties.string(payload, found.get(properties.CONTENT_TYPE)),
        properties.string(payload, found.get(properties.CONTENT_ENCODING)),
        compression,
        hybrid=task is not None,
    )


def edit(
    payload: bytes,
    found: properties.Spans,
    entries: Fields,
    *,
    user: bytes,
    ladder: bool,
    cap_priority: bool,
    wall: float,
) -> bytes:
    """Cut out what must not travel (design, section 4.4 and 4.11); `payload` itself when there is nothing to do.

    Args:
        payload: of the content header.
        found: its properties.
        entries: its headers.
        user: name of the connection's user.
        ladder: whether it goes into the ladder.
        cap_priority: whether a priority above `PRIORITY_CAP` is lowered there.
        wall: UTC epoch seconds.
    """
    kept = [entry for entry in entries if not properties.is_cut(entry.name)]
    drop = 0
    expiration = None
    given = found.get(properties.USER_ID)
    if given is not None and properties.string(payload, given) != user:
        drop |= properties.USER_ID
    if properties.EXPIRATION in found:
        if ladder:
            drop |= properties.EXPIRATION
        else:
            expiration = _time_left(payload, entries, wall)
    priority = PRIORITY_CAP if ladder and cap_priority and priority_of(payload, found) > PRIORITY_CAP else None
    if len(kept) == len(entries) and not drop and expiration is None and priority is None:
        return payload
    table = kept if len(kept) < len(entries) else None
    return properties.edit(payload, found, table=table, expiration=expiration, drop=drop, priority=priority)


def priority_of(payload: bytes, found: properties.Spans) -> int:
    """The message's priority; 0 when it has none."""
    span = found.get(properties.PRIORITY)
    return payload[span[0]] if span is not None else 0


#: Headers in which a quorum queue says how often a message came back to it (semantics.md, 7.3).
_RETURNS = (b"x-delivery-count", b"x-acquired-count")


def returns(payload: bytes) -> int:
    """How often a quorum queue got a message back, by its own count; 0 when it says nothing, or nothing that can be
    read.
    """
    try:
        table = properties.spans(payload).get(properties.HEADERS)
        entries = list(properties.fields(payload, *table)) if table else []
    except properties.Malformed:
        return 0
    counts = [properties.text(payload, entry) for entry in entries if entry.name in _RETURNS and entry.tag in b"lLIi"]
    return max((int.from_bytes(count, "big", signed=True) for count in counts), default=0)


def rebuild(channel: int, payload: bytes, wire: bytes, bodies: int, frame_max: int) -> bytes:
    """Put a new header before the body, and cut the body again where the target's frames are smaller."""
    header = frames.header_frame(channel, payload)
    if fits(wire, bodies, frame_max):
        return header + wire[bodies:]
    return header + frames.body_frames(channel, frames.body_of(wire, bodies), frame_max)


def fits(wire: bytes, bodies: int, frame_max: int) -> bool:
    """Whether the body's frames are no larger than `frame_max`: the first is the largest."""
    return bodies >= len(wire) or frames.frame_at(wire, bodies)[2] + frames.OVERHEAD <= frame_max


def _time_left(payload: bytes, entries: Fields, wall: float) -> bytes | None:
    """The expiration that is left by the absolute `expires` header, in milliseconds; None leaves it as it was
    (semantics.md, 8.1).
    """
    for entry in entries:
        if entry.name == b"expires" and entry.tag == ord("S"):
            try:
                left = eta.parse(properties.text(payload, entry).decode()) - wall
            except (eta.Unreadable, UnicodeDecodeError):
                return None
            return b"%d" % max(1, int(left * 1000))
    return None
