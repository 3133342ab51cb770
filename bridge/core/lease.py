"""Who holds the control queue's message: a bridge at its single active consumer, messages in, publishes and acks out.

1. Only the single active consumer is given messages, so whoever is given one is the active bridge (RabbitMQ's single
   active consumer). A bridge that joins knocks with a message: it goes to the one that is active, or tells the first
   of several that start at once that it is the one.
2. What else waits in the queue is known when a message of our own, published after the first one arrived, comes: the
   queue keeps its order. Then the highest rank counts, a copy of it in a new term is published, and only when that
   one is here are the others acked: no delivery limit ever eats the state, and a crash at any point leaves one.
3. Each save is a new message that has to come back to us before the one before it is acked. That it comes is the proof
   that we are still the one.
4. A message of a later term than ours means that somebody took over: we let go. One of an earlier term is late.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.core.state import BadState, Document, Holder, Identity, decode


class Phase(enum.StrEnum):
    """How far a bridge is."""

    #: Nothing came: another one is active.
    WAITING = "waiting"
    #: It is active, and finds out what is in the queue.
    LOOKING = "looking"
    #: Its own copy is on the way.
    TAKING = "taking"
    #: What is in the queue belongs to another bridge: a copy is on the way, after which it goes back.
    RETURNING = "returning"
    HOLDING = "holding"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish this into the control queue."""

    document: Document


@dataclass(frozen=True, slots=True)
class Ack:
    """Ack the delivery with this tag."""

    tag: int


@dataclass(frozen=True, slots=True)
class Held:
    """We are the active bridge: what we hold, and the state to go on with, None when there is none."""

    document: Document
    inherited: Document | None


@dataclass(frozen=True, slots=True)
class Saved:
    """The save is in the queue, and we hold it."""

    document: Document


@dataclass(frozen=True, slots=True)
class Over:
    """We may not go on: close the channel. With `hint`, the bridge may not start at all."""

    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Met:
    """Another bridge knocked, or something was in the queue that has no place there; empty `stray`: a knock."""

    holder: Holder | None
    stray: str


Effect = Publish | Ack | Held | Saved | Over | Met


