"""The producer process of a soak: an old Celery client that knows of each task whether the broker has it.

Started as `python -m tests.soak.producer` with its `Orders` (of the lab) as JSON on standard input; it ends on SIGTERM.
py-amqp loses what was written to a connection that then breaks, so each task is published with a confirm. A task that
was not confirmed is written down as unsure and never sent again: a producer that repeats itself would make duplicates
that no bridge could be told from.
"""

from __future__ import annotations

import datetime as dt
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from bridge.lab.celery_app import application
from bridge.lab.producers import Orders, Task, tasks
from bridge.lab.records import Journal, Sent, as_text, digest
from bridge.lab.wiretap import Outgoing
from tests.soak.app import TASK
from tests.soak.records import unsure

#: Seconds in which the broker must have confirmed a task: longer than any alarm of a soak.
CONFIRMED_WITHIN = 60.0
#: Seconds between two tries while the broker does not answer.
PAUSE = 0.5
#: One task of so many retries, so many seconds after its first run.
RETRIES_EVERY, AGAIN = 20, 2.0


class Client:
    """One connection of an old application, opened again after every failure."""

    def __init__(self, broker: str, queues: tuple[str, ...]) -> None:
        self._apps = {protocol: application("old", broker, queues, protocol=protocol) for protocol in (1, 2)}
        self._producer: Any = None

    def send(self, task: Task, eta: float | None, *, again: bool) -> bool:
        """Publish a task; whether the broker confirmed it."""
        app = self._apps[task.shape.protocol]
        options: dict[str, Any] = {"priority": 0, **task.shape.options}
        if eta is not None:
            options["eta"] = dt.datetime.fromtimestamp(eta, dt.UTC)
        if task.shape.headers is not None:
            options["headers"] = dict(task.shape.headers)
        arguments: dict[str, Any] = {"eta": "2031-01-01T00:00:00+00:00"}  # an argument, not when it is due
        if again and task.shape.protocol == 2:
            arguments["again"] = AGAIN
        try:
            if self._producer is None:
                # Both protocols go through one channel, as one process of an application has it.
                connection = app.connection_for_write(transport_options={"confirm_publish": True, "max_retries": 1})
                self._producer = app.amqp.Producer(connection)
            app.send_task(
                TASK,
                kwargs=arguments,
                task_id=task.id,
                queue=task.queue,
                producer=self._producer,
                retry=False,
                confirm_timeout=CONFIRMED_WITHIN,
                **options,
            )
        except (OSError, AMQPError, KombuError) as fault:
            print(f"{task.id}: {type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
            # A confirm that comes late must not be taken for the next task's.
            self.close()
            return False
        return True

    def close(self) -> None:
        """End the connection, whatever state it is in."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.connection.collect(socket_timeout=1.0)


def produce(orders: Orders, stop: threading.Event) -> None:
    """Send what is ordered until `stop` is set, through all outages of the broker."""
    client = Client(orders.broker, tuple(dict.fromkeys(orders.due_queues + orders.eta_queues)))
    outgoing = Outgoing()
    outgoing.attach()
    sure, doubtful = Journal(Path(orders.folder), Sent), Journal(unsure(Path(orders.folder)), Sent)
    due = time.monotonic()
    for number, task in enumerate(tasks(orders)):
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        # After an outage it goes on at its pace: clients that were refused do not come back all at once.
        due = max(due, time.monotonic() - 1) + 1 / orders.rate
        at = time.time()
        eta = None if task.ahead is None else at + task.ahead
        confirmed = client.send(task, eta, again=number % RETRIES_EVERY == 0)
        if not confirmed:
            due = time.monotonic() + PAUSE
        if eta is not None:
            eta = dt.datetime.fromtimestamp(eta, dt.UTC).timestamp()  # in whole microseconds, as it was sent
        (sure if confirmed else doubtful).append(
            Sent(
                id=task.id,
                at=at,
                queue=task.queue,
                eta=eta,
                live=True,
                shape=task.shape.name,
                body=digest(outgoing.body),
                properties=as_text(outgoing.properties),
            )
        )
    client.close()


def main() -> None:
    """Read the orders from standard input and send."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    produce(Orders.from_json(sys.stdin.read()), stop)


if __name__ == "__main__":
    main()
