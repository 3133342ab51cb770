"""What people write to move a queue themselves, as a process: `python -m tests.bench.clients NAME COUNT SOURCE
TARGET`.

It is written as one who knows his library would, and no better: what a library costs is what is measured.

1. `pika async`: one event loop, 500 deliveries ahead, confirms as they come, acked when confirmed.
2. `kombu, no confirms`: a consumer whose callback publishes and acks. What the target does not take is lost.
3. `pika, one by one`: a blocking connection that waits for the confirm of each message before it acks it.
4. `celery migrate`: `celery.contrib.migrate` as `celery migrate --ack-messages` runs it, without confirms.

Each says `ready` once it is connected, moves COUNT messages when it is told to go, and says `done`: whether all arrived
is for others to see.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pika
from celery import Celery
from celery.contrib.migrate import migrate_tasks
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from pika.adapters.select_connection import IOLoop, SelectConnection

from tests.bench.load import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.message import Message
    from pika.channel import Channel
    from pika.connection import Connection as Connected

#: Messages ahead, where the library has it: the bridge's default window.
WINDOW = 500
#: Seconds without a message after which there are no more.
IDLE = 1.0


def _ready() -> None:
    """Wait until we are told to move."""
    print("ready", flush=True)
    sys.stdin.readline()


class _Pipeline:
    """Two connections on one loop: deliveries are published at once, and acked as soon as they are confirmed."""

    def __init__(self, source: str, target: str, count: int) -> None:
        self._loop = IOLoop()
        self._left = count
        self._published = 0
        self._tags: dict[int, int] = {}
        self._opening = 2
        self._source: Channel
        self._target: Channel
        self._connect(source, self._source_open)
        self._connect(target, self._target_open)

    def run(self) -> None:
        self._loop.start()

    def _connect(self, url: str, opened: Callable[[Channel], None]) -> None:
        def on_open(connection: Connected) -> None:
            connection.channel(on_open_callback=opened)

        SelectConnection(
            pika.URLParameters(url),
            on_open_callback=on_open,
            on_open_error_callback=self._failed,
            on_close_callback=self._failed,
            custom_ioloop=self._loop,
        )

    def _failed(self, connection: object, fault: object) -> None:
        raise SystemExit(repr(fault))

    def _source_open(self, channel: Channel) -> None:
        self._source = channel
        channel.basic_qos(prefetch_count=WINDOW, callback=lambda _: self._opened())

    def _target_open(self, channel: Channel) -> None:
        self._target = channel
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._opened())

    def _opened(self) -> None:
        self._opening -= 1
        if not self._opening:
            _ready()
            self._source.basic_consume(QUEUE, self._delivered)

    def _delivered(self, _channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self._target.basic_publish("", QUEUE, body, properties)
        self._published += 1
        self._tags[self._published] = method.delivery_tag

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        if not isinstance(method, pika.spec.Basic.Ack):
            raise SystemExit(f"the target answered {method!r}")
        # All before it are confirmed as well, by this or by what came earlier.
        self._source.basic_ack(self._tags[method.delivery_tag], multiple=method.multiple)
        if method.multiple:
            for number in [number for number in self._tags if number <= method.delivery_tag]:
                del self._tags[number]
        else:
            del self._tags[method.delivery_tag]
        if self._published == self._left and not self._tags:
            # Answered in order: the broker has our acks before it.
            self._source.queue_declare(QUEUE, passive=True, callback=lambda _: self._loop.stop())


def _pika_async(source: str, target: str, count: int) -> None:
    _Pipeline(source, target, count).run()


def _kombu(source: str, target: str, count: int) -> None:
    left = count
    with Connection(source) as old, Connection(target) as new:
        producer = new.Producer()
        queue = Queue(QUEUE, no_declare=True)

        def move(body: object, message: Message) -> None:
            nonlocal left
            rest = {name: message.properties.get(name) for name in ("correlation_id", "reply_to", "priority")}
            producer.publish(
                message.body,
                routing_key=QUEUE,
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                **rest,
            )
            message.ack()
            left -= 1

        new.connect()
        consumer = old.Consumer(queue, callbacks=[move], accept=["json"], prefetch_count=WINDOW, auto_declare=False)
        _ready()
        with consumer:
            while left:
                old.drain_events(timeout=IDLE)


def _one_by_one(source: str, target: str, count: int) -> None:
    with (
        pika.BlockingConnection(pika.URLParameters(source)) as old,
        pika.BlockingConnection(pika.URLParameters(target)) as new,
    ):
        channel, out = old.channel(), new.channel()
        out.confirm_delivery()
        channel.basic_qos(prefetch_count=WINDOW)
        _ready()
        for number, (method, properties, body) in enumerate(channel.consume(QUEUE), 1):
            assert method is not None
            assert body is not None
            out.basic_publish("", QUEUE, body, properties, mandatory=True)
            channel.basic_ack(method.delivery_tag)
            if number == count:
                break


def _celery_migrate(source: str, target: str, count: int) -> None:
    app = Celery(broker=source)
    app.conf.task_default_queue = QUEUE
    app.conf.task_queues = [Queue(QUEUE, Exchange(""), QUEUE, no_declare=True)]
    with Connection(source) as old, Connection(target) as new:
        old.connect()
        new.connect()
        _ready()
        # It ends when nothing came for IDLE seconds; with a limit it would end before the last ack.
        migrate_tasks(old, new, app=app, queues=[QUEUE], ack_messages=True, timeout=IDLE, accept=["json"])


_CLIENTS: dict[str, Callable[[str, str, int], None]] = {
    "pika async": _pika_async,
    "kombu, no confirms": _kombu,
    "pika, one by one": _one_by_one,
    "celery migrate": _celery_migrate,
}


def main(name: str, count: str, source: str, target: str) -> None:
    """Be a client; see the module."""
    _CLIENTS[name](source, target, int(count))
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
