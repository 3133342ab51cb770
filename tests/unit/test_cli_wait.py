"""Waiting for the end of a verb, played with made-up statuses and a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge import cli, cli_wait
from bridge.cli_wait import FAULTED, UNKNOWN, Waiting, wait
from bridge.errors import AccessRefused, Exit, Unreachable
from tests.support.statuses import queue, status
from tests.unit.test_cli_control import DONE, REFUSED, FakeDaemon


class Night:
    """A daemon's statuses, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.answer: Any = status()
        self.back: dict[str, Any] = {"state": "waiting", "looks": 4, "last": {"brought_back": 0}}

    def ask(self) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {**self.answer, "ladder_back": self.back}

    def clock(self) -> float:
        return self.now

    def waiting(self, **goals: str) -> Waiting:
        return Waiting(goals, self.ask, self.clock)


@pytest.fixture
def night() -> Night:
    return Night()


def depth(old: int | None, new: int | None = 0, age: float = 1.0) -> dict[str, Any]:
    def side(ready: int | None) -> dict[str, Any] | None:
        return None if ready is None else {"ready": ready, "unacked": 0, "consumers": 1, "age_s": age}

    return {"depth": {"old": side(old), "new": side(new)}}


def test_it_is_over_when_nothing_waits_by_a_look_that_is_newer_than_the_verb(night: Night) -> None:
    waiting = night.waiting(mail="quorum", img="quorum")
    night.answer = status(queue("mail", **depth(100)), queue("img", **depth(0)))
    assert waiting.look()
    assert waiting.result.done == [], "what was seen of img may be from before"
    night.now += 10
    night.answer = status(queue("mail", **depth(25)), queue("img", **depth(0)))
    assert waiting.look()
    assert waiting.result.done == ["img"]
    assert waiting.words() == (0.75, "1 of 2 queues are through; 25 messages wait, mail among them")
    night.answer = status(queue("mail", **depth(0, age=9.0)), queue("img"))
    assert waiting.look(), "the look is as old as the broker's statistics may be"
    night.answer = status(queue("mail", state="throttled", **depth(0)), queue("img"))
    assert waiting.look()
    night.answer = status(queue("mail", **depth(0)), queue("img"))
    assert not waiting.look()
    assert waiting.result.as_json() == {"seconds": 10.0, "done": ["img", "mail"], "failed": [], "left": []}
    assert waiting.result.exit_code is Exit.DONE


def test_what_is_brought_back_needs_a_look_through_the_ladder(night: Night) -> None:
    waiting = night.waiting(mail="reverse")

    def look(new: int, in_flight: int = 0, **back: Any) -> bool:
        night.now += 10
        night.back |= back
        night.answer = status(queue("mail", route="reverse", in_flight=in_flight, **depth(5, new)))
        return waiting.look()

    assert look(10)
    assert look(0), "no look through the ladder yet"
    assert look(0, looks=5, last={"brought_back": 3})
    assert look(0, in_flight=2, looks=6, last={"brought_back": 0})
    assert look(0, state="looking")
    assert not look(0, state="waiting")


def test_what_is_given_back_is_over_when_nothing_is_in_flight(night: Night) -> None:
    waiting = night.waiting(mail="legacy")
    night.answer = status(queue("mail", route="legacy", state="leaving", in_flight=3))
    assert waiting.look()
    night.answer = status(queue("mail", route="legacy", state="idle", in_flight=0))
    assert not waiting.look()


