"""What is moved: Celery tasks of protocol 2 as they stand on the wire, published fast, and counted without weight.

Every message is one template with its own ids and, where it has an ETA, its own microseconds: nothing that a mover may
remember about one message helps it with the next.
"""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import amqp
import pika

from bridge.core import frames, ladder
from bridge.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The queue on both sides.
QUEUE = "orders"
#: Seconds ahead of what has an ETA: one day, and one second to be past the round number.
AHEAD = 86_401

#: Seconds in which a broker must answer, and in which the queue must have what was published.
ANSWER = 30.0
#: Bytes handed to the socket at once.
CHUNK = 131_072
#: Seconds between two looks at a queue's depth: at 10 000 messages a second and 40 000 messages an error of 0.5 %, for
#: a passive declare each time, which costs the broker about as much as a message.
LOOK_EVERY = 0.02
#: Seconds without any progress after which a mover has failed.
STUCK_AFTER = 30.0

# Both are of the length of what takes their place.
_ID = "00000000-0000-4000-8000-000000000000"
_MICROSECONDS = ".000000+00:00"


@dataclass(frozen=True)
class Load:
    """Messages to be moved.

    Attributes:
        count: how many.
        eta: whether they have an ETA one day ahead; else they are due.
    """

    count: int
    eta: bool

    @property
    def arrives_in(self) -> str:
        """The target's queue in which they are counted: the ladder's level of the highest set bit, or QUEUE."""
        return ladder.level_name(AHEAD.bit_length() - 1) if self.eta else QUEUE

    def template(self) -> bytes:
        """Return one message: the frames of publish, header and body, on channel 1."""
        eta = None
        if self.eta:
            due = datetime.now(UTC) + timedelta(seconds=AHEAD)
            eta = due.strftime("%Y-%m-%dT%H:%M:%S") + _MICROSECONDS
        order = {"sku": "SKU-0042-XL", "quantity": 3, "price": 129.5, "currency": "EUR", "note": "leave at the door"}
        # In the order and with the types that Celery 5 writes (semantics.md, 1.4).
        headers: dict[str, Any] = {
            "lang": "py",
            "task": "shop.tasks.orders.process_order",
            "id": _ID,
            "shadow": None,
            "eta": eta,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": _ID,
            "parent_id": None,
            "argsrepr": "(4711, 'web')",
            "kwargsrepr": repr(order),
            "origin": "gen4711@web-7d9f8b6c5d-x2x4q",
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            headers=headers,
            delivery_mode=2,
            priority=0,
            correlation_id=_ID,
            reply_to="5c1e0f4a-7d6b-3b52-9f0e-2f1c7a9d8e6b",
        )
        body = (
            b'[[4711, "web"], {"sku": "SKU-0042-XL", "quantity": 3, "price": 129.5, "currency": "EUR", '
            b'"note": "leave at the door"}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
        )
        content = pika.frame.Header(1, len(body), properties).marshal()
        return frames.publish_head(1, b"", QUEUE.encode()) + content + frames.frame(frames.BODY, 1, body)

    def publish(self, url: str) -> int:
        """Publish them all into QUEUE, see that it has them, and return the bytes of one message.

        Raises:
            LabError: the queue does not have them in time.
        """
        template = self.template()
        identity, fraction = _ID.encode(), _MICROSECONDS.encode()
        with _channel(url) as (connection, channel):
            parts, size = [], 0
            for number in range(self.count):
                message = template.replace(identity, b"%08x-0000-4000-8000-000000000000" % number)
                if self.eta:
                    message = message.replace(fraction, b".%06d+00:00" % (number % 1_000_000))
                parts.append(message)
                size += len(message)
                if size >= CHUNK:
                    connection.transport.write(b"".join(parts))
                    parts, size = [], 0
            connection.transport.write(b"".join(parts))
            depth = _Depth(channel, QUEUE)
            for _, found in depth.looks():
                if found >= self.count:
                    return len(template)
        raise LabError(f'queue "{QUEUE}" has {depth.last} of {self.count} messages')


def declare(source: str, target: str) -> None:
    """Declare QUEUE on both sides, classic and quorum."""
    for url, kind in ((source, "classic"), (target, "quorum")):
        with _channel(url) as (_, channel):
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": kind})


@dataclass(frozen=True)
class Seen:
    """How a queue filled.

    Attributes:
        first: when it was first seen with messages (monotonic seconds), and with how many.
        last: when it was first seen with all of them.
    """

    first: tuple[float, int]
    last: tuple[float, int]

    @property
    def rate(self) -> float:
        """Messages a second, from the first to the last."""
        (began, before), (ended, after) = self.first, self.last
        return (after - before) / (ended - began)


@contextmanager
def watching(url: str, queue: str) -> Iterator[_Depth]:
    """Be connected for a block to look at a queue's depth."""
    with _channel(url) as (_, channel):
        yield _Depth(channel, queue)


class _Depth:
    """The number of messages that are ready in one queue."""

    def __init__(self, channel: Any, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self.last = 0

    def now(self) -> int:
        """Ask the broker."""
        return int(self._channel.queue_declare(self._queue, passive=True).message_count)

    def looks(self) -> Iterator[tuple[float, int]]:
        """Look (monotonic seconds, depth) until nothing has changed for STUCK_AFTER seconds."""
        changed = time.monotonic()
        while True:
            before = time.monotonic()
            depth = self.now()
            after = time.monotonic()
            if depth != self.last:
                self.last, changed = depth, after
            elif after - changed > STUCK_AFTER:
                return
            yield (before + after) / 2, depth
            time.sleep(LOOK_EVERY)  # noqa: TID251  the poll of a wait with a deadline

    def fill(self, count: int) -> Seen:
        """Wait until the queue has `count` messages.

        Raises:
            LabError: it does not get them.
        """
        first = None
        for look in self.looks():
            if look[1] and first is None:
                first = look
            if look[1] >= count:
                if first is None or first[1] >= count:
                    raise LabError(f"all {count} messages moved between two looks: give more of them")
                return Seen(first, look)
        raise LabError(f'queue "{self._queue}" got {self.last} of {count} messages, and no more for {STUCK_AFTER:g} s')


@contextmanager
def _channel(url: str) -> Iterator[tuple[Any, Any]]:
    """A connection and its channel 1, by py-amqp: its transport takes frames that are ready, and it has no threads."""
    parts = urlsplit(url)
    connection = amqp.Connection(
        f"{parts.hostname}:{parts.port}",
        userid=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        virtual_host=unquote(parts.path[1:]),
        connect_timeout=ANSWER,
        read_timeout=ANSWER,
        write_timeout=ANSWER,
        # py-amqp's own second is less than a busy broker holds back a publisher that is too fast for it.
        socket_settings={socket.TCP_USER_TIMEOUT: int(ANSWER * 1000)},
    )
    # Not left to others: click takes a broken pipe for one of its own output, and ends without a word.
    try:
        with connection:
            yield connection, connection.channel(1)
    except (OSError, amqp.AMQPError) as fault:
        raise LabError(f"the connection to {parts.hostname}:{parts.port} failed: {fault}") from fault
