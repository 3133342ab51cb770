"""Fail-open: when the target fails, the old workers have their queue back within five seconds, and nothing is lost.

Each test has a producer and a worker on either side, and the daemon between: what the old worker gets is what was
given back, what the new one gets is what moves.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.lab.deadline import until
from tests.support.brokers import MakesLabs, Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Peer, Producer, Worker
from tests.support.proxy import Proxy

pytestmark = pytest.mark.faults
in_one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)

#: Seconds in which the old workers have their queue back.
GIVEN_BACK_WITHIN = 5.0
#: Tasks a second: enough to be always in flight.
RATE = 200.0


@dataclass
class Scene:
    """A migration under way."""

    daemon: Daemon
    producer: Producer
    before: Worker
    after: Worker

    def moves(self, seconds: float = 40.0) -> None:
        """Wait until the bridge has the queue: new tasks come to the new worker."""
        came = len(self.after.got)
        self.after.wait_for(came + 50, seconds)

    def given_back(self) -> float:
        """Wait until new tasks come to the old worker; how many seconds that took."""
        began, published = time.monotonic(), self.producer.sent
        self.before.wait_until(lambda got: bool(got) and got[-1] > published, GIVEN_BACK_WITHIN + 5)
        return time.monotonic() - began

    def settle(self) -> None:
        """No task is lost; each that came twice was counted: in flight at a loss, or delivered again."""
        self.producer.stop()
        sent = set(self.producer.numbers)
        assert until(lambda: sent <= set(self.before.got) | set(self.after.got), 40), (
            f"lost: {sorted(sent - set(self.before.got) - set(self.after.got))[:20]}\n{self.daemon.quote()}"
        )
        twice = [number for number, count in Counter(self.before.got + self.after.got).items() if count > 1]
        totals = self.daemon.status()["totals"]
        counted = totals["possible_duplicates"] + totals["redelivered"] + self.before.again
        assert len(twice) <= counted, (len(twice), totals)


@contextmanager
def scene(config: dict[str, Any], vhosts: Vhosts, folder: Path) -> Iterator[Scene]:
    """Declare, publish, consume and move one queue."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
    with (
        running({**config, "log": {"level": "info", "format": "text"}}, folder) as daemon,
        Producer(vhosts.old.amqp, "q1", rate=RATE) as producer,
        Worker(vhosts.old.amqp, "q1") as before,
        Worker(vhosts.new.amqp, "q1") as after,
    ):
        made = Scene(daemon, producer, before, after)
        made.moves()
        yield made


@pytest.fixture
def proxy(vhosts: Vhosts) -> Iterator[Proxy]:
    """Between the daemon and the target."""
    with Proxy(vhosts.new.amqp) as made:
        yield made


def through(
    vhosts: Vhosts, folder: Path, *, source: Proxy | None = None, target: Proxy | None = None
) -> dict[str, Any]:
    config = takeover(vhosts, folder, route="quorum")
    for name, proxy in (("source", source), ("target", target)):
        if proxy is not None:
            config[name]["amqp"] = proxy.url
    return config


@in_one_world
def test_target_cut_off(vhosts: Vhosts, proxy: Proxy, tmp_path: Path):
    with scene(through(vhosts, tmp_path, target=proxy), vhosts, tmp_path) as it:
        proxy.cut(refuse=True)
        assert it.given_back() < GIVEN_BACK_WITHIN
        status = it.daemon.wait_until(lambda status: not status["target"]["connected"])
        assert "target is not connected" in queue_of(status, "q1")["why"]
        proxy.restore()
        it.moves()
        it.settle()


@in_one_world
@pytest.mark.parametrize("failing", ["stall", "deafen"])
def test_target_silent(failing: str, vhosts: Vhosts, proxy: Proxy, tmp_path: Path):
    """Nobody is told: no confirm comes, and that is all there is to see."""
    with scene(through(vhosts, tmp_path, target=proxy), vhosts, tmp_path) as it:
        getattr(proxy, failing)()
        assert it.given_back() < GIVEN_BACK_WITHIN
        it.daemon.wait_until(lambda status: "no confirm from the target for " in queue_of(status, "q1")["why"])
        proxy.restore()
        it.moves()
        it.settle()


@in_one_world
def test_connections_cut_in_the_middle_of_frames(vhosts: Vhosts, proxy: Proxy, tmp_path: Path):
    """What the target has of a message that was cut is nothing; the source's half delivery is delivered again."""
    with (
        Proxy(vhosts.old.amqp) as source,
        scene(through(vhosts, tmp_path, source=source, target=proxy), vhosts, tmp_path) as it,
    ):
        for count in (1, 777, 1234, 5):
            reached = proxy.connections
            proxy.cut_after(count)
            assert until(lambda: proxy.connections > reached, 20)  # noqa: B023  asked at once
            it.moves()
        for count in (3, 40):
            reached = source.connections
            source.cut_after(count)
            assert until(lambda: source.connections > reached, 20)  # noqa: B023  asked at once
            it.moves()
        it.settle()


@in_one_world
def test_source_cut_off(vhosts: Vhosts, tmp_path: Path):
    """Acks on their way are lost: those messages come again, and may be doubled, and are counted."""
    with Proxy(vhosts.old.amqp) as source, scene(through(vhosts, tmp_path, source=source), vhosts, tmp_path) as it:
        source.cut(refuse=True)
        assert it.given_back() < GIVEN_BACK_WITHIN
        it.daemon.wait_until(lambda status: not status["source"]["connected"])
        source.restore()
        it.moves()
        it.settle()


def test_target_blocked_stopped_and_started(new_lab: MakesLabs, tmp_path: Path):
    """A memory alarm, then the broker stops and comes again."""
    lab = new_lab("3.10", "4.3")
    vhosts = Vhosts(lab.old, lab.new)
    (node,) = lab.new.nodes
    config = takeover(vhosts, tmp_path, route="quorum")
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
    with (
        running({**config, "log": {"level": "info", "format": "text"}}, tmp_path) as daemon,
        Producer(vhosts.old.amqp, "q1", rate=RATE) as producer,
        Worker(vhosts.old.amqp, "q1") as before,
    ):
        daemon.wait_until(lambda status: status["totals"]["moved"] > 50)

        def given_back() -> float:
            began, published = time.monotonic(), producer.sent
            before.wait_until(lambda got: bool(got) and got[-1] > published, GIVEN_BACK_WITHIN + 5)
            return time.monotonic() - began

        def moves() -> None:
            moved = daemon.status()["totals"]["moved"]
            daemon.wait_until(lambda status: status["totals"]["moved"] > moved + 50, 60)

        node.ctl("set_vm_memory_high_watermark", "absolute", "1")
        assert given_back() < GIVEN_BACK_WITHIN
        status = daemon.wait_until(lambda status: status["target"]["reason"] is not None)
        assert status["target"]["connected"]
        assert "memory" in status["target"]["reason"]
        assert "target takes no publishes now: " in queue_of(status, "q1")["why"]
        node.ctl("set_vm_memory_high_watermark", "absolute", "2GiB")
        moves()
        assert daemon.status()["target"]["reason"] is None

        node.stop()
        assert given_back() < GIVEN_BACK_WITHIN
        node.start()
        moves()

        producer.stop()
        daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0)
        with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
            assert until(lambda: old.ready("q1") == 0, 20)
            moved = [number for number, _ in new.take_all("q1")]
        numbers = Counter(moved + before.got)
        assert set(numbers) == set(producer.numbers)
        assert sum(numbers.values()) - len(numbers) <= daemon.status()["totals"]["possible_duplicates"]
