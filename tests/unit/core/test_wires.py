"""The wires: whose frame is whose, and one relay's fault is its own."""

from __future__ import annotations

import pytest

from bridge.core import frames
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
    stream = book.delivery(wire.task()) + PIKAS
    others = b"".join(
        book.receive(stream[at : at + len(stream) // pieces + 1])
        for at in range(0, len(stream), len(stream) // pieces + 1)
    )
    assert others == PIKAS
    assert book.relay.surprise == ("broken", "KeyError: 'no such thing'")
    assert book.out.alerts == {5}


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
