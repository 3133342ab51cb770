"""Nodes and clusters, on a backend that only remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import LabError
from bridge.lab import cluster as under_test
from bridge.lab.cluster import Cluster, Ended
from bridge.lab.state import ClusterState, LabState, NodeState, Store, locked
from tests.unit.lab.backend import FakeApi, FakeBackend


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: FakeBackend) -> Cluster:
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path))
    monkeypatch.setattr(under_test, "Api", FakeApi)
    monkeypatch.setattr(FakeApi, "calls", [])
    nodes = [
        NodeState(name="one", amqp=1, api=2, dist=3, stream=4),
        NodeState(name="two", amqp=11, api=12, dist=13, stream=14, host="engine", container="c"),
    ]
    broker = ClusterState(version="3.10", reported="3.10.8", vhosts=["chost"], nodes=nodes)
    store = Store("a")
    with locked():
        store.save(
            LabState(
                name="a", mark="m", kind="packages", user="bridge", password="s/t", cookie="c", clusters={"old": broker}
            )
        )
    return Cluster("old", store, backend)


def test_urls_hold_everything_that_a_client_needs(cluster: Cluster):
    assert cluster.version == "3.10.8"
    assert cluster.amqp("a/b") == "amqp://bridge:s%2Ft@127.0.0.1:1/a%2Fb"
    assert cluster.api() == "http://bridge:s%2Ft@127.0.0.1:2"
    assert cluster.nodes[1].amqp("chost") == "amqp://bridge:s%2Ft@engine:11/chost"
    assert [node.members for node in cluster.nodes] == [2, 2]


def test_a_node_obeys(cluster: Cluster, backend: FakeBackend):
    node = cluster.nodes[0]
    node.start()
    assert node.running
    node.stop()
    node.start()
    node.kill()
    assert not node.running
    assert backend.asked == ["start one", "stop one", "start one", "kill one"]


def test_a_node_is_parted_from_the_others_of_its_cluster(cluster: Cluster, backend: FakeBackend):
    one, _ = cluster.nodes
    one.cut_off(cluster.nodes)
    one.let_in(cluster.nodes)
    cut, healed = backend.asked
    assert cut.startswith("ctl one eval ")
    assert "disconnect_node" in cut
    assert "['two']" in cut
    assert "disconnect" not in healed
    assert "['two']" in healed


def test_a_node_that_ends_while_it_starts(cluster: Cluster, backend: FakeBackend):
    backend.failing = {"one"}
    with pytest.raises(LabError, match="broker one ended while it started; its last lines:\nthe end of one"):
        cluster.nodes[0].start()


def test_a_node_that_is_not_ready_in_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeApi, "is_ready", False)
    with pytest.raises(LabError, match="broker one was not ready within 0 s"):
        cluster.nodes[0].start(seconds=0)


def test_the_port_that_a_node_itself_listens_on(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(FakeApi, "ready", lambda _self, amqp, members: bool(asked.append((amqp, members)) or True))
    for node in cluster.nodes:
        node.start()
    assert asked == [(1, 1), (5672, 1)]


def test_rabbitmqctl(cluster: Cluster, backend: FakeBackend):
    backend.ended = Ended(0, "chost\n", "warning\n")
    assert cluster.nodes[0].ctl("-q", "list_vhosts") == "chost\n"
    backend.ended = Ended(64, "", "no such command\n")
    with pytest.raises(LabError, match="rabbitmqctl list on one ended with 64:\nno such command"):
        cluster.nodes[0].ctl("list")


def test_vhosts_are_made_on_a_node_that_runs(cluster: Cluster, backend: FakeBackend):
    backend.alive = {"two"}
    cluster.make_vhost("v")
    backend.alive = set()
    cluster.drop_vhost("v")
    assert FakeApi.calls == [("http://engine:12", "make_vhost", "v"), ("http://127.0.0.1:2", "drop_vhost", "v")]
