"""Publishes that are answered for one by one."""

from __future__ import annotations

from bridge.core import frames
from bridge.core import properties as p
from bridge.core.sender import Sender
from bridge.core.wires import TargetWire
from tests.support import wire
from tests.support.playbook import split

CHANNEL = 5


class Wired:
    """A sender and the broker's end of it."""

    def __init__(self, frame_max: int = 131072) -> None:
        self.answers: list[tuple[str, str]] = []
        self.turns = 0
        self.sender: Sender[str] = Sender(
            CHANNEL, "source", frame_max, lambda *answer: self.answers.append(answer), self._turned
        )
        self.end = TargetWire()
        self.end.relays[CHANNEL] = self.sender
        self.sent: dict[str, bytes] = {}

    def _turned(self) -> None:
        self.turns += 1

    def publish(self, name: str, body: bytes = b"body", key: bytes = b"mail") -> bytes:
        self.sent[name] = header = wire.header({p.HEADERS: wire.table({"id": name})}, len(body))
        return self.sender.publish(name, b"", key, header, body)

    def told(self, chunk: bytes) -> list[tuple[str, str]]:
        self.answers.clear()
        assert self.end.receive(chunk, 1.0) == b""
        return self.answers

    def returns(self, name: str, body: bytes = b"body", key: bytes = b"mail") -> bytes:
        head = frames.return_head(CHANNEL, 312, b"NO_ROUTE", b"", key)
        header = frames.header_frame(CHANNEL, self.sent.get(name) or wire.header({}, len(body)))
        return head + header + frames.body_frames(CHANNEL, body, 131072)


def ack(seq: int, *, multiple: bool = False) -> bytes:
    return frames.ack(CHANNEL, seq, multiple=multiple)


def test_a_publish_is_what_was_given() -> None:
    wired = Wired(frame_max=30)
    [out] = split(wired.publish("1", b"b" * 50, b"k\xff"[:1]), CHANNEL)
    assert (out.exchange, out.routing_key, out.header, out.body) == ("", "k", wired.sent["1"], b"b" * 50)
    assert wired.sender.fits(bytes(22))
    assert not wired.sender.fits(bytes(23))


def test_answers_for_one_and_for_many() -> None:
    wired = Wired()
    for number in range(5):
        wired.publish(str(number))
    assert wired.told(ack(2)) == [("1", "")]
    assert len(wired.sender) == 4
    assert wired.told(ack(4, multiple=True)) == [("0", ""), ("2", ""), ("3", "")]
    assert wired.told(frames.nack(CHANNEL, 0, multiple=True, requeue=False)) == [
        ("4", "source rejected it (basic.nack): it is full or failing")
    ]
    assert wired.sender.fault == ""
    assert wired.turns == 3


def test_a_return_is_of_the_message_with_its_key_id_and_body() -> None:
    wired = Wired()
    wired.publish("1")
    wired.publish("2")
    wired.publish("2", b"another")
    wired.publish("2", key=b"other")
    assert wired.told(wired.returns("2")) == []
    refused = "source returned it (312 NO_ROUTE)"
    assert wired.told(ack(4, multiple=True)) == [("1", ""), ("2", refused), ("2", ""), ("2", "")]


def test_twins_come_back_one_after_the_other() -> None:
    wired = Wired()
    wired.publish("1")
    wired.publish("1")
    wired.told(wired.returns("1") + wired.returns("1"))
    assert [bool(why) for _, why in wired.told(ack(2, multiple=True))] == [True, True]


def test_what_was_never_sent_makes_all_answers_doubtful() -> None:
    wired = Wired()
    wired.publish("1")
    wired.told(wired.returns("9", b"never sent"))
    assert "returned a message that is not in flight (312 NO_ROUTE, routing key" in wired.sender.fault
    wired = Wired()
    wired.publish("1")
    assert wired.told(ack(2)) == []
    assert wired.sender.fault == "source answered for message 2, which is not in flight"
