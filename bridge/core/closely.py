"""The messages that need more than a publish of what came: an ETA in an unusual place, a header to cut, another frame
size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core import edits, eta, frames, properties

if TYPE_CHECKING:
    from bridge.core.counts import Counts
    from bridge.core.destination import Destination


def closely(
    channel: int, to: Destination, counts: Counts, wire: bytes, size: int, wall: float
) -> tuple[bytes, int] | str:
    """Make of a message what is published.

    Args:
        channel: its number on all connections.
        to: where it goes.
        counts: what happened is added to these.
        wire: header frame and body frames.
        size: length of the header frame's payload.
        wall: UTC epoch seconds.

    Returns:
        Header and body frames, and the seconds that it waits in the ladder; or why no publish can carry it: a reason of
        `outbox.Held`.
    """
    payload = wire[7 : 7 + size]
    bodies = size + frames.OVERHEAD
    try:
        found = properties.spans(payload)
        table = found.get(properties.HEADERS)
        entries = list(properties.fields(payload, *table)) if table else []
    except properties.Malformed:
        return "malformed"
    if to.max_message is not None and int.from_bytes(payload[4:12], "big") > to.max_message:
        return "too-large"
    delay = 0
    try:
        due = None if to.straight else edits.due_at(payload, found, entries, wire, bodies)
        delay = 0 if due is None else eta.delay(due, wall)
    except eta.Unreadable:
        counts.eta_unreadable += 1
    edited = edits.edit(
        payload, found, entries, user=to.user, ladder=delay > 0, cap_priority=to.cap_priority, wall=wall
    )
    if len(edited) + frames.OVERHEAD > to.frame_max:
        # A header is one frame; for one that is too large the target closes the connection, and all queues with it.
        return "header-too-large"
    if delay and to.cap_priority and edits.priority_of(payload, found) > edits.PRIORITY_CAP:
        counts.priority_capped += 1
    if edited is not payload or not edits.fits(wire, bodies, to.frame_max):
        wire = edits.rebuild(channel, edited, wire, bodies, to.frame_max)
    return wire, delay
