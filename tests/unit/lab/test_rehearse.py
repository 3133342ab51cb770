"""The command around a rehearsal that is played: what it prints, how it ends, what it leaves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.errors import LabError
from bridge.lab import rehearse
from bridge.lab.brokers import Lab
from bridge.lab.report import Books, Report

GOOD = Report(0, 0, 0, 0, Books(5, 1, 100.0, 10.0), 12.0, [0.001], [0.002], [0.01], 6, 1, 5)


class PlayedLab:
    """What `Lab.up` and `Lab.find` return here."""

    def __init__(self, *, fresh: bool) -> None:
        self.brokers = SimpleNamespace(fresh=fresh)
        self.old, self.new = SimpleNamespace(version="3.10.8", cluster=1), SimpleNamespace(version="4.3.6", cluster=2)
        self.is_down = False

    def down(self) -> None:
        self.is_down = True


class Played:
    """Runs the command with a lab and a rehearsal that do nothing."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.found: PlayedLab | None = None
        self.brought_up: list[tuple[str, dict[str, Any]]] = []
        self.lab: PlayedLab | None = None
        self.outcome: Any = GOOD
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        monkeypatch.setattr(Lab, "find", lambda name: self.found)
        monkeypatch.setattr(Lab, "up", self.up)
        monkeypatch.setattr(rehearse, "_rehearse", self.rehearse)

    def up(self, name: str, **options: Any) -> PlayedLab:
        self.brought_up.append((name, options))
        self.lab = PlayedLab(fresh=True)
        return self.lab

    def rehearse(self, lab: Any, folder: Path, size: dict[str, Any], progress: Any, daemon: list[str]) -> Report:
        self.size, self.daemon = size, daemon
        if callable(self.outcome):
            self.outcome()
        assert isinstance(self.outcome, Report)
        return self.outcome

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(rehearse.rehearse, arguments, standalone_mode=False)

    def folders(self) -> list[Path]:
        return list(self.folder.glob("bridge-rehearsal-*"))


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(tmp_path, monkeypatch)


def test_json_is_alone_on_stdout_and_nothing_stays(played: Played) -> None:
    result = played.run("--json")
    assert result.return_value == 0
    assert json.loads(result.stdout) == GOOD.as_json()
    assert played.folders() == []
    assert played.lab is not None
    assert played.lab.is_down
    _, options = played.brought_up[0]
    assert options.pop("progress")
    assert options == {"old": "3.10", "new": "4.0", "nodes": 1, "same_broker": False, "owner_pid": os.getpid()}
    assert played.size == {
        "tasks": 20_000,
        "eta_share": 0.3,
        "eta_window": 60.0,
        "rate": 200.0,
        "seconds": 10.0,
        "seed": 1,
        "from_scratch": False,
    }
    assert played.daemon == []


def test_another_program_may_be_the_daemon(played: Played) -> None:
    assert played.run("--daemon", "docker run -v '{folder}:{folder}' bridge").return_value == 0
    assert played.daemon == ["docker", "run", "-v", "{folder}:{folder}", "bridge"]


def test_people_get_a_table(played: Played) -> None:
    assert played.run().stdout.startswith("RabbitMQ 3.10.8 -> 4.3.6 ")


def test_a_lab_that_is_up_is_used_and_stays_up(played: Played) -> None:
    played.found = PlayedLab(fresh=False)
    assert played.run().return_value == 0
    assert played.brought_up == []
    assert not played.found.is_down


def test_brokers_that_are_named_must_be_those(played: Played) -> None:
    played.found = PlayedLab(fresh=False)
    played.run("--new", "4.3")
    assert played.brought_up[0][1]["new"] == "4.3"


def test_keep_leaves_lab_and_folder(played: Played) -> None:
    result = played.run("--keep")
    assert played.lab is not None
    assert not played.lab.is_down
    assert played.brought_up[0][1]["owner_pid"] is None
    assert f"what was written down is in {played.folders()[0]}" in result.stderr


def test_a_lost_task_is_exit_1_with_a_sentence_examples_and_all_details(played: Played) -> None:
    lost = [f"task-{number}" for number in range(9)]
    played.outcome = Report(9, 0, 0, 0, GOOD.books, 12.0, [], [], [], 9, 0, 0, {"lost": lost})
    result = played.run("--json")
    assert result.return_value == 1
    assert json.loads(result.stdout)["lost"] == 9
    assert "the rehearsal failed: 9 tasks were lost" in result.stderr
    assert result.stderr.count("lost: task-") == 5
    assert json.loads((played.folders()[0] / "faults.json").read_text()) == {"lost": lost}


def test_executed_twice_is_shown_and_is_exit_0(played: Played) -> None:
    played.outcome = Report(0, 1, 0, 0, GOOD.books, 12.0, [], [], [], 9, 0, 0, {"executed twice": ["a"]})
    result = played.run()
    assert result.return_value == 0
    assert "executed twice: a" in result.stderr


def fail() -> None:
    raise LabError("the daemon ended unexpectedly")


def test_a_rehearsal_that_fails_takes_the_lab_down_and_keeps_the_folder(played: Played) -> None:
    played.outcome = fail
    result = played.run()
    assert isinstance(result.exception, LabError)
    assert played.lab is not None
    assert played.lab.is_down
    assert len(played.folders()) == 1


def test_sigterm_ends_it_like_ctrl_c(played: Played) -> None:
    before = signal.getsignal(signal.SIGTERM)
    played.outcome = lambda: os.kill(os.getpid(), signal.SIGTERM)
    result = played.run()
    assert type(result.exception).__name__ in ("Abort", "KeyboardInterrupt")
    assert played.lab is not None
    assert played.lab.is_down
    assert signal.getsignal(signal.SIGTERM) is before
