from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bridge.errors import LabError
from bridge.lab.crew import BACKGROUND, Crew, pause_until
from bridge.lab.deadline import until


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path)
    yield crew
    crew.end()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_member_reads_its_text_and_prints_to_its_file(crew: Crew, tmp_path: Path) -> None:
    member = crew.start(
        "echo", python("import os, sys; print(sys.stdin.read() + os.environ['EXTRA'])"), {"EXTRA": "!"}, text="hello"
    )
    assert member.finish(10) == 0
    assert (tmp_path / "echo.log").read_text() == "hello!\n"
    assert member.quote() == "hello!"


def test_an_unexpected_end_is_named_with_the_last_words(crew: Crew) -> None:
    member = crew.start("brief", python("print('what it said')"))
    assert until(member.ended, 10)
    with pytest.raises(LabError, match="brief ended unexpectedly") as caught:
        crew.check()
    assert caught.value.hint == "what it said"


def test_an_end_that_was_asked_for_is_no_surprise(crew: Crew) -> None:
    member = crew.start("sleeper", ["sleep", "60"])
    member.signal(signal.SIGTERM)
    assert until(member.ended, 10)
    crew.check()
    assert member.finish(1) == -signal.SIGTERM


def test_one_that_does_not_end_in_time(crew: Crew) -> None:
    member = crew.start("sleeper", ["sleep", "60"])
    with pytest.raises(LabError, match="sleeper did not end within 0 s"):
        member.finish(0.1)


def test_what_a_member_leaves_running_ends_with_it(crew: Crew, tmp_path: Path) -> None:
    member = crew.start("parent", ["sh", "-c", "sleep 60 & echo $!"])
    assert member.finish(10) == 0
    left = int((tmp_path / "parent.log").read_text())
    assert until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == "zombie", 5)


def test_end_kills_who_does_not_listen(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.lab.crew.GRACE", 0.3)
    deaf = crew.start(
        "deaf",
        python("import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"),
    )
    assert until(lambda: "up" in deaf.quote(), 10)
    crew.end()
    assert not psutil.pid_exists(deaf.pid)


def test_the_background_steps_back(crew: Crew) -> None:
    member = crew.start("sleeper", ["sleep", "60"], background=True)
    assert os.getpriority(os.PRIO_PROCESS, member.pid) == BACKGROUND


def runs(pid: int) -> bool:
    """Whether a process runs; one that ended and that the init process has not collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_members_end_when_the_rehearsal_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, os, signal\n"
        "from bridge.lab.crew import Crew\n"
        f"member = Crew(pathlib.Path({str(tmp_path)!r})).start('sleeper', ['sleep', '60'])\n"
        "print(member.pid, flush=True)\n"
        # From here on it is tied to its parent: setpriv has done its part and given way to the program.
        "while pathlib.Path(f'/proc/{member.pid}/comm').read_text() != 'sleep\\n': pass\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    crew = Crew(tmp_path)
    crew.start("rehearsal", python(code)).finish(20)
    orphan = int((tmp_path / "rehearsal.log").read_text())
    assert until(lambda: not runs(orphan), 20)


def test_pause_until_the_moment() -> None:
    moment = time.time() + 0.05
    pause_until(moment)
    assert time.time() >= moment
    pause_until(moment - 10)
