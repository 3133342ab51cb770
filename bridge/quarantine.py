"""The quarantine: a quorum queue of the target for messages that cannot be moved as they are (design, section 4.9).

1. Exchange and queue are `bridge.quarantine`, a fanout: routing keys say where a message was and why it is here,
   `<queue>.<reason>`, and may be any.
2. A message is deposited as it was, but for what would keep it from being stored: a `user_id` that is not ours (406),
   and its `expiration`.
3. Only a confirm without a return before it is a deposit; after anything else the caller writes a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gevent.event import Event
from gevent.lock import RLock

from bridge.amqp import ANSWER, Channel, ChannelClosed, Connection
from bridge.core import frames, properties
from bridge.core.rights import QUARANTINE
from bridge.core.wanted import DELIVERY_LIMIT_ARGUMENT, own
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.link import Link

#: Exchange and queue.
NAME = QUARANTINE
#: Its channel on the daemon's target connection; queues have the numbers above it.
CHANNEL = 2
#: Bytes of a short string (AMQP 0-9-1, 4.2.5.3).
_LONGEST_KEY = 255

# One deposit at a time: all queues share the channel.
_lock = RLock()


def open_channel(connection: Connection, number: int) -> tuple[Channel, bool]:
    """Open a channel and declare the quarantine; also whether its queue has a delivery limit, being declared otherwise.

    Raises:
        BridgeError: it cannot be declared, or the broker does not answer.
    """
    arguments = dict(own("", connection.server_version)[1].arguments)
    channel = connection.channel(number)
    limited = False
    try:
        try:
            channel.declare_exchange(NAME, "fanout")
            channel.declare_queue(NAME, arguments)
        except ChannelClosed as fault:
            channel = connection.channel(number)
            if fault.code == 403:
                # Who may not declare it can use what `bridge apply` made.
                channel.exchange_passive(NAME)
                channel.declare_passive(NAME)
            elif fault.code == 406 and arguments.pop(DELIVERY_LIMIT_ARGUMENT, None) is not None:
                channel.declare_queue(NAME, arguments)
                limited = True
            else:
                raise
        channel.bind(NAME, NAME, "")
    except ChannelClosed as fault:
        raise Refused(
            f'{connection.name}: the quarantine "{NAME}" cannot be used: {fault.text} ({fault.code})',
            hint=f'the user needs configure, write and read on exchange and queue "{NAME}"; a queue of this name that '
            "is no quorum queue is in the way",
        ) from None
    except BridgeError:
        channel.close()
        raise
    return channel, limited


class _Outcome:
    """What the broker says of the one message that was published (core.wires.Publisher)."""

    def __init__(self) -> None:
        self.over = Event()
        self.fault = ""

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """It is there, unless it was returned before."""
        self.over.set()

    def nacked(self, seq: int, multiple: bool) -> None:
        """It is refused."""
        self.fault = "rejected it (basic.nack)"
        self.over.set()

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """No queue has it; its confirm follows."""
        self.fault = f"returned it ({code} {text})"

    def turn(self, at: float) -> None:
        """Nothing is acked here."""


def deposit(link: Link, queue: str, reason: str, wire: bytes) -> None:
    """Put a message into the quarantine; when this returns, it is safe there.

    Args:
        link: the daemon's connections.
        queue: name of its source queue.
        reason: why it cannot be moved, a word without dots.
        wire: its header frame and body frames.

    Raises:
        BridgeError: it is not known to be safe there; a copy of it may be there all the same.
    """
    key = f"{queue}.{reason}".encode()
    if len(key) > _LONGEST_KEY:
        raise Refused(f'queue "{queue}": its name is too long for a routing key of the quarantine: {len(key)} bytes')
    target = link.target
    with _lock:
        if target.blocked is not None:
            raise Unreachable(f"{target.name}: takes no publishes now: {target.blocked}")
        header = _fit(queue, wire, target)
        channel, _limited = open_channel(target, CHANNEL)
        outcome = _Outcome()
        # The wire that is there now: another connection gets another.
        publishers = link.target_wire
        publishers.relays[CHANNEL] = outcome
        channel.on_end = outcome.over.set
        try:
            channel.confirm_select()
            target.send(frames.publish_head(CHANNEL, NAME.encode(), key))
            target.send(frames.header_frame(CHANNEL, header))
            for piece in _bodies(wire, target.frame_max):
                target.send(piece)
            _wait(queue, channel, outcome)
        finally:
            channel.on_end = lambda: None
            channel.close()
            publishers.forget(CHANNEL)


def _wait(queue: str, channel: Channel, outcome: _Outcome) -> None:
    """Wait for the outcome; anything but a confirm is an exception."""
    if not outcome.over.wait(ANSWER):
        raise Unreachable(f'queue "{queue}": no confirm from the quarantine within {ANSWER:.0f} s')
    if channel.error is not None:
        raise Refused(f'queue "{queue}": the quarantine did not take a message: {channel.error}')
    if outcome.fault:
        raise Refused(f'queue "{queue}": the quarantine {outcome.fault}')


def _fit(queue: str, wire: bytes, target: Connection) -> bytes:
    """The content header's payload as the target can store it.

    Raises:
        Refused: no publish can carry it.
    """
    payload = wire[7 : 7 + frames.frame_at(wire, 0)[2]]
    try:
        found = properties.spans(payload)
        table = found.get(properties.HEADERS)
        # A broker that cannot read them closes the connection, and with it all queues.
        if table is not None:
            deque(properties.fields(payload, *table), maxlen=0)
    except (properties.Malformed, IndexError) as fault:
        raise Refused(f'queue "{queue}": a message with a malformed content header: {fault}') from None
    drop = found.keys() & {properties.EXPIRATION}
    given = found.get(properties.USER_ID)
    if given is not None and properties.string(payload, given) != target.user.encode():
        drop |= {properties.USER_ID}
    edited = properties.edit(payload, found, drop=sum(drop)) if drop else payload
    if len(edited) + frames.OVERHEAD > target.frame_max:
        raise Refused(
            f'queue "{queue}": a content header of {len(edited)} bytes, a frame of the target has {target.frame_max}'
        )
    return edited


def _bodies(wire: bytes, frame_max: int) -> Iterator[bytes]:
    """The body frames with our channel number, one at a time: the message may be most of what fits into memory."""
    start = frames.frame_at(wire, 0)[2] + frames.OVERHEAD
    while start < len(wire):
        size = frames.frame_at(wire, start)[2]
        yield frames.body_frames(CHANNEL, wire[start + 7 : start + 7 + size], frame_max)
        start += size + frames.OVERHEAD