@pytest.mark.parametrize(
    ("changed", "after", "why"),
    [
        ({"route": "legacy", "by": "bob@h"}, 0.0, "its route is legacy now, by bob@h"),
        ({"paused": True}, 0.0, "it is paused, by somebody"),
        ({"state": "faulted", "why": "no such queue"}, FAULTED, "no such queue"),
        (depth(None), UNKNOWN, "how many wait in its old queue is not known: it takes the HTTP API of that side"),
        ({"name": "other"}, 0.0, "it is not in scope any more"),
    ],
)
def test_what_will_not_come_to_its_end_is_said(changed: dict[str, Any], after: float, why: str, night: Night) -> None:
    waiting = night.waiting(mail="quorum")
    night.answer = status({**queue("mail"), **changed})
    if after:
        assert waiting.look(), "it may pass by itself"
    night.now += after
    assert not waiting.look()
    assert waiting.result.failed == {"mail": why}
    assert waiting.result.exit_code is Exit.REFUSED


def test_a_fault_that_passes_is_forgotten(night: Night) -> None:
    waiting = night.waiting(mail="quorum")
    for state in ("faulted", "moving", "faulted"):
        night.answer = status(queue("mail", state=state))
        assert waiting.look()
        night.now += FAULTED - 1


def test_a_daemon_that_is_away_is_waited_for(night: Night) -> None:
    waiting = night.waiting(mail="quorum")
    night.answer = Unreachable("no daemon answers on /x")
    assert waiting.look()
    assert waiting.words() == (0.0, "the daemon does not answer: no daemon answers on /x")
    night.answer = AccessRefused("permission denied")
    with pytest.raises(AccessRefused):
        waiting.look()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_wait, "EVERY", 0.01)
    monkeypatch.setattr(cli_wait, "STATISTICS", -10.0)


def test_a_time_that_passes_ends_the_waiting(quick: None, night: Night) -> None:
    night.answer = status(queue("mail", **depth(5)))
    waited = wait({"mail": "quorum"}, night.ask, 0.05, quiet=True)
    assert waited.left == ["mail"]
    assert waited.exit_code is Exit.REFUSED


@pytest.fixture
def daemon(quick: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    monkeypatch.delenv("SUDO_USER", raising=False)
    made = FakeDaemon(tmp_path)

    def run(told: list[dict[str, Any]], shown: dict[str, Any], *words: str) -> int:
        made.code, made.told, made.status = 200 if told == [DONE] else 409, {"answers": told}, shown
        return cli.main([words[0], "--socket", made.socket, *words[1:]])

    yield run
    made.close()


def test_typed_with_a_verb(daemon: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    over = status(queue("mail", **depth(0, age=0.0)))
    assert daemon([DONE], over, "cutover", "mail", "--wait") == 0
    assert capsys.readouterr().out.splitlines()[1] == "through after 0 s: mail"
    assert daemon([DONE, REFUSED], over, "cutover", "--all", "--wait") == 1, "img was refused"
    assert "through after 0 s: mail" in capsys.readouterr().out
    stays = status(queue("mail", **depth(5)))
    assert daemon([DONE], stays, "cutover", "mail", "--wait", "--timeout", "1s") == 1
    assert capsys.readouterr().err == "not through within 1 s: mail; they go on\n"
    assert daemon([DONE], status(), "cutover", "mail", "--wait") == 1
    assert capsys.readouterr().err == "not through: mail: it is not in scope any more\n"
    assert daemon([DONE], over, "cutover", "mail", "--wait", "--json") == 0
    assert '"done": [\n      "mail"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("cutover a --wait --at 02:30", "--wait and --at exclude each other"),
        ("cutover a --wait --dry-run", "--wait and --dry-run exclude each other"),
        ("cutover a --timeout 10m", "--timeout goes with --wait"),
        ("rollback a --wait --timeout soon", "found 'soon'; allowed: such as 90s, 10m or 2h"),
        ("pause a --wait", "No such option"),
    ],
)
def test_wrong_usage(words: str, error: str, daemon: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert daemon([DONE], status(), *words.split()) == 2
    assert error in capsys.readouterr().err


def test_ctrl_c_ends_the_waiting_and_nothing_else(
    night: Night, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_waiting: Waiting) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Waiting, "look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wait({"mail": "quorum"}, night.ask, None, quiet=True)
    assert capsys.readouterr().err == "no longer waited for; the queues go on\n"
