"""What systemd is told, on a socket of the test's own."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: systemd's WatchdogSec, in microseconds; a sign of life is due at half of it.
WATCHDOG_USEC = 1_000_000


class Systemd:
    """Its end of the socket, and what came so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def next(self, word: str) -> str:
        """The next datagram that begins with this word."""
        while not (told := self.socket.recv(4096).decode()).startswith(word):
            assert told.startswith("WATCHDOG=1"), told
        return told


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path / "notify")
    yield made
    made.socket.close()


@pytest.fixture
def daemon(systemd: Systemd, vhosts: Vhosts, tmp_path: Path) -> Iterator[Daemon]:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
    environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": str(WATCHDOG_USEC)}
    with running(takeover(vhosts, tmp_path), tmp_path, environment=environment) as made:
        yield made


def test_systemd_is_told_the_truth(systemd: Systemd, daemon: Daemon):
    stand = "active: 0 of 1 queues moving, 0 faulted"
    assert systemd.next("READY=1") == f"READY=1\nSTATUS={stand}; nothing is moved: the queue is on route legacy"

    signs = []
    for _ in range(4):
        told = systemd.next("WATCHDOG=1")
        signs.append(time.monotonic())
    assert "STATUS=active" in told
    assert signs[-1] - signs[0] < 3 * WATCHDOG_USEC / 1e6

    before = time.monotonic_ns() // 1000
    daemon.signal(signal.SIGHUP)
    said = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", systemd.next("RELOADING=1"))
    assert said is not None
    assert before <= int(said[1]) <= time.monotonic_ns() // 1000
    systemd.next("READY=1")

    # A file with faults ends the reload as well: systemctl must not hang.
    daemon.file.write_text("nonsense: 1\n")
    daemon.signal(signal.SIGHUP)
    systemd.next("RELOADING=1")
    assert "the last reload was refused, see the log" in systemd.next("READY=1")

    daemon.signal(signal.SIGTERM)
    assert systemd.next("STOPPING=1") == "STOPPING=1"
    assert daemon.ended() == 0
