"""The inline layout: producers publish into an ingress vhost, and two live sides get what the route says."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from bridge.lab.deadline import until
from tests.support.brokers import Three
from tests.support.celery_traffic import CeleryTraffic
from tests.support.daemon import Daemon, inline, queue_of, running
from tests.support.peers import Admin, Peer, Producer, Worker, as_user, message
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


@dataclass
class Scene:
    """The three vhosts with a queue `q1` each, and a worker on either side."""

    ingress: Peer
    legacy: Peer
    new: Peer
    old_worker: Worker
    new_worker: Worker


@contextmanager
def scene(three: Three) -> Iterator[Scene]:
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy, Peer(three.new.amqp) as new:
        ingress.classic("q1")
        legacy.classic("q1")
        new.quorum("q1")
        with (
            Worker(three.legacy.amqp, "q1", prefetch=100) as old_worker,
            Worker(three.new.amqp, "q1", prefetch=100) as new_worker,
        ):
            yield Scene(ingress, legacy, new, old_worker, new_worker)


def moving(daemon: Daemon, route: str) -> None:
    """Wait until messages move on this route."""

    def holds(status: dict[str, Any]) -> bool:
        queue = queue_of(status, "q1")
        return (queue["route"], queue["state"]) == (route, "moving")

    daemon.wait_until(holds)


def producing(daemon: Daemon, three: Three, route: str) -> Producer:
    """A producer that begins when messages move on this route."""
    moving(daemon, route)
    return Producer(three.ingress.amqp, "q1", rate=200)


def test_each_flip_is_sharp_and_keeps_the_order(three: Three, tmp_path: Path) -> None:
    with (
        scene(three) as at,
        running(inline(three, tmp_path, canary={"percent": "25%"}), tmp_path) as daemon,
        Producer(three.ingress.amqp, "q1", rate=400) as producer,
    ):
        for verb, route in [
            ("legacy", "legacy"), ("cutover", "quorum"), ("legacy", "legacy"), ("canary", "canary"), ("dual", "dual"),
            ("legacy", "legacy"),
        ]:  # fmt: skip
            daemon.ask(verb, "q1")
            moving(daemon, route)
            producer.wait_for(250)
        producer.stop()
        numbers = list(producer.numbers)
        old, new = at.old_worker, at.new_worker
        assert until(lambda: len(set(old.got) | set(new.got)) == len(numbers) and old.got[-1] == numbers[-1], 15)
        daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)

        assert (old.again, new.again) == (0, 0)
        for got in (old.got, new.got):
            assert got == sorted(set(got)), "each once, in order"
        has_old, has_new = set(old.got), set(new.got)
        # What each message says of the route it came on: a flip is one place where that changes.
        kinds = ["both" if n in has_old and n in has_new else "old" if n in has_old else "new" for n in numbers]
        first, last = kinds.index("new"), len(kinds) - 1 - kinds[::-1].index("both")
        quorum = next(n for n in numbers[first:] if kinds[n] != "new") - first
        assert kinds[:first] == ["old"] * first
        assert quorum > 150
        canary = next(n for n in numbers[first + quorum :] if kinds[n] == "new")
        dual = kinds.index("both")
        assert set(kinds[first + quorum : canary]) == {"old"}
        share = kinds[canary:dual]
        assert set(kinds[dual : last + 1]) == {"both"}, "nothing but pairs while it was dual"
        assert set(kinds[last + 1 :]) == {"old"}
        assert [index for index, kind in enumerate(share) if kind == "new"] == list(range(0, len(share), 4))
        queue = daemon.queue("q1")
        assert (queue["moved"], queue["to_legacy"]) == (len(new.got), len(old.got))
        assert (queue["possible_duplicates"], queue["given_back"], queue["redelivered"]) == (0, 0, 0)


def test_dual_runs_every_celery_task_once_on_each_side(three: Three, tmp_path: Path) -> None:
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy, Peer(three.new.amqp) as new:
        ingress.classic("q1")
        legacy.classic("q1")
        new.quorum("q1")
    sides = {"old": three.legacy.amqp, "new": three.new.amqp}
    with running(inline(three, tmp_path, route="dual"), tmp_path) as daemon:
        moving(daemon, "dual")
        with CeleryTraffic(
            tmp_path / "celery", into=three.ingress.amqp, sides=sides, queues=["q1"], rate=100, eta_to=4.0
        ) as traffic:
            traffic.starts_on("new", 300)
            report = traffic.settle()
            truth = traffic.truth

            def on_both() -> bool:
                truth.refresh()
                return all(len(truth.started.get(task, ())) >= 2 for task in truth.sent)

            assert until(on_both, 30)
            ran = {task: sorted(start.side for start in truth.started[task]) for task in truth.sent}
            assert {tuple(sides) for sides in ran.values()} == {("new", "old")}
            assert (report.lost, report.early, report.changed) == (0, 0, 0)
            queue = daemon.queue("q1")
            assert queue["moved"] == queue["to_legacy"] == len(truth.sent)
            assert queue["converted"] > 0


@pytest.mark.parametrize(
    "count", [1000, pytest.param(20_000, marks=pytest.mark.long)], ids=["a thousand", "twenty thousand"]
)
def test_a_canary_of_ten_per_cent_is_exactly_that(count: int, three: Three, tmp_path: Path) -> None:
    with (
        scene(three) as at,
        running(inline(three, tmp_path, route="canary", canary={"percent": "10%"}), tmp_path) as daemon,
    ):
        moving(daemon, "canary")
        at.ingress.publish("q1", range(count))
        old, new = at.old_worker, at.new_worker
        assert until(lambda: len(old.got) + len(new.got) >= count, 60), (len(old.got), len(new.got))
        assert len(new.got) == count // 10
        assert sorted(old.got + new.got) == list(range(count))
        # Leaving and coming again changes nothing of the share: half a tenth more than before is due.
        daemon.ask("pause", "q1")
        daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "paused")
        at.ingress.publish("q1", range(count, count + 14))
        daemon.ask("resume", "q1")
        assert until(lambda: len(old.got) + len(new.got) >= count + 14, 15)
        assert len(new.got) == count // 10 + 1


@pytest.mark.long
def test_the_first_so_many_and_then_no_more(three: Three, tmp_path: Path) -> None:
    with (
        scene(three) as at,
        running(inline(three, tmp_path, route="canary", canary={"first": 37}), tmp_path) as daemon,
    ):
        moving(daemon, "canary")
        at.ingress.publish("q1", range(500))
        assert at.new_worker.wait_for(37) == list(range(37))
        assert at.old_worker.wait_for(463) == list(range(37, 500))
        at.ingress.publish("q1", range(500, 520))
        at.old_worker.wait_for(483)
        assert len(at.new_worker.got) == 37
        assert daemon.queue("q1")["state"] == "moving"


@pytest.mark.long
def test_a_canary_by_the_names_of_tasks(three: Three, tmp_path: Path) -> None:
    config = inline(three, tmp_path, route="canary", canary={"tasks": ["shop.mail", "billing.*"]})
    with scene(three) as at, running(config, tmp_path) as daemon:
        moving(daemon, "canary")
        for first, task in [(0, "shop.mail"), (10, "shop.other"), (20, "billing.pay")]:
            at.ingress.publish("q1", range(first, first + 10), task=task)
        _, properties = message(30)
        properties.headers.pop("task")
        at.ingress.channel.basic_publish("", "q1", b"{ no JSON", properties)
        assert at.new_worker.wait_for(20) == [*range(10), *range(20, 30)]
        assert at.old_worker.wait_for(11) == [*range(10, 20), 30]
        assert daemon.queue("q1")["task_unreadable"] == 1


def test_a_target_that_is_lost_does_not_stop_the_legacy_traffic(three: Three, tmp_path: Path) -> None:
    with Proxy(three.new.amqp) as proxy, scene(three) as at:
        config = inline(three, tmp_path, canary={"percent": "50%"})
        config["target"] = {**config["target"], "amqp": proxy.url}
        with running(config, tmp_path) as daemon, Producer(three.ingress.amqp, "q1", rate=200) as producer:
            at.old_worker.wait_for(100)
            proxy.cut(refuse=True)
            status = daemon.wait_until(lambda status: not status["target"]["connected"])
            assert status["legacy"] == {"url": mock.ANY, "connected": True, "reason": None}
            producer.wait_for(200)
            assert until(lambda: producer.sent - len(at.old_worker.got) < 100, 5)
            assert max(b - a for a, b in itertools.pairwise(at.old_worker.times)) < 1.0
            producer.stop()
            at.old_worker.wait_for(producer.sent)
            assert at.old_worker.got == list(producer.numbers)
            proxy.restore()


@pytest.mark.long
def test_a_canary_goes_to_the_legacy_side_alone_while_the_target_is_away(three: Three, tmp_path: Path) -> None:
    with Proxy(three.new.amqp) as proxy, scene(three) as at:
        config = inline(three, tmp_path, route="canary", canary={"percent": "50%"})
        config["target"] = {**config["target"], "amqp": proxy.url}
        with running(config, tmp_path) as daemon, Producer(three.ingress.amqp, "q1", rate=200) as producer:
            at.new_worker.wait_for(50)
            proxy.cut(refuse=True)
            daemon.wait_until(
                lambda status: queue_of(status, "q1")["why"].startswith("only to the legacy side: target is not conn")
            )
            before, had = len(at.new_worker.got), len(at.old_worker.got)
            at.old_worker.wait_for(had + 200)
            assert len(at.new_worker.got) == before
            proxy.restore()
            at.new_worker.wait_for(before + 50)
            producer.stop()
            assert until(lambda: set(at.old_worker.got) | set(at.new_worker.got) >= set(producer.numbers), 15)
            queue = daemon.queue("q1")
            twice = len(at.old_worker.got) + len(at.new_worker.got) - producer.sent
            assert 0 <= twice <= queue["possible_duplicates"] <= 50


@pytest.mark.long
@pytest.mark.parametrize("route", ["legacy", "canary"])
def test_a_target_that_falls_silent_keeps_the_old_workers_waiting_for_seconds_at_most(
    route: str, three: Three, tmp_path: Path
) -> None:
    with Proxy(three.new.amqp) as proxy, scene(three) as at:
        config = inline(three, tmp_path, route=route, canary={"percent": "50%"})
        config["target"] = {**config["target"], "amqp": proxy.url}
        with running(config, tmp_path) as daemon:
            moving(daemon, route)
            with Producer(three.ingress.amqp, "q1", rate=200) as producer:
                at.old_worker.wait_for(100)
                proxy.stall()
                daemon.wait_until(lambda status: not status["target"]["connected"], 60)
                at.old_worker.wait_for(len(at.old_worker.got) + 400)
                producer.stop()
                proxy.restore()
                assert until(lambda: set(at.old_worker.got) | set(at.new_worker.got) >= set(producer.numbers), 30)
            times = at.old_worker.times
            longest = max(after - before for before, after in itertools.pairwise(times))
            # A canary has a channel to close there, for whose answer it waits 15 s.
            assert longest < (2 if route == "legacy" else 25), longest


@pytest.mark.long
@pytest.mark.parametrize("away", ["target", "legacy"])
def test_dual_waits_for_the_side_that_is_away(away: str, three: Three, tmp_path: Path) -> None:
    lost = three.new if away == "target" else three.legacy
    with Proxy(lost.amqp) as proxy, scene(three) as at:
        config = inline(three, tmp_path, route="dual")
        config[away] = {**config[away], "amqp": proxy.url}
        with running(config, tmp_path) as daemon:
            moving(daemon, "dual")
            at.ingress.publish("q1", range(10))
            for worker in (at.old_worker, at.new_worker):
                worker.wait_for(10)
            proxy.cut(refuse=True)
            status = daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "waiting")
            assert queue_of(status, "q1")["why"].startswith(f"{away} is not connected")
            at.ingress.publish("q1", range(10, 20))
            assert at.ingress.ready("q1") == 10
            proxy.restore()
            for worker in (at.old_worker, at.new_worker):
                assert worker.wait_for(20) == list(range(20))


@pytest.mark.long
def test_a_side_that_is_full_for_long_doubles_nothing_on_the_other(three: Three, tmp_path: Path) -> None:
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy, Peer(three.new.amqp) as new:
        ingress.classic("q1")
        legacy.classic("q1", **{"x-max-length": 10, "x-overflow": "reject-publish"})
        new.quorum("q1")
        with (
            Worker(three.new.amqp, "q1", prefetch=100) as new_worker,
            running(inline(three, tmp_path, route="dual"), tmp_path) as daemon,
        ):
            moving(daemon, "dual")
            ingress.publish("q1", range(100))
            daemon.wait_until(lambda status: queue_of(status, "q1")["nacked"] >= 4, 30)
            assert queue_of(daemon.status(), "q1")["why"].startswith('queue "q1": legacy rejected 1 messages for')
            with Worker(three.legacy.amqp, "q1", prefetch=100) as old_worker:
                old_worker.wait_until(lambda got: len(set(got)) == 100, 60)
                daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)
                assert sorted(new_worker.got) == sorted(old_worker.got) == list(range(100))


@pytest.mark.long
@pytest.mark.parametrize("away", ["target", "legacy"])
def test_dual_degrades_to_the_living_side_and_comes_back(away: str, three: Three, tmp_path: Path) -> None:
    lost = three.new if away == "target" else three.legacy
    with Proxy(lost.amqp) as proxy, scene(three) as at:
        config = inline(three, tmp_path, route="dual", dual={"when_away": "degrade"})
        config[away] = {**config[away], "amqp": proxy.url}
        living, dead = (at.old_worker, at.new_worker) if away == "target" else (at.new_worker, at.old_worker)
        with running(config, tmp_path) as daemon, producing(daemon, three, "dual") as producer:
            dead.wait_for(100)
            proxy.cut(refuse=True)
            daemon.wait_until(lambda status: queue_of(status, "q1")["degraded"] >= 100)
            assert f"{away} is not connected" in daemon.queue("q1")["why"]
            proxy.restore()
            before = len(dead.got)
            dead.wait_for(before + 100)
            producer.stop()
            living.wait_until(lambda got: set(got) == set(producer.numbers))
            status = daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)
            queue = queue_of(status, "q1")
            twice = len(living.got) - producer.sent
            assert 0 <= twice <= queue["possible_duplicates"] <= 100
            assert until(lambda: len(set(dead.got)) + queue["degraded"] >= producer.sent, 15)
            assert not queue["why"]


def test_a_queue_that_the_legacy_side_does_not_have_faults_and_no_other(three: Three, tmp_path: Path) -> None:
    with scene(three) as at, running(inline(three, tmp_path), tmp_path) as daemon:
        at.ingress.classic("q2")
        at.ingress.publish("q2", range(5))
        at.new.quorum("q2")
        daemon.wait_until(lambda status: any(queue["name"] == "q2" for queue in status["queues"]), 20)
        status = daemon.wait_until(lambda status: queue_of(status, "q2")["state"] == "faulted")
        assert queue_of(status, "q2")["why"] == (
            'queue "q2" does not exist on the legacy side: nothing is taken for it'
        )
        assert at.ingress.ready("q2") == 5
        at.ingress.publish("q1", range(10))
        at.old_worker.wait_for(10)
        at.legacy.classic("q2")
        assert until(lambda: at.legacy.ready("q2") == 5, 15)
        told = daemon.ask("cutover", "q2")
        numbers = itertools.count(5)

        def flipped() -> bool:
            # What comes while the legacy side is being left may still go there.
            at.ingress.publish("q2", [next(numbers)])
            return at.new.ready("q2") > 0

        assert until(flipped, 15), (told, queue_of(daemon.status(), "q2"), daemon.quote())
        # All of them arrived, on one side or the other, and from here on each on the target.
        sent = next(numbers)
        assert until(lambda: at.legacy.ready("q2") + at.new.ready("q2") == sent, 15), daemon.quote()
        before = at.new.ready("q2")
        at.ingress.publish("q2", range(sent, sent + 3))
        assert until(lambda: at.new.ready("q2") == before + 3, 15), daemon.quote()


def command(config: dict[str, Any], folder: Path, *words: str) -> tuple[int, Any]:
    """Exit code and answer of `bridge` with `--json`."""
    file = folder / "bridge.yaml"
    file.write_text(yaml.safe_dump(config))
    ended = subprocess.run(
        [sys.executable, "-m", "bridge", "-c", str(file), *words, "--json"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, json.loads(ended.stdout)


@pytest.mark.long
def test_check_and_permissions_know_the_legacy_side(three: Three, tmp_path: Path) -> None:
    config, admin = inline(three, tmp_path), Admin(three.legacy.api)
    name, password = f"old-{three.legacy.vhost}", "a-secret"
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy:
        ingress.classic("q1", "q2")
        legacy.classic("q1")
        admin.make_user(name, password, three.legacy.vhost, configure="^$", write="^$", read="^$")
        config["legacy"] = {"amqp": as_user(three.legacy.amqp, name, password)}
        try:
            _, found = command(config, tmp_path, "check")
            legacy_findings = {
                (one["id"], one["subject"]) for one in found["findings"] if one["subject"].startswith("legacy")
            }
            assert legacy_findings == {
                ("legacy-queue-missing", 'legacy queue "q2"'),
                ("permission", f'legacy user "{name}"'),
            }
            # With just the rights that are printed, messages go there.
            _, rights = command(config, tmp_path, "permissions")
            grant = {right: rights["legacy"][right] for right in ("configure", "write", "read")}
            admin.make_user(name, password, three.legacy.vhost, **grant)
            with running(config, tmp_path):
                ingress.publish("q1", range(10))
                assert until(lambda: legacy.ready("q1") == 10, 15)
        finally:
            admin.drop_user(name)


@pytest.mark.long
def test_reverse_brings_back_to_the_legacy_side_while_that_gets_what_is_new(three: Three, tmp_path: Path) -> None:
    with Peer(three.ingress.amqp) as ingress, Peer(three.legacy.amqp) as legacy, Peer(three.new.amqp) as new:
        ingress.classic("q1")
        legacy.classic("q1")
        new.quorum("q1")
        new.publish("q1", range(100, 150))
        with Worker(three.legacy.amqp, "q1") as old_worker, running(inline(three, tmp_path), tmp_path) as daemon:
            moving(daemon, "legacy")
            daemon.ask("rollback", "q1", reverse=True)
            ingress.publish("q1", range(50))
            old_worker.wait_until(lambda got: sorted(got) == [*range(50), *range(100, 150)])
            assert new.ready("q1") == 0
            daemon.ask("cutover", "q1")
            moving(daemon, "quorum")
            ingress.publish("q1", range(50, 60))
            assert until(lambda: new.ready("q1") == 10, 15)
            assert len(old_worker.got) == 100
