"""The lab itself: brokers come up, answer, survive a kill, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pika
import pytest

from bridge.errors import LabError
from bridge.lab.brokers import Brokers, Lab, Wanted
from bridge.lab.deadline import until
from bridge.lab.process import marked
from bridge.lab.state import LabState, Store, labs_folder
from tests.support.brokers import need_brokers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.brokers import MakesLabs

pytestmark = pytest.mark.functional
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def labs_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test forgets is taken down, and no lab of the person who runs the tests is seen or touched."""
    need_brokers()
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path / "labs"))
    yield
    for file in list(labs_folder().glob("*/state.json")):
        Brokers.attach(file.parent.name).down()


def bridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=120)


def declare(url: str, queue_type: str) -> int:
    """Declare a queue of that type; return how many members a quorum queue's cluster has to offer it."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        arguments = {"x-queue-type": queue_type}
        return channel.queue_declare("q", durable=True, arguments=arguments).method.message_count


def publish(url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"task", pika.BasicProperties(delivery_mode=2), mandatory=True)


def state_of(name: str) -> LabState:
    return Store(name).get()


def nothing_left(state: LabState) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text()
    return not marked(state.mark) and not Store(state.name).folder.exists() and "/roots/" not in mounts


def test_up_env_down():
    up = bridge("lab", "up", "--same-broker", "--name", "cli", "--json")

    assert up.returncode == 0, up.stderr
    assert "both-1" in up.stderr  # progress goes where it does not disturb the JSON
    sides = json.loads(up.stdout)
    assert json.loads(bridge("lab", "env", "--name", "cli", "--json").stdout) == sides
    assert set(sides) == {"old", "new"}
    for side, vhost in (("old", "chost"), ("new", "qhost")):
        assert set(sides[side]) == {"version", "amqp", "api", "nodes"}
        assert sides[side]["version"].startswith("3.10.")
        assert sides[side]["amqp"].endswith(f"/{vhost}")
        declare(sides[side]["amqp"], "classic")

    again = bridge("lab", "up", "--same-broker", "--name", "cli", "--json")
    assert again.returncode == 0
    assert "was up already" in again.stderr
    assert json.loads(again.stdout) == sides
    other = bridge("lab", "up", "--new", "4.3", "--name", "cli")
    assert other.returncode == 1
    assert 'lab "cli" is up with other brokers' in other.stderr

    state = state_of("cli")
    assert state.guard is None, "a lab without an owner has no guard"
    assert marked(state.mark)
    assert bridge("lab", "down", "--name", "cli").returncode == 0
    assert nothing_left(state)
    assert bridge("lab", "down", "--name", "cli").returncode == 0
    missing = bridge("lab", "env", "--name", "cli")
    assert missing.returncode == 1
    assert 'lab "cli" is not up' in missing.stderr


@pytest.mark.long
def test_labs_side_by_side():
    with ThreadPoolExecutor() as pool:
        one, two = pool.map(lambda name: Brokers.up(name, {"b": Wanted("4.3", ("v",))}), ["one", "two"])
    with pytest.raises(LabError, match="has no old and new side"):
        Lab(one)

    state = state_of("one")
    one.down()
    one.down()

    assert nothing_left(state)
    declare(two.clusters["b"].amqp("v"), "quorum")
    two.down()


OWNER = """
import os, sys
from bridge.lab.brokers import Brokers, Wanted
Brokers.up("owned", {"b": Wanted("3.10", ("v",))}, owner_pid=os.getpid())
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("killed", ["while it starts", "when it is up"])
def test_killed_owner_leaves_nothing(killed: str):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as owner:
        if killed == "when it is up":
            assert owner.stdout is not None
            assert owner.stdout.readline() == "up\n"
        assert until(lambda: bool((state := Store("owned").load()) and state.clusters["b"].nodes[0].process), 60)
        state = state_of("owned")
        assert state.guard is not None
        owner.kill()

    assert until(lambda: nothing_left(state), 30)
    assert state.guard.wait(10)


@pytest.mark.long
def test_lab_outlives_who_started_it_and_may_be_given_an_owner(new_lab: MakesLabs):
    lab = new_lab(same_broker=True)
    state = state_of(lab.brokers.name)

    found = Lab.find(lab.brokers.name)

    assert found is not None
    assert found.env() == lab.env()
    assert not found.brokers.fresh
    assert state.guard is not None
    assert state.guard.alive()
    assert Lab.find("nobody") is None
    lab.down()
    assert nothing_left(state)
    assert not state.guard.alive()


@pytest.mark.long
def test_cluster_of_three_goes_on_without_one(new_lab: MakesLabs):
    lab = new_lab("3.10", "4.3", nodes=3)
    first, second, third = lab.new.nodes
    declare(lab.new.amqp, "quorum")
    members = json.loads(first.ctl("-q", "list_queues", "-p", "qhost", "name", "members", "--formatter", "json"))
    assert len(members[0]["members"]) == 3
    assert len(lab.env()["new"]["nodes"]) == 3

    third.kill()
    assert not third.running
    publish(second.amqp("qhost"))
    second.stop()
    third.start()
    second.start()

    for node in lab.new.nodes:
        assert declare(node.amqp("qhost"), "quorum") == 1, f"the message of before is seen from {node.name}"
    with pytest.raises(LabError, match="nonsense"):
        third.ctl("nonsense")


def test_a_broker_that_ends_while_it_starts_is_an_error_with_its_last_lines(new_lab: MakesLabs):
    lab = new_lab("4.3", same_broker=True)
    node = lab.old.nodes[0]
    node.kill()
    node.kill()
    (Store(lab.brokers.name).folder / node.name.partition("@")[0] / "rabbitmq.conf").write_text("no.such.setting = 1\n")

    with pytest.raises(LabError, match=r"ended while it started(.|\n)*failed_to_prepare_configuration"):
        node.start(seconds=60)


def test_dead_lab_is_made_anew(new_lab: MakesLabs):
    name = f"dead-{os.getpid()}"
    wanted = {"b": Wanted("4.3", ("v",))}
    before = Brokers.up(name, wanted)
    before.clusters["b"].nodes[0].kill()

    after = Brokers.up(name, wanted)

    assert after.fresh
    declare(after.clusters["b"].amqp("v"), "quorum")
