"""A content header alone through everything in the core that reads or edits one."""

from __future__ import annotations

import random

from bridge.core import edits, eta, frames, ladder, properties
from tests.fuzz.contents import body
from tests.fuzz.headers import WALL, Header, bent, cut, header, table


def parsed(chance: random.Random) -> str:
    """Read one header, whole or bent; what came of it."""
    content, kind = body(chance)
    made = header(chance, len(content), kind if chance.random() < 0.5 else None)
    if chance.random() < 0.02 and len(made.payload) < 2000:
        for length in range(len(made.payload)):
            _edited(chance, Header(made.payload[:length], valid=False), content)
    if chance.random() < 0.05:
        _bare_table(chance)
    return _edited(chance, made, content)


def _edited(chance: random.Random, made: Header, content: bytes) -> str:
    payload = made.payload
    try:
        found = properties.spans(payload)
        span = found.get(properties.HEADERS)
        entries = list(properties.fields(payload, *span)) if span else []
    except properties.Malformed:
        assert not made.valid, payload
        return "malformed"
    assert sum(stop - start for start, stop in found.values()) == len(payload) - properties.LIST
    assert sum(entry.stop - entry.start for entry in entries) == (span[1] - span[0] - 4 if span else 0)
    outcome, delay = "due", 0
    wire = frames.header_frame(5, payload) + frames.body_frames(5, content, 131072)
    try:
        due = edits.due_at(payload, found, entries, wire, len(payload) + frames.OVERHEAD)
        delay = eta.delay(due, WALL)
        outcome = "delayed" if delay else "due"
    except eta.Unreadable:
        outcome = "eta unreadable"
    assert 0 <= delay <= ladder.MAX_DELAY
    if delay:
        key = ladder.key_bytes(delay).decode() + ladder.exit_word("mail")
        assert ladder.unconvert(key) == (delay, "bridge:mail")
    edited = edits.edit(
        payload, found, entries, user=b"bridge", ladder=delay > 0, cap_priority=chance.random() < 0.5, wall=WALL
    )
    # What we made is a header again, with nothing in it that must not travel, and editing it once more changes nothing.
    again = properties.spans(edited)
    table_again = again.get(properties.HEADERS)
    kept = list(properties.fields(edited, *table_again)) if table_again else []
    assert not any(cut(entry.name) for entry in kept)
    assert edits.edit(edited, again, kept, user=b"bridge", ladder=delay > 0, cap_priority=False, wall=WALL) == edited
    return outcome


def _bare_table(chance: random.Random) -> None:
    """What the fast path asks of a table that was not walked."""
    raw = table(chance)
    whole = bent(chance, bytes(14) + raw)[14:]
    for where in range(4, len(whole)):
        properties.begins_entry(whole, 0, where) if len(whole) - where >= 4 else None


def key(chance: random.Random) -> str:
    """A routing key that may be one of the ladder's."""
    bits = ".".join(chance.choice("01") for _ in range(chance.choice((27, 28, 28, 28, 29, 56))))
    suffix = chance.choice(
        ("bridge:mail", "a.q1", "", "bridge:%FF", "bridge:~0", "bridge:%", "\ud800", "\n", "bridge:%2E")
    )
    read = ladder.unconvert(f"{bits}.{suffix}")
    if read is None:
        return "no key"
    assert 0 <= read.delay <= ladder.MAX_DELAY
    queue = ladder.queue_of(read.suffix, ["mail", "a.q1"])
    return "key of ours" if queue is not None else "key of others"
