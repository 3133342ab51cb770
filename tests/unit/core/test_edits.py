"""What is read and cut out of a message that is not plain; as traces of the wire: test_relay.py."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.core import edits, eta, frames
from bridge.core import properties as p
from tests.support import wire

WALL = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
SOON = "2030-01-01T00:00:30+00:00"


def taken(message: bytes) -> tuple[bytes, p.Spans, edits.Fields, int]:
    """Header payload, its properties, its headers, and where the body frames begin."""
    size = frames.frame_at(message, 0)[2]
    payload = message[7 : 7 + size]
    found = p.spans(payload)
    table = found.get(p.HEADERS)
    return payload, found, list(p.fields(payload, *table)) if table else [], size + frames.OVERHEAD


def due(message: bytes) -> float | None:
    payload, found, entries, bodies = taken(message)
    return edits.due_at(payload, found, entries, message, bodies)


def edit(message: bytes, *, ladder: bool = False, cap: bool = False) -> bytes:
    """The message with its header edited."""
    payload, found, entries, bodies = taken(message)
    made = edits.edit(payload, found, entries, user=b"bridge", ladder=ladder, cap_priority=cap, wall=WALL)
    if made == payload:
        assert made is payload, "a copy was made for nothing"
    return edits.rebuild(5, made, message, bodies, 131072)


def test_a_task_of_protocol_2_has_its_eta_in_its_header() -> None:
    assert due(wire.task(eta=SOON)) == WALL + 30
    assert due(wire.task()) is None
    assert due(wire.task(eta=...)) is None
    with pytest.raises(eta.Unreadable):
        due(wire.task(eta="soon"))


@pytest.mark.parametrize("headers", [{}, {"eta": SOON}, {"task": "t"}, {"compression": None}])
def test_what_may_be_protocol_1_is_read_from_its_body(headers: dict[str, object]) -> None:
    body = b'{"task": "t", "id": "1", "args": [], "kwargs": {}, "eta": "%s"}' % SOON.encode()
    assert due(wire.task(body, headers=headers)) == WALL + 30


def test_without_properties_and_body_nothing_is_due() -> None:
    message = frames.header_frame(5, wire.header({}))
    assert due(message) is None


def test_nothing_is_cut_of_a_plain_task() -> None:
    task = wire.task()
    assert edit(task) == edit(task, ladder=True, cap=True) == task


def test_the_past_and_a_foreign_user_are_cut() -> None:
    assert edit(wire.task(CC=["a"], **{"x-first-death-queue": "q"})) == wire.task()
    assert edit(wire.task(properties={p.USER_ID: wire.shortstr(b"app")})) == wire.task()
    ours = wire.task(properties={p.USER_ID: wire.shortstr(b"bridge")})
    assert edit(ours) == ours


@pytest.mark.parametrize(
    ("expires", "left"),
    [
        (SOON, b"30000"),
        ("2029-12-31T00:00:00+00:00", b"1"),
        (None, b"5"),
        ("soon", b"5"),
        (b"S\x00\x00\x00\x01\xff", b"5"),
        (30, b"5"),
    ],
)
def test_expiration_is_the_time_left_if_that_is_known(expires: object, left: bytes) -> None:
    def with_expiration(value: bytes) -> bytes:
        return wire.task(properties={p.EXPIRATION: wire.shortstr(value)}, expires=expires)

    assert edit(with_expiration(b"5")) == with_expiration(left)
    assert edit(with_expiration(b"5"), ladder=True) == wire.task(expires=expires)
    assert edit(wire.task(properties={p.EXPIRATION: wire.shortstr(b"5")}, headers={})) == wire.task(
        properties={p.EXPIRATION: wire.shortstr(b"5")}, headers={}
    )


@pytest.mark.parametrize("given", [0, 4, 5, 255])
@pytest.mark.parametrize("ladder", [False, True])
@pytest.mark.parametrize("cap", [False, True])
def test_priority_is_capped_only_in_the_ladder(given: int, ladder: bool, cap: bool) -> None:
    sent = min(given, edits.PRIORITY_CAP) if ladder and cap else given
    task, capped = (wire.task(properties={p.PRIORITY: bytes((one,))}) for one in (given, sent))
    assert edit(task, ladder=ladder, cap=cap) == capped
    payload, found, _, _ = taken(task)
    assert edits.priority_of(payload, found) == given


def test_no_priority_is_none() -> None:
    payload, found, _, _ = taken(wire.task(properties={p.PRIORITY: None}))
    assert edits.priority_of(payload, found) == 0


@pytest.mark.parametrize(
    ("size", "came", "allowed", "as_is"),
    [(0, 131072, 4096, True), (100, 4096, 4096, True), (4088, 4096, 4096, True), (4089, 131072, 4096, False)],
)
def test_a_body_is_cut_again_only_when_it_must_be(size: int, came: int, allowed: int, as_is: bool) -> None:
    message = wire.task(bytes(size), frame_max=came)
    payload, _, _, bodies = taken(message)
    assert edits.fits(message, bodies, allowed) == as_is
    made = edits.rebuild(9, payload, message, bodies, allowed)
    assert made[:bodies] == frames.header_frame(9, payload)
    assert frames.body_of(made, bodies) == bytes(size)
    assert edits.fits(made, bodies, allowed)


@pytest.mark.parametrize(
    ("headers", "times"),
    [
        ({}, 0),
        ({"x-delivery-count": b"l" + (3).to_bytes(8, "big")}, 3),
        ({"x-delivery-count": b"l" + (3).to_bytes(8, "big"), "x-acquired-count": b"I" + (11).to_bytes(4, "big")}, 11),
        ({"x-delivery-count": "12"}, 0),
    ],
)
def test_how_often_a_quorum_queue_got_a_message_back(headers: dict[str, object], times: int) -> None:
    assert edits.returns(taken(wire.task(**headers))[0]) == times


def test_what_says_nothing_that_can_be_read_came_back_no_times() -> None:
    assert edits.returns(taken(wire.task(properties={p.HEADERS: None}))[0]) == 0
    assert edits.returns(b"\x00<\x00\x00" + bytes(8) + b"\x20\x00\x00\x00\x00\x09") == 0
