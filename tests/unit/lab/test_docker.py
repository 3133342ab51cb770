"""Containers: what testcontainers and docker-py are asked for, on an engine that only remembers.

testcontainers itself runs here, so a release of it that takes our calls otherwise fails this file.
"""

from __future__ import annotations

import io
import socket
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker as docker_py
import pytest
from docker.errors import DockerException, ImageNotFound, NotFound

from bridge.errors import LabError
from bridge.lab import docker as under_test
from bridge.lab.cluster import Ended
from bridge.lab.docker import Containers
from bridge.lab.state import ClusterState, LabState, NodeState, Store, locked
from bridge.progress import silent

OLD, NEW = "rabbit@old-1", "rabbit@new-1"


@dataclass
class FakeContainer:
    """One container: what it was created with, the files that were put into it, and whether it runs."""

    engine: Engine
    id: str
    image: str
    created: dict[str, Any]
    status: str = "created"
    files: dict[str, str] = field(default_factory=dict)
    short_id: str = "short"

    def put_archive(self, path: str, data: bytes) -> bool:
        assert self.status == "created", "files are there before the broker starts"
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                self.files[f"/{member.name.lstrip('/')}"] = content.read().decode()
        return True

    def start(self) -> None:
        self.status = "running"

    def stop(self, timeout: int) -> None:
        self.status = "exited"

    def kill(self) -> None:
        assert self.status == "running", "an engine refuses to kill what does not run"
        self.status = "exited"

    def wait(self, timeout: int) -> dict[str, int]:
        return {"StatusCode": 137}

    def exec_run(self, command: list[str], demux: bool) -> tuple[int, tuple[bytes | None, bytes | None]]:
        self.engine.asked.append(" ".join(command))
        return 0, (b"chost\n", None)

    def logs(self, tail: int) -> bytes:
        return b"the end"

    def remove(self, force: bool, v: bool) -> None:
        self.engine.made.remove(self)


@dataclass
class Engine:
    """Stands in for `docker.DockerClient`."""

    asked: list[str] = field(default_factory=list)
    made: list[FakeContainer] = field(default_factory=list)
    networked: list[SimpleNamespace] = field(default_factory=list)
    local: bool = True

    def __post_init__(self) -> None:
        self.api = SimpleNamespace(
            headers={},
            base_url="http+docker://localhost" if self.local else "http://engine:2375",
            create_endpoint_config=lambda aliases: {"Aliases": aliases},
        )
        self.images = SimpleNamespace(get=self._image, pull=lambda image: self.asked.append(f"pull {image}"))
        self.containers = SimpleNamespace(create=self._create, get=self._get, list=self._list)
        self.networks = SimpleNamespace(
            create=self._network, list=lambda filters: [it for it in self.networked if self._mine(it.labels, filters)]
        )

    def ping(self) -> bool:
        return True

    def close(self) -> None:
        self.asked.append("close")

    def _image(self, name: str) -> None:
        if f"pull {name}" not in self.asked:
            raise ImageNotFound(name)

    def _create(self, image: str, **created: Any) -> FakeContainer:
        container = FakeContainer(self, f"id{len(self.made)}", image, created)
        self.made.append(container)
        return container

    def _get(self, identity: str) -> FakeContainer:
        for container in self.made:
            if container.id == identity:
                return container
        raise NotFound(identity)

    def _list(self, all: bool, filters: dict[str, str]) -> list[FakeContainer]:  # noqa: A002 - docker-py's name
        return [it for it in self.made if self._mine(it.created["labels"], filters)]

    def _network(self, name: str, labels: dict[str, str]) -> None:
        network = SimpleNamespace(name=name, labels=labels)
        network.remove = lambda: self.networked.remove(network)
        self.networked.append(network)

    @staticmethod
    def _mine(labels: dict[str, str], filters: dict[str, str]) -> bool:
        key, _, value = filters["label"].partition("=")
        return labels.get(key) == value


def engine_at(monkeypatch: pytest.MonkeyPatch, *, local: bool = True) -> Engine:
    engine = Engine(local=local)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker_py, "from_env", lambda **_options: engine)
    monkeypatch.setattr(under_test, "_somebody_listens", lambda _host: True)
    monkeypatch.setattr("testcontainers.core.utils.inside_container", lambda: False)
    return engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return engine_at(monkeypatch)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path))

    def broker(version: str, key: str, vhost: str, nodes: int, first: int) -> ClusterState:
        ports = range(first, first + 10 * nodes, 10)
        made = [
            NodeState(name=f"rabbit@{key}-{number}", amqp=port, api=port + 1, dist=port + 2, stream=port + 3)
            for number, port in enumerate(ports, 1)
        ]
        return ClusterState(version=version, vhosts=[vhost], nodes=made)

    clusters = {"old": broker("3.10", "old", "chost", 1, 100), "new": broker("4.3", "new", "qhost", 2, 200)}
    store = Store("a")
    with locked():
        store.save(
            LabState(name="a", mark="f00d", kind="docker", user="u", password="p", cookie="kooky", clusters=clusters)
        )
    return store


@pytest.fixture
def containers(store: Store, engine: Engine) -> Containers:
    containers = Containers(store, "f00d")
    containers.prepare(silent)
    return containers


