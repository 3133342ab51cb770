"""A process is its pid and its start time; what is not exactly that is never signalled."""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path

import pytest

from bridge.lab.deadline import until
from bridge.lab.process import MARK, Process, marked, spawn

PATH = {"PATH": os.environ["PATH"]}


def test_it_runs_apart_and_its_end_is_seen(tmp_path: Path):
    process = spawn(["sh", "-c", "echo hello; echo fault >&2; exec sleep 60"], PATH, tmp_path / "out")
    try:
        assert process.alive()
        assert os.getsid(process.pid) == process.pid
        assert not process.wait(0)
        assert until(lambda: (tmp_path / "out").read_text() == "hello\nfault\n", 10)
    finally:
        process.kill()
    assert not process.alive()
    assert process.wait(0)
    assert not Path(f"/proc/{process.pid}").exists(), "its entry is collected"
    process.kill()


def test_one_that_ended_before_anybody_waited_is_collected_too(tmp_path: Path):
    process = spawn(["true"], PATH, tmp_path / "out")
    assert until(lambda: not process.alive(), 10)
    assert Path(f"/proc/{process.pid}").exists(), "nobody has taken its exit status"
    assert not process.signal(signal.SIGKILL)
    assert process.wait(0)
    assert not Path(f"/proc/{process.pid}").exists()


def test_another_process_with_the_same_pid_is_left_alone():
    me = Process.of(os.getpid())
    stranger = Process(pid=me.pid, started=me.started + 1)
    assert me.alive()
    assert not stranger.alive()
    assert not stranger.signal(signal.SIGKILL)
    assert stranger.wait(0)
    stranger.kill()


def test_who_does_not_exist():
    with pytest.raises(ProcessLookupError):
        Process.of(2**22 + 1)
    gone = Process(pid=2**22 + 1, started=1)
    assert not gone.alive()
    assert not gone.signal(signal.SIGTERM)
    assert gone.child() is None


def test_name_with_spaces_and_parentheses_is_no_field(tmp_path: Path):
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    process = spawn([str(program), "60"], PATH, tmp_path / "out")
    assert until(lambda: ") Z (" in Path(f"/proc/{process.pid}/stat").read_text(), 10)
    assert process.alive()
    process.kill()


def test_first_child(tmp_path: Path):
    process = spawn(["sh", "-c", "sleep 60 & wait"], PATH, tmp_path / "out")
    assert until(lambda: process.child() is not None, 10)
    child = process.child()
    assert child is not None
    assert child.child() is None
    process.kill()
    assert child.signal(signal.SIGKILL)
    assert child.wait(10)


def test_what_carries_the_mark_is_found(tmp_path: Path):
    mark = secrets.token_hex(8)
    process = spawn(["sleep", "60"], {**PATH, MARK: mark}, tmp_path / "out")
    other = spawn(["sleep", "60"], {**PATH, MARK: f"{mark}0"}, tmp_path / "out")
    try:
        assert until(lambda: marked(mark) == [process], 10)
    finally:
        process.kill()
        other.kill()
    assert marked(mark) == []
