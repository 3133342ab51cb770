"""A producer process of a rehearsal: an old Celery client that fills a backlog, or sends steady live traffic.

Started as `python -m bridge.lab.producers` with its `Orders` as JSON on standard input. It ends when its count is
reached or on SIGTERM, after the task in hand, with every message flushed to the broker.
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
from typing import Any

from bridge.lab.celery_app import TASK, application
from bridge.lab.records import Journal, Sent, as_text, digest
from bridge.lab.shapes import Shape, pick
from bridge.lab.wiretap import Outgoing


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


def produce(orders: Orders, stop: threading.Event) -> None:
    """Send what is ordered until the count is reached or `stop` is set."""
    queues = tuple(dict.fromkeys(orders.due_queues + orders.eta_queues))
    apps = {protocol: application("old", orders.broker, queues, protocol=protocol) for protocol in (1, 2)}
    outgoing, journal = Outgoing(), Journal(Path(orders.folder), Sent)
    outgoing.attach()
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
        journal.append(
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
    for app in apps.values():
        # Without confirms only a question on the same channel says that all was taken: closing alone lost the last 74
        # tasks.
        with app.producer_or_acquire() as producer:
            producer.channel.queue_declare(queues[0], passive=True)
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
