"""Sends single messages exactly as the daemon sends them, for commands that run in a process of their own.

1. Each destination queue has a channel and a `core.relay.Relay`: an ETA is converted anew, what must not travel is
   cut, and a message is safe only when the broker confirmed it and did not return it.
2. Before the first message of a queue, the queue and the ladder are looked at and our exit is bound.
3. Publishes are pipelined, within the window of `relay:` in number and in bytes; `put` blocks while it is full.
4. Every message is answered for once: safe, or why not. After a broker closed a channel without saying for which
   message, those without an answer are sent once more, one at a time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import gevent
from gevent.event import Event

from bridge import sides
from bridge.amqp import ANSWER, Channel, ChannelClosed
from bridge.config import Config
from bridge.core import frames, properties
from bridge.core.counts import Counts
from bridge.core.pace import Free
from bridge.core.relay import Destination, Outbox, Relay
from bridge.core.wires import TargetWire
from bridge.delayed import CHANNEL, Exits
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.shared import TOO_LARGE

#: Told None when the message is safe, else why it is not.
Done = Callable[[str | None], None]

#: Seconds without any answer after which the broker is given up.
SILENCE = 30.0
#: Seconds for the last answers on a channel on which something was refused.
LAST_ANSWERS = 5.0
#: Seconds for which a queue that cannot be sent to is not looked at again.
REFUSED_FOR = 2.0


@dataclass(slots=True)
class _Sent:
    """A message that was given to us, and not answered for yet."""

    header: bytes
    body: bytes
    done: Done
    size: int
    answered: bool = False


class _Lane:
    """One destination queue: a channel, a relay, and what is in flight there."""

    def __init__(self, channel: Channel, relay: Relay) -> None:
        self.channel = channel
        self.relay = relay
        self.sent: dict[int, _Sent] = {}
        self.tag = 0

    @property
    def ends(self) -> bool:
        """Whether nothing more can be sent here."""
        return self.relay.surprise is not None or self.channel.closed.is_set()


class Republisher:
    """The connection that messages are sent over, open from the beginning.

    `done` is called in a greenlet of its own, in no particular order; an exception of it comes out of the next `put` or
    `flush`.

    Args:
        config: of the bridge.
        to: `target`, or `source`: back to the queue the message came from, with no ladder.

    Raises:
        Unreachable: the broker cannot be reached.
    """

    def __init__(self, config: Config, *, to: str = "target") -> None:
        self._config = config
        self._to = to
        broker = config.target if to == "target" else config.source
        self._wire = TargetWire()
        self._out = Outbox()
        self._connection = sides.connection(to, broker, config.instance)(receive=self._receive)
        self._exits = Exits(self._connection, sides.ladder(broker))
        self._lanes: dict[str, _Lane] = {}
        self._numbers = CHANNEL
        self._free: list[int] = []
        #: Messages that are not answered for yet, and their bytes.
        self.in_flight = 0
        self._bytes = 0
        self._max_message: int | None = None
        #: When the broker last answered for a message, or there was nothing to answer for (monotonic seconds).
        self._heard = time.monotonic()
        self._answers: deque[tuple[_Sent, str | None]] = deque()
        #: Why a queue cannot be sent to, and when that was seen (monotonic seconds).
        self._refused: dict[str, tuple[float, str]] = {}
        #: Queues whose messages are sent one at a time now.
        self._searched: set[str] = set()
        self._fault: BaseException | None = None
        self._wake = Event()
        self._room = Event()
        self._closing = False
        self._connection.open()
        self._connection.on_blocked = self._wake.set
        self._worker = gevent.spawn(self._work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what a command calls
    # -------------------------------------------------------------------------------------------

    def put(self, queue: str, header: bytes, body: bytes, done: Done) -> None:
        """Send a message; blocks while the window is full.

        Args:
            queue: name of its source queue; the configuration says which queue of the target that is.
            header: payload of its content header.
            body: its body.
            done: told how it ended.

        Raises:
            Unreachable: the connection is lost, or the broker does not answer; all that was in flight is told so.
        """
        target, size = self._target_of(queue), len(header) + len(body)
        self._wait(lambda: self._fits(size) and not self._ends(target))
        self.in_flight += 1
        self._bytes += size
        sent = _Sent(header, body, done, size)
        try:
            self._send(target, sent)
        except BridgeError as fault:
            self._answer(sent, str(fault))
            raise

    def flush(self, seconds: float) -> None:
        """Wait until all messages are answered for.

        Raises:
            Unreachable: they are not within `seconds`, the connection is lost, or the broker does not answer.
        """
        self._wait(lambda: not self.in_flight, seconds)

    def close(self) -> None:
        """Leave; what is not answered for yet is told that it is not known to be safe."""
        self._closing = True
        self._wake.set()
        self._worker.join(ANSWER)
        self._connection.close()
        for lane in self._lanes.values():
            for sent in lane.sent.values():
                self._answer(sent, str(lane.channel.error or f"{self._to}: not confirmed before the end"))
            lane.sent.clear()
        self._tell()

    # -- sending
    # --------------------------------------------------------------------------------------------------------

    def _target_of(self, queue: str) -> str:
        return self._config.setting_for(queue).target if self._to == "target" else queue

    def _fits(self, size: int) -> bool:
        limits = self._config.relay
        return not self.in_flight or (self.in_flight < limits.window and self._bytes + size <= limits.window_bytes)

    def _ends(self, target: str) -> bool:
        """Whether the worker still has to answer for what was in flight to this queue."""
        lane = self._lanes.get(target)
        if lane is not None and lane.ends:
            self._wake.set()
            return True
        return target in self._searched

    def _wait(self, condition: Callable[[], bool], seconds: float = math.inf) -> None:
        """Wait for answers until `condition` holds."""
        until = time.monotonic() + seconds
        while True:
            self._check()
            if condition():
                return
            if time.monotonic() > until:
                raise Unreachable(f"{self._to}: {self.in_flight} messages without an answer after {seconds:.0f} s")
            self._room.clear()
            self._room.wait(1.0)

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._connection.closed.is_set():
            raise Unreachable(f"{self._to}: connection lost: {self._connection.reason}")
        if self.in_flight and time.monotonic() - self._heard > SILENCE:
            blocked = self._connection.blocked
            raise Unreachable(
                f"{self._to}: takes no publishes now: {blocked}"
                if blocked
                else f"{self._to}: no confirm for {SILENCE:.0f} s"
            )

    def _send(self, target: str, sent: _Sent) -> None:
        """Send over the lane of a queue, or answer why that cannot be."""
        unfit = self._unfit(sent.header, sent.body)
        if unfit is not None:
            self._answer(sent, unfit)
            return
        lane = self._lanes.get(target)
        if lane is None:
            try:
                lane = self._open(target)
            except Refused as fault:
                self._refused[target] = (time.monotonic(), str(fault))
                self._answer(sent, str(fault))
                return
        self._over(lane, sent)

    def _unfit(self, header: bytes, body: bytes) -> str | None:
        """Why no publish can carry a message; None when one can."""
        try:
            table = properties.spans(header).get(properties.HEADERS)
            if table is not None:
                deque(properties.fields(header, *table), maxlen=0)
        except (properties.Malformed, IndexError) as fault:
            return f"its content header is malformed: {fault}"
        announced = int.from_bytes(header[4:12], "big")
        if announced != len(body):
            return f"its content header announces a body of {announced} bytes, it has {len(body)}"
        if self._max_message is not None and len(body) > self._max_message:
            return f"{self._to}: its body has {len(body)} bytes, the broker takes {self._max_message}"
        frame_max = self._connection.frame_max
        if len(header) + frames.OVERHEAD > frame_max:
            return f"{self._to}: its header has {len(header)} bytes, a frame of the broker {frame_max}"
        return None

    def _over(self, lane: _Lane, sent: _Sent) -> None:
        relay = lane.relay
        number = lane.channel.number
        wire = frames.header_frame(number, sent.header) + frames.body_frames(number, sent.body, relay.to.frame_max)
        lane.tag += 1
        lane.sent[lane.tag] = sent
        flags = int.from_bytes(sent.header[12:14], "big")
        if self.in_flight <= 1:
            self._heard = time.monotonic()
        try:
            relay.deliver(lane.tag, 0, wire, len(sent.header), flags, time.time(), time.monotonic())
        except Exception as fault:  # noqa: BLE001  whatever it is, it is this message's, and nothing was sent
            del lane.sent[lane.tag]
            self._answer(sent, f"it cannot be read: {type(fault).__name__}: {fault}")
        self._flush()
        for held in relay.held:
            self._answer(lane.sent.pop(held.tag), f"no publish can carry it: {held.reason}")
            relay.set_apart(held)
        relay.held.clear()

    def _flush(self) -> None:
        out = self._out
        if out.to_target:
            self._connection.send(b"".join(out.to_target))
            out.to_target.clear()
        out.alerts.clear()

    def _open(self, target: str) -> _Lane:
        """A lane for a queue, once all that its messages need is there.

        Raises:
            Refused: something is missing.
            Unreachable: the broker does not answer.
        """
        at, text = self._refused.get(target, (0.0, ""))
        if text and time.monotonic() - at < REFUSED_FOR:
            raise Refused(text)
        if self._exits.consumers(target) is None:
            raise Refused(f'{self._to}: there is no queue "{target}"')
        if self._to == "target":
            if self._exits.fault is not None:
                self._exits.ensure_ladder()
            if self._exits.fault is not None:
                raise Refused(self._exits.fault)
            self._exits.bind(target)
        connection = self._connection
        number = self._free.pop() if self._free else self._next_number()
        channel = connection.channel(number)
        channel.on_end = self._wake.set
        channel.confirm_select()
        capped = self._config.eta.cap_priority == "auto" and (4, 0) <= connection.server_version < (4, 3)
        to = Destination(
            target,
            connection.user.encode(),
            connection.frame_max,
            max_message=self._max_message,
            cap_priority=capped,
            entries=self._exits.entries,
            straight=self._to != "target",
            side=self._to,
        )
        lane = _Lane(channel, Relay(number, to, Free(self._config.relay.window), Counts(), self._out))
        self._wire.relays[number] = lane.relay
        self._lanes[target] = lane
        return lane

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- answers
    # --------------------------------------------------------------------------------------------------------

    def _receive(self, chunk: bytes) -> bytes:
        """Called from the hub: what the broker said."""
        others = self._wire.receive(chunk, time.monotonic())
        self._acked()
        if self._out.alerts:
            self._out.alerts.clear()
            self._wake.set()
        return others

    def _acked(self) -> None:
        """What the relays would ack at a source is safe."""
        by_number = {lane.channel.number: lane for lane in self._lanes.values()}
        for ack in self._out.to_source:
            lane = by_number[frames.frame_at(ack, 0)[1]]
            tag, multiple = frames.tag_at(ack, 11)
            for safe in list(_tags(lane.sent, tag, bool(multiple))):
                self._answer(lane.sent.pop(safe), None)
        self._out.to_source.clear()

    def _answer(self, sent: _Sent, text: str | None) -> None:
        if sent.answered:
            return
        sent.answered = True
        self._answers.append((sent, text))
        self._heard = time.monotonic()
        self._wake.set()

    def _tell(self) -> None:
        while self._answers:
            sent, text = self._answers.popleft()
            self.in_flight -= 1
            self._bytes -= sent.size
            try:
                sent.done(text)
            except Exception as fault:  # noqa: BLE001  it comes out where the command waits
                self._fault = self._fault or fault
        self._room.set()

    def _work(self) -> None:
        """Runs in a greenlet of its own: tells how messages ended, and ends lanes."""
        while not self._closing:
            self._wake.wait(1.0)
            self._wake.clear()
            self._tell()
            for target, lane in list(self._lanes.items()):
                if lane.ends:
                    try:
                        self._end(target, lane)
                    except BridgeError as fault:
                        self._fault = self._fault or fault
            self._tell()

    def _end(self, target: str, lane: _Lane) -> None:
        """Answer for what is in flight on a lane that cannot go on, and take it away."""
        until = time.monotonic() + LAST_ANSWERS
        while lane.relay.ledger.unconfirmed and not lane.channel.closed.is_set() and time.monotonic() < until:
            self._wake.wait(0.05)
            self._wake.clear()
            self._tell()
        lane.relay.last_turn()
        self._acked()
        number, error = lane.channel.number, lane.channel.error
        lane.channel.on_end = lambda: None
        lane.channel.close()
        self._wire.forget(number)
        lane.relay.close()
        self._free.append(number)
        left = list(lane.sent.values())
        lane.sent.clear()
        del self._lanes[target]
        if isinstance(error, ChannelClosed):
            found = TOO_LARGE.search(error.text)
            self._max_message = int(found[1]) if found else self._max_message
            if len(left) > 1:
                self._one_by_one(target, left)
        surprise = lane.relay.surprise
        text = str(error) if error is not None else surprise.text if surprise is not None else "not confirmed"
        for sent in left:
            self._answer(sent, text)

    def _one_by_one(self, target: str, left: list[_Sent]) -> None:
        """Send those once more of which one closed the channel; the one that is alone when it closes is it."""
        self._searched.add(target)
        try:
            for sent in left:
                self._send(target, sent)
                lane = self._lanes.get(target)
                until = time.monotonic() + SILENCE
                while lane is not None and lane.sent and not lane.ends and time.monotonic() < until:
                    self._wake.wait(0.05)
                    self._wake.clear()
                if lane is not None and (lane.ends or lane.sent):
                    self._end(target, lane)
                self._tell()
        finally:
            self._searched.discard(target)


def _tags(sent: dict[int, _Sent], tag: int, multiple: bool) -> Iterator[int]:
    """Those of the tags in flight that an ack speaks of: they stand in ascending order."""
    if not multiple:
        if tag in sent:
            yield tag
        return
    for one in sent:
        if one > tag:
            return
        yield one
