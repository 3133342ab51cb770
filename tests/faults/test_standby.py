"""Two daemons of one name: kills in a row, one that was stopped, one without the target, one that is another bridge."""

from __future__ import annotations

import itertools
import re
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Exit
from bridge.lab.deadline import until
from tests.support.brokers import MakesLabs, MakesVhosts, Vhosts
from tests.support.daemon import Daemon, takeover
from tests.support.peers import Admin, Peer, Producer, Worker, as_user
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: Seconds in which the relay has to go on after the active daemon was killed.
GOES_ON = 5.0

#: Seconds in which a daemon has to start beside others, on a machine that is busy with all of them.
STARTS = 60.0

Start = Callable[..., Daemon]


@pytest.fixture
def queues(vhosts: Vhosts) -> Vhosts:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
    return vhosts


@pytest.fixture
def start(queues: Vhosts, tmp_path: Path) -> Iterator[Start]:
    """Starts a daemon in a folder of its own: a container without a volume."""
    numbers = itertools.count()
    with ExitStack() as ending:

        def begin(*, ready: bool = True, vhosts: Vhosts = queues, **changed: Any) -> Daemon:
            folder = tmp_path / f"d{next(numbers)}"
            folder.mkdir()
            how = {"queues": {"include": ["q1"]}, **changed}
            daemon = Daemon.start(takeover(vhosts, folder, **how), folder, ready=ready)
            ending.callback(daemon.kill)
            return daemon

        yield begin


def active(status: dict[str, Any]) -> bool:
    return bool(status["state"] == "active")


def standby(status: dict[str, Any]) -> bool:
    return bool(status["state"] == "standby")


def moving(status: dict[str, Any]) -> bool:
    return active(status) and [queue["state"] for queue in status["queues"]] == ["moving"]


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_kills_in_a_row(queues: Vhosts, start: Start, kills: int):
    one, two = start(), start()
    assert standby(two.status())
    said = two.wait_until(lambda status: "host " in status["standby"])["standby"]
    assert re.search(rf'of instance "main" is the active one: host \S+, pid {one.pid}, started ', said)
    one.signal(signal.SIGUSR1)
    one.wait_until(moving)
    went_on, moved = [], 0
    with Worker(queues.new.amqp, "q1", prefetch=100) as worker, Producer(queues.old.amqp, "q1", rate=50) as producer:
        for _ in range(kills):
            two.wait_until(standby, STARTS)
            worker.wait_for(len(worker.got) + 20)
            one.wait_until(lambda status: status["control"]["fault"] is None)
            killed = time.monotonic()
            one.kill()
            # Everything that is sent from now on can only come through the other one.
            last = producer.sent
            assert until(lambda last=last: bool(worker.got) and max(worker.got[-50:]) > last + 1, GOES_ON * 3)
            pairs = zip(worker.got, worker.times, strict=False)
            went_on.append(next(at for number, at in pairs if number > last + 1) - killed)
            status = two.wait_until(moving)
            assert status["queues"][0]["route"] == "quorum"
            assert status["totals"]["moved"] >= moved
            moved = status["totals"]["moved"]
            assert [change["verb"] for change in status["changes"]] == ["cutover"]
            one, two = two, start(ready=False)
        producer.stop()
        worker.wait_until(lambda got: set(range(producer.sent)) <= set(got))
        twice = len(worker.got) - producer.sent
    times = [f"{seconds:.2f}" for seconds in sorted(went_on)]
    print(f"{kills} kills: relay went on after median {statistics.median(went_on):.2f} s, worst {times[-1]} s; ")
    print(f"{producer.sent} tasks, 0 lost, {twice} twice")
    assert max(went_on) < GOES_ON
    two.wait_until(standby, STARTS)
    assert one.stop() == 0
    two.wait_until(moving)
    assert two.stop() == 0


def with_heartbeat(vhosts: Vhosts, seconds: int) -> dict[str, Any]:
    return {
        side: {"amqp": f"{given.amqp}?heartbeat={seconds}", "api": given.api}
        for side, given in (("source", vhosts.old), ("target", vhosts.new))
    }


def test_one_that_was_stopped_finds_another_one_active(queues: Vhosts, start: Start):
    beating = with_heartbeat(queues, 2)
    one, two = start(**beating), start(**beating)
    one.signal(signal.SIGUSR1)
    one.wait_until(moving)
    with Worker(queues.new.amqp, "q1") as worker, Producer(queues.old.amqp, "q1", rate=100) as producer:
        worker.wait_for(50)
        one.signal(signal.SIGSTOP)
        try:
            two.wait_until(moving, 30)
            worker.wait_for(len(worker.got) + 100)
        finally:
            one.signal(signal.SIGCONT)
        told = one.wait_until(lambda status: standby(status) and f"pid {two.pid}" in status["standby"], 30)
        assert {queue["state"] for queue in told["queues"]} <= {"standby"}
        before = one.status()["totals"]["moved"]
        worker.wait_for(len(worker.got) + 100)
        assert one.status()["totals"]["moved"] == before
        with Peer(queues.old.amqp) as peer:
            assert peer.consumers("q1") == 1
        producer.stop()
        worker.wait_until(lambda got: set(range(producer.sent)) <= set(got))
        print(f"{producer.sent} tasks, {len(worker.got) - producer.sent} twice")
        # What the other one changed is what it goes on with.
        two.signal(signal.SIGUSR2)
        two.wait_until(lambda status: status["queues"][0]["route"] == "legacy")
        assert two.stop() == 0
        status = one.wait_until(active)
        assert status["queues"][0]["route"] == "legacy"
        assert [change["verb"] for change in status["changes"]] == ["cutover", "legacy"]
    assert one.stop() == 0