def test_images_are_fetched_once(store: Store, engine: Engine):
    told: list[tuple[str, str]] = []
    for _ in range(2):
        Containers(store, "f00d").prepare(lambda subject, step: told.append((subject, step)))
    assert sorted(told) == [
        ("RabbitMQ 3.10", "fetching the image rabbitmq:3.10-management"),
        ("RabbitMQ 4.3", "fetching the image rabbitmq:4.3-management"),
    ]


def test_a_node_is_a_container_with_our_files_and_ports(store: Store, engine: Engine, containers: Containers):
    containers.start(OLD)

    (made,) = engine.made
    assert (made.image, made.status) == ("rabbitmq:3.10-management", "running")
    assert made.created["hostname"] == "old-1"
    assert made.created["labels"]["bridge.lab"] == "f00d"
    assert made.created["ports"] == {
        "5672/tcp": ("127.0.0.1", 100), "15672/tcp": ("127.0.0.1", 101), "5552/tcp": ("127.0.0.1", 103),
    }  # fmt: skip
    assert made.created["environment"]["RABBITMQ_NODENAME"] == OLD
    assert "-setcookie kooky" in made.created["environment"]["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert "cluster_formation" not in made.files["/etc/rabbitmq/conf.d/90-lab.conf"]
    assert '"chost"' in made.files["/etc/rabbitmq/definitions.json"]
    assert "rabbitmq_management" in made.files["/etc/rabbitmq/enabled_plugins"]
    node = store.get().node(OLD)[1]
    assert (node.container, node.host) == (made.id, "127.0.0.1")


def test_members_of_a_cluster_share_a_network_by_name(engine: Engine, containers: Containers):
    containers.start(NEW)
    (network,) = engine.networked
    (made,) = engine.made
    assert made.created["network"] == network.name
    assert made.created["networking_config"] == {network.name: {"Aliases": ["new-1"]}}
    assert "classic_config.nodes.2 = rabbit@new-2" in made.files["/etc/rabbitmq/conf.d/90-lab.conf"]


def test_no_reaper_takes_the_lab_away(engine: Engine, containers: Containers):
    containers.start(OLD)
    assert [made.image for made in engine.made] == ["rabbitmq:3.10-management"]


def test_an_engine_elsewhere_shows_its_ports(store: Store, monkeypatch: pytest.MonkeyPatch):
    engine = engine_at(monkeypatch, local=False)
    containers = Containers(store, "f00d")
    containers.prepare(silent)
    containers.start(OLD)
    assert engine.made[0].created["ports"]["5672/tcp"] == 100
    assert store.get().node(OLD)[1].host == "engine"


def test_stop_kill_and_start_again_keep_the_container(engine: Engine, containers: Containers):
    assert not containers.running(OLD)
    containers.start(OLD)
    assert containers.running(OLD)
    containers.stop(OLD)
    assert not containers.running(OLD)
    containers.start(OLD)
    containers.kill(OLD)
    containers.kill(OLD)
    assert not containers.running(OLD)
    assert len(engine.made) == 1


def test_rabbitmqctl_and_log(engine: Engine, containers: Containers):
    with pytest.raises(LabError, match="rabbit@old-1 was never started"):
        containers.ctl(OLD, ["status"])
    containers.start(OLD)
    assert containers.ctl(OLD, ["list_vhosts", "-q"]) == Ended(0, "chost\n", "")
    assert engine.asked[-1] == "rabbitmqctl --erlang-cookie kooky list_vhosts -q"
    assert containers.last_lines(OLD) == "the end"


def test_remove_ends_what_is_ours_and_nothing_else(engine: Engine, containers: Containers):
    engine._create("postgres", labels={"bridge.lab": "other"})
    engine._network("theirs", labels={})
    containers.start(OLD)
    containers.start(NEW)
    containers.remove()
    assert [made.image for made in engine.made] == ["postgres"]
    assert [network.name for network in engine.networked] == ["theirs"]
    assert not containers.running(OLD)
    containers.remove()


def test_a_container_made_for_a_lab_that_is_gone_is_removed(
    store: Store, engine: Engine, containers: Containers, monkeypatch: pytest.MonkeyPatch
):
    start = FakeContainer.start

    def slow(container: FakeContainer) -> None:
        start(container)
        store.remove()

    monkeypatch.setattr(FakeContainer, "start", slow)
    with pytest.raises(LabError, match="was taken down meanwhile"):
        containers.start(OLD)
    assert engine.made == []


def test_an_engine_that_refuses_is_one_sentence(store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise docker_py.errors.APIError("no", explanation="the port is taken")

    containers = Containers(store, "f00d")
    containers.prepare(silent)
    monkeypatch.setattr(FakeContainer, "start", refuse)
    with pytest.raises(LabError, match="Docker did not start rabbit@old-1: the port is taken"):
        containers.start(OLD)
    engine.networks.create = refuse
    with pytest.raises(LabError, match="Docker refused: the port is taken"):
        containers.prepare(silent)


def test_an_engine_answers(engine: Engine):
    assert under_test.answers()


def test_an_engine_that_does_not(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise DockerException("permission denied")

    monkeypatch.setattr(engine, "ping", refuse)
    assert not under_test.answers()
    monkeypatch.setattr(docker_py, "from_env", refuse)
    assert not under_test.answers()


def test_a_socket_says_whether_somebody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    assert not under_test.answers()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert under_test._somebody_listens(f"unix://{path}")
    assert under_test._somebody_listens("tcp://engine:2375")
