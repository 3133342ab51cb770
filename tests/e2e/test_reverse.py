"""The way back: what waits on the target, in its queue and in its ladder, is plain tasks of the old queue again."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.core import ladder
from bridge.lab.celery_app import TASK, application
from bridge.lab.deadline import until
from bridge.lab.fingerprint import caps_priority
from tests.functional.ladders import bind_as_celery, declare_ladder
from tests.support.brokers import Three, Vhosts
from tests.support.celery_traffic import CeleryTraffic
from tests.support.daemon import Daemon, Status, inline, queue_of, running, takeover
from tests.support.peers import Peer, Worker, message, number_in
from tests.support.proxy import Proxy
from tests.support.raw_amqp import Raw, RawAmqp

pytestmark = [pytest.mark.e2e]

#: Worlds of the tests that run in one of them with every run.
ONE = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
#: Seconds for thousands of tasks on a busy machine.
LONG = 120.0


def go(daemon: Daemon, config: dict[str, Any], route: str) -> None:
    """Another route by the configuration, which is a verb."""
    config["route"] = route
    daemon.configure(config)
    daemon.signal(signal.SIGHUP)
    daemon.wait_until(lambda status: {queue["route"] for queue in status["queues"]} == {route})


def eta(ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()


def brought_back(status: Status) -> int:
    return sum(queue["back"]["brought_back"] for queue in status["queues"])


def from_ladder(status: Status) -> int:
    return sum(queue["back"]["from_ladder"] for queue in status["queues"])


def waiting(peer: Peer) -> int:
    """How many messages are ready in the ladder."""
    return sum(peer.ready(ladder.level_name(level)) for level in range(ladder.LEVELS))


# -- with real Celery
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "tasks"),
    [
        ("3.10->4.3", 600),
        pytest.param("3.10->4.3", 10_000, marks=pytest.mark.long),
        pytest.param("3.10->4.0", 10_000, marks=pytest.mark.long),
        pytest.param("3.10->3.10", 10_000, marks=pytest.mark.long),
    ],
    indirect=["world"],
)
def test_back_forward_and_back_again(tasks: int, vhosts: Vhosts, tmp_path: Path) -> None:
    old = vhosts.old.amqp
    within = 15.0 if tasks < 1000 else LONG
    with (
        Peer(vhosts.new.amqp) as new,
        CeleryTraffic(
            tmp_path / "traffic",
            into=old,
            sides={"old": old},
            queues=("q1", "q2"),
            workers=(),
            rate=400 if tasks < 1000 else 1000,
            eta_share=0.5,
            eta_to=8.0 if tasks < 1000 else 60.0,
            capped=caps_priority(vhosts.new.version),
        ) as traffic,
    ):
        new.quorum("q1", "q2")
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon:

            def enough() -> bool:
                traffic.truth.refresh()
                return len(traffic.truth.sent) >= tasks

            assert until(enough, within)
            traffic.stop_producing()
            traffic.truth.refresh()
            sent = len(traffic.truth.sent)
            daemon.wait_until(lambda status: status["totals"]["moved"] == sent, within)
            # Traffic with an ETA was converted, and passes through the ladder again each time it goes forward.
            assert daemon.status()["totals"]["converted"] > tasks / 10

            def all_back(status: Status) -> bool:
                return brought_back(status) == times * sent

            for times in (1, 2):
                if times == 2:
                    go(daemon, config, "quorum")
                    daemon.wait_until(lambda status: status["totals"]["moved"] == 2 * sent, within)
                go(daemon, config, "reverse")
                daemon.wait_until(all_back, within)
                assert waiting(new) == new.ready("q1") == new.ready("q2") == 0
            status = daemon.status()
            assert from_ladder(status) > 0
            assert status["totals"]["possible_duplicates"] == 0
            traffic.start_worker("old")
            report = traffic.settle()
        assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0), report.faults
        assert report.started_old == sent


@pytest.mark.long
@ONE
def test_producers_move_before_the_workers(vhosts: Vhosts, tmp_path: Path) -> None:
    old = vhosts.old.amqp
    declare_ladder(vhosts.new, "quorum")
    with RawAmqp(vhosts.new.amqp) as new:
        new.declare_exchange("celery", "topic")
        new.declare("q1", **{"x-queue-type": "quorum"})
        new.bind("q1", "celery", "q1")
    bind_as_celery(vhosts.new, "q1", "celery")
    sent: dict[str, float] = {}
    producer = application("new", vhosts.new.amqp, ("q1",))

    def send(count: int, countdown: float | None = None) -> None:
        for _ in range(count):
            due = time.time() + (countdown or 0)
            sent[producer.send_task(TASK, queue="q1", countdown=countdown).id] = due

    with (
        CeleryTraffic(
            tmp_path / "traffic",
            into=old,
            sides={"old": old, "new": vhosts.new.amqp},
            queues=("q1",),
            workers=("old",),
            rate=50.0,
        ) as traffic,
        running(config := takeover(vhosts, tmp_path, route="reverse"), tmp_path) as daemon,
    ):

        def ran(side: str) -> bool:
            traffic.truth.refresh()
            return all({start.side for start in traffic.truth.started.get(task, ())} == {side} for task in sent)

        send(60)
        for countdown in (2.0, 3.0, 4.0):
            send(20, countdown)
        daemon.wait_until(lambda status: brought_back(status) == 120)
        assert until(lambda: ran("old"), 20), daemon.status()
        first = dict(sent)
        sent.clear()

        # Now the workers.
        traffic.start_worker("new")
        go(daemon, config, "quorum")
        daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
        send(20)
        send(20, 2.0)
        traffic.starts_on("new", 20)
        assert until(lambda: ran("new"), 20), daemon.status()
        assert daemon.status()["totals"]["possible_duplicates"] == 0
        report = traffic.settle()
    assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0), report.faults
    for task, due in {**first, **sent}.items():
        starts = traffic.truth.started[task]
        assert len(starts) == 1, [one for one in traffic.truth.received if one.id == task]
        [start] = starts
        assert start.at >= due - 0.5, "a native task ran early"


@pytest.mark.long
@ONE
def test_inline_what_waits_goes_to_the_legacy_side(three: Three, tmp_path: Path) -> None:
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy, Peer(three.new.amqp) as new:
        ingress.classic("q1")
        legacy.classic("q1")
        new.quorum("q1")
        config = inline(three, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["route"] == "quorum")
            ingress.publish("q1", range(20))
            ingress.publish("q1", range(20, 40), eta=eta(3600))
            daemon.wait_until(lambda status: status["totals"]["moved"] == 40)
            go(daemon, config, "reverse")
            # What producers send meanwhile is on its way to the legacy side too.
            ingress.publish("q1", range(40, 60))
            daemon.wait_until(lambda status: brought_back(status) == 40)
            assert until(lambda: legacy.ready("q1") == 60, 15)
            assert sorted(number for number, _ in legacy.take_all("q1")) == list(range(60))
            assert waiting(new) == new.ready("q1") == 0


# -- the levels are shared
# ----------------------------------------------------------------------------------------------


def native(peer: Peer, delay: int, suffix: str, number: int, **headers: Any) -> None:
    """What a producer with native delayed delivery sends."""
    body, properties = message(number, **{"eta": eta(delay), **headers})
    entry = ladder.entry(delay, suffix)
    peer.channel.basic_publish("celery_delayed_27", entry.routing_key, body, properties, mandatory=True)


@pytest.mark.long
@pytest.mark.parametrize("world", ["3.10->4.3", "3.10->4.0", "3.10->3.10"], indirect=True)
def test_the_tasks_of_others_stay_what_they_are(vhosts: Vhosts, tmp_path: Path) -> None:
    declare_ladder(vhosts.new, "quorum")
    names = ("q1", "a.q1", "other")
    death = [{"queue": ladder.level_name(n), "reason": "expired", "exchange": "", "count": 1} for n in range(4)]
    config = takeover(vhosts, tmp_path)
    with (
        Peer(vhosts.old.amqp) as old,
        Peer(vhosts.new.amqp) as new,
        running(config, tmp_path) as daemon,
        RawAmqp(vhosts.new.amqp) as others,
    ):
        old.classic(*names)
        new.quorum(*names)
        new.channel.exchange_declare("celery", "topic", durable=True)
        for name in names:
            bind_as_celery(vhosts.new, name, "celery")
        for name in ("other", "a.q1"):
            others.consume(name)
        new.channel.confirm_delivery()
        began = time.time()
        # As an old worker's retry carries it: with that, 3.10 drops a message that comes to such a level again.
        native(new, 3600, "q1", 1, **{"x-death": death})
        native(new, 15, "q1", 2, **{"x-death": death})
        # Celery's pattern of q1 catches it too: each queue gets it once.
        native(new, 9, "a.q1", 3)
        native(new, 9, "other", 4)
        native(new, 9, "other", 5, eta="tomorrow")
        native(new, 3600, "other", 6)
        # Without a way out it stays, as it would have.
        native(new, 3600, "nowhere", 7)
        daemon.configure({**config, "queues": {"settings": [{"match": "q1", "route": "reverse"}]}})
        daemon.signal(signal.SIGHUP)
        daemon.wait_until(lambda status: len(status["queues"]) == 3 and brought_back(status) == 3)
        back = {}
        with RawAmqp(vhosts.old.amqp) as plain:
            plain.consume("q1")
            for _ in range(3):
                arrived = plain.receive(time.monotonic() + 5)
                assert arrived is not None
                assert b"x-death" not in arrived.properties
                assert b"-death-" not in arrived.properties
                back[number_in(arrived.properties)] = arrived
        assert set(back) == {1, 2, 3}
        status = daemon.wait_until(lambda status: status["ladder_back"]["state"] == "waiting")
        assert queue_of(status, "q1")["back"]["from_ladder"] > 0
        assert status["ladder_back"]["others_sent_again"] > 0

        # Forward again: what passed the ladder before passes it once more.
        with RawAmqp(vhosts.old.amqp) as plain:
            plain.publish("", "q1", Raw(back[2].properties, back[2].body))
        daemon.configure({**config, "queues": {"settings": [{"match": "q1", "route": "quorum"}]}})
        daemon.signal(signal.SIGHUP)
        others.consume("q1")
        came: dict[int, tuple[str, float]] = {}
        for _ in range(4):
            arrived = others.receive(time.monotonic() + 20)
            assert arrived is not None, came
            came[number_in(arrived.properties)] = (arrived.queue, arrived.at - began)
        assert {number: queue for number, (queue, _) in came.items()} == {2: "q1", 3: "a.q1", 4: "other", 5: "other"}
        assert came[2][1] >= 14
        assert min(came[number][1] for number in (3, 4, 5)) >= 8
        # 5 has no ETA that can be read: it is late by what it had waited.
        assert max(came[number][1] for number in (3, 4, 5)) <= 18
        assert others.receive(time.monotonic() + 0.5) is None
        assert waiting(new) == 2


# -- an old side that takes nothing
# --------------------------------------------------------------------------------------


@pytest.mark.long
@ONE
def test_an_old_queue_that_is_full_loses_nothing(vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", **{"x-max-length": 10, "x-overflow": "reject-publish"})
        new.quorum("q1")
        new.publish("q1", range(30))
        with running(takeover(vhosts, tmp_path, route="reverse"), tmp_path) as daemon:
            # It is looked at again and again, and none of these looks is a try.
            daemon.wait_until(lambda status: "ready since" in queue_of(status, "q1")["why"])
            assert old.ready("q1") == 10
            with Worker(vhosts.old.amqp, "q1") as worker:
                assert until(lambda: set(worker.got) == set(range(30)), 40)
            status = daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
            assert queue_of(status, "q1")["back"]["quarantined"] == 0
            assert len(worker.got) - 30 <= queue_of(status, "q1")["back"]["possible_duplicates"]
        assert new.ready("q1") == 0


@ONE
def test_an_old_queue_that_is_gone_loses_nothing(vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        with running(takeover(vhosts, tmp_path, route="reverse"), tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
            old.channel.queue_delete("q1")
            new.publish("q1", range(10))
            # A reload looks at the source at once.
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(lambda status: not status["queues"])
            assert until(lambda: new.look("q1") == (10, 0), 20)
            old.classic("q1")
            daemon.signal(signal.SIGHUP)
            assert until(lambda: old.ready("q1") == 10, 20)
            assert sorted(number for number, _ in old.take_all("q1")) == list(range(10))


@ONE
def test_what_came_back_too_often_is_in_the_quarantine(vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        new.publish("q1", [1])
        for _ in range(11):
            with RawAmqp(vhosts.new.amqp) as amqp:
                amqp.consume("q1", prefetch=1)
                assert amqp.receive(time.monotonic() + 5) is not None
        new.publish("q1", [2])
        with running(takeover(vhosts, tmp_path, route="reverse"), tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["back"]["quarantined"] == 1)
            daemon.wait_until(lambda status: brought_back(status) == 1)
            assert [number for number, _ in old.take_all("q1")] == [2]
            [(number, _)] = new.take_all("bridge.quarantine")
            assert number == 1


@pytest.mark.long
@ONE
def test_a_kill_in_the_middle_doubles_no_more_than_is_listed(vhosts: Vhosts, tmp_path: Path) -> None:
    config = takeover(vhosts, tmp_path, route="quorum")
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(4000), eta=eta(7200))
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["converted"] == 4000, LONG)
            go(daemon, config, "reverse")
            daemon.wait_until(lambda status: from_ladder(status) > 0, LONG)
            daemon.kill()
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["ladder_back"]["state"] == "waiting" and not waiting(new), LONG)
            doubled = old.ready("q1") - 4000
            assert 0 <= doubled <= daemon.status()["queues"][0]["back"]["possible_duplicates"]
        assert {number for number, _ in old.take_all("q1")} == set(range(4000))


@pytest.mark.long
@ONE
def test_thirty_lost_connections_lose_nothing(vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new, Proxy(vhosts.old.amqp) as proxy:
        old.classic("q1")
        new.quorum("q1")
        new.publish("q1", range(2000))
        config = takeover(vhosts, tmp_path, route="reverse")
        config["source"]["amqp"] = proxy.url
        with running(config, tmp_path) as daemon:
            for _ in range(30):
                daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving", LONG)
                proxy.cut()
                new.publish("q1", [9999])
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving" and not new.ready("q1"), LONG)
            back = queue_of(daemon.status(), "q1")["back"]
        came = [number for number, _ in old.take_all("q1")]
        if back["quarantined"]:
            came += [number for number, _ in new.take_all("bridge.quarantine")]
        assert set(came) == {*range(2000), 9999}
        assert len(came) - 2030 <= back["possible_duplicates"]
