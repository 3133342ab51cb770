"""The daemon with a backup: a copy of each task in the stream, and what happens when the stream takes none."""

from __future__ import annotations

import json
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pika import spec

from bridge import cli
from bridge.backup import STREAM
from bridge.core.copies import EXCHANGE
from bridge.lab.brokers import Side
from bridge.lab.deadline import until
from tests.support.brokers import MakesLabs, Vhosts
from tests.support.copies import copies
from tests.support.daemon import Status, queue_of, running, takeover
from tests.support.peers import Admin, Peer, Producer, Worker, as_user, number_in
from tests.support.raw_amqp import RawAmqp

pytestmark = pytest.mark.e2e

one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)


@pytest.fixture(params=["source", "target"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def at(vhosts: Vhosts, side: str) -> Side:
    return {"source": vhosts.old, "target": vhosts.new}[side]


def numbers(side: Side) -> Counter[int]:
    """How often each task is in the stream."""
    return Counter(number_in(one.header) for one in copies(side))


def queues(vhosts: Vhosts, *names: str) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic(*names)
        new.quorum(*names)


def moving(status: Status) -> bool:
    return bool(status["queues"]) and all(queue["state"] == "moving" for queue in status["queues"])


@pytest.mark.parametrize("required", [True, False])
def test_every_task_is_in_the_stream_once(vhosts: Vhosts, side: str, required: bool, tmp_path: Path):
    queues(vhosts, "q1", "a.q2")
    with Peer(vhosts.old.amqp) as old:
        old.publish("q1", range(3000))
        old.publish("a.q2", range(3000, 3100))
    config = takeover(vhosts, tmp_path, route="quorum", backup={"on": side, "required": required})
    with running(config, tmp_path) as daemon, Worker(vhosts.new.amqp, "q1", prefetch=500) as worker:
        with Producer(vhosts.old.amqp, "q1", rate=200, first=5000) as producer:
            producer.wait_for(200)
        count = 3100 + producer.sent
        status = daemon.wait_until(lambda status: status["totals"]["moved"] == count and not in_flight(status), 30)
        totals = status["totals"]
        assert (totals["copied"], totals["backup_missed"], totals["possible_duplicates"]) == (count, 0, 0)
        assert status["backup"] == {"required": required, "fault": None}
        worker.wait_for(3000 + producer.sent)
    expected = {*range(3100), *producer.numbers}
    assert numbers(at(vhosts, side)) == Counter(expected)
    assert {one.queue for one in copies(at(vhosts, side))} == {"q1", "a.q2"}
    assert sorted(worker.got) == sorted(expected - set(range(3000, 3100)))


def in_flight(status: Status) -> int:
    return int(status["totals"]["in_flight"])


@pytest.fixture
def limited(vhosts: Vhosts) -> Iterator[dict[str, str]]:
    """URLs of a user of the old side who may declare nothing there."""
    admin, name = Admin(vhosts.old.api), f"bridge-{secrets.token_hex(4)}"
    admin.make_user(name, "secret", vhosts.old.vhost, configure="^$", tags="management")
    yield {key: as_user(getattr(vhosts.old, key), name, "secret") for key in ("amqp", "api")}
    admin.drop_user(name)


@one_world
def test_a_stream_that_is_deleted_stops_the_queues_until_it_is_back(
    vhosts: Vhosts, limited: dict[str, str], tmp_path: Path
):
    """Nothing is acked without a copy: what comes meanwhile stays with the old side, and nothing is lost."""
    queues(vhosts, "q1", "q2")
    with RawAmqp(vhosts.old.amqp) as amqp:
        amqp.declare_exchange(EXCHANGE, "topic")
        amqp.declare(STREAM, **{"x-queue-type": "stream"})
        config = takeover(vhosts, tmp_path, route="quorum", backup={"on": "source"}, source=limited)
        with running(config, tmp_path) as daemon, Worker(vhosts.new.amqp, "q1", prefetch=500) as worker:
            with Producer(vhosts.old.amqp, "q1", rate=300) as producer:
                worker.wait_for(300)
                amqp.call(spec.Queue.Delete(queue=STREAM))
                status = daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "faulted")
                status = daemon.wait_until(lambda status: "bridge.backup" in queue_of(status, "q1")["why"])
                assert status["backup"]["fault"] is not None
                stopped = producer.sent
                producer.wait_for(300)
                # The old side has what came meanwhile.
                assert until(lambda: amqp.depth("q1") >= 250, 10), amqp.depth("q1")
                assert len(worker.got) <= stopped + 2
                amqp.declare(STREAM, **{"x-queue-type": "stream"})
                daemon.wait_until(moving, 40)
                worker.wait_until(lambda got: len(set(got)) >= producer.sent - 50, 30)
            daemon.wait_until(lambda _: amqp.depth("q1") == 0, 30)
            worker.wait_until(lambda got: set(got) == set(producer.numbers), 30)
            status = daemon.wait_until(lambda status: not in_flight(status))
            totals = status["totals"]
            doubled = len(worker.got) - len(set(worker.got))
            assert doubled <= totals["possible_duplicates"] <= 500
            assert totals["backup_missed"] == 0
    # All that was acked since the stream is back is in it, and what was in flight when it went is there by now.
    there = numbers(vhosts.old)
    assert set(range(stopped + 1, producer.sent)) <= set(there)


@one_world
def test_a_stream_that_may_be_made_is_made_again(vhosts: Vhosts, side: str, tmp_path: Path):
    queues(vhosts, "q1")
    config = takeover(vhosts, tmp_path, route="quorum", backup={"on": side})
    with (
        running(config, tmp_path) as daemon,
        Worker(vhosts.new.amqp, "q1", prefetch=500) as worker,
        RawAmqp(at(vhosts, side).amqp) as amqp,
    ):
        with Producer(vhosts.old.amqp, "q1", rate=300) as producer:
            worker.wait_for(200)
            amqp.call(spec.Queue.Delete(queue=STREAM))
            producer.wait_for(600)
        worker.wait_until(lambda got: set(got) == set(producer.numbers), 30)
        status = daemon.wait_until(lambda status: not in_flight(status))
        assert "has no stream for a copy" in daemon.stderr
        assert len(worker.got) - len(set(worker.got)) <= status["totals"]["possible_duplicates"]
        assert status["backup"]["fault"] is None
    assert set(numbers(at(vhosts, side))) >= set(list(producer.numbers)[-200:])


@one_world
def test_without_required_the_tasks_go_on_and_are_counted(vhosts: Vhosts, side: str, tmp_path: Path):
    """A stream that goes stops nothing; copies are made again when it can be made again."""
    queues(vhosts, "q1")
    config = takeover(vhosts, tmp_path, route="quorum", backup={"on": side, "required": False})
    with (
        running(config, tmp_path) as daemon,
        Worker(vhosts.new.amqp, "q1", prefetch=500) as worker,
        RawAmqp(at(vhosts, side).amqp) as amqp,
    ):
        with Producer(vhosts.old.amqp, "q1", rate=300) as producer:
            worker.wait_for(200)
            amqp.call(spec.Queue.Delete(queue=STREAM))
            daemon.wait_until(lambda status: status["totals"]["backup_missed"] > 0)
            gone, before = producer.sent, daemon.status()["totals"]["copied"]
            # It goes on at once, and copies come again within seconds.
            worker.wait_until(lambda got: len(got) >= gone + 300)
            daemon.wait_until(lambda status: status["totals"]["copied"] > before + 100, 30)
            again = producer.sent
            producer.wait_for(300)
        worker.wait_until(lambda got: set(got) == set(producer.numbers), 30)
        status = daemon.wait_until(
            lambda status: (
                not in_flight(status)
                and status["totals"]["copied"] + status["totals"]["backup_missed"] >= producer.sent
            )
        )
        assert status["backup"] == {"required": False, "fault": None}
        assert len(worker.got) - len(set(worker.got)) <= status["totals"]["possible_duplicates"]
        assert daemon.stderr.count("messages move without copies: ") == 1
    there = numbers(at(vhosts, side))
    assert set(range(again, producer.sent)) <= set(there)


@one_world
@pytest.mark.parametrize("required", [True, False])
def test_a_backup_connection_that_is_lost(vhosts: Vhosts, required: bool, tmp_path: Path):
    """The daemon's other connections live on."""
    queues(vhosts, "q1")
    config = takeover(vhosts, tmp_path, route="quorum", backup={"on": "source", "required": required})
    with running(config, tmp_path) as daemon, Worker(vhosts.new.amqp, "q1", prefetch=500) as worker:
        with Producer(vhosts.old.amqp, "q1", rate=300) as producer:
            worker.wait_for(200)
            close_connection(vhosts.old, "bridge main backup")
            assert until(lambda: "backup: connection closed" in daemon.stderr, 10)
            producer.wait_for(600)
        worker.wait_until(lambda got: set(got) == set(producer.numbers), 30)
        status = daemon.wait_until(lambda status: not in_flight(status) and status["backup"]["fault"] is None, 30)
        totals = status["totals"]
        assert len(worker.got) - len(set(worker.got)) <= totals["possible_duplicates"]
        there = set(numbers(vhosts.old))
        if required:
            assert there == set(producer.numbers)
            assert totals["backup_missed"] == 0
        else:
            assert len(set(producer.numbers) - there) <= totals["backup_missed"]


def close_connection(side: Side, name: str) -> None:
    """Close the connection with this name; the API knows of it within seconds."""
    admin = Admin(side.api)
    found: list[Any] = []

    def known() -> bool:
        found[:] = [
            one["name"]
            for one in admin.call("GET", "connections")
            if one.get("vhost") == side.vhost and one.get("client_properties", {}).get("connection_name") == name
        ]
        return bool(found)

    assert until(known, 20), f"no connection {name}"
    for one in found:
        admin.call("DELETE", f"connections/{one.replace(' ', '%20').replace('>', '%3E')}")


@pytest.mark.parametrize("required", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_backup_broker_that_takes_no_publishes(new_lab: MakesLabs, required: bool, tmp_path: Path):
    """An alarm, such as of a full disk, on the source: its consumers live on, and copies cannot be made."""
    lab = new_lab("3.10", "4.3")
    vhosts = Vhosts(lab.old, lab.new)
    queues(vhosts, "q1")
    with Peer(vhosts.old.amqp) as old:
        old.publish("q1", range(1000))
    # What is in flight when the alarm comes may pass before the broker says so: fewer than there are.
    config = takeover(
        vhosts, tmp_path, route="quorum", backup={"on": "source", "required": required}, relay={"window": 100}
    )
    node = lab.old.nodes[0]
    with (
        running(config, tmp_path) as daemon,
        Worker(vhosts.new.amqp, "q1", prefetch=500) as worker,
        Peer(vhosts.old.amqp) as old,
    ):
        worker.wait_for(1000)
        daemon.signal(signal.SIGUSR2)
        daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "idle")
        old.publish("q1", range(1000, 1500))
        node.ctl("set_disk_free_limit", "100000GB")
        # A broker says so when somebody publishes.
        daemon.signal(signal.SIGUSR1)
        if required:
            daemon.wait_until(lambda status: "backup takes no publishes now: " in queue_of(status, "q1")["why"], 30)
            # A few came through before the broker said so; the others, and the queue, are with the old workers.
            assert until(lambda: old.ready("q1") >= 400 and old.consumers("q1") == 0, 15), old.look("q1")
        else:
            worker.wait_for(1500)
            status = daemon.wait_until(lambda status: status["totals"]["backup_missed"] > 0)
            assert "backup takes no publishes now: " in status["backup"]["fault"]
        node.ctl("set_disk_free_limit", "64MiB")
        daemon.wait_until(lambda status: status["backup"]["fault"] is None and moving(status), 40)
        worker.wait_for(1500, 30)
        before = daemon.status()["totals"]["copied"]
        old.publish("q1", range(1500, 2000))
        daemon.wait_until(lambda status: status["totals"]["copied"] >= before + 500, 30)
        worker.wait_until(lambda got: set(got) == set(range(2000)), 30)
        status = daemon.wait_until(lambda status: not in_flight(status))
        assert len(worker.got) - len(set(worker.got)) <= status["totals"]["possible_duplicates"]
    there = set(numbers(vhosts.old))
    assert there >= {*range(1000), *range(1500, 2000)}
    assert required is (there == set(range(2000)))


@one_world
def test_the_rights_that_are_printed_are_enough(
    vhosts: Vhosts, side: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """To make the stream, to copy, to check and to replay."""
    queues(vhosts, "q1")
    chosen = {"queues": {"include": ["q1"]}, "backup": {"on": side}, "route": "quorum"}
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump(takeover(vhosts, tmp_path, **chosen)))

    def ask(*words: str) -> Any:
        capsys.readouterr()
        code = cli.main(["-c", str(file), *words, "--json"])
        told = capsys.readouterr()
        assert told.out, told.err
        return {**json.loads(told.out), "code": code}

    name = f"bridge-{secrets.token_hex(4)}"
    granted = ask("permissions")
    admins = {"source": Admin(vhosts.old.api), "target": Admin(vhosts.new.api)}
    config = takeover(vhosts, tmp_path, **chosen)
    for where, admin in admins.items():
        rights = {key: granted[where][key] for key in ("configure", "write", "read")}
        admin.make_user(name, "secret", at(vhosts, where).vhost, tags=granted[where]["tag"], **rights)
        config[where] = {key: as_user(url, name, "secret") for key, url in config[where].items()}
    file.write_text(yaml.safe_dump(config))
    try:
        with running(config, tmp_path) as daemon, Peer(vhosts.old.amqp) as old:
            daemon.wait_until(moving)
            old.publish("q1", range(20))
            daemon.wait_until(lambda status: status["totals"]["copied"] == 20 and not in_flight(status))
            found = ask("check")["findings"]
            told = [one for one in found if "permission" in one["id"] or "bridge.backup" in json.dumps(one)]
            assert told == []
        replayed = ask("replay", "--all", "--yes")
        assert (replayed["published"], replayed["code"]) == (20, 0)
    finally:
        for admin in admins.values():
            admin.drop_user(name)
