"""The end of a migration as its operator sees it: status and `bridge certify`, until the old vhost is deleted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.admin_client import fetch
from bridge.lab.deadline import until
from tests.support.brokers import Three, Vhosts
from tests.support.daemon import Daemon, Status, inline, queue_of, running, takeover, unbalanced
from tests.support.peers import Admin, Peer, Producer, Worker

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: Seconds in which a broker's statistics and the quiet time have passed.
SEEN_WITHIN = 40.0


def certify(daemon: Daemon, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", "-c", str(daemon.file), "certify", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def hinders(daemon: Daemon) -> list[str]:
    """Names of the conditions that are not met."""
    found = fetch(daemon.socket, "certify", patience=60)
    return [one["name"] for one in found["conditions"] if not one["ok"]]


def test_an_operator_is_told_what_hinders_until_the_old_vhost_can_be_deleted(vhosts: Vhosts, tmp_path: Path) -> None:
    config = takeover(vhosts, tmp_path, drained_after="3s")
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        old.publish("q2", range(10))
        worker, producer = Worker(vhosts.old.amqp, "q1"), Producer(vhosts.old.amqp, "q1", rate=50)
        with worker, producer, running(config, tmp_path) as daemon:
            assert until(
                lambda: {"drained", "consumers", "publishers", "exchanges"} <= set(hinders(daemon)), SEEN_WITHIN
            )
            told = certify(daemon, "--json")
            assert (told.returncode, json.loads(told.stdout)["ok"]) == (1, False)
            status = daemon.status()
            assert not queue_of(status, "q1")["drained"]
            assert queue_of(status, "q1")["waits_for"][0] == "the route quorum: it is legacy"

            daemon.signal(signal.SIGUSR1)
            with Worker(vhosts.new.amqp, "q1") as new_worker:
                new_worker.wait_for(20)
                worker.stop()
                # Who publishes is named while it does, although everything it sends is moved at once.
                waits_for = daemon.wait_until(lambda status: names_a_publisher(status, "q1"), SEEN_WITHIN)
                assert 'user "bridge"' in " ".join(queue_of(waits_for, "q1")["waits_for"])
                producer.stop()
                status = daemon.wait_until(lambda status: all(q["drained"] for q in status["queues"]), SEEN_WITHIN)
            assert not unbalanced(status)
            assert status["books"]["taken"] == status["books"]["confirmed"] == status["totals"]["moved"]
            assert queue_of(status, "q2")["depth"]["old"]["ready"] == 0
            assert daemon.stderr.count('queue "q1": drained') == 1

            assert until(lambda: hinders(daemon) == [], SEEN_WITHIN), certify(daemon).stdout
            told = certify(daemon)
            assert told.returncode == 0
            assert f'yes: vhost "{vhosts.old.vhost}" can be deleted' in told.stdout
            assert "#.bridge:q1, #.bridge:q2" in told.stdout
            daemon.stop()
        # The yes is meant: the rest of the world goes on without it.
        old.close()
        Admin(vhosts.old.api).call("DELETE", f"vhosts/{vhosts.old.vhost}")
        new.publish("q1", [7])
        with Worker(vhosts.new.amqp, "q1") as worker:
            worker.wait_until(lambda got: 7 in got)
    Admin(vhosts.old.api).call("PUT", f"vhosts/{vhosts.old.vhost}")


def names_a_publisher(status: Status, queue: str) -> bool:
    return any("to stop publishing" in one for one in queue_of(status, queue)["waits_for"])


def test_the_books_balance_after_a_kill_and_say_what_they_do_not_know(vhosts: Vhosts, tmp_path: Path) -> None:
    config = takeover(vhosts, tmp_path, route="quorum")
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        with Producer(vhosts.old.amqp, "q1", rate=300) as producer:
            daemon = Daemon.start(config, tmp_path)
            try:
                daemon.wait_until(lambda status: status["totals"]["moved"] > 100)
                # What was saved by then is what the next one begins with.
                before = daemon.wait_until(lambda status: status["control"]["saved_at"] is not None)["books"]
            finally:
                daemon.kill()
            with running(config, tmp_path) as daemon:
                producer.wait_for(300)
                producer.stop()
                status = daemon.wait_until(
                    lambda status: (
                        old.ready("q1") == 0 and status["totals"]["in_flight"] == 0 and status["books"]["gaps"]
                    )
                )
                assert not unbalanced(status)
                assert len(status["books"]["gaps"]) == 1
                gap = status["books"]["gaps"][0]
                assert gap["since"] <= gap["until"]
                assert status["books"]["taken"] > 0
                assert before["balanced"]
            # An orderly end leaves none.
            with running(config, tmp_path) as daemon:
                status = daemon.wait_until(lambda status: status["state"] == "active" and "q1" in str(status["queues"]))
                assert len(status["books"]["gaps"]) == 1
                assert not unbalanced(status)


@pytest.mark.long
def test_inline_the_legacy_vhost_can_be_deleted_while_producers_go_on(three: Three, tmp_path: Path) -> None:
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy, Peer(three.new.amqp) as new:
        ingress.classic("q1")
        legacy.classic("q1")
        new.quorum("q1")
        with (
            Producer(three.ingress.amqp, "q1", rate=50) as producer,
            Worker(three.new.amqp, "q1") as new_worker,
            running(inline(three, tmp_path, drained_after="3s"), tmp_path) as daemon,
        ):
            with Worker(three.legacy.amqp, "q1") as old_worker:
                old_worker.wait_for(20)
                assert until(lambda: {"drained", "consumers", "exchanges"} <= set(hinders(daemon)), SEEN_WITHIN)
                daemon.ask("cutover", "q1")
                new_worker.wait_for(20)
                waits_for = daemon.wait_until(lambda status: "stop consuming" in str(status["queues"]), SEEN_WITHIN)
                assert not queue_of(waits_for, "q1")["drained"]
            assert until(lambda: hinders(daemon) == [], SEEN_WITHIN), certify(daemon).stdout
            told = certify(daemon).stdout
            assert f'yes: vhost "{three.legacy.vhost}" can be deleted' in told
            assert "the source vhost stays for as long as producers publish there" in told
            assert queue_of(daemon.status(), "q1")["drained"]
            producer.wait_for(10)
