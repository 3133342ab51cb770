"""What only trying, and looking twice, can show of a broker; no message is taken, nothing is made, nothing is left.

1. **Rights.** RabbitMQ looks at the user's rights before it looks at the request. So each trial asks for something that
   cannot be granted: refused with 403 the right is missing, refused for its nonsense it is there (seen on 3.10.8, 4.0.5
   and 4.3.6). To read a queue: `basic.consume` with a priority that is a text, so no message can come. To configure: a
   declaration with an argument of the wrong type, which neither makes anything new nor equals anything old. To write to
   a queue or read an exchange: taking away a binding that nobody has. To publish: a message for a queue that does not
   exist, which comes back.
2. A refusal closes its channel and is a line in the broker's log, for whichever reason: `core/rights.py` chooses few.
3. **The largest message** is named by the broker when it refuses a larger one; there is no other way to ask.
4. **Messages that stay in the ladder.** A quorum level counts the due messages that no queue has taken
   (`messages_dlx`). Under traffic that is some of them at any moment; those that are there at every look, over more
   than two of the broker's reports, stand in the way. Which ones, and for which queue, the broker does not tell.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gevent.pool import Pool

from bridge.amqp import Channel, ChannelClosed, Connection
from bridge.core import copies, ladder
from bridge.core.rights import DEFAULT_EXCHANGE, PROBE, Right
from bridge.core.topology import Trial
from bridge.management import Management

#: Trials under way at once: a distant broker answers 1 000 in seconds.
AT_ONCE = 16
#: One byte more than the default of 4.0 and later: the limit of a broker that has this or less is shown by it.
_ASKED = 16 * 1024**2 + 1
#: No version takes more, in bytes.
LARGEST = 512 * 1024**2
#: Seconds over which messages must stay: a quorum queue reports every 5 s.
LOOKS = 12.0
#: Seconds between two looks.
LOOK_EVERY = 1.0

_CONFIGURED = re.compile(r"max size (\d+)")
#: Queues of ours that belong to exchanges of ours, by exchange.
_BEHIND = {
    copies.EXCHANGE: copies.EXCHANGE,
    **{
        exchange: ladder.level_name(level)
        for level in range(ladder.LEVELS)
        for exchange in (ladder.level_name(level), ladder.entry_name(level))
    },
}
#: An exchange that every vhost has.
_ANY_EXCHANGE = "amq.topic"


class _Asking(Channel):
    """A channel for the requests that are made only to be refused."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, connection._alive(), number)  # noqa: SLF001  as Connection.channel does
        self._channel.add_on_return_callback(_unused)

    def consume_nothing(self, queue: str) -> None:
        """Ask to consume with a priority that no broker takes."""
        nonsense = {"x-priority": "bridge"}
        self._call(lambda done: self._channel.basic_consume(queue, _unused, arguments=nonsense, callback=done))

    def declare_nothing(self, queue: str) -> None:
        """Ask for a queue that no broker makes, and that equals none there is."""
        nonsense = {"x-expires": "bridge"}
        self._call(lambda done: self._channel.queue_declare(queue, durable=True, arguments=nonsense, callback=done))

    def declare_no_exchange(self, exchange: str) -> None:
        """Ask for an exchange that no broker makes, and that equals none there is."""
        nonsense = {"alternate-exchange": 1}
        self._call(
            lambda done: self._channel.exchange_declare(
                exchange, exchange_type="topic", durable=True, arguments=nonsense, callback=done
            )
        )

    def unbind_nothing(self, queue: str, exchange: str) -> None:
        """Take a binding away that nobody has."""
        self._call(lambda done: self._channel.queue_unbind(queue, exchange, routing_key=_nowhere(), callback=done))

    def unbind_no_exchange(self, destination: str, source: str) -> None:
        """Take a binding of an exchange away that nobody has."""
        self._call(
            lambda done: self._channel.exchange_unbind(destination, source, routing_key=_nowhere(), callback=done)
        )

    def publish_nowhere(self, body: bytes) -> None:
        """Publish for a queue that does not exist; the next answer comes after the broker has judged it."""
        if self.error is None:
            self._channel.basic_publish("", f"bridge.probe.{secrets.token_hex(8)}", body, mandatory=True)
        self.qos(1)


