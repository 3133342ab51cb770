"""A worker's mailbox without the worker: kombu's own node, with handlers of the test's, in a thread.

with Mailbox.running(vhosts.old.amqp, "celery@w1", consumes=["q1"], serializer="pickle") as worker:
    ...
    assert worker.carried_out == ["cancel_consumer"]
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.message import Message
from kombu.messaging import Consumer
from kombu.pidbox import Mailbox as KombuMailbox

#: Seconds after which a turn of its loop looks whether it is to end.
TURN = 0.1
#: Seconds in which it must be there, and gone.
WITHIN = 15.0


class Mailbox:
    """One worker, as far as others see it: it consumes queues, keeps what it gets, and answers remote control.

    Attributes:
        name: as Celery would name it.
        carried_out: the methods that it was asked for.
        revoked: ids.
        obeys: whether it does what it says ok to.
    """

    def __init__(self, url: str, name: str, consumes: Sequence[str], serializer: str, control_exchange: str) -> None:
        self.name = name
        self.carried_out: list[str] = []
        self.revoked: list[str] = []
        self.obeys = True
        self._url = url
        self._consumed = list(consumes)
        self._serializer = serializer
        self._exchange = control_exchange
        self._held: list[Message] = []
        self._soon: list[Callable[[], None]] = []
        self._ready, self._ending = threading.Event(), threading.Event()
        self._fault: BaseException | None = None

    @classmethod
    @contextmanager
    def running(
        cls,
        url: str,
        name: str,
        *,
        consumes: Sequence[str] = (),
        serializer: str = "json",
        control_exchange: str = "celery",
    ) -> Iterator[Mailbox]:
        """A worker for a block; its queues must exist."""
        worker = cls(url, name, consumes, serializer, control_exchange)
        thread = threading.Thread(target=worker._run, name=name)
        thread.start()
        try:
            if not worker._ready.wait(WITHIN):
                raise AssertionError(f"{name} was not there within {WITHIN:g} s: {worker._fault}")
            yield worker
        finally:
            worker._ending.set()
            thread.join(WITHIN)

    def _run(self) -> None:
        try:
            with Connection(self._url) as connection:
                self._serve(connection)
        except BaseException as fault:  # told to the test, which waits
            self._fault = fault
            raise

    def _serve(self, connection: Connection) -> None:
        # A transient queue that is not exclusive is what workers before 5.7 have, and what RabbitMQ 4.3 denies.
        exclusive = self._serializer != "json"
        box = KombuMailbox(
            self._exchange, type="fanout", accept=["json"], serializer=self._serializer, queue_exclusive=exclusive
        )(connection)
        tasks = connection.channel()
        consumer = Consumer(tasks, [], on_message=self._held.append, auto_declare=False)
        for name in self._consumed:
            consumer.add_queue(Queue(name, Exchange(""), routing_key=name, no_declare=True))
        consumer.consume()
        node = box.Node(self.name, handlers=self._handlers(consumer))
        node.channel = connection.channel()
        node.listen()
        self._ready.set()
        while not self._ending.is_set():
            try:
                connection.drain_events(timeout=TURN)
            except TimeoutError:
                continue
            # As Celery does: the answer first, then the deed.
            while self._soon:
                self._soon.pop(0)()

    def _handlers(self, consumer: Consumer) -> dict[str, Any]:
        def told(method: str, said: Callable[..., Any]) -> Callable[..., Any]:
            def handle(_state: object, **arguments: Any) -> Any:
                self.carried_out.append(method)
                return said(**arguments)

            return handle

        def cancel(queue: str) -> dict[str, str]:
            if self.obeys:
                self._soon.append(lambda: consumer.cancel_by_queue(queue))
            return {"ok": f"no longer consuming from {queue}"}

        def add(queue: str) -> dict[str, str]:
            def do() -> None:
                consumer.add_queue(Queue(queue, Exchange(""), routing_key=queue, no_declare=True))
                consumer.consume()

            if self.obeys:
                self._soon.append(do)
            return {"ok": f"add consumer {queue}"}

        def hello(from_node: str, revoked: list[str]) -> dict[str, Any]:
            if self.obeys:
                self.revoked.extend(revoked)
            return {"revoked": self.revoked, "clock": 1}

        def queues() -> list[dict[str, Any]]:
            return [
                {"name": name, "exchange": {"name": "", "type": "direct"}, "routing_key": name}
                for name in {queue.name for queue in consumer.queues or ()}
            ]

        def scheduled() -> list[dict[str, Any]]:
            return [
                {
                    "eta": "2030-01-01T00:00:00",
                    "priority": 6,
                    "request": {"delivery_info": {"exchange": "", "routing_key": message.delivery_info["routing_key"]}},
                }
                for message in self._held
            ]

        return {
            "cancel_consumer": told("cancel_consumer", cancel),
            "add_consumer": told("add_consumer", add),
            "hello": told("hello", hello),
            "active_queues": told("active_queues", queues),
            "scheduled": told("scheduled", scheduled),
            "reserved": told("reserved", list),
            "revoked": told("revoked", lambda: list(self.revoked)),
            "report": told("report", lambda: {"ok": "software -> celery:5.4.0 (opalescent) kombu:5.4.2"}),
        }
