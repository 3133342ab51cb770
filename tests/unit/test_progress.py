"""Progress is told once per step in a log, and as one row per subject on a terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from bridge import progress
from bridge.progress import Lines, Live, counted, reporter, silent


def test_lines_tell_a_step_once(capsys: pytest.CaptureFixture[str]):
    with Lines() as told:
        told("RabbitMQ 4.3", "fetching packages")
        told("RabbitMQ 4.3", "fetching packages")
        told("RabbitMQ 4.0", "fetching packages")
        told("RabbitMQ 4.3", "unpacking packages")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split("s  ")[1] for line in printed.err.splitlines()] == [
        "RabbitMQ 4.3: fetching packages",
        "RabbitMQ 4.0: fetching packages",
        "RabbitMQ 4.3: unpacking packages",
    ]


def test_lines_tell_a_long_step_again(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with Lines() as told:
        told("a", "b")
        told("a", "b")
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_live_shows_the_last_step_of_each(capsys: pytest.CaptureFixture[str]):
    with Live() as told:
        told("one", "first")
        told("one", "second")
        told("two", "first")
        screen = io.StringIO()
        Console(file=screen, width=80).print(told._table())
    capsys.readouterr()
    assert "  one: second\n  two: first\n" in screen.getvalue()


def test_the_terminal_decides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(reporter(), Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(reporter(), Live)


def test_silence(capsys: pytest.CaptureFixture[str]):
    silent("a", "b")
    assert capsys.readouterr() == ("", "")


def test_a_short_count_says_nothing_and_a_long_one_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with counted(4) as tell:
        tell(1, "one of four")
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
        tell(2, "two of four")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.split() == "0 s 50% two of four".split()


def test_nothing_is_told_beside_an_answer_for_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with counted(4, quiet=True) as tell:
        tell(1, "one of four")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with counted(4) as tell:
        tell(2, "two of four")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "50%" in printed.err
    assert "two of four" in printed.err
