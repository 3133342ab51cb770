"""`bridge status` as it is typed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge import cli, status_watch
from bridge.errors import Unreachable
from tests.support.statuses import queue, status

TOLD = status(
    queue("mail"), queue("rep.a", state="faulted", why="no such queue"), *(queue(f"q{number}") for number in range(200))
)


@pytest.fixture(autouse=True)
def daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(what: str) -> dict[str, Any]:
        return TOLD if what == "status" else {"points": []}

    monkeypatch.setattr(status_watch, "asking", lambda _socket: ask)


def run(*words: str) -> int:
    return cli.main(["status", "--socket", "/nowhere", *words])


def test_piped_it_has_every_queue_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("mail ", "rep.a ", "q")) for line in lines) == 1 + 202
    assert next(line for line in lines if line.startswith("rep.a ")).endswith("no such queue; at most 500/s")


def test_a_terminal_is_shown_some(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert run() == 0
    out = capsys.readouterr().out
    assert "and 152 more queues: name them, or --only not-moving" in out
    assert "\x1b[3" not in out, "NO_COLOR"
    assert run("q*") == 0
    assert "more queues" not in capsys.readouterr().out


def test_names_and_states_choose(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mail", "rep*", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["queues"]] == ["mail", "rep.a"]
    assert run("--only", "not-moving", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["queues"]] == ["rep.a"]
    assert run("--only", "drained") == 0
    assert "\nqueue " in capsys.readouterr().out


def test_of_a_few_that_are_named_everything_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mail", "rep*") == 0
    assert "mail: the gate is open\nmail: next: legacy, pause\n" in capsys.readouterr().out
    assert run("q*") == 0
    assert "the gate is open" not in capsys.readouterr().out


def test_json_is_what_the_daemon_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out) == TOLD


def test_a_name_that_is_no_queue_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nosuch", "x*") == 1
    assert capsys.readouterr().err.splitlines()[0] == "error: no queue in scope is named nosuch or x*"


@pytest.mark.parametrize(
    ("words", "error"), [("--watch mail", "found 'mail'; allowed: seconds"), ("--watch=0", "0.1 to 3600")]
)
def test_seconds_are_checked(words: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words.split()) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [False, True])
def test_a_watch_is_ended_with_0(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[str] = []

    def ask(what: str) -> dict[str, Any]:
        looks.append(what)
        if looks.count("status") > 2:
            raise KeyboardInterrupt
        if what != "status":
            raise Unreachable("it is not there")
        return TOLD

    monkeypatch.setattr(status_watch, "asking", lambda _socket: ask)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert run("--watch=0.1", "mail") == 0
    assert "mail" in capsys.readouterr().out or not terminal
    assert looks.count("status") == 3


def test_a_reader_that_has_seen_enough_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_what: str) -> dict[str, Any]:
        raise BrokenPipeError

    monkeypatch.setattr(status_watch, "asking", lambda _socket: ask)
    monkeypatch.setattr("os.dup2", lambda _new, _old: None)
    assert run() == 0
