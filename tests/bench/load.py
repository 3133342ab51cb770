"""What is moved: Celery tasks of protocol 2 as they stand on the wire, published fast, and counted without weight.

Every message is one template with its own ids and, where it has an ETA, its own microseconds: nothing that a mover may
remember about one message helps it with the next.
"""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import amqp
import pika

from bridge.core import frames, ladder
from bridge.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The queue on both sides; where there are several, each has this name with its number behind it.
QUEUE = "orders"
#: Bytes of a message that is one KiB on the wire, the size that studies take unless they vary it.
KIB = 1024
#: Seconds ahead of what has an ETA in a day: one day, and one second to be past the round number.
DAY = 86_401

#: Seconds in which a broker must answer, and in which the queue must have what was published.
ANSWER = 30.0
#: Bytes handed to the socket at once.
CHUNK = 131_072
#: Bytes of a frame, as both brokers and py-amqp agree on.
FRAME_MAX = 131_072
#: Seconds between two looks at a queue's depth: at 10 000 messages a second and 40 000 messages an error of 0.5 %, for
#: a passive declare each time, which costs the broker about as much as a message.
LOOK_EVERY = 0.02
#: Times as long as a look took until the next one, so that many queues are not asked all the time.
LOOK_SELDOM = 10
#: Seconds without any progress after which a mover has failed.
STUCK_AFTER = 30.0
#: Seconds by which the first message may be older than the last one when it is moved; within it the level of the
#: ladder must be the same, or all levels are looked at.
OLDER = 90
#: Bytes on the wire below which a message has only those headers that a worker needs.
FULL_FROM = 900

#: The id of every message of a template, and the fraction of its ETA: both as long as what takes their place.
ID = "00000000-0000-4000-8000-000000000000"
_MICROSECONDS = ".000000+00:00"


@dataclass(frozen=True)
class Load:
    """Messages to be moved.

    Attributes:
        count: how many.
        body: bytes of one message on the wire, all frames of its publish; the body is what makes it so long.
        ahead: seconds until what has an ETA is due; None: nothing has one.
        queues: over how many queues they are spread, in turn.
        share: the part of them that has an ETA, where `ahead` says so.
    """

    count: int
    body: int = KIB
    ahead: int | None = None
    queues: int = 1
    share: float = 1.0

    @property
    def names(self) -> list[str]:
        """The queues."""
        return queue_names(self.queues)

    @property
    def places(self) -> dict[str, int | None]:
        """The target's queues in which they arrive, and how many in each; None where that is not known beforehand.

        With an ETA it is the ladder's level of the highest set bit. Where the wait is so short that messages go on
        while others come, all levels below it and the queue itself count, in the order against their way.
        """
        each, more = divmod(self.count, self.queues)
        due: dict[str, int | None] = {name: each + (number < more) for number, name in enumerate(self.names)}
        if self.ahead is None:
            return due
        top = self.ahead.bit_length() - 1
        if self.ahead > OLDER and (self.ahead - OLDER).bit_length() - 1 == top:
            levels = [top]
        else:
            levels = list(range(top + 1))
        found: dict[str, int | None] = dict.fromkeys(due) if self.share < 1 or len(levels) > 1 else {}
        return found | {ladder.level_name(level): None for level in levels}

    def template(self, queue: str = QUEUE, *, delayed: bool | None = None) -> bytes:
        """Return one message: the frames of publish, header and body, on channel 1.

        Args:
            queue: where it is published to.
            delayed: whether it has an ETA; None: as `ahead` says.

        Raises:
            LabError: so few bytes cannot be a Celery task.
        """
        eta = None
        if self.ahead is not None and delayed is not False:
            due = datetime.now(UTC) + timedelta(seconds=self.ahead)
            eta = due.strftime("%Y-%m-%dT%H:%M:%S") + _MICROSECONDS
        properties = _properties(eta, full=self.body >= FULL_FROM)
        order = '[[4711, "web"], {"sku": "SKU-0042-XL", "quantity": 3, "note": "%s"}, {"chord": null}]'
        if self.body < FULL_FROM:
            order = '[["%s"], {}, {}]'

        def written(room: int) -> bytes:
            body = (order % ("x" * room)).encode()
            content = pika.frame.Header(1, len(body), properties).marshal()
            return frames.publish_head(1, b"", queue.encode()) + content + frames.body_frames(1, body, FRAME_MAX)

        # Frame heads take room as well, once the body needs more than one.
        room = self.body - len(written(0))
        while room > 0 and len(written(room)) > self.body:
            room -= len(written(room)) - self.body
        if room < 0:
            raise LabError(f"{self.body} bytes on the wire are asked for, a task takes at least {len(written(0))}")
        return written(room)

    def publish(self, url: str) -> int:
        """Publish them all, see that the queues have them, and return the bytes of one message.

        Raises:
            LabError: the queues do not have them in time.
        """
        identity, fraction = ID.encode(), _MICROSECONDS.encode()
        mixed = self.ahead is not None and self.share < 1
        due = [self.template(name, delayed=False) for name in self.names]
        late = due if self.ahead is None else [self.template(name) for name in self.names]
        with connected(url) as (connection, channel):
            parts, size = [], 0
            for number in range(self.count):
                # Spread evenly: so many of every hundred, wherever one begins to count.
                has_eta = not mixed or int((number + 1) * self.share) > int(number * self.share)
                message = (late if has_eta else due)[number % self.queues]
                message = message.replace(identity, b"%08x-0000-4000-8000-000000000000" % number)
                if self.ahead is not None and has_eta:
                    message = message.replace(fraction, b".%06d+00:00" % (number % 1_000_000), 1)
                parts.append(message)
                size += len(message)
                if size >= CHUNK:
                    connection.transport.write(b"".join(parts))
                    parts, size = [], 0
            connection.transport.write(b"".join(parts))
            arrived = Arrivals(channel, replace(self, ahead=None).places)
            for _, found in arrived.looks(self.count):
                if found >= self.count:
                    return len(late[0])
        raise LabError(f"the old broker has {arrived.last} of {self.count} messages")


