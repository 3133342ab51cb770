"""Signals: cutover, back, the gentle end and the hard one."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.brokers import Vhosts
from tests.support.daemon import queue_of, running, takeover
from tests.support.peers import Peer, Producer, Worker
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


def test_cutover_moves_what_passes_the_gate_and_says_why_the_rest_stays(vhosts: Vhosts, tmp_path: Path):
    queues = ["a.q1", "lonely", "mail", "missing", "q1"]
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic(*queues)
        new.quorum("a.q1", "q1", "lonely")
        new.classic("mail")
        for queue in queues:
            old.publish(queue, range(20))
        with (
            Worker(vhosts.new.amqp, "a.q1") as one,
            Worker(vhosts.new.amqp, "q1") as two,
            running(takeover(vhosts, tmp_path, gate={"consumers": 1}), tmp_path) as daemon,
        ):
            assert {old.look(queue) for queue in queues} == {(20, 0)}, "route legacy takes nothing"
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: status["totals"]["moved"] == 40)
            assert one.wait_for(20) == two.wait_for(20) == list(range(20))

            status = daemon.wait_until(lambda status: 'queue "missing": target' in daemon.stderr)
            routes = {queue["name"]: queue["route"] for queue in status["queues"]}
            assert routes == {
                "a.q1": "quorum",
                "lonely": "legacy",
                "mail": "legacy",
                "missing": "legacy",
                "q1": "quorum",
            }
            for text in (
                'queue "lonely": target queue "lonely" has 0 consumers, 1 are wanted',
                'queue "mail": target queue "mail" is a classic queue, not a quorum queue',
                'queue "missing": target queue "missing" does not exist',
            ):
                assert f"cutover by SIGUSR1 refused, the route stays legacy: {text}" in daemon.stderr
            assert {old.look(queue) for queue in ("lonely", "mail", "missing")} == {(20, 0)}

            # What was refused can be asked again when its reason is gone.
            with Worker(vhosts.new.amqp, "lonely") as three:
                daemon.signal(signal.SIGUSR1)
                assert three.wait_for(20) == list(range(20))

            daemon.signal(signal.SIGUSR2)
            daemon.wait_until(lambda status: {queue["route"] for queue in status["queues"]} == {"legacy"})
            daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"idle"})
            assert {old.consumers(queue) for queue in queues} == {0}


def test_the_flip_is_sharp_in_both_directions(vhosts: Vhosts, tmp_path: Path):
    """A live worker on the old queue gets nothing from the flip on, and everything again after the way back."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        with (
            Worker(vhosts.old.amqp, "q1") as before,
            Worker(vhosts.new.amqp, "q1") as after,
            running(takeover(vhosts, tmp_path, gate={"consumers": 1}), tmp_path) as daemon,
            Producer(vhosts.old.amqp, "q1", rate=400) as producer,
        ):
            before.wait_for(100)
            assert after.got == []
            daemon.signal(signal.SIGUSR1)
            after.wait_for(200)
            flipped = len(before.got)
            producer.wait_for(200)
            assert len(before.got) == flipped

            daemon.signal(signal.SIGUSR2)
            before.wait_for(flipped + 200)
            producer.stop()
            before.wait_until(lambda got: len(got) + len(after.got) == producer.sent)

            back = flipped + len(after.got)
            assert before.got == [*range(flipped), *range(back, producer.sent)]
            assert after.got == list(range(flipped, back))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_gentle_end_finishes_what_is_in_flight(number: signal.Signals, vhosts: Vhosts, tmp_path: Path):
    """Nothing is redelivered, and nothing is doubled: what was taken was confirmed and acked."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        for queue in ("q1", "q2"):
            old.publish(queue, range(3000))
        with running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] > 0)
            daemon.signal(number)
            assert daemon.ended() == 0
        assert " warning " not in daemon.stderr
        for queue in ("q1", "q2"):
            assert old.consumers(queue) == 0
            moved, left = new.take_all(queue), old.take_all(queue)
            assert [number for number, _ in moved] == list(range(len(moved)))
            assert [number for number, _ in left] == list(range(len(moved), 3000))
            assert not any(redelivered for _, redelivered in left)
    assert not Path(daemon.socket).exists()


def test_the_second_signal_ends_at_once(vhosts: Vhosts, tmp_path: Path):
    """The target is silent: the gentle end waits for its confirms. What is unacked goes back."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new, Proxy(vhosts.new.amqp) as proxy:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum")
        config["target"]["amqp"] = proxy.url
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
            proxy.stall()
            old.publish("q1", range(50))
            daemon.wait_until(lambda status: status["totals"]["in_flight"] == 50)
            daemon.signal(signal.SIGTERM)
            daemon.wait_until(lambda status: status["state"] == "stopping")
            began = time.monotonic()
            daemon.signal(signal.SIGINT)
            assert daemon.ended() == 0
            assert time.monotonic() - began < 2
        assert not Path(daemon.socket).exists()
        proxy.cut()
        numbers = Counter(number for number, _ in [*old.take_all("q1"), *new.take_all("q1")])
        assert set(numbers) == set(range(50))
        assert old.ready("q1") == 0
