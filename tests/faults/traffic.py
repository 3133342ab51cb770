"""A producer and workers that live through everything that is done to their brokers, and remember every task.

Messages go out and come in as bytes, so what changed on the way is seen with its type tags. A publish without an answer
is not sent again: its number may be there once or not at all, and only what the broker confirmed can be lost.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from amqp.basic_message import Message

from bridge.lab.deadline import until
from tests.support.peers import _Background, message, number_in
from tests.support.raw_amqp import Raw, RawAmqp

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a try without a broker, or a publish without an answer, ends in.
_FAILED = (OSError, AssertionError)
#: Seconds between two tries to connect.
_AGAIN = 0.2
#: Seconds that a worker's turn takes at most when nothing comes.
_TURN = 0.05
#: Tasks that are handed to the socket at once.
_BURST = 2000

#: Headers of some of the tasks: a field of every type that a Celery producer makes, and some that others make.
_HEADERS: tuple[dict[str, Any], ...] = (
    {},
    {"timelimit": [300.5, 60], "stamps": {"group": [1, 2.5, None]}, "shadow": None},
    {"big": 2**40, "small": -1, "flag": True, "price": Decimal("1.50"), "when": datetime(2026, 1, 2, tzinfo=UTC)},
    {"expires": "2999-01-01T00:00:00+00:00", "ignore_result": False, "nested": {"a": [{"b": b"\x00\xff".hex()}]}},
)


@dataclass(frozen=True)
class Sent:
    """A task as it was published: its bytes, and when it is due (UTC epoch seconds), None for at once."""

    properties: bytes
    body: bytes
    due: float | None


@dataclass(frozen=True)
class Came:
    """A task as a worker got it; `wall` in UTC epoch seconds, `at` in seconds of the monotonic clock."""

    number: int
    properties: bytes
    body: bytes
    redelivered: bool
    wall: float
    at: float


class Producer(_Background):
    """Publishes numbered tasks with confirms, so many a second, through everything.

    Args:
        url: the old vhost.
        queue: of the tasks.
        rate: tasks a second.
        ahead: how many seconds ahead ETA tasks are due: least and most.
        share: of the tasks, those with an ETA.

    Attributes:
        sent: every task by its number, whether it was confirmed or not.
        confirmed: numbers that the broker has taken.
        share: may be changed at any time.
    """

    def __init__(
        self, url: str, queue: str, *, rate: float = 200.0, ahead: tuple[float, float] = (2.0, 6.0), share: float = 0.2
    ) -> None:
        self.sent: dict[int, Sent] = {}
        self.confirmed: set[int] = set()
        self.share = share
        self._url = url
        self._queue = queue
        self._rate = rate
        self._ahead = ahead
        self._random = random.Random(1)
        self._next = 0
        self._lock = threading.Lock()
        #: Held by whoever publishes, so that holding it means that nothing is on its way to the broker.
        self._publishing = threading.RLock()
        super().__init__()

    @property
    def next(self) -> int:
        """The number of the next task."""
        return self._next

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is published in this block, and everything before it was answered."""
        with self._publishing:
            yield

    def burst(self, count: int, ahead: float | None = None) -> None:
        """Publish so many tasks as fast as the broker takes them, due in `ahead` seconds; None: at once."""
        with self._publishing, RawAmqp(self._url) as amqp:
            for first in range(0, count, _BURST):
                numbers = [self._made(ahead) for _ in range(min(_BURST, count - first))]
                amqp.publish_all("", self._queue, (Raw(self.sent[it].properties, self.sent[it].body) for it in numbers))
                self.confirmed.update(numbers)

    def forget(self) -> None:
        """Begin the books anew; the numbers go on."""
        self.sent.clear()
        self.confirmed.clear()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with RawAmqp(self._url) as amqp:
                    self._publish(amqp)
            except _FAILED:
                self._stopping.wait(_AGAIN)

    def _publish(self, amqp: RawAmqp) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            with self._publishing:
                eta = self._random.uniform(*self._ahead) if self._random.random() < self.share else None
                number = self._made(eta)
                amqp.publish("", self._queue, Raw(self.sent[number].properties, self.sent[number].body))
                self.confirmed.add(number)
            # What was not published while the broker was away is not made up for.
            due = max(due + 1 / self._rate, time.monotonic() - 0.1)

    def _made(self, ahead: float | None) -> int:
        with self._lock:
            number, self._next = self._next, self._next + 1
        headers, due = _HEADERS[number % len(_HEADERS)], None
        if ahead is not None:
            due = time.time() + ahead
            headers = {**headers, "eta": datetime.fromtimestamp(due, UTC).isoformat()}
        body, properties = message(number, **headers)
        task = Message(
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            application_headers=properties.headers,
            delivery_mode=2,
            priority=0,
            correlation_id=properties.correlation_id,
        )
        # As Celery's own client writes them.
        self.sent[number] = Sent(task._serialize_properties(), body, due)
        return number


class Worker(_Background):
    """A consumer of one queue as a Celery worker is one: no priority, a prefetch, an ack for each task.

    Attributes:
        came: its tasks, in the order in which they came.
    """

    def __init__(self, url: str, queue: str, *, prefetch: int = 20) -> None:
        self.came: list[Came] = []
        self._url = url
        self._queue = queue
        self._prefetch = prefetch
        self._away = threading.Event()
        self._gone = threading.Event()
        super().__init__()

    @contextmanager
    def away(self) -> Iterator[None]:
        """It consumes nothing in this block."""
        self.leave()
        try:
            yield
        finally:
            self.come_back()

    def leave(self) -> None:
        """Consume nothing from now on; when this returns, it has left."""
        self._away.set()
        assert until(self._gone.is_set, 20), "the worker did not leave"

    def come_back(self) -> None:
        """Consume again."""
        self._away.clear()

    def forget(self) -> None:
        """Begin its list anew."""
        self.came.clear()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._away.is_set():
                self._gone.set()
                self._stopping.wait(_TURN)
                continue
            self._gone.clear()
            try:
                with RawAmqp(self._url) as amqp:
                    amqp.consume(self._queue, prefetch=self._prefetch)
                    self._take(amqp)
            except _FAILED:
                self._stopping.wait(_AGAIN)

    def _take(self, amqp: RawAmqp) -> None:
        while not self._stopping.is_set() and not self._away.is_set():
            arrived = amqp.receive(time.monotonic() + _TURN)
            if arrived is not None:
                number = number_in(arrived.properties)
                self.came.append(
                    Came(number, arrived.properties, arrived.body, arrived.redelivered, arrived.at, time.monotonic())
                )
                amqp.ack(arrived)
