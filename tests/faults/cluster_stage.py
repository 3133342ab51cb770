"""A stage whose target is a cluster: one proxy per node, and the daemon's `target.amqp` is the list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.faults.stage import MOVER, Stage
from tests.support.peers import as_user
from tests.support.proxy import Proxy, Way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.brokers import Vhosts


class ClusterProxy(Proxy):
    """The network between the daemon and all nodes of a cluster: what is done to it is done to each way.

    Args:
        urls: of the vhost, one per node.

    Attributes:
        urls: the same with the proxies' hosts and ports.
        url: the first of them.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        # The base class is the way to the first node.
        super().__init__(urls[0])
        self._others = [Proxy(url) for url in urls[1:]]
        self._forwarded = 0
        self.urls = [self.url, *(other.url for other in self._others)]

    @property
    def connections(self) -> int:
        """How many were forwarded so far, to whichever node."""
        return self._forwarded + sum(other.connections for other in self._others)

    @connections.setter
    def connections(self, count: int) -> None:
        self._forwarded = count

    def close(self) -> None:
        for other in self._others:
            other.close()
        super().close()

    def cut(self, *, refuse: bool = False) -> None:
        for other in self._others:
            other.cut(refuse=refuse)
        super().cut(refuse=refuse)

    def cut_after(self, count: int, way: Way = Way.TO_SERVER) -> None:
        for other in self._others:
            other.cut_after(count, way)
        super().cut_after(count, way)

    def stall(self, way: Way = Way.BOTH) -> None:
        for other in self._others:
            other.stall(way)
        super().stall(way)

    def deafen(self, way: Way = Way.BOTH) -> None:
        for other in self._others:
            other.deafen(way)
        super().deafen(way)

    def trickle(self, rate: int, way: Way = Way.BOTH) -> None:
        for other in self._others:
            other.trickle(rate, way)
        super().trickle(rate, way)

    def restore(self) -> None:
        for other in self._others:
            other.restore()
        super().restore()


class ClusterStage(Stage):
    """A stage on a cluster; everything else is as there."""

    def __init__(self, vhosts: Vhosts, folder: Path, **how: Any) -> None:
        super().__init__(vhosts, folder, **how)
        password = urlsplit(self.target.url).password
        assert password is not None
        # The proxy of a stage with one node has no connection yet; it is closed with the stage.
        urls = [as_user(node.amqp(vhosts.new.vhost), MOVER, password) for node in vhosts.new.nodes]
        network = ClusterProxy(urls)
        self.target = self._stack.enter_context(network)
        self.daemon.config["target"]["amqp"] = [f"{url}?heartbeat={self.heartbeat}" for url in network.urls]