def trials(connection: Connection, rights: Iterable[Right], *, taking: bool, queue: str | None = None) -> list[Trial]:
    """Try each of `rights` on the broker of `connection`, which is open.

    Args:
        connection: of the side that the rights are for.
        rights: what to try.
        taking: the broker takes publishes now; with an alarm it would not answer to one.
        queue: one on which we should have write, to try reading an exchange with.

    Raises:
        Unreachable: the connection is lost.
    """
    most = connection.channel_max or 65535
    # A number is free again when both ends have closed its channel: the next trial takes another.
    numbers = itertools.cycle(range(1, most + 1))

    def attempt(right: Right) -> Trial:
        if right.name == DEFAULT_EXCHANGE and not taking:
            return _trial(right, None, "not tried: an alarm keeps the broker from taking messages")
        return _attempt(_Asking(connection, next(numbers)), right, queue)

    pool = Pool(min(AT_ONCE, most))
    return list(pool.imap(attempt, rights))


def _attempt(channel: _Asking, right: Right, queue: str | None) -> Trial:
    # The ladder's last exchange has no queue of its own.
    writable = right.name if right.name.startswith(PROBE) else _BEHIND.get(right.name, queue)
    requests: Mapping[tuple[str, str], Callable[[], None]] = {
        ("read", "queue"): lambda: channel.consume_nothing(right.name),
        ("configure", "queue"): lambda: channel.declare_nothing(right.name),
        ("configure", "exchange"): lambda: channel.declare_no_exchange(right.name),
        ("write", "queue"): lambda: channel.unbind_nothing(right.name, _ANY_EXCHANGE),
        ("read", "exchange"): lambda: channel.unbind_nothing(writable or "", right.name),
        ("write", "exchange"): lambda: (
            channel.publish_nowhere(b"")
            if right.name == DEFAULT_EXCHANGE
            else channel.unbind_no_exchange(right.name, _ANY_EXCHANGE)
        ),
    }
    try:
        requests[right.right, right.kind]()
    except ChannelClosed as answer:
        return _judged(right, answer)
    channel.close()
    return _trial(right, True)


def _judged(right: Right, answer: ChannelClosed) -> Trial:
    if answer.code != 403 or "access to " not in answer.text:
        return _trial(right, True)
    if f"access to {right.kind} '{right.name}' in vhost" in answer.text:
        return _trial(right, False, answer.text)
    # Write on the one end of a binding is looked at before read on the other.
    return _trial(right, True) if right.right == "write" else _trial(right, None, f"cannot be told: {answer.text}")


def _trial(right: Right, granted: bool | None, text: str = "") -> Trial:
    return Trial(right.side, right.right, right.kind, right.name, granted, text)


def default_largest(version: tuple[int, ...]) -> int:
    """Bytes of the largest body that a version takes when nobody configured it (semantics.md, 6.1)."""
    return 16 * 1024**2 if version >= (4,) else 128 * 1024**2


def largest_body(connection: Connection) -> int | None:
    """Bytes of the largest body that the broker takes, by its own word.

    It is sent 16 MiB and one byte, and sends them back if it takes them. None: it takes them, and is of a version whose
    default is larger; `LARGEST` where the default is not. The connection may be gone after it.

    Raises:
        Unreachable: no answer in time.
    """
    channel = _Asking(connection, 1)
    try:
        channel.publish_nowhere(bytes(_ASKED))
    except ChannelClosed as answer:
        found = _CONFIGURED.search(answer.text)
        return int(found[1]) if found else None
    channel.close()
    return None if default_largest(connection.server_version) >= _ASKED else LARGEST


def staying(management: Management, vhost: str, levels: Mapping[int, int], *, seconds: float = LOOKS) -> dict[int, int]:
    """Due messages of the ladder's levels that are there at every look for `seconds`; levels without any are left out.

    Args:
        management: of the target.
        vhost: the target's.
        levels: level to due messages at the first look, as a snapshot tells.
        seconds: how long to look, in seconds; at least two reports of the broker.

    Raises:
        Unreachable: the API does not answer.
    """
    least = {level: due for level, due in levels.items() if due}
    deadline = time.monotonic() + seconds
    while least and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)  # noqa: TID251 - the poll of a wait with a deadline
        for level in list(least):
            queue = management.queue(vhost, ladder.level_name(level))
            least[level] = min(least[level], queue.dead_letters if queue else 0)
            if not least[level]:
                del least[level]
    return least


@contextlib.contextmanager
def opened(connection: Connection) -> Iterator[Connection]:
    """The connection, open for as long as this lasts.

    Raises:
        Unreachable: it cannot be opened.
    """
    connection.open()
    try:
        yield connection
    finally:
        connection.close()


def _nowhere() -> str:
    """A routing key that begins as our exits do, and that no exit has: a hash has no "probe" in it."""
    return f"#.{ladder.WORD_PREFIX}~probe-{secrets.token_hex(8)}"


def _unused(*_arguments: Any) -> None:
    """A callback for what never comes, or is of no interest."""
