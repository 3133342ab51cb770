"""RabbitMQ's Shovel plugin as a mover: the same queues, the same brokers, moving without loss (`on-confirm`).

It runs on the old broker and, where a side is its own broker, connects to it inside the virtual machine (`amqp:///vhost`,
as its documentation shows it for the local side). Both are its fastest ways: through TCP, as the bridge must go, it
moves a quarter less (seen on 3.10.8 and 4.3.6).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import requests

from bridge.errors import LabError
from bridge.lab.cluster import AMQP_PORT
from bridge.lab.deadline import until
from tests.bench.load import QUEUE, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.lab.brokers import Side
    from tests.bench.movers import Mover, Moving
    from tests.support.brokers import Vhosts

#: Messages that may be unconfirmed: the plugin's own default.
PREFETCH = 1000
#: Seconds in which the last acks must have come, and those of one call of the HTTP API.
DONE_WITHIN = 30.0
ANSWER = 20.0


class _Shovel:
    def __init__(self, vhosts: Vhosts, *, direct: bool) -> None:
        self._vhosts = vhosts
        self._direct = direct

    def flip(self) -> None:
        value = {
            "src-protocol": "amqp091",
            "src-uri": self._uri(self._vhosts.old),
            "src-queue": QUEUE,
            "src-prefetch-count": PREFETCH,
            "dest-protocol": "amqp091",
            "dest-uri": self._uri(self._vhosts.new),
            "dest-queue": QUEUE,
            "ack-mode": "on-confirm",
        }
        self._call("PUT", {"value": value})

    def finish(self, count: int) -> None:
        # Deleting it closes its channel: what it had not acked would be ready again.
        self._call("DELETE")
        with watching(self._vhosts.old.amqp, QUEUE) as source:
            if not until(lambda: not source.now(), DONE_WITHIN):
                raise LabError(f"the shovel left {source.now()} of {count} messages in the source")

    def cpu(self) -> None:
        return None

    def _uri(self, side: Side) -> str:
        """Return a side's URI as the old broker reaches it."""
        if self._direct and side.cluster is self._vhosts.old.cluster:
            return f"amqp:///{quote(side.vhost, safe='')}"
        url, host = urlsplit(side.amqp), side.nodes[0].name.partition("@")[2]
        if host == "localhost":
            return side.amqp
        # In a container: others on the lab's network know it by its host name, and on its own port.
        return f"amqp://{url.username}:{url.password}@{host}:{AMQP_PORT}{url.path}"

    def _call(self, method: str, value: object = None) -> None:
        path = f"/api/parameters/shovel/{quote(self._vhosts.old.vhost, safe='')}/bench"
        answer = requests.request(method, self._vhosts.old.api + path, json=value, timeout=ANSWER)
        if not answer.ok:
            raise LabError(f"the old broker answered {answer.status_code} to {method} {path}: {answer.text}")


def shovel(*, direct: bool) -> Mover:
    """Return the Shovel as a mover.

    Args:
        direct: connect to the broker that it runs on inside the virtual machine; else by TCP as to any other.
    """

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        yield _Shovel(vhosts, direct=direct)

    return ready