def test_without_the_target_nothing_moves_and_no_verb_is_taken(queues: Vhosts, start: Start):
    with Proxy(queues.new.amqp) as proxy:
        one = start(target={"amqp": proxy.url, "api": queues.new.api})
        one.signal(signal.SIGUSR1)
        one.wait_until(moving)
        proxy.cut(refuse=True)
        status = one.wait_until(standby)
        assert status["standby"].startswith("no state: ")
        one.signal(signal.SIGUSR2)
        assert until(lambda: "SIGUSR2" in one.stderr or "no state" in one.quote(5), 5)
        with Peer(queues.old.amqp) as peer:
            assert until(lambda: peer.consumers("q1") == 0, 10)
            peer.publish("q1", range(10))
        proxy.restore()
        one.wait_until(lambda status: moving(status) and status["totals"]["moved"] == 10, 30)
        assert one.status()["queues"][0]["route"] == "quorum"
        assert one.stop() == 0


@pytest.mark.long
def test_both_brokers_are_restarted_under_two_daemons(new_lab: MakesLabs, start: Start):
    lab = new_lab()
    vhosts = Vhosts(lab.old, lab.new)
    with Peer(lab.old.amqp) as old, Peer(lab.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
    one, two = start(vhosts=vhosts), start(vhosts=vhosts)
    one.signal(signal.SIGUSR1)
    one.wait_until(moving)
    for side in (lab.new, lab.old):
        (node,) = side.nodes
        node.stop()
        if side is lab.new:
            for daemon in (one, two):
                daemon.wait_until(lambda status: standby(status) and status["standby"].startswith("no state: "), 30)
        node.start()
    # Whoever was first is the active one now, and the other one is not.
    assert until(lambda: sorted(daemon.status()["state"] for daemon in (one, two)) == ["active", "standby"], 60)
    winner, loser = (one, two) if active(one.status()) else (two, one)
    with Peer(lab.old.amqp) as peer:
        peer.publish("q1", range(10))
    winner.wait_until(lambda status: moving(status) and status["totals"]["moved"] == 10, 60)
    assert winner.status()["queues"][0]["route"] == "quorum"
    assert {queue["state"] for queue in loser.status()["queues"]} <= {"standby"}


def test_a_route_outlives_every_process(queues: Vhosts, start: Start):
    one = start()
    with Peer(queues.old.amqp) as peer:
        peer.publish("q1", range(10))
    one.signal(signal.SIGUSR1)
    one.wait_until(lambda status: moving(status) and status["totals"]["moved"] == 10)
    one.signal(signal.SIGTERM)
    assert one.ended() == 0
    two = start()
    status = two.wait_until(moving)
    assert (status["queues"][0]["route"], status["totals"]["moved"]) == ("quorum", 10)
    two.kill()
    assert start().wait_until(moving)["totals"]["moved"] == 10


@pytest.mark.long
def test_another_bridge_of_the_same_name_changes_nothing(queues: Vhosts, start: Start, new_vhosts: MakesVhosts):
    one = start()
    one.signal(signal.SIGUSR1)
    one.wait_until(moving)
    elsewhere = Vhosts(new_vhosts().old, queues.new)
    other = start(ready=False, vhosts=elsewhere)
    assert other.ended() == Exit.REFUSED
    assert re.search(r'instance "main" is a bridge with another source or layout: host \S+, pid', other.quote())
    assert moving(one.status())
    one.kill()
    other = start(ready=False, vhosts=elsewhere)
    assert other.ended() == Exit.REFUSED
    assert 'control queue "bridge.control.main" belongs to another bridge' in other.quote()
    assert "give one of the two another `instance`" in other.quote()
    assert start().wait_until(moving)["queues"][0]["route"] == "quorum"


def test_without_the_right_to_its_queue_it_does_not_start(queues: Vhosts, start: Start):
    api = Admin(queues.new.api)
    api.make_user("few", "x", queues.new.vhost, configure="^celery_delayed_.*", read="^(celery_delayed_.*|q1)$")
    try:
        url = as_user(queues.new.amqp, "few", "x")
        one = start(ready=False, target={"amqp": url})
        assert one.ended() == Exit.REFUSED
        assert 'control queue "bridge.control.main" cannot be used: ' in one.quote()
        assert "the user needs configure and read on queue" in one.quote()
    finally:
        api.drop_user("few")
