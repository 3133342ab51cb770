"""Limits that are changed while messages move: of one queue, and of all queues together."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bridge.admin_client import post
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Peer, Worker

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


def limit(daemon: Daemon, rate: str | None, *queues: str) -> None:
    answers = post(daemon.socket, "rate", {"rate": rate, **({"queues": list(queues)} if queues else {"all": True})})
    assert [answer["outcome"] for answer in answers] == ["done"] * max(1, len(queues))


def measured(worker: Worker, count: int) -> float:
    """Messages a second of the next `count`, a few after the change left out."""
    seen = len(worker.got) + 20
    worker.wait_for(seen + count, 30)
    return (count - 1) / (worker.times[seen + count - 1] - worker.times[seen])


@pytest.mark.long
def test_the_limit_of_a_queue_is_changed_while_it_moves(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon, Worker(vhosts.new.amqp, "q1") as worker:
            daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"moving"})
            limit(daemon, "50/s", "q1")
            old.publish("q1", range(2500))
            assert 40 < measured(worker, 100) < 60
            assert queue_of(daemon.status(), "q1")["in_flight"] <= 5
            limit(daemon, "300/s", "q1")
            assert 240 < measured(worker, 600) < 360
            # What a limit holds back is with the old workers.
            with Worker(vhosts.old.amqp, "q1") as rest:
                rest.wait_for(500)
            limit(daemon, None, "q1")
            old.publish("q1", range(2500, 5500))
            assert measured(worker, 2000) > 400
            worker.wait_until(lambda got: sorted([*got, *rest.got]) == list(range(5500)))


def test_queues_share_the_limit_of_all_together(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2", "q3")
        new.quorum("q1", "q2", "q3")
        with (
            running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon,
            Worker(vhosts.new.amqp, "q1") as first,
            Worker(vhosts.new.amqp, "q2") as second,
        ):
            daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"moving"})
            limit(daemon, "100/s")
            # In force: what was in flight without it has left.
            daemon.wait_until(lambda status: all((queue["window"] or 99) <= 10 for queue in status["queues"]))
            # From before there is any: what a worker is late with only makes it less.
            began = time.monotonic()
            old.publish("q1", range(700))
            old.publish("q2", range(700))
            # From when both have some: one was published first.
            for worker in (first, second):
                worker.wait_for(20)
            both, seen = time.monotonic(), (len(first.got), len(second.got))
            first.wait_for(seen[0] + 200, 30)
            now, got = time.monotonic(), (len(first.got) - seen[0], len(second.got) - seen[1])
            assert abs(got[0] - got[1]) < 100, "half of it each, but for a second in which one had nothing to ack"
            assert sum(got) > 40 * (now - both)
            # And what each queue has in flight, and the turns of a moment in which nobody wanted one.
            assert len(first.got) + len(second.got) < 100 * (now - began) + 40
            # A queue's own limit counts beside it, and leaves the rest to the other.
            limit(daemon, "10/s", "q2")
            assert 60 < measured(first, 100) < 115
            limit(daemon, None)
            limit(daemon, None, "q2")
            first.wait_for(700)
            second.wait_for(700)
