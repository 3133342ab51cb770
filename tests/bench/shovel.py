"""RabbitMQ's Shovel plugin as a mover: the same queues, the same brokers, moving without loss (`on-confirm`).

It runs on the old broker and, where a side is its own broker, connects to it inside the virtual machine (`amqp:///vhost`,
as its documentation shows it for the local side). Both are its fastest ways: through TCP, as the bridge must go, it
moves a quarter less (seen on 3.10.8 and 4.3.6).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests

from bridge.errors import LabError
from bridge.lab.cluster import AMQP_PORT
from bridge.lab.deadline import until
from tests.bench.load import queue_names, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.lab.brokers import Side
    from tests.bench.movers import Mover, Moving
    from tests.support.brokers import Vhosts

#: Messages that may be unconfirmed: the plugin's own default.
PREFETCH = 1000
#: Seconds in which the last acks must have come, and those of one call of the HTTP API.
DONE_WITHIN = 30.0
ANSWER = 20.0
#: Shovels that are made at a time, where each of many queues has its own.
AT_A_TIME = 8


class _Shovel:
    def __init__(self, vhosts: Vhosts, queues: list[str], value: Callable[[str], dict[str, Any]]) -> None:
        self._vhosts = vhosts
        self._queues = queues
        self._value = value

    def flip(self) -> None:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda queue: self._call("PUT", queue, {"value": self._value(queue)}), self._queues))

    def finish(self, count: int) -> None:
        # Deleting it closes its channel: what it had not acked would be ready again.
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda queue: self._call("DELETE", queue), self._queues))
        with watching(self._vhosts.old.amqp, dict.fromkeys(self._queues)) as source:
            if not until(lambda: not source.now(), DONE_WITHIN):
                raise LabError(f"the shovel left {source.now()} of {count} messages in the source")

    def cpu(self) -> None:
        return None

    def rss(self) -> None:
        return None

    def _call(self, method: str, queue: str, value: object = None) -> None:
        path = f"/api/parameters/shovel/{quote(self._vhosts.old.vhost, safe='')}/bench-{queue}"
        answer = requests.request(method, self._vhosts.old.api + path, json=value, timeout=ANSWER)
        if not answer.ok:
            raise LabError(f"the old broker answered {answer.status_code} to {method} {path}: {answer.text}")


def shovel(*, prefetch: int = PREFETCH, direct: bool = True, queues: int = 1) -> Mover:
    """Return the Shovel as a mover; each queue has one of its own.

    Args:
        prefetch: messages that may be unconfirmed.
        direct: connect to the broker that it runs on inside the virtual machine; else by TCP as to any other.
        queues: over how many queues the load is spread.
    """

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        def value(queue: str) -> dict[str, Any]:
            return {
                "src-protocol": "amqp091",
                "src-uri": _uri(vhosts, vhosts.old, direct=direct),
                "src-queue": queue,
                "src-prefetch-count": prefetch,
                "dest-protocol": "amqp091",
                "dest-uri": _uri(vhosts, vhosts.new, direct=direct),
                "dest-queue": queue,
                "ack-mode": "on-confirm",
            }

        yield _Shovel(vhosts, queue_names(queues), value)

    return ready


def local_shovel(*, queues: int = 1) -> Mover:
    """Return the Shovel without any protocol on either side (RabbitMQ 4.2 and later, both sides on one broker).

    How many messages it has unconfirmed is not to be chosen (it is 1000): 4.3.6 refuses `src-prefetch-count` here. Its
    URIs are not connected to: they say who may do it, and without a user that is `guest`.

    Args:
        queues: over how many queues the load is spread.
    """

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        def value(queue: str) -> dict[str, Any]:
            return {
                "src-protocol": "local",
                "src-uri": vhosts.old.amqp,
                "src-queue": queue,
                "src-predeclared": True,
                "dest-protocol": "local",
                "dest-uri": vhosts.new.amqp,
                "dest-queue": queue,
                "dest-predeclared": True,
                "ack-mode": "on-confirm",
            }

        yield _Shovel(vhosts, queue_names(queues), value)

    return ready


def _uri(vhosts: Vhosts, side: Side, *, direct: bool) -> str:
    """Return a side's URI as the old broker reaches it."""
    if direct and side.cluster is vhosts.old.cluster:
        return f"amqp:///{quote(side.vhost, safe='')}"
    url, host = urlsplit(side.amqp), side.nodes[0].name.partition("@")[2]
    if host == "localhost":
        return side.amqp
    # In a container: others on the lab's network know it by its host name, and on its own port.
    return f"amqp://{url.username}:{url.password}@{host}:{AMQP_PORT}{url.path}"
