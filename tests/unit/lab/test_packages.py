"""Nodes from packages: what they read, what they are started with. That they run is shown on real brokers."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import pytest

from bridge.errors import LabError
from bridge.lab import packages as under_test
from bridge.lab.deadline import until
from bridge.lab.packages import Packages
from bridge.lab.process import MARK, marked, spawn
from bridge.lab.state import ClusterState, LabState, NodeState, Store, locked
from bridge.progress import silent

#: Prints its arguments and environment where the node's console goes; the first word decides how it goes on.
UNSHARE = """#!/bin/sh
env
for word in "$@"; do echo "argument $word"; done
case "$*" in
*epmd*) exec sleep 60 ;;
*rabbitmqctl*) echo "so it failed" >&2; exit 64 ;;
*) sleep 60 & trap 'exit 0' TERM; wait ;;
esac
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "unshare").write_text(UNSHARE)
    (programs / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(tmp_path / "labs"))
    monkeypatch.setattr(under_test, "_PATH", os.environ["PATH"])
    monkeypatch.setattr(under_test, "check_possible", lambda: None)
    monkeypatch.setattr(under_test, "install", lambda versions, mark, progress: dict.fromkeys(versions, tmp_path))
    monkeypatch.setattr(under_test, "_listens", lambda _port: True)
    nodes = [NodeState(name=f"old-{n}@localhost", amqp=n, api=10 + n, dist=20 + n, stream=30 + n) for n in (1, 2)]
    cluster = ClusterState(version="3.10", vhosts=["chost"], nodes=nodes)
    store = Store("a")
    state = LabState(
        name="a", mark=secrets.token_hex(8), kind="packages", user="u", password="p", cookie="kooky",
        clusters={"old": cluster}, epmd_port=40,
    )  # fmt: skip
    with locked():
        store.save(state)
    return store


@pytest.fixture
def packages(store: Store) -> Packages:
    packages = Packages(store, store.get().mark)
    packages.prepare(silent)
    return packages


def console(store: Store, node: str = "old-1") -> str:
    return (store.folder / node / "console.log").read_text()


def test_everything_that_a_node_reads_is_laid_out(store: Store, packages: Packages):
    folder = store.folder / "old-1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    conf = (folder / "rabbitmq.conf").read_text()
    assert "listeners.tcp.1 = 127.0.0.1:1\n" in conf
    assert "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = 11\n" in conf
    assert "classic_config.nodes.2 = old-2@localhost" in conf
    assert {file.name for file in folder.iterdir()} == {"rabbitmq.conf", "definitions.json", "enabled_plugins"}
    packages.remove()


def test_a_node_is_told_its_name_and_ports_and_hears_only_loopback(store: Store, packages: Packages):
    packages.start("old-1@localhost")
    assert until(lambda: "rabbitmq-server" in console(store), 10)
    printed = console(store).splitlines()
    for line in (
        "HOME=/var/lib/rabbitmq",
        "RABBITMQ_NODENAME=old-1@localhost",
        "RABBITMQ_DIST_PORT=21",
        "ERL_EPMD_PORT=40",
        "ERL_EPMD_ADDRESS=127.0.0.1",
        f"{MARK}={store.get().mark}",
        "argument --kill-child",
        "argument --pid",
    ):
        assert line in printed
    assert any("inet_dist_use_interface {127,0,0,1}" in line and "-setcookie kooky" in line for line in printed)
    packages.remove()


def test_starting_what_runs_changes_nothing(store: Store, packages: Packages):
    packages.start("old-1@localhost")
    first = store.get().node("old-1@localhost")[1].process
    packages.start("old-1@localhost")
    assert store.get().node("old-1@localhost")[1].process == first
    assert packages.running("old-1@localhost")
    assert not packages.running("old-2@localhost")
    packages.remove()


def test_kill_ends_what_is_inside_first(store: Store, packages: Packages):
    packages.start("old-1@localhost")
    process = store.get().node("old-1@localhost")[1].process
    assert process is not None
    # `env`, the script's first child, has ended when the arguments are printed.
    assert until(lambda: "argument" in console(store) and process.child() is not None, 10)
    packages.kill("old-1@localhost")
    assert not packages.running("old-1@localhost")
    packages.kill("old-1@localhost")
    packages.kill("old-2@localhost")
    packages.stop("old-2@localhost")
    packages.remove()


def test_a_node_that_does_not_stop_is_an_error(store: Store, packages: Packages, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(under_test, "_STOP_SECONDS", 0.0)
    monkeypatch.setattr(under_test.signal, "SIGTERM", under_test.signal.SIGCONT)
    packages.start("old-1@localhost")
    with pytest.raises(LabError, match="old-1@localhost did not stop within 0 s"):
        packages.stop("old-1@localhost")
    packages.remove()


def test_rabbitmqctl_ends_with_its_own_code(store: Store, packages: Packages):
    ended = packages.ctl("old-1@localhost", ["list_queues"])
    assert (ended.code, ended.complaints) == (64, "so it failed\n")
    assert ended.printed.endswith("rabbitmqctl\nargument --erlang-cookie\nargument kooky\nargument list_queues\n")
    packages.remove()


def test_the_end_of_the_log(store: Store, packages: Packages):
    assert packages.last_lines("old-1@localhost") == ""
    (store.folder / "old-1" / "console.log").write_text("\n".join(map(str, range(100))))
    assert packages.last_lines("old-1@localhost").splitlines() == [str(number) for number in range(85, 100)]
    packages.remove()


def test_remove_also_ends_what_was_never_written_down(store: Store, packages: Packages, tmp_path: Path):
    mark = store.get().mark
    packages.start("old-1@localhost")
    spawn(["sleep", "60"], {"PATH": os.environ["PATH"], MARK: mark}, tmp_path / "out")
    assert len(marked(mark)) >= 3
    packages.remove()
    assert marked(mark) == []
    packages.remove()


def test_an_epmd_that_does_not_listen(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(under_test, "until", lambda condition, seconds: condition() and False)
    packages = Packages(store, store.get().mark)
    with pytest.raises(LabError, match="epmd does not listen on port 40"):
        packages.prepare(silent)
    packages.remove()


def test_a_lab_that_was_taken_down_starts_nothing(store: Store, packages: Packages):
    packages.remove()
    store.remove()
    with pytest.raises(LabError, match=r"is not up|was taken down meanwhile"):
        packages.start("old-1@localhost")
