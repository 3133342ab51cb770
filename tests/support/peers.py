"""Who else is on the brokers beside the daemon: producers and workers that know every task by a number.

old, new = Peer(vhosts.old.amqp), Peer(vhosts.new.amqp)
old.classic("q1"), new.quorum("q1")
old.publish("q1", range(100))
with Worker(vhosts.new.amqp, "q1") as worker:
    assert worker.wait_for(100) == list(range(100))
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import pika
import pika.frame
import pika.spec
import requests

from bridge.lab.deadline import until
from tests.support.raw_amqp import RawAmqp

_S = TypeVar("_S", bound="_Background")

#: Seconds in which a thread must end.
_ENDED_WITHIN = 20.0

#: The correlation id of a task: its number, which is found in the bytes of its content header and nowhere else.
_WORD = "number-%010d"
_NUMBER = re.compile(rb"number-(\d{10})")
#: Seconds without a delivery after which a queue that was consumed alone counts as empty.
_QUIET = 0.5


def message(number: int, **headers: Any) -> tuple[bytes, pika.BasicProperties]:
    """A task of Celery's protocol 2; its number is its id."""
    table = {"lang": "py", "task": "shop.mail", "id": str(number), "eta": None, "retries": 0, "timelimit": [None, None]}
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={**table, **headers},
        delivery_mode=2,
        priority=0,
        correlation_id=_WORD % number,
    )
    return json.dumps([[number], {}, {"callbacks": None}]).encode() + b" " * 300, properties


def number_in(properties: bytes) -> int:
    """The number of a task, in its content header as it stands on the wire."""
    found = _NUMBER.search(properties)
    assert found is not None, properties
    return int(found[1])


def connect(url: str) -> pika.BlockingConnection:
    """A connection without heartbeats: nobody turns its loop while a test waits for something else."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    return pika.BlockingConnection(parameters)


class Peer:
    """A client of one vhost.

    Attributes:
        url: the vhost.
        channel: for what has no word here.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = connect(url)
        self.channel = self._connection.channel()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._connection.is_open:
            self._connection.close()

    def classic(self, *queues: str, **arguments: Any) -> None:
        """Declare durable classic queues."""
        for queue in queues:
            self.channel.queue_declare(queue, durable=True, arguments=arguments)

    def quorum(self, *queues: str, **arguments: Any) -> None:
        """Declare quorum queues."""
        for queue in queues:
            self.channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", **arguments})

    def publish(self, queue: str, numbers: Iterable[int], **headers: Any) -> None:
        """Publish tasks; when this returns, the queue has them."""
        # Encoded once: pika takes half a millisecond for each message.
        body, properties = message(0, **headers)
        publish = pika.frame.Method(1, pika.spec.Basic.Publish(routing_key=queue)).marshal()
        content = pika.frame.Header(1, len(body), properties).marshal() + pika.frame.Body(1, body).marshal()
        before, after = (publish + content).split((_WORD % 0).encode())
        with RawAmqp(self.url) as amqp:
            amqp._socket.sendall(b"".join([before + (_WORD % number).encode() + after for number in numbers]))
            # An answer on the same channel: all publishes before it were routed.
            amqp.depth(queue)

    def look(self, queue: str) -> tuple[int, int]:
        """How many messages are ready in a queue, and how many consumers it has, now."""
        answer = self.channel.queue_declare(queue, passive=True).method
        return answer.message_count, answer.consumer_count

    def ready(self, queue: str) -> int:
        """How many messages are ready in a queue, now."""
        return self.look(queue)[0]

    def consumers(self, queue: str) -> int:
        """How many consumers a queue has, now."""
        return self.look(queue)[1]

    def take_all(self, queue: str) -> list[tuple[int, bool]]:
        """Take everything that is in a queue; the numbers in order, and whether each was delivered before."""
        taken = []
        with RawAmqp(self.url) as amqp:
            amqp.consume(queue)
            while (arrived := amqp.receive(time.monotonic() + _QUIET)) is not None:
                taken.append((number_in(arrived.properties), arrived.redelivered))
        return taken


class _Background:
    """A thread that ends when the block ends; what it failed with is raised then."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._thread.start()

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and wait for its end; once is enough, twice is fine."""
        self._stopping.set()
        self._thread.join(_ENDED_WITHIN)
        assert not self._thread.is_alive(), "it did not end"
        if self._fault is not None:
            raise self._fault

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as fault:  # noqa: BLE001  raised where the block ends
            self._fault = fault

    def _run(self) -> None:
        raise NotImplementedError