class Lease:
    """One stay at the control queue: from its consumer's beginning to its end.

    Args:
        queue: its name, for what is said.
        mine: who we are.
        identity: what we move.
        stay: its number in this process, from 1 on.
        last: our own state from a stay before, if there was one.
    """

    def __init__(
        self, queue: str, mine: Holder, identity: Identity, stay: int = 1, last: Document | None = None
    ) -> None:
        self.phase = Phase.WAITING
        self._queue = queue
        self._mine = mine
        self._identity = identity
        self._stay = stay
        self._last = last
        #: What was given to us and is not acked, by delivery tag.
        self._given: dict[int, Document] = {}
        self._strays: dict[int, BadState] = {}
        #: What was published last and has to come back.
        self._awaited: Document | None = None
        #: The last save as it was published, so that it need not be read when it comes back.
        self.saved: tuple[bytes, Document] | None = None

    @property
    def saving(self) -> bool:
        """Whether a save has not come back yet."""
        return self.phase is Phase.HOLDING and self._awaited is not None

    @property
    def _best(self) -> Document | None:
        """What counts of what was given to us; knocks do not."""
        states = [document for document in self._given.values() if document.term]
        return max(states, key=lambda document: document.rank, default=None)

    def knock(self, at: str) -> Document:
        """What to publish on joining: our own last state, so that it is not lost with the queue, or an empty one.

        Our own is of a later term than it was, and of an earlier number than anything that another bridge saved in that
        term: who took over from us knows better, who began anew does not.

        Args:
            at: wall time, ISO 8601.
        """
        if self._last is None:
            return Document(0, 0, self._mine, self._identity, at)
        return replace(self._last, term=self._last.term + 1, number=0)

    def save(self, content: Mapping[str, Any], at: str, *, left: bool = False) -> Document:
        """The next document to publish; it is saved when it has come back (`Saved`).

        Args:
            content: what is kept.
            at: wall time, ISO 8601.
            left: whether nothing is in flight and nothing will be.
        """
        before = self._awaited or next(iter(self._given.values()))
        self._awaited = replace(before, number=before.number + 1, saved_at=at, left=left, content=content)
        return self._awaited

    def _is_awaited(self, document: Document) -> bool:
        awaited = self._awaited
        return awaited is not None and (document.rank, document.holder.id) == (awaited.rank, awaited.holder.id)

    def delivered(self, tag: int, body: bytes, at: str) -> list[Effect]:
        """A message of the control queue was given to us.

        Args:
            tag: of the delivery.
            body: of the message.
            at: wall time, ISO 8601.
        """
        saved = self.saved
        if saved is not None and saved[0] == body:
            document, self.saved = saved[1], None
        else:
            try:
                document = decode(body)
            except BadState as fault:
                return self._stray(tag, fault, at)
        if self.phase is Phase.HOLDING:
            return self._while_holding(tag, document)
        self._given[tag] = document
        if self.phase is Phase.WAITING:
            return self._look(at)
        if self.phase is Phase.OVER or not self._is_awaited(document):
            return []
        if self.phase is Phase.LOOKING:
            return self._take(at)
        if self.phase is Phase.RETURNING:
            return self._returned(tag)
        return self._hold(tag)

    # -- taking over
    # ---------------------------------------------------------------------------------------------------

    def _look(self, at: str) -> list[Effect]:
        """The first message: we are the one. What else is there is known when this comes back."""
        self.phase = Phase.LOOKING
        self._awaited = Document(0, self._stay, self._mine, self._identity, at)
        return [Publish(self._awaited)]

    def _take(self, at: str) -> list[Effect]:
        best = self._best
        if best is None and self._strays:
            text = "; ".join(map(str, self._strays.values()))
            return self._over(
                f'control queue "{self._queue}" holds what is no state: {text}',
                f'look at it with the management page; to start from the configuration, purge "{self._queue}"',
            )
        if best is not None and self._identity.differs(best.identity):
            # As it is, once more: this one was returned once less.
            self.phase = Phase.RETURNING
            self._awaited = best
            return [Publish(best)]
        self.phase = Phase.TAKING
        term = 1 if best is None else best.term + 1
        content = None if best is None else best.content
        self._awaited = Document(term, 1, self._mine, self._identity, at, content=content)
        return [Publish(self._awaited)]

    def _hold(self, tag: int) -> list[Effect]:
        """Our copy is here: now the others may go."""
        own = self._given.pop(tag)
        best = self._best
        if best is not None and best.rank >= own.rank:
            self._given[tag] = own
            return self._over(f'a later state came into control queue "{self._queue}", from {best.holder}')
        self.phase = Phase.HOLDING
        self._awaited = None
        acks: list[Effect] = [Ack(other) for other in (*self._given, *self._strays)]
        met: list[Effect] = [Met(None, str(fault)) for fault in self._strays.values()]
        self._given, self._strays = {tag: own}, {}
        return [*acks, *met, Held(own, best)]

    def _returned(self, tag: int) -> list[Effect]:
        """The copy of another bridge's state is here: the rest may go, and the copy goes back with the channel."""
        theirs = self._given.pop(tag)
        acks: list[Effect] = [Ack(other) for other in self._given]
        differs = self._identity.differs(theirs.identity)
        return [
            *acks,
            *self._over(
                f'control queue "{self._queue}" belongs to another bridge ({theirs.holder}): {differs}',
                "give one of the two another `instance`, or purge the queue if the other one is not needed any more",
            ),
        ]

    def _over(self, text: str, hint: str = "") -> list[Effect]:
        self.phase = Phase.OVER
        return [Over(text, hint)]

    def _stray(self, tag: int, fault: BadState, at: str) -> list[Effect]:
        """Something that is no state of ours."""
        if self.phase is Phase.HOLDING:
            return [Ack(tag), Met(None, str(fault))]
        if fault.newer:
            return self._over(
                f'control queue "{self._queue}": {fault}',
                "a later version of the bridge ran here: run that one, or purge the queue to begin as configured",
            )
        self._strays[tag] = fault
        return self._look(at) if self.phase is Phase.WAITING else []

    # -- holding
    # -------------------------------------------------------------------------------------------------------

    def _while_holding(self, tag: int, document: Document) -> list[Effect]:
        ((held, mine),) = self._given.items()
        if document.holder.id != self._mine.id or document.term != mine.term:
            if document.term > mine.term:
                return self._over(f'another bridge took control queue "{self._queue}" over: {document.holder}')
            if document.holder.id == self._mine.id:
                return [Ack(tag)]
            # A knock, or the last words of one that was active before us.
            differs = self._identity.differs(document.identity)
            stray = f"another bridge uses the instance's name ({document.holder}): {differs}" if differs else ""
            return [Ack(tag), Met(document.holder, stray)]
        if document.number <= mine.number:
            return [Ack(tag)]
        self._given = {tag: document}
        if self._is_awaited(document):
            self._awaited = None
        return [Ack(held), Saved(document)]
