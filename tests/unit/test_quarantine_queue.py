"""Messages as they pass, however the broker's bytes are cut. The queue itself: tests/functional."""

from __future__ import annotations

import pytest

from bridge.core import frames
from bridge.core import properties as p
from bridge.quarantine_queue import HEAD, Passage, Passing
from tests.support.wire import header, table, task


def passed(
    wire: bytes, *, whole: bool = False, key: bytes = b"a.b.too-large", exchange: bytes = b"bridge.quarantine"
) -> Passing:
    found: list[Passing] = []
    passage = Passage(3, lambda _message: whole, found.append)
    cutter = frames.Cutter()
    cutter.feed(frames.deliver_head(3, b"bridge", 9, True, exchange, key) + wire)
    buffer = cutter.buffer
    taken = [passage.take(kind, buffer[start:stop]) for kind, _, start, stop in cutter.frames()]
    assert all(taken)
    [message] = found
    return message


def test_where_it_was_and_why_it_is_here():
    message = passed(task(b"body"))
    assert (message.tag, message.queue, message.reason) == (9, "a.b", "too-large")
    assert (message.size, bytes(message.body), message.whole) == (4, b"body", False)
    foreign = passed(task(b"body"), exchange=b"", key=b"bridge.quarantine")
    assert (foreign.queue, foreign.reason) == ("", "unknown")


def test_of_a_large_body_the_beginning_is_kept_or_all():
    body = bytes(range(256)) * 2048
    wire = task(body, frame_max=4096)
    assert bytes(passed(wire).body) == body[:HEAD]
    assert bytes(passed(wire, whole=True).body) == body
    assert passed(wire).id == passed(task(body), whole=True).id


def test_its_id_is_the_same_when_it_was_handed_out_before():
    first = header({p.HEADERS: table({"b": 1, "a": 2})}, 0)
    again = header({p.HEADERS: table({"a": 2, "b": 1, "x-delivery-count": 5})}, 0)
    assert passed(frames.header_frame(3, first)).id == passed(frames.header_frame(3, again)).id
    assert passed(frames.header_frame(3, again)).header == header({p.HEADERS: table({"a": 2, "b": 1})}, 0)


def test_what_is_no_content_is_somebody_else_s():
    passage = Passage(3, lambda _message: True, lambda _message: None)
    assert not passage.take(frames.METHOD, frames.ack(3, 1, multiple=False))
    with pytest.raises(frames.FrameError, match="without a delivery before it"):
        passage.take(frames.HEADER, task(b""))