class Worker(_Background):
    """A consumer of one queue as a Celery worker is one: priority 0, a prefetch, an ack for each task.

    Attributes:
        got: the numbers of its tasks, in the order in which they came.
        times: when each came, in seconds of the monotonic clock.
        again: how many of them had been delivered to somebody before.
    """

    def __init__(self, url: str, queue: str, *, prefetch: int = 10) -> None:
        self.got: list[int] = []
        self.times: list[float] = []
        self.again = 0
        self._url = url
        self._queue = queue
        self._prefetch = prefetch
        self._consuming = threading.Event()
        super().__init__()
        assert self._consuming.wait(_ENDED_WITHIN)

    def _run(self) -> None:
        connection = connect(self._url)
        try:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=self._prefetch)
            channel.basic_consume(self._queue, self._take)
            self._consuming.set()
            while not self._stopping.is_set():
                connection.process_data_events(0.05)
        finally:
            self._consuming.set()
            connection.close()

    def _take(self, channel: Any, method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        self.again += method.redelivered
        self.times.append(time.monotonic())
        self.got.append(int(str(properties.correlation_id).rpartition("-")[2]))
        channel.basic_ack(method.delivery_tag)

    def wait_for(self, count: int, seconds: float = 15.0) -> list[int]:
        """Return its tasks once there are so many.

        Raises:
            AssertionError: there were not within `seconds`.
        """
        assert until(lambda: len(self.got) >= count, seconds), f"{len(self.got)} of {count} tasks came"
        return list(self.got)

    def wait_until(self, condition: Callable[[list[int]], bool], seconds: float = 15.0) -> None:
        """Wait until the condition holds for its tasks.

        Raises:
            AssertionError: it did not within `seconds`.
        """
        assert until(lambda: condition(self.got), seconds), f"{len(self.got)} tasks came, last {self.got[-5:]}"


class Producer(_Background):
    """Publishes tasks with confirms, numbered from `first`, so many a second, until it is stopped.

    Attributes:
        sent: how many the broker has confirmed.
    """

    def __init__(self, url: str, queue: str, *, rate: float = 200.0, first: int = 0) -> None:
        self.sent = 0
        self._url = url
        self._queue = queue
        self._rate = rate
        self._first = first
        super().__init__()

    def _run(self) -> None:
        connection = connect(self._url)
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            began = time.monotonic()
            while not self._stopping.wait(max(0.0, began + self.sent / self._rate - time.monotonic())):
                body, properties = message(self._first + self.sent)
                channel.basic_publish("", self._queue, body, properties, mandatory=True)
                self.sent += 1
        finally:
            connection.close()

    @property
    def numbers(self) -> range:
        """The numbers of the tasks that the broker has confirmed."""
        return range(self._first, self._first + self.sent)

    def wait_for(self, more: int, seconds: float = 15.0) -> None:
        """Wait until so many more tasks are confirmed.

        Raises:
            AssertionError: they were not within `seconds`.
        """
        goal = self.sent + more
        assert until(lambda: self.sent >= goal or self._fault is not None, seconds), f"{self.sent} of {goal} confirmed"
        assert self._fault is None, self._fault


class Admin:
    """RabbitMQ's HTTP API, for what AMQP has no method for.

    Args:
        url: the API's URL, with user and password.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call under /api; path segments are given unencoded. The JSON it answered, None without one.

        Raises:
            AssertionError: the broker refused.
        """
        answer = requests.request(method, f"{self._url}/api/{path}", json=body, timeout=20)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def make_user(
        self,
        name: str,
        password: str,
        vhost: str,
        *,
        configure: str = ".*",
        write: str = ".*",
        read: str = ".*",
        tags: str = "",
    ) -> None:
        """Make a user with permissions on one vhost, each a regular expression."""
        self.call("PUT", f"users/{name}", {"password": password, "tags": tags})
        rights = {"configure": configure, "write": write, "read": read}
        self.call("PUT", f"permissions/{quote(vhost, safe='')}/{name}", rights)

    def drop_user(self, name: str) -> None:
        """Delete a user."""
        self.call("DELETE", f"users/{name}")


def as_user(url: str, name: str, password: str) -> str:
    """The same URL for another user."""
    parts = urlsplit(url)
    return parts._replace(
        netloc=f"{quote(name, safe='')}:{quote(password, safe='')}@{parts.hostname}:{parts.port}"
    ).geturl()
