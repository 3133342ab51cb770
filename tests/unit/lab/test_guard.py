"""The guard: sleeps while the owner lives, takes exactly its lab down when it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.lab import guard
from bridge.lab.deadline import until
from bridge.lab.process import MARK, Process, spawn
from bridge.lab.state import LabState, Store, locked

PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path / "labs"))
    store = Store("a")
    with locked():
        store.save(LabState(name="a", mark="f00d", kind="packages", user="u", password="p", cookie="c", clusters={}))
    return store


def test_it_ends_the_lab_with_its_owner_and_then_itself(store: Store, tmp_path: Path):
    owner = spawn(["sleep", "60"], PATH, tmp_path / "out")
    broker = spawn(["sleep", "60"], {**PATH, MARK: "f00d"}, tmp_path / "out")
    process = guard.start("a", "f00d", owner)
    try:
        assert os.getsid(process.pid) == process.pid
        assert not process.wait(0.5)
        assert broker.alive()

        owner.kill()

        assert until(lambda: store.load() is None, 20)
        assert process.wait(20)
        assert not broker.alive()
    finally:
        for left in (owner, broker, process):
            left.kill()


def test_an_owner_that_is_gone_already(store: Store):
    process = guard.start("a", "f00d", Process(pid=os.getpid(), started=1))
    assert process.wait(20)
    assert store.load() is None


def test_a_lab_made_anew_under_the_same_name_stays(store: Store):
    process = guard.start("a", "cafe", Process(pid=os.getpid(), started=1))
    assert process.wait(20)
    assert store.load() is not None
