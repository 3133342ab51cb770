"""One look through the levels of the target's delay ladder for tasks that are brought back.

1. It goes through the levels from the highest, as messages fall downwards, and through as many of each as there were
   when it came: what it puts back is not met again.
2. A message is acked when all that it came to is confirmed and not returned, many with one ack.
3. What an old queue refuses goes into the ladder again, not to its level by a return: that would count against the
   level's delivery limit.
4. A fault ends the look. What is not acked is back in its level then, and listed as far as it may have arrived.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from gevent.event import Event

from bridge.amqp import ChannelClosed, Connection
from bridge.core import frames, ladder
from bridge.core.envelope import fingerprint
from bridge.core.ladder_back import DUE_EXCHANGE, Bringing, Ends, Found, LeaveTimes, Send
from bridge.core.sender import Sender
from bridge.core.wires import TargetWire
from bridge.delayed import Exits
from bridge.doubles import Doubles
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.queue_look import QueueLook
from bridge.reading import Delivery, Reader
from bridge.subscription import Subscription

#: Channel of the publishes on both connections; below are those on which queues are looked at.
CHANNEL = 3
#: Messages of a level that are unacked at a time: what a kill can double.
PREFETCH = 100
#: Seconds in which something must happen while there are messages, or answers that are due.
SILENCE = 20.0
#: Seconds for one delivery before the level is asked whether it is empty.
DELIVERY = 0.5


@dataclass(slots=True, eq=False)
class _Taken:
    """A message of a level that is not acked yet."""

    tag: int
    found: Found
    reader: Reader
    #: Target queues for whose old queues it is.
    queues: tuple[str, ...]
    #: Publishes without an answer.
    left: int
    #: One of them failed for good, and it stays with its level; or all are safe.
    stuck: bool = False
    safe: bool = False
    #: Those whose old queues have it.
    brought: list[str] = field(default_factory=list)

    @property
    def head(self) -> bytes:
        """Its header frame."""
        return frames.header_frame(0, self.found.header)


class _Part(NamedTuple):
    """One publish of a message."""

    taken: _Taken
    send: Send


class _End:
    """A connection that is published on."""

    def __init__(
        self, make: Callable[..., Connection], answered: Callable[[_Part, str], None], turn: Callable[[], None]
    ) -> None:
        self._wire = TargetWire()
        self.connection = make(receive=lambda chunk: self._wire.receive(chunk, time.monotonic()))
        self.connection.open()
        try:
            self.channel = self.connection.channel(CHANNEL)
            self.channel.confirm_select()
        except BridgeError:
            self.connection.close()
            raise
        self.sender: Sender[_Part] = Sender(CHANNEL, self.connection.name, self.connection.frame_max, answered, turn)
        self._wire.relays[CHANNEL] = self.sender

    def check(self) -> None:
        """See that publishes are taken here.

        Raises:
            BridgeError: they are not.
        """
        connection = self.connection
        if self.channel.error is not None:
            raise self.channel.error
        if connection.closed.is_set():
            raise Unreachable(f"{connection.name}: connection lost: {connection.reason}")
        if connection.blocked is not None:
            raise Unreachable(f"{connection.name}: takes no publishes now: {connection.blocked}")
        if self.sender.fault:
            raise Unreachable(self.sender.fault)

    def send(self, part: _Part) -> None:
        """Publish, without waiting."""
        send = part.send
        exchange, key = send.exchange, send.key
        self.connection.send(self.sender.publish(part, exchange, key, send.header, part.taken.found.body))


@dataclass(slots=True)
class Memory:
    """What is known from look to look."""

    times: LeaveTimes = field(default_factory=LeaveTimes)
    #: Fingerprints of messages on which the old side closes its channel: they stay in the ladder.
    unfit: set[bytes] = field(default_factory=set)
    #: Fingerprints of messages that are listed as possible duplicates already.
    listed: set[bytes] = field(default_factory=set)
    #: What comes redelivered may have been brought back before: by the process before this one, or before a fault.
    unsure: bool = True
    #: Take one message at a time until one was brought back.
    careful: bool = False
    #: Tasks brought back, by source queue.
    brought: Counter[str] = field(default_factory=Counter)
    #: Messages of others that were sent again for it, and what old queues refused.
    others: int = 0
    refused: int = 0


class LadderLook:
    """The look; a context manager, over connections of its own.

    Args:
        makes: make the connections to the old side and to the target.
        wanted: the queues that are brought back, by target queue, asked again and again.
        ends: where suffixes lead, asked once.
        memory: of the looks before, and for the next.
        doubles: where possible duplicates are listed.

    Raises:
        BridgeError: a side cannot be reached.
    """

    def __init__(
        self,
        makes: tuple[Callable[..., Connection], Callable[..., Connection]],
        wanted: Callable[[], Mapping[str, Subscription]],
        ends: Callable[[], Ends | None],
        memory: Memory,
        doubles: Doubles,
    ) -> None:
        self._make_reader = makes[1]
        self._wanted = wanted
        self._memory = memory
        self._doubles = doubles
        #: Why nothing is brought back for a target queue in this look.
        self.left_out: dict[str, str] = {}
        self._open: dict[tuple[Reader, int], _Taken] = {}
        self._fault = ""
        self._heard = time.monotonic()
        self._answer = Event()
        self._old = _End(makes[0], self._answered, self._turn)
        try:
            self._target = _End(makes[1], self._answered, self._turn)
            self._exits = Exits(self._target.connection, lambda: None)
            self._levels = QueueLook(self._target.connection)
            users = self._old.connection.user.encode(), self._target.connection.user.encode()
            self._bringing = Bringing(frozenset(), ends(), users, memory.times)
        except BridgeError:
            self._old.connection.close()
            raise
        self._bound: dict[str, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()
        for end in (self._old, self._target):
            end.connection.close()

    # -- through the levels
    # -------------------------------------------------------------------------------------------

    def through(self) -> None:
        """Look through all levels, until nothing is wanted any more.

        Raises:
            BridgeError: it could not be done to its end.
        """
        for target, subscription in self._wanted().items():
            fault = subscription.back_fault()
            if not fault and not self._binds(target):
                fault = f'target queue "{target}": our exit from the ladder cannot be bound'
            if fault:
                self.left_out[target] = fault
        if self.left_out and not self._back():
            raise Refused("; ".join(self.left_out.values()))
        for level in reversed(range(ladder.LEVELS)):
            name = ladder.level_name(level)
            ready = self._levels.ready(name)
            if ready and self._back():
                self._level(level, name, ready)

    def _back(self) -> dict[str, Subscription]:
        """The queues that something can be brought back for now, by target queue."""
        return {target: one for target, one in self._wanted().items() if target not in self.left_out}

    def _level(self, level: int, name: str, ready: int) -> None:
        """Take so many messages out of a level, unless nothing is wanted any more."""
        self._heard = time.monotonic()
        with Reader(self._make_reader, name, prefetch=1 if self._memory.careful else PREFETCH) as reader:
            try:
                self._read(level, name, ready, reader)
            except BridgeError:
                with contextlib.suppress(BridgeError):
                    reader.cancel()
                    reader.settle()
                raise

    def _read(self, level: int, name: str, ready: int, reader: Reader) -> None:
        taken = 0
        while taken < ready and self._back():
            self._check()
            delivery = reader.take(DELIVERY)
            if delivery is not None:
                taken += 1
                self._take(level, reader, delivery)
            elif not self._open and not self._levels.ready(name):
                break
        reader.cancel()
        self._rest(level, reader)
        reader.settle()
        self._rest(level, reader)

    def _rest(self, level: int, reader: Reader) -> None:
        """Take what came before the subscription ended, and wait until all is acked."""
        while (delivery := reader.take(0)) is not None:
            self._take(level, reader, delivery)
        while self._open:
            self._check()
            self._answer.clear()
            self._answer.wait(DELIVERY)

    def _check(self) -> None:
        """See that all goes on.

        Raises:
            BridgeError: it does not.
        """
        self._old.check()
        self._target.check()
        if self._fault:
            raise Refused(f"ladder: {self._fault}")
        silent = time.monotonic() - self._heard
        if silent > SILENCE:
            raise Unreachable(f"ladder: no delivery and no answer for {silent:.0f} s")

    # -- one message
    # ----------------------------------------------------------------------------------------------------

    def _take(self, level: int, reader: Reader, delivery: Delivery) -> None:
        self._heard, wall = time.monotonic(), time.time()
        found = Found(level, delivery.exchange, delivery.routing_key, delivery.header, delivery.body)
        self._bringing.back = self._back()
        sends = self._bringing.sends(found, wall)
        mine = tuple(send.queue for send in sends if send.queue)
        if mine and not self._can(found, sends):
            sends, mine = [self._bringing.stays(found, wall)], ()
        taken = _Taken(delivery.tag, found, reader, mine, len(sends))
        self._open[reader, delivery.tag] = taken
        if delivery.redelivered and self._memory.unsure:
            self._list(taken, "came again from the ladder after a fault or a restart")
        for send in sends:
            (self._old if send.queue else self._target).send(_Part(taken, self._addressed(send)))

    def _addressed(self, send: Send) -> Send:
        """With the old queue's name as key."""
        return send._replace(key=self._wanted_name(send.queue).encode()) if send.queue else send

    def _wanted_name(self, target: str) -> str:
        one = self._wanted().get(target)
        return target if one is None else one.queue

    def _can(self, found: Found, sends: list[Send]) -> bool:
        """Whether all publishes of a message can be made; it stays in the ladder as it is otherwise."""
        if self._memory.unfit and _mark(found) in self._memory.unfit:
            return False
        if not all(self._old.sender.fits(send.header) for send in sends if send.queue):
            return False
        back = self._bringing.back
        return all(self._binds(queue) for queue in self._bringing.reach(found.key) if queue not in back)

    def _binds(self, queue: str) -> bool:
        """Whether our exit for a queue is bound."""
        if queue not in self._bound:
            try:
                self._exits.bind(queue)
                self._bound[queue] = True
            except Refused:
                self._bound[queue] = False
        return self._bound[queue]

    def _answered(self, part: _Part, refused: str) -> None:
        """Told from the hub: a publish was taken, or refused."""
        taken, send = part
        self._heard = time.monotonic()
        taken.left -= 1
        if refused and send.queue:
            self._memory.refused += 1
            self.left_out[send.queue] = f'queue "{self._wanted_name(send.queue)}": {refused}'
            self._again(taken, send.queue)
        elif refused and send.exchange == DUE_EXCHANGE:
            # Nothing takes it out of the ladder: there it waits for its exit, as it would have.
            self._again(taken, None)
        elif refused:
            taken.stuck = True
            self._fault = refused
        elif send.queue:
            taken.brought.append(send.queue)
        if not taken.left and not taken.stuck:
            self._done(taken)

    def _again(self, taken: _Taken, queue: str | None) -> None:
        taken.left += 1
        self._target.send(_Part(taken, self._bringing.stays(taken.found, time.time(), queue, least=1)))

    def _done(self, taken: _Taken) -> None:
        """All that a message came to is safe."""
        taken.safe = True
        if not taken.brought:
            self._memory.others += 1
            return
        self._memory.careful = False
        wanted = self._wanted()
        for target in taken.brought:
            one = wanted.get(target)
            if one is not None:
                counts = one.back_counts
                counts.taken += 1
                counts.confirmed += 1
                counts.to_legacy += 1
            self._memory.brought[target if one is None else one.queue] += 1

    def _turn(self) -> None:
        """All answers of a chunk were told: ack the longest run from the first message on."""
        last = None
        for place, taken in list(self._open.items()):
            if not taken.safe:
                break
            last = taken
            del self._open[place]
        if last is not None:
            last.reader.ack(last.tag, multiple=True)
        self._answer.set()

    # -- how it ends
    # ---------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """What is not acked is back in its level, and the other end may have it too."""
        if len(self._open) == 1 and isinstance(self._old.channel.error, ChannelClosed):
            self._memory.unfit.update(_mark(taken.found) for taken in self._open.values() if taken.queues)
        for taken in self._open.values():
            self._list(taken, "in flight from the ladder when the connection was lost")
        self._open.clear()

    def _list(self, taken: _Taken, why: str) -> None:
        mark = _mark(taken.found)
        if mark in self._memory.listed:
            return
        self._memory.listed.add(mark)
        wanted = self._wanted()
        for target in taken.queues:
            one = wanted.get(target)
            if one is not None:
                one.back_counts.possible_duplicates += 1
            self._doubles.add(target if one is None else one.queue, [taken.head], why)
        if not taken.queues:
            self._doubles.add(taken.found.key[ladder.BITS :], [taken.head], why)


def _mark(found: Found) -> bytes:
    return fingerprint(frames.header_frame(0, found.header) + frames.frame(frames.BODY, 0, found.body))
