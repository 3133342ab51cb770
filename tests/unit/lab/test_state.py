"""The state of a lab: written whole, read by anyone, changed only while it is the same lab."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bridge.errors import LabError
from bridge.lab.state import ClusterState, LabState, NodeState, Store, all_states, labs_folder, locked


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path))
    return tmp_path


def state(name: str = "a") -> LabState:
    node = NodeState(name="old-1@localhost", amqp=1, api=2, dist=3, stream=4)
    cluster = ClusterState(version="3.10", vhosts=["chost"], nodes=[node])
    return LabState(
        name=name, mark="m", kind="packages", user="u", password="p", cookie="c", clusters={"old": cluster}, epmd_port=5
    )


def saved(name: str = "a") -> Store:
    store = Store(name)
    with locked():
        store.save(state(name))
    return store


def test_what_was_saved_is_loaded_by_another():
    saved()
    assert Store("a").get() == state()
    assert Store("a").get().ports() == {1, 2, 3, 4, 5}


def test_only_its_owner_may_read_the_password(folder: Path):
    saved()
    assert stat.S_IMODE((folder / "a" / "state.json").stat().st_mode) == 0o600


def test_change_is_written():
    store = saved()
    with store.change("m") as changing:
        changing.clusters["old"].reported = "3.10.8"
    assert store.get().clusters["old"].reported == "3.10.8"


@pytest.mark.parametrize("gone", [True, False])
def test_a_lab_that_was_taken_down_meanwhile_is_not_changed(gone: bool):
    store = saved()
    if gone:
        store.remove()
    with pytest.raises(LabError, match='lab "a" was taken down meanwhile'), store.change("m" if gone else "other"):
        raise AssertionError


def test_nodes_are_found_by_name():
    cluster, node = state().node("old-1@localhost")
    assert cluster.version == "3.10"
    assert node.amqp == 1
    with pytest.raises(LabError, match='lab "a" has no node nobody'):
        state().node("nobody")


def test_all_labs_are_seen_until_they_are_removed(folder: Path):
    one, _two = saved("one"), saved("two")
    (folder / "no-lab").mkdir()
    assert [it.name for it in all_states()] == ["one", "two"]
    one.remove()
    one.remove()
    assert [it.name for it in all_states()] == ["two"]
    assert one.load() is None
    with pytest.raises(LabError, match='lab "one" is not up'):
        one.get()


@pytest.mark.parametrize("name", ["", "A", "../x", "-a", "a" * 41, "a b"])
def test_names_are_plain(name: str):
    with pytest.raises(LabError, match="small letters, digits and dashes"):
        Store(name)


def test_labs_live_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("BRIDGE_LAB_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert labs_folder() == tmp_path / "celery-quorum-bridge" / "labs"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert labs_folder() == tmp_path / ".local" / "state" / "celery-quorum-bridge" / "labs"
