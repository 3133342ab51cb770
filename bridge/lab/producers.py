"""A producer process of a rehearsal: an old Celery client that fills a backlog, or sends steady live traffic.

Started as `python -m bridge.lab.producers` with its `Orders` as JSON on standard input. It ends when its count is
reached or on SIGTERM, after the task in hand. What it writes down as sent is in a queue.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.lab.celery_app import TASK, application
from bridge.lab.records import Journal, Sent, as_text, digest
from bridge.lab.shapes import Shape, pick
from bridge.lab.wiretap import Outgoing

if TYPE_CHECKING:
    from celery import Celery

#: Tasks after which the broker is asked whether it has them.
BATCH = 50


@dataclass(frozen=True)
class Orders:
    """What one producer sends.

    `due_queues` get tasks that are due at once and take `seconds` each, `eta_queues` those with an ETA, `eta_from` to
    `eta_to` seconds ahead. `rate` is in tasks per second, 0 for as fast as it goes; `count` 0 means until it is told to
    stop.
    """

    broker: str
    folder: str
    seed: int
    count: int
    rate: float
    live: bool
    due_queues: tuple[str, ...]
    eta_queues: tuple[str, ...]
    eta_share: float
    eta_from: float
    eta_to: float
    seconds: float

    def as_json(self) -> str:
        """Return the text that the process reads from its standard input."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Read what `as_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name in ("due_queues", "eta_queues"):
            values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True)
class Task:
    """The next task to send: to which queue, due how many seconds from now (None: at once), in which shape."""

    id: str
    queue: str
    ahead: float | None
    shape: Shape


def tasks(orders: Orders) -> Iterator[Task]:
    """Yield what `orders` ask for; the same seed gives the same tasks."""
    rng = random.Random(orders.seed)
    sent = 0
    while not orders.count or sent < orders.count:
        ahead = rng.uniform(orders.eta_from, orders.eta_to) if rng.random() < orders.eta_share else None
        queues = orders.due_queues if ahead is None else orders.eta_queues
        number = f"{rng.getrandbits(128):032x}"
        identity = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"
        yield Task(identity, rng.choice(queues), ahead, pick(rng))
        sent += 1


class Sure:
    """Writes tasks down as sent when the broker certainly has them.

    Old installations publish without confirms, and so do we. But on a busy machine a connection timed out, Celery went
    on with a new one, and 2 214 tasks that were written to the old one never reached a queue. So a batch counts as sent
    when the broker answered a question on the channel that they went through; of any other batch nobody knows, and it
    is not written down.
    """

    def __init__(self, app: Celery, journal: Journal) -> None:
        self._app = app
        self._journal = journal
        self._batch: list[Sent] = []
        self._connection: object = None

    def add(self, sent: Sent) -> None:
        """Take note of a task that was published."""
        self._batch.append(sent)
        if len(self._batch) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Ask the broker, and write the batch down if it went through the connection that answers."""
        with self._app.producer_or_acquire() as producer:
            try:
                # The cheapest method with an answer; it changes nothing for a channel without consumers.
                producer.channel.basic_qos(0, 1, False)
                connection = producer.channel.connection
            except producer.connection.recoverable_connection_errors:
                connection = None
        if connection is not None and connection is self._connection:
            for sent in self._batch:
                self._journal.append(sent)
        self._connection = connection
        self._batch.clear()


def produce(orders: Orders, stop: threading.Event) -> None:
    """Send what is ordered until the count is reached or `stop` is set."""
    queues = tuple(dict.fromkeys(orders.due_queues + orders.eta_queues))
    # Both protocols share one connection and one channel: Celery keeps its producers by broker URL.
    apps = {protocol: application("old", orders.broker, queues, protocol=protocol) for protocol in (1, 2)}
    outgoing, sure = Outgoing(), Sure(apps[2], Journal(Path(orders.folder), Sent))
    outgoing.attach()
    sure.settle()
    begin = time.monotonic()
    for number, task in enumerate(tasks(orders)):
        # An even pace that catches up after a delay, as independent clients together would.
        if stop.wait(max(0.0, begin + number / orders.rate - time.monotonic()) if orders.rate else 0):
            break
        options: dict[str, Any] = {"priority": 0, **task.shape.options}
        now = time.time()
        eta = None if task.ahead is None else dt.datetime.fromtimestamp(now + task.ahead, dt.UTC)
        if eta is not None:
            options["eta"] = eta
        if task.shape.headers is not None:
            options["headers"] = dict(task.shape.headers)
        # The argument called eta is none: only the header and the envelope of protocol 1 say when a task is due.
        arguments = {"seconds": 0 if task.ahead is not None else orders.seconds, "eta": "2031-01-01T00:00:00+00:00"}
        apps[task.shape.protocol].send_task(TASK, kwargs=arguments, task_id=task.id, queue=task.queue, **options)
        sure.add(
            Sent(
                id=task.id,
                at=now,
                queue=task.queue,
                eta=eta.timestamp() if eta is not None else None,
                live=orders.live,
                shape=task.shape.name,
                body=digest(outgoing.body),
                properties=as_text(outgoing.properties),
            )
        )
    sure.settle()
    for app in apps.values():
        app.pool.force_close_all()
        app.close()


def main() -> None:
    """Read the orders from standard input and send."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    produce(Orders.from_json(sys.stdin.read()), stop)


if __name__ == "__main__":
    main()
