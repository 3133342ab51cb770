"""The commands of a rehearsal from scratch, played by a list of answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import LabError
from bridge.lab.scratch import Scratch

CLEAN = {"blockers": 0, "warnings": 2}


class Played:
    """Answers the commands one after the other: exit code and standard output."""

    def __init__(self, folder: Path, *answers: tuple[int, Any]) -> None:
        self._answers = list(answers)
        self.commands: list[list[str]] = []
        self.told: list[str] = []
        self.scratch = Scratch(folder / "bridge.yaml", folder, self.told.append)

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command[command.index("-c") + 2 :])
        code, out = self._answers.pop(0)
        if code < 0:
            raise subprocess.TimeoutExpired(command, 1)
        text = out if isinstance(out, str) else json.dumps(out)
        return subprocess.CompletedProcess(command, code, text, "error: because\n")


def played(monkeypatch: pytest.MonkeyPatch, folder: Path, *answers: tuple[int, Any]) -> Played:
    one = Played(folder, *answers)
    monkeypatch.setattr(subprocess, "run", one.run)
    return one


def test_check_apply_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = played(monkeypatch, tmp_path, (1, {"blockers": 6}), (0, {"done": [1, 2]}), (0, "task_queues = ()\n"))
    assert one.scratch.make().read_text() == "task_queues = ()\n"
    assert one.commands == [["check", "--json"], ["apply", "--json"], ["plan", "--celery"]]
    assert one.told == ["check: the target is empty", "check: 6 blockers", "apply: 2 steps"]


def test_an_empty_target_that_is_no_blocker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = played(monkeypatch, tmp_path, (0, CLEAN))
    with pytest.raises(LabError, match="`bridge check --json` ended with 0, not 1") as fault:
        one.scratch.make()
    assert fault.value.hint == "error: because"


def test_nothing_may_be_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = played(monkeypatch, tmp_path, (0, CLEAN), (0, {"steps": []}))
    one.scratch.verify()
    assert one.told == ["check: 0 blockers, 2 warnings"]
    one = played(monkeypatch, tmp_path, (0, CLEAN), (0, {"steps": [{"sentence": "declare this"}]}))
    with pytest.raises(LabError, match="left 1 steps") as fault:
        one.scratch.verify()
    assert fault.value.hint == "declare this"


def test_a_command_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="did not end within 120 s"):
        played(monkeypatch, tmp_path, (-1, "")).scratch.verify()
