"""A connection that is made anew while a queue begins to move."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: `confirm.select` (AMQP 0-9-1 with RabbitMQ's extension 85), which a queue that begins to move asks the target for.
CONFIRM_SELECT = bytes((0, 85, 0, 10))
CONNECTED = "source: connected to"


class Holding(Proxy):
    """To the target: holds a channel's first step, once, until the source was cut and is connected again."""

    daemon: Daemon | None = None
    source: Proxy
    held = 0

    def changed(self, data: bytes, source: socket.socket) -> bytes:
        daemon = self.daemon
        if daemon is not None and CONFIRM_SELECT in data:
            self.daemon = None
            said = daemon.stderr.count(CONNECTED)
            self.source.cut()
            self.held += until(lambda: daemon.stderr.count(CONNECTED) > said, 10)
        return data


def test_source_connected_anew_while_a_queue_begins_to_move(vhosts: Vhosts, tmp_path: Path) -> None:
    with (
        Peer(vhosts.old.amqp) as old,
        Peer(vhosts.new.amqp) as new,
        Proxy(vhosts.old.amqp) as source,
        Holding(vhosts.new.amqp) as target,
    ):
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(1000))
        config = takeover(vhosts, tmp_path)
        config["source"]["amqp"], config["target"]["amqp"] = source.url, target.url
        with running(config, tmp_path) as daemon:
            target.source, target.daemon = source, daemon
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: status["totals"]["moved"] == 1000, 20)
            assert target.held == 1
            assert old.look("q1")[0] == 0
            assert new.look("q1")[0] == 1000
