"""The wires: whose frame is whose, and one relay's fault is its own."""

from __future__ import annotations

import pytest

from bridge.core import frames
from bridge.core.copies import Backup
from bridge.core.relay import Relay
from tests.support import wire
from tests.support.playbook import Playbook

PIKAS = frames.frame(frames.METHOD, 0, b"\x00\x0a\x00\x3d") + frames.frame(frames.HEARTBEAT, 0, b"")


def test_what_is_not_ours_passes_whole_and_in_order() -> None:
    book = Playbook()
    ours = book.delivery(wire.task())
    method = frames.frame(frames.METHOD, 5, b"\x00\x3c\x00\x1e\x00")  # basic.cancel on a relay's channel
    assert book.receive(PIKAS + ours + method + PIKAS) == PIKAS + method + PIKAS
    assert len(book.published()) == 1
    method = frames.frame(frames.METHOD, 5, b"\x00\x14\x00\x28")  # channel.close
    assert book.answer(PIKAS + method) == PIKAS + method


def test_a_stream_out_of_step_ends_the_connection() -> None:
    book = Playbook()
    with pytest.raises(frames.FrameError):
        book.receive(PIKAS[:-1] + b"\x00")
    with pytest.raises(frames.FrameError):
        book.answer(PIKAS[:-1] + b"\x00")
    broken = book.delivery(wire.task())[:-1] + b"\x00"
    with pytest.raises(frames.FrameError):
        book.receive(broken)
    header, _, bodies = wire.task(b"x").rpartition(b"\xce\x03")
    with pytest.raises(frames.FrameError):
        Playbook().receive(book.delivery(header + b"\x00\x03" + bodies))


def test_another_channels_header_behind_a_delivery_is_not_its_content() -> None:
    book = Playbook()
    foreign = wire.task(channel=9)
    head = book.delivery(b"")
    assert book.receive(head + foreign + wire.task()) == foreign
    assert [out.wire for out in book.published()] == [wire.task()]


@pytest.mark.parametrize("pieces", [1, 1000])
def test_a_fault_of_ours_stops_one_relay_with_its_name(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    def fail(*_arguments: object) -> None:
        raise KeyError("no such thing")

    book = Playbook()
    monkeypatch.setattr(Relay, "deliver", fail)
    monkeypatch.setattr(Relay, "deliver_all", fail)
    stream = book.delivery(wire.task()) + PIKAS
    others = b"".join(
        book.receive(stream[at : at + len(stream) // pieces + 1])
        for at in range(0, len(stream), len(stream) // pieces + 1)
    )
    assert others == PIKAS
    assert book.relay.surprise is not None
    assert book.relay.surprise[:2] == ("broken", "KeyError: 'no such thing'")
    assert book.out.alerts == {5}


@pytest.mark.parametrize("size", [0, 4, 13])
def test_a_header_frame_too_short_to_be_one_ends_the_connection(size: int) -> None:
    book = Playbook()
    head = frames.header_frame(5, bytes(size))
    with pytest.raises(frames.FrameError, match="too short"):
        book.receive(book.delivery(head + wire.task()))
    assert book.published() == []


RETURN = frames.return_head(5, 312, b"NO_ROUTE", b"", b"mail")
HEADER = frames.header_frame(5, wire.header({}, 2))
BODY = frames.frame(frames.BODY, 5, b"hi")


def cut(method: bytes, length: int) -> bytes:
    """A method frame with only so much of its payload."""
    return frames.frame(frames.METHOD, 5, method[7 : 7 + length])


@pytest.mark.parametrize("length", range(5, 20))
def test_a_delivery_that_is_cut_short_ends_the_connection(length: int) -> None:
    book = Playbook()
    head = frames.deliver_head(5, b"bridge", 1, False, b"", b"mail")
    with pytest.raises(frames.FrameError, match="cut short"):
        book.receive(cut(head, length) + wire.task())


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (cut(frames.ack(5, 1, multiple=False), 12), "of 20 bytes"),
        (frames.frame(frames.METHOD, 5, frames.NACK + bytes(10)), "of 22 bytes"),
        (cut(RETURN, 4), "cut short"),
        (cut(RETURN, 7), "cut short"),
        (cut(RETURN, 20), "cut short"),
        (RETURN * 2, "before the content of the one before"),
        (RETURN + frames.header_frame(5, bytes(13)), "out of place or too short"),
        (RETURN + HEADER * 2, "out of place or too short"),
        (RETURN + BODY, "before its header"),
        (RETURN + HEADER + BODY + BODY, "without a return"),
    ],
)
def test_an_answer_out_of_shape_ends_the_connection(answer: bytes, seen: str) -> None:
    book = Playbook()
    book.deliver(wire.task())
    with pytest.raises(frames.FrameError, match=seen):
        book.answer(answer)
    assert book.acks() == []


def test_answers_for_the_copies_are_the_copies() -> None:
    book = Playbook(backup=Backup())
    book.deliver(wire.task())
    method = frames.frame(frames.METHOD, 5, b"\x00\x14\x00\x28")  # channel.close
    assert book.backup.receive(method + frames.ack(5, 1, multiple=False), book.now) == method
    assert book.acks() == []
    assert book.confirm(1) == [(1, True)]


def test_two_queues_on_one_connection() -> None:
    book, other = Playbook(), Playbook()
    other.relay.channel = 9
    book.source.relays[9] = book.target.relays[9] = other.relay
    task, foreign = wire.task(id="1"), wire.task(id="2", channel=9)
    book.receive(book.delivery(task) + other.delivery(foreign, channel=9))
    assert [out.wire for out in book.published()] == [task]
    assert len(other.relay.ledger) == 1
    book.answer(frames.ack(9, 1, multiple=False) + frames.ack(5, 1, multiple=False))
    assert book.acks() == [(1, True)]
    assert len(other.acks()) == 1
