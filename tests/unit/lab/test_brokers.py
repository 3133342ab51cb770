"""Labs by name: brought up, found, given an owner, taken down, on a backend that only remembers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import LabError
from bridge.lab import brokers as under_test
from bridge.lab import cluster, guard
from bridge.lab.brokers import Brokers, Lab, Wanted, take_down
from bridge.lab.process import Process, spawn
from bridge.lab.state import LabState, Store
from tests.unit.lab.backend import FakeApi, FakeBackend

OLD = {"old": Wanted("3.10", ("chost",))}


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    backend = FakeBackend()
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path / "labs"))
    monkeypatch.setattr(under_test, "backend_here", lambda: "packages")
    monkeypatch.setattr(under_test, "_backend", lambda _store, _state: backend)
    monkeypatch.setattr(cluster, "Api", FakeApi)
    monkeypatch.setattr(FakeApi, "calls", [])
    return backend


@pytest.fixture(autouse=True)
def guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Process]]:
    """Guards that sleep, by the pid that they watch."""
    started: list[tuple[int, Process]] = []

    def start(name: str, mark: str, owner: Process) -> Process:
        process = spawn(["sleep", "60"], {"PATH": os.environ["PATH"]}, tmp_path / "guard")
        started.append((owner.pid, process))
        return process

    monkeypatch.setattr(guard, "start", start)
    return started


def state(name: str) -> LabState:
    return Store(name).get()


def test_a_lab_has_an_old_and_a_new_side(backend: FakeBackend):
    lab = Lab.up("a", "3.10", "4.3", nodes=3)

    assert backend.asked[0] == "prepare"
    assert backend.alive == {"old-1@localhost", "new-1@localhost", "new-2@localhost", "new-3@localhost"}
    assert [len(side["nodes"]) for side in lab.env().values()] == [1, 3]
    assert lab.old.amqp.endswith("/chost")
    assert lab.new.amqp.endswith("/qhost")
    assert lab.env()["new"] == {
        "version": "3.10.8",
        "amqp": lab.new.amqp,
        "api": lab.new.api,
        "nodes": [{"name": it.name, "amqp": it.amqp("qhost"), "api": it.api()} for it in lab.new.nodes],
    }
    assert len({state("a").password, state("a").mark, state("a").cookie}) == 3
    assert len(state("a").ports()) == 17
    lab.down()
    assert Lab.find("a") is None


def test_both_sides_on_one_broker(backend: FakeBackend):
    lab = Lab.up("a", new="4.3", same_broker=True)
    assert lab.old.cluster is lab.new.cluster
    assert backend.alive == {"both-1@localhost"}
    assert state("a").clusters["both"].version == "3.10"
    lab.down()


def test_a_lab_without_an_owner_has_no_guard(backend: FakeBackend, guards: list[tuple[int, Process]]):
    Lab.up("a")
    ((watched, process),) = guards
    assert watched == os.getpid(), "while it came up, we were its owner"
    assert not process.alive()
    assert state("a").guard is None
    assert state("a").starter is None


def test_an_owner_that_brings_it_up_keeps_the_guard(backend: FakeBackend, guards: list[tuple[int, Process]]):
    lab = Lab.up("a", owner_pid=os.getpid())
    ((_, process),) = guards
    assert process.alive()
    lab.down()
    assert not process.alive()


def test_another_owner_gets_a_guard_of_its_own(backend: FakeBackend, guards: list[tuple[int, Process]]):
    lab = Lab.up("a", owner_pid=os.getppid())
    assert [watched for watched, _ in guards] == [os.getpid(), os.getppid()]
    assert [process.alive() for _, process in guards] == [False, True]
    lab.down()


def test_an_owner_that_has_ended_is_refused(backend: FakeBackend):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    with pytest.raises(LabError, match=f"no process {gone.pid}"):
        Lab.up("a", owner_pid=gone.pid)
    assert Lab.find("a") is None


def test_a_failed_start_leaves_nothing(backend: FakeBackend, guards: list[tuple[int, Process]]):
    backend.failing = {"new-1@localhost"}
    with pytest.raises(LabError, match="broker new-1@localhost ended while it started"):
        Lab.up("a")
    assert backend.asked[-1] == "remove"
    assert Lab.find("a") is None
    assert [process.alive() for _, process in guards] == [False]


def test_a_lab_that_is_up_is_found(backend: FakeBackend):
    first = Lab.up("a")
    second = Lab.up("a")
    assert first.brokers.fresh
    assert not second.brokers.fresh
    assert second.env() == first.env()
    assert Lab.attach("a").env() == first.env()
    assert backend.asked.count("prepare") == 1


def test_other_brokers_under_the_same_name_are_refused(backend: FakeBackend):
    Lab.up("a", new="4.0")
    with pytest.raises(LabError, match=r'lab "a" is up with other brokers \(old: RabbitMQ 3\.10 with 1 node') as fault:
        Lab.up("a", new="4.3")
    assert "lab down --name a" in fault.value.hint


def test_dead_brokers_are_made_anew(backend: FakeBackend):
    Brokers.up("a", OLD)
    backend.alive.clear()
    assert Brokers.up("a", OLD).fresh


def changed(name: str, change: Callable[[LabState], None]) -> None:
    with Store(name).change(state(name).mark) as changing:
        change(changing)


def test_a_lab_that_still_comes_up_is_neither_found_nor_made(backend: FakeBackend):
    Brokers.up("a", OLD)
    changed("a", lambda it: setattr(it, "starter", Process.of(os.getpid())))
    for attempt in (lambda: Brokers.up("a", OLD), lambda: Brokers.attach("a")):
        with pytest.raises(LabError, match=f'lab "a" still comes up, started by process {os.getpid()}'):
            attempt()


def test_a_lab_whose_start_was_interrupted_is_made_anew(backend: FakeBackend):
    Brokers.up("a", OLD)
    changed("a", lambda it: setattr(it, "starter", Process(pid=os.getpid(), started=1)))
    assert Brokers.up("a", OLD).fresh


def test_down_is_for_the_lab_that_is_meant(backend: FakeBackend):
    before = Brokers.up("a", OLD)
    before.down()
    before.down()
    after = Brokers.up("a", OLD)
    before.down()
    assert state("a").mark == after._mark
    assert take_down("a")
    assert not take_down("a")


def test_brokers_without_sides_are_no_lab(backend: FakeBackend):
    Brokers.up("a", OLD)
    with pytest.raises(LabError, match='lab "a" has no old and new side'):
        Lab.attach("a")


def test_an_unknown_release_starts_nothing(backend: FakeBackend):
    with pytest.raises(LabError, match="no RabbitMQ 5"):
        Lab.up("a", new="5")
    assert backend.asked == []


@pytest.mark.parametrize(("engine", "kind"), [(True, "docker"), (False, "packages")])
def test_docker_comes_first(engine: bool, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(under_test.docker, "answers", lambda: engine)
    monkeypatch.setattr(under_test, "check_possible", lambda: None)
    assert under_test.backend_here() == kind
