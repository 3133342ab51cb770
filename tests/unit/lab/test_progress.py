"""Progress is told once per step in a log, and as one row per subject on a terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from bridge.lab import progress
from bridge.lab.progress import Lines, Live, reporter, silent


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
