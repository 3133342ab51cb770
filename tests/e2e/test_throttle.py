"""A target that is too deep or too slow is left alone: the old workers have the queue, and then it goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.brokers import MakesLabs, Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Peer, Producer, Worker
from tests.support.proxy import Proxy, Way

pytestmark = pytest.mark.e2e
in_one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)


def throttled(daemon: Daemon, why: str, seconds: float = 15.0) -> None:
    def holds(status: dict) -> bool:
        queue = queue_of(status, "q1")
        return queue["state"] == "throttled" and why in queue["why"]

    daemon.wait_until(holds, seconds)


def moving(daemon: Daemon, seconds: float = 15.0) -> None:
    daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving", seconds)


def times_throttled(daemon: Daemon) -> int:
    return daemon.stderr.count('queue "q1": throttled: ')


@in_one_world
def test_a_deep_target_queue_is_left_to_the_old_workers_until_it_is_worked_off(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        config = takeover(vhosts, tmp_path, route="quorum", throttle={"depth": 500})
        with running(config, tmp_path) as daemon, Producer(vhosts.old.amqp, "q1", rate=400) as producer:
            throttled(daemon, 'target queue "q1" has ')
            why = daemon.queue("q1")["why"]
            assert why.endswith(" messages ready, 500 are the bound; it goes on below 400")
            depth = new.ready("q1")
            assert 500 <= depth <= 500 + 2 * 400, "no more than came in two seconds beyond the bound"
            assert daemon.queue("q2")["state"] == "moving", "each queue by its own sister"

            with Worker(vhosts.old.amqp, "q1") as before:
                before.wait_for(400)
                assert new.ready("q1") == depth, "nothing more went there"
                # A message less, or a few, change nothing.
                for _ in range(50):
                    new.channel.basic_get("q1", auto_ack=True)
                before.wait_for(len(before.got) + 400)
                assert daemon.queue("q1")["state"] == "throttled"

                with Worker(vhosts.new.amqp, "q1") as after:
                    moving(daemon)
                    after.wait_until(lambda got: bool(got) and got[-1] > before.got[-1] and len(got) > depth)
                    producer.stop()
                    after.wait_until(lambda got: len(before.got) + len(got) + 50 == producer.sent)
            assert times_throttled(daemon) == 1
            assert daemon.status()["totals"]["possible_duplicates"] == 0


@in_one_world
@pytest.mark.long
def test_other_bounds_are_in_force_with_a_reload(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(1000))
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 1000)
            daemon.configure({**config, "throttle": {"depth": 1000}})
            daemon.signal(signal.SIGHUP)
            throttled(daemon, "1000 messages ready, 1000 are the bound")
            daemon.configure(config)
            daemon.signal(signal.SIGHUP)
            moving(daemon)


@in_one_world
@pytest.mark.long
def test_slow_confirms_leave_the_queue_to_the_old_workers_and_a_trial_opens_it(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new, Proxy(vhosts.new.amqp) as proxy:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum", throttle={"confirm": "1s"})
        config["target"]["amqp"] = proxy.url
        with running(config, tmp_path) as daemon, Producer(vhosts.old.amqp, "q1", rate=100) as producer:
            daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] > 50)
            # What is sent waits on its way, but moves: not silence, which ends a subscription after 3 s.
            proxy.trickle(20000, Way.TO_SERVER)
            throttled(daemon, "to confirm, 1 s are the bound; a trial of few messages follows after 5 s", 30)
            with Worker(vhosts.old.amqp, "q1") as before:
                before.wait_for(100)
                proxy.restore()
                moving(daemon, 60)
                moved = daemon.queue("q1")["moved"]
                # First a few, then all.
                daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] > moved + 300, 30)
                producer.stop()
                before.wait_until(lambda got: old.ready("q1") == 0)
            daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)
            taken = [number for number, _ in new.take_all("q1")]
            assert sorted({*before.got, *taken}) == list(producer.numbers)


@pytest.mark.long
def test_an_alarm_of_the_target_leaves_the_queue_to_the_old_workers_until_it_ends(new_lab: MakesLabs, tmp_path: Path):
    lab = new_lab("3.10", "4.3")
    node = lab.new.nodes[0]
    with Peer(lab.old.amqp) as old, Peer(lab.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(Vhosts(lab.old, lab.new), tmp_path, route="quorum", throttle={"depth": 100000})
        with running(config, tmp_path) as daemon, Producer(lab.old.amqp, "q1", rate=100) as producer:
            daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] > 50)
            node.ctl("set_disk_free_limit", "100000GB")
            why = "target takes no publishes now: low on disk"
            daemon.wait_until(lambda status: why in queue_of(status, "q1")["why"], 30)
            with Worker(lab.old.amqp, "q1") as before:
                before.wait_for(100)
                node.ctl("set_disk_free_limit", "64MiB")
                moved = daemon.queue("q1")["moved"]
                daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] > moved + 100, 60)
                producer.stop()
                before.wait_until(lambda _: old.ready("q1") == 0)
            daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)
            assert sorted({*before.got, *(number for number, _ in new.take_all("q1"))}) == list(producer.numbers)
