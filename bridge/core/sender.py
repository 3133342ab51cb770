"""Publishes on one channel, each answered for by itself: taken, or why not.

`core.relay.Relay` acks at a source in order; here one message may be several publishes on several connections, and what
is refused goes another way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bridge.core import frames
from bridge.core.identity import task_id

_T = TypeVar("_T")


@dataclass(slots=True)
class _Open(Generic[_T]):
    """A publish without an answer."""

    what: _T
    key: str
    id: str
    body: bytes
    refused: str = ""


class Sender(Generic[_T]):
    """The publishes of one channel (`core.wires.Publisher`).

    Args:
        channel: its number.
        side: what the broker is called in sentences.
        frame_max: bytes of the largest frame.
        answered: told of each publish why it was refused, empty when the broker took it.
        turn: told when all answers of a chunk were.
    """

    def __init__(
        self,
        channel: int,
        side: str,
        frame_max: int,
        answered: Callable[[_T, str], None],
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._channel = channel
        self._side = side
        self._frame_max = frame_max
        self._answered = answered
        self._turn = turn
        self._open: dict[int, _Open[_T]] = {}
        self._sent = 0
        #: Why nothing that this channel says can be trusted any more; empty while it can.
        self.fault = ""

    def __len__(self) -> int:
        """How many publishes have no answer yet."""
        return len(self._open)

    def fits(self, header: bytes) -> bool:
        """Whether a content header fits into a frame of the broker; for one that does not it closes the connection."""
        return len(header) + frames.OVERHEAD <= self._frame_max

    def publish(self, what: _T, exchange: bytes, key: bytes, header: bytes, body: bytes) -> bytes:
        """The bytes of a publish, to be sent now.

        Args:
            what: told to `answered`.
            exchange: where it enters.
            key: its routing key.
            header: payload of its content header.
            body: its body.
        """
        content = frames.header_frame(self._channel, header)
        self._sent += 1
        self._open[self._sent] = _Open(what, key.decode(errors="replace"), task_id(content), body)
        return (
            frames.publish_head(self._channel, exchange, key)
            + content
            + frames.body_frames(self._channel, body, self._frame_max)
        )

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """The broker answered for `seq` (and all before it): taken, or returned before."""
        self._answer(seq, multiple, "")

    def nacked(self, seq: int, multiple: bool) -> None:
        """The broker refused `seq` (and all before it)."""
        self._answer(seq, multiple, f"{self._side} rejected it (basic.nack): it is full or failing")

    def _answer(self, seq: int, multiple: bool, refused: str) -> None:
        # AMQP 0-9-1, 1.8.3.13: tag zero with `multiple` is all outstanding messages.
        seq = seq or self._sent
        numbers = [number for number in self._open if number <= seq] if multiple else [seq]
        for number in numbers:
            found = self._open.pop(number, None)
            if found is None:
                self.fault = f"{self._side} answered for message {number}, which is not in flight"
                return
            self._answered(found.what, found.refused or refused)

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """The broker found no queue for a message; its confirm follows.

        It is known by its key, the id of its task and its body: RabbitMQ from 3.13 on writes its header anew.
        """
        body, name = frames.body_of(bodies, 0), task_id(header)
        for found in self._open.values():
            if not found.refused and (found.key, found.id, found.body) == (key, name, body):
                found.refused = f"{self._side} returned it ({code} {text})"
                return
        self.fault = f'{self._side} returned a message that is not in flight ({code} {text}, routing key "{key}")'

    def turn(self, at: float) -> None:
        """All answers of a chunk were told."""
        self._turn()
