"""The findings of `check` beside a running daemon: nobody waits for them, and they do not come too often."""

from __future__ import annotations

import json
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from bridge.check_look import FRESH, SOON, CheckLook, _run

FOUND = {"findings": [{"id": "no-sister", "severity": "blocker"}], "blockers": 1, "warnings": 0, "notes": 0}


class Command:
    """Stands for `bridge check`."""

    def __init__(self) -> None:
        self.times = 0
        self.may_end = Event()
        self.answer: tuple[str, str, str] = ("exit code 1", json.dumps(FOUND), "")
        self.fault: OSError | None = None

    def __call__(self, command: list[str]) -> tuple[str, str, str]:
        assert command[-4:] == ["-c", "bridge.yaml", "check", "--json"]
        self.times += 1
        self.may_end.wait()
        if self.fault is not None:
            raise self.fault
        return self.answer


def settled(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.001)


def test_the_first_asks_and_does_not_wait_and_all_share_what_is_found() -> None:
    command, now = Command(), [0.0]
    look = CheckLook("bridge.yaml", command, lambda: now[0])
    first = look.look()
    assert (first["running"], first["at"], first["age_s"], first["findings"]) == (True, None, None, [])
    look.look("1")
    command.may_end.set()
    settled(lambda: not look.look()["running"])
    told = look.look()
    assert (told["blockers"], told["findings"], told["fault"], command.times) == (1, FOUND["findings"], None, 1)
    assert told["age_s"] >= 0
    now[0] = SOON - 1
    assert not look.look("1")["running"]
    now[0] = SOON
    assert not look.look()["running"]
    assert look.look("1")["running"]
    settled(lambda: not look.look()["running"])
    now[0] += FRESH
    assert look.look()["running"]


def test_what_it_found_before_stays_when_it_fails() -> None:
    command, now = Command(), [0.0]
    command.may_end.set()
    look = CheckLook("bridge.yaml", command, lambda: now[0])
    look.look()
    settled(lambda: not look.look()["running"])
    command.answer = ("exit code 3", "", "error: target: http://u:s3cret@new does not answer\nhint: is it up?\n")
    now[0] += FRESH
    look.look()
    settled(lambda: not look.look()["running"])
    told = look.look()
    assert told["fault"] == "error: target: http://u:***@new does not answer hint: is it up?"
    assert told["blockers"] == 1
    command.fault = OSError(12, "Cannot allocate memory")
    now[0] += FRESH
    look.look()
    settled(lambda: not look.look()["running"])
    assert look.look()["fault"] == "bridge check could not be started: Cannot allocate memory"


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_is_run_beside_the_loop(code: int) -> None:
    turns = []
    ticking = gevent.spawn(lambda: [turns.append(1) or gevent.sleep(0.001) for _ in range(10_000)])
    ended, said, complaint = _run(["/bin/sh", "-c", f"echo said; echo complaint >&2; sleep 0.1; exit {code}"])
    ticking.kill()
    assert (ended, said, complaint) == (f"exit code {code}", "said\n", "complaint\n")
    assert len(turns) > 3