def queue_names(queues: int) -> list[str]:
    """Return the names of so many queues."""
    return [QUEUE] if queues == 1 else [f"{QUEUE}-{number:04d}" for number in range(queues)]


def declare(source: str, target: str, queues: int = 1) -> None:
    """Declare the queues on both sides, classic and quorum."""
    for url, kind in ((source, "classic"), (target, "quorum")):
        with connected(url) as (_, channel):
            for name in queue_names(queues):
                channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": kind})


@dataclass(frozen=True)
class Seen:
    """How the target filled.

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

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        return self.last[0] - self.first[0]


@contextmanager
def watching(url: str, places: dict[str, int | None]) -> Iterator[Arrivals]:
    """Be connected for a block to look at queues: how many messages each of them is to get, where that is known."""
    with connected(url) as (_, channel):
        yield Arrivals(channel, places)


class Arrivals:
    """How many messages are ready in some queues together. A queue that has all its messages is not asked again."""

    def __init__(self, channel: Any, places: dict[str, int | None]) -> None:
        self._channel = channel
        self._places = places
        self._full: dict[str, int] = {}
        self.last = 0

    def now(self) -> int:
        """Ask the broker for all of them."""
        return sum(self._depth(name) for name in self._places)

    def looks(self, count: int) -> Iterator[tuple[float, int]]:
        """Look (monotonic seconds, messages) until nothing has changed for STUCK_AFTER seconds.

        Args:
            count: how many there will be: the nearer they are, the more often we look.
        """
        began = changed = time.monotonic()
        while True:
            before = time.monotonic()
            depth = self._look()
            after = time.monotonic()
            if depth != self.last:
                self.last, changed = depth, after
            elif after - changed > STUCK_AFTER:
                return
            yield (before + after) / 2, depth
            # Half of the time that the rest will take at the rate so far.
            left = (after - began) * (count - depth) / depth / 2 if depth else LOOK_EVERY
            pause = max(LOOK_EVERY, min(LOOK_SELDOM * (after - before), left))
            time.sleep(pause)  # noqa: TID251  the poll of a wait with a deadline

    def fill(self, count: int) -> Seen:
        """Wait until they have `count` messages together.

        Raises:
            LabError: they do not get them.
        """
        first = None
        for look in self.looks(count):
            if look[1] and first is None:
                first = look
            if look[1] >= count:
                if first is None or first[1] >= count:
                    raise LabError(f"all {count} messages moved between two looks: give more of them")
                return Seen(first, look)
        raise LabError(f"{self.last} of {count} messages arrived, and no more for {STUCK_AFTER:g} s")

    def _look(self) -> int:
        found = 0
        for name, whole in self._places.items():
            depth = self._full.get(name) or self._depth(name)
            if whole and depth >= whole:
                self._full[name] = depth
            found += depth
        return found

    def _depth(self, name: str) -> int:
        return int(self._channel.queue_declare(name, passive=True).message_count)


def _properties(eta: str | None, *, full: bool) -> pika.BasicProperties:
    """Return those of a Celery task: in the order and with the types that Celery 5 writes (semantics.md, 1.4)."""
    headers: dict[str, Any] = {"lang": "py", "task": "shop.orders.pay", "id": ID}
    if eta is not None:
        headers["eta"] = eta
    if not full:
        return pika.BasicProperties("application/json", "utf-8", headers, delivery_mode=2, correlation_id=ID)
    order = {"sku": "SKU-0042-XL", "quantity": 3, "price": 129.5, "currency": "EUR", "note": "leave at the door"}
    headers = {
        "lang": "py",
        "task": "shop.tasks.orders.process_order",
        "id": ID,
        "shadow": None,
        "eta": eta,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": ID,
        "parent_id": None,
        "argsrepr": "(4711, 'web')",
        "kwargsrepr": repr(order),
        "origin": "gen4711@web-7d9f8b6c5d-x2x4q",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    return pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers=headers,
        delivery_mode=2,
        priority=0,
        correlation_id=ID,
        reply_to="5c1e0f4a-7d6b-3b52-9f0e-2f1c7a9d8e6b",
    )


@contextmanager
def connected(url: str) -> Iterator[tuple[Any, Any]]:
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
