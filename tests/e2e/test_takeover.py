"""What the bridge takes: a canary's share and no more, queues that come and go, and never what is not a task queue."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import Vhosts
from tests.support.daemon import Status, queue_of, running, takeover
from tests.support.peers import Admin, Peer, Producer, Worker

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


def names(status: Status) -> list[str]:
    return [queue["name"] for queue in status["queues"]]


# -- canary ------------------------------------------------------------------------------------------------------------


def test_a_canary_of_a_rate_takes_that_and_leaves_the_rest(vhosts: Vhosts, tmp_path: Path):
    rate, prefetch = 100, 10
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="canary", canary={"rate": f"{rate}/s"})
        with (
            Worker(vhosts.old.amqp, "q1") as rest,
            Worker(vhosts.new.amqp, "q1") as share,
            running(config, tmp_path) as daemon,
            Producer(vhosts.old.amqp, "q1", rate=400) as producer,
        ):
            began = time.monotonic()
            share.wait_for(3 * rate)
            producer.stop()
            rest.wait_until(lambda got: len(got) + len(share.got) == producer.sent)
            daemon.wait_until(lambda status: status["totals"]["moved"] == len(share.got))

            # Not from the first arrival: it may have been late, and then the others came in less time than they went.
            seconds = share.times[-1] - began
            assert 0.7 * rate * seconds <= len(share.got) <= rate * seconds + 2 * prefetch
            assert sorted(rest.got + share.got) == list(producer.numbers)
            assert share.got == sorted(share.got)


@pytest.mark.parametrize(("first", "window"), [(37, 500), (700, 50)])
def test_a_canary_of_the_first_so_many_takes_exactly_those(first: int, window: int, vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(1000))
        config = takeover(vhosts, tmp_path, route="canary", canary={"first": first}, relay={"window": window})
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "done")
            assert (
                queue_of(status, "q1")["why"] == f"canary: the first {first} were taken; the old workers have the rest"
            )
            assert queue_of(status, "q1")["moved"] == first
            assert old.look("q1") == (1000 - first, 0)
            # What the old side publishes later stays there.
            old.publish("q1", range(1000, 1100))
            assert new.take_all("q1") == [(number, False) for number in range(first)]
        assert [number for number, _ in old.take_all("q1")] == list(range(first, 1100))


# -- queues that come and go -------------------------------------------------------------------------------------------


def test_queues_that_appear_are_taken_up_and_those_that_go_are_let_go(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        new.quorum("q1", "q2")
        with running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
            assert names(daemon.status()) == []
            old.classic("q1")
            old.publish("q1", range(10))
            daemon.wait_until(lambda status: status["totals"]["moved"] == 10)

            # A reload looks at once.
            old.classic("q2")
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(
                lambda status: names(status) == ["q1", "q2"] and queue_of(status, "q2")["state"] == "moving"
            )
            old.channel.queue_delete("q1")
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "faulted")
            assert 'queue "q1": the source cancelled our consumer: the queue was deleted' in daemon.stderr
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(lambda status: names(status) == ["q2"])

            old.classic("q1")
            old.publish("q1", range(10, 20))
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(lambda status: names(status) == ["q1", "q2"])
            with Worker(vhosts.new.amqp, "q1") as worker:
                assert worker.wait_for(20) == list(range(20))
            old.publish("q2", range(5))
            daemon.wait_until(lambda status: queue_of(status, "q2")["moved"] == 5)


def test_a_queue_that_is_deleted_and_declared_again_between_two_looks_goes_on(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        with running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
            old.channel.queue_delete("q1")
            old.classic("q1")
            old.publish("q1", range(10))
            daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] == 10)


# -- scope -------------------------------------------------------------------------------------------------------------


def declare_what_is_found_beside_task_queues(old: Peer, api: Admin, vhost: str) -> dict[str, str]:
    """Queue names to the reason for which each is left alone."""

    def declare(name: str, *, durable: bool = True, auto_delete: bool = False, **arguments: Any) -> None:
        arguments = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        old.channel.queue_declare(name, durable=durable, auto_delete=auto_delete, arguments=arguments)

    declare("celery@h1.celery.pidbox", durable=False, auto_delete=True, message_ttl=300000, expires=600000)
    declare("durable@h1.celery.pidbox")
    declare("celeryev.8a4d", durable=False, auto_delete=True, message_ttl=5000, expires=60000)
    declare("celeryev.durable")
    declare("8a4dd0a5-rpc-of-5.7", auto_delete=True, expires=86400000)
    declare("8a4dd0a5rpcof44", expires=86400000)
    declare("expires-by-policy")
    declare("bcast.8a4d")
    declare("transient", durable=False)
    declare("gone-with-its-consumer", auto_delete=True)
    declare("celery_delayed_3")
    declare("app_celery_delayed_27")
    declare("bridge.quarantine")
    declare("w1@h1.dq2")
    declare("a-quorum-queue", queue_type="quorum")
    declare("a-stream", queue_type="stream")
    old.channel.queue_declare("of-one-connection", exclusive=True)
    declare("left-out-by-the-operator")
    policy = {"pattern": "^expires-by", "definition": {"expires": 86400000}, "apply-to": "queues"}
    api.call("PUT", f"policies/{vhost}/expiring", policy)
    return {
        "celery@h1.celery.pidbox": "auto-delete",
        "durable@h1.celery.pidbox": "remote control (pidbox)",
        "celeryev.8a4d": "auto-delete",
        "celeryev.durable": "Celery's events",
        "8a4dd0a5-rpc-of-5.7": "auto-delete",
        "8a4dd0a5rpcof44": "x-expires",
        "expires-by-policy": "x-expires",
        "bcast.8a4d": "Broadcast",
        "transient": "not durable",
        "gone-with-its-consumer": "auto-delete",
        "celery_delayed_3": "a level of the ladder",
        "app_celery_delayed_27": "a level of the ladder",
        "bridge.quarantine": "the bridge's own",
        "w1@h1.dq2": "tasks for one worker by name",
        "a-quorum-queue": "a quorum queue",
        "a-stream": "a stream queue",
        "of-one-connection": "exclusive",
    }


def test_nothing_but_task_queues_is_touched(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("orders", "celery", "w2@h1.dq2")
        left = declare_what_is_found_beside_task_queues(old, Admin(vhosts.old.api), vhosts.old.vhost)
        new.quorum("orders", "celery", "w2@h1.dq2")
        queues = {"include": ["*", "w2@h1.dq2"], "exclude": ["left-out*"]}
        with running(takeover(vhosts, tmp_path, route="quorum", queues=queues), tmp_path) as daemon:
            status = daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"moving"})
            assert names(status) == ["celery", "orders", "w2@h1.dq2"]
            for name, reason in left.items():
                lines = [line for line in daemon.stderr.splitlines() if f'queue "{name}" is left alone: ' in line]
                assert len(lines) == 1, f"{name}: {lines}"
                assert reason in lines[0]
                assert old.consumers(name) == 0
            assert old.consumers("left-out-by-the-operator") == 0
            # An auto-delete queue ends with its last consumer: whoever consumed from it deleted it.
            assert old.look("gone-with-its-consumer") == (0, 0)


def test_without_the_api_queues_are_named_and_what_is_lost_is_said(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum", queues={"include": ["q1"]})
        for side in ("source", "target"):
            del config[side]["api"]
        old.publish("q1", range(10))
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
            assert names(status) == ["q1"]
            assert len(status["lost_features"]) == 2
            for lost in status["lost_features"]:
                assert lost in daemon.stderr
