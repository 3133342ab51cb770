"""Envelopes keep every byte of a message."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import envelope, frames
from bridge.core import properties as p
from bridge.core.envelope import Message, NotAnEnvelope, fingerprint, opening, parts_of, seal, unseal
from tests.support import wire

TIME = 1_893_456_000.25


@given(st.text(max_size=255), st.text(max_size=20), st.binary(max_size=300), st.binary(max_size=300))
def test_every_byte_comes_back(queue: str, reason: str, header: bytes, body: bytes) -> None:
    sealed = seal(opening(queue, reason), TIME, header, body)
    assert unseal(sealed) == Message(queue, TIME, reason, header, body)
    assert sealed.index(b"\n") < envelope.MAX_LINE


@pytest.mark.parametrize(
    "queue", ["mail", "100%", "%s%d%%", "\n", '"', "\\", "a\x00b", "\U0001f4ee" * 63, "\x7f" * 255]
)
def test_any_name_of_a_queue(queue: str) -> None:
    assert unseal(seal(opening(queue), TIME, b"h", b"b")).queue == queue


def test_a_message_as_it_came() -> None:
    task = wire.task(body := bytes(range(256)) * 20, frame_max=700, timelimit=[None, 300.5])
    header, content = parts_of(task)
    assert content == body
    read = unseal(seal(opening("mail"), TIME, header, content))
    assert frames.header_frame(5, read.header) + frames.body_frames(5, read.body, 700) == task
    assert parts_of(wire.task(b""))[1] == b""


SEALED = seal(opening("mail"), TIME, b"header", b"body")


@pytest.mark.parametrize("sealed", [SEALED[:-1], SEALED + b"x", SEALED[: SEALED.index(b"\n") + 1]])
def test_one_that_is_not_whole(sealed: bytes) -> None:
    with pytest.raises(NotAnEnvelope, match=f"it has {len(sealed)} bytes, by its first line {len(SEALED)} are due"):
        unseal(sealed)


LINE = {"queue": "mail", "reason": "", "time": 1.0, "header_bytes": 0, "body_bytes": 0}


def line(**changed: object) -> bytes:
    return json.dumps({name: given for name, given in (LINE | changed).items() if given is not ...}).encode() + b"\n"


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"\n",
        b"no line",
        b"[1, 2]\n",
        b"5\n",
        b"null\n",
        b"{}\n",
        b"\xff\xfe\n",
        line(queue=...),
        line(time="noon"),
        line(time=None),
        line(time=float("nan")),
        line(time=float("inf")),
        line(header_bytes="many"),
        line(body_bytes=[]),
        line(header_bytes=float("inf")),
        b"[" * 4000 + b"\n",
        b" " * envelope.MAX_LINE + line(),
        SEALED.replace(b"\n", b" "),
    ],
)
def test_what_is_not_an_envelope(sealed: bytes) -> None:
    with pytest.raises(NotAnEnvelope, match="its first line is not an envelope's"):
        unseal(sealed)


@pytest.mark.parametrize("lengths", [(-1, 1), (1, -1), (-3, 0)])
def test_lengths_that_cannot_be(lengths: tuple[int, int]) -> None:
    with pytest.raises(NotAnEnvelope, match="are due"):
        unseal(line(header_bytes=lengths[0], body_bytes=lengths[1]))


@given(st.binary(max_size=200))
def test_anything_at_all_is_read_or_refused(sealed: bytes) -> None:
    for one in (sealed, SEALED[:50] + sealed, SEALED[: len(sealed)] + sealed):
        try:
            read = unseal(one)
        except NotAnEnvelope:
            continue
        assert isinstance(read, Message)


# -- fingerprints
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        wire.task(frame_max=20),
        wire.task(channel=9),
        wire.task(**{"x-delivery-count": 7, "x-death": [{"count": 1}]}),
        wire.task(properties={p.EXPIRATION: wire.shortstr(b"1")}),
        wire.task(properties={p.USER_ID: wire.shortstr(b"app")}),
        wire.task(properties={p.PRIORITY: b"\x09"}),
    ],
)
def test_a_message_has_one_fingerprint_on_all_its_way(same: bytes) -> None:
    assert fingerprint(same) == fingerprint(wire.task())


@pytest.mark.parametrize(
    "other",
    [
        wire.task(id="another"),
        wire.task(b"another body"),
        wire.task(mine="x-death"),
        wire.task(properties={p.CORRELATION_ID: None}),
        wire.task(properties={p.HEADERS: None}),
    ],
)
def test_another_message_has_another(other: bytes) -> None:
    assert fingerprint(other) != fingerprint(wire.task())


def test_what_is_not_amqp_has_a_fingerprint_too() -> None:
    start = struct.pack(">HHQH", 60, 0, 0, p.HEADERS)
    marks = {fingerprint(frames.header_frame(5, start + struct.pack(">I", length))) for length in (8, 9)}
    assert len(marks) == 2
