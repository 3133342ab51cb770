"""Which task a message is, for people."""

from __future__ import annotations

import struct

import pytest

from bridge.core import frames
from bridge.core import properties as p
from bridge.core.identity import LONGEST, task_id, task_name
from tests.support import wire

ID = "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11"


def head(properties: dict[int, bytes]) -> bytes:
    return frames.header_frame(5, wire.header(properties))


def payload(message: bytes) -> bytes:
    return message[7 : 7 + frames.frame_at(message, 0)[2]]


@pytest.mark.parametrize("message", [wire.task(), wire.task(bytes(200_000)), wire.task(b"")])
def test_a_task_of_protocol_2_by_its_header(message: bytes) -> None:
    assert task_id(message) == ID
    assert task_id(message[: frames.frame_at(message, 0)[2] + frames.OVERHEAD]) == ID
    assert task_name(payload(message)) == "shop.tasks.mail"


def test_the_header_goes_before_the_properties() -> None:
    given = {p.CORRELATION_ID: wire.shortstr(b"correlation"), p.MESSAGE_ID: wire.shortstr(b"message")}
    assert task_id(head(given | {p.HEADERS: wire.table({"lang": "py", "id": "header"})})) == "header"
    assert task_id(head(given | {p.HEADERS: wire.table({"id": 5, "ids": "no"})})) == "correlation"
    assert task_id(head(given)) == "correlation"
    assert task_id(head(given | {p.CORRELATION_ID: wire.shortstr(b"")})) == "message"
    assert task_id(head({p.MESSAGE_ID: wire.shortstr(b"message")})) == "message"
    assert task_id(head({})) == ""


@pytest.mark.parametrize("headers", [{}, {"task": None}, {"task": 5, "tasks": "no"}, {"id": "x"}])
def test_a_message_that_is_no_task_has_no_name(headers: dict[str, object]) -> None:
    assert task_name(wire.header({p.HEADERS: wire.table(headers)})) == ""
    assert task_name(wire.header({})) == ""


def test_what_a_terminal_cannot_take_is_replaced() -> None:
    shown = task_id(head({p.CORRELATION_ID: wire.shortstr(b"a\x1b[2J\n\xffb")}))
    assert shown == "a\ufffd[2J\ufffd\ufffdb"
    assert task_id(wire.task(id="x" * 5000)) == "x" * LONGEST
    assert task_name(payload(wire.task(task="t\u202e"))) == "t\ufffd"


@pytest.mark.parametrize(
    "broken",
    [b"", b"short", struct.pack(">HHQH", 60, 0, 0, p.HEADERS) + b"\x00\x00\x00\x09\x03eta", wire.header({}) + b"more"],
)
def test_a_header_that_is_not_amqp_is_no_task(broken: bytes) -> None:
    assert task_id(frames.header_frame(5, broken)) == ""
    assert task_name(broken) == ""


def test_a_broken_entry_is_no_task() -> None:
    broken = wire.header({p.HEADERS: struct.pack(">I", 4) + b"\x02idU"})
    assert (task_id(frames.header_frame(5, broken)), task_name(broken)) == ("", "")
