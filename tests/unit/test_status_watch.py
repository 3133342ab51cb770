"""The watch: what it remembers, what it shows while nobody answers, and how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from bridge.errors import AccessRefused, Refused, Unreachable
from bridge.sparks import BLOCKS
from bridge.status_watch import Past, Watch
from tests.support.statuses import queue, status

GONE = Unreachable("no daemon answers on /x")
NO_HISTORY = Refused("there is nothing at /api/history")


def answering(*answers: Any, history: Any = NO_HISTORY) -> Callable[[str], dict[str, Any]]:
    """Gives one answer after the other, then is interrupted as by Ctrl-C."""
    left = list(answers)

    def ask(what: str) -> dict[str, Any]:
        if what == "status" and not left:
            raise KeyboardInterrupt
        answer = left.pop(0) if what == "status" else history
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    return ask


def watch(*answers: Any, **how: Any) -> Watch:
    return Watch(answering(*answers, **how), 0.0, lambda told: told)


def screen(of: Watch, width: int = 130) -> list[str]:
    return [line.plain for line in of.picture(Console(file=io.StringIO(), width=width, height=40))]


def moving(ready: int, out: float, **changed: Any) -> dict[str, Any]:
    depth = {"old": {"ready": ready}, "new": {"ready": 3}}
    rates = {"in": {"10s": 1.0}, "out": {"10s": out}}
    told = status(queue("mail", depth=depth, rates=rates, **changed))
    told["totals"]["rates"] = rates
    return told


def test_what_was_seen_is_drawn() -> None:
    of = watch(moving(100, 10.0), moving(50, 20.0), moving(25, 40.0))
    for _ in range(3):
        of.look()
    lines = screen(of)
    charts = [line for line in lines if line.endswith(("/s", "queues")) and "█" in line]
    assert charts == ["in  ███ 1/s", "out ▃▅█ 40/s", "old █▅▃ 25 wait in old queues", "new ███ 3 wait in new queues"]
    row = next(line for line in lines if line.startswith("mail"))
    assert "▃▅█" in row
    assert "███████░░░  75%" in row


def test_the_time_before_is_the_daemon_s_to_tell() -> None:
    points = [[float(at), at, 0, 0, 1.0, float(at), 2.0] for at in range(100, 164)]
    of = watch(moving(163, 9.0), history={"every_s": 5, "queue": None, "points": points})
    of.look()
    assert of.past.chart("old") == list(range(100, 164))
    [chart] = [line for line in screen(of) if "wait in old queues" in line]
    assert len(chart.split()[1]) == 30
    of.past.take({"points": []})
    assert of.past.chart("old") == [163.0]


def test_only_what_empties_has_a_bar() -> None:
    past = Past()
    for told in (moving(100, 1.0), moving(10, 1.0)):
        past.add(told)
    [quorum] = moving(10, 1.0)["queues"]
    assert past.done(quorum) == 0.9
    assert past.done({**quorum, "route": "legacy"}) is None
    assert past.done({**quorum, "depth": None}) is None
    assert past.done({**quorum, "route": "reverse"}) is None, "it did not wait there"
    assert past.more({"queues": [quorum]}, BLOCKS).done == {"mail": "█████████░  90%"}


def test_a_daemon_that_goes_is_said_and_comes_back_by_itself() -> None:
    of = watch(moving(5, 1.0), GONE, GONE, moving(4, 1.0))
    of.look()
    of.look()
    first = of.away
    of.look()
    assert of.away == first, "since the first time"
    lines = screen(of)
    assert lines[0].startswith("the daemon does not answer since ")
    assert lines[0].endswith(": no daemon answers on /x")
    assert any(line.startswith("mail") for line in lines), "what was known stays"
    of.look()
    assert of.away is None
    assert not screen(of)[0].startswith("the daemon does not answer")


def test_a_watch_may_begin_before_the_daemon() -> None:
    of = watch(GONE)
    assert screen(of) == []
    of.look()
    assert len(screen(of)) == 1


def test_what_is_not_ours_to_ask_ends_it() -> None:
    with pytest.raises(AccessRefused):
        watch(AccessRefused("permission denied")).look()


def test_without_a_terminal_each_look_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    watch(moving(5, 1.0), GONE, GONE, moving(4, 1.0), GONE).as_lines(as_json=False)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert "1 of 1 queues move" in told[0]
    assert told[1].startswith("the daemon does not answer since ")
    assert "1 of 1 queues move" in told[2]
    assert told[3].startswith("the daemon does not answer since ")


def test_as_json_each_look_is_an_object_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    watch(moving(5, 1.0), GONE, moving(4, 1.0)).as_lines(as_json=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0] == moving(5, 1.0)
    assert told[1]["error"] == "no daemon answers on /x"
    assert told[1]["since"]
    assert told[2]["queues"][0]["depth"]["old"]["ready"] == 4


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("TERM", "xterm")
    return Console(file=io.StringIO(), width=100, height=30, force_terminal=True)


def test_ctrl_c_leaves_the_last_picture_behind(terminal: Console) -> None:
    watch(moving(5, 1.0), moving(4, 1.0)).on_screen(terminal)
    out = terminal.file
    assert isinstance(out, io.StringIO)
    entered, _, rest = out.getvalue().partition("\x1b[?1049h")
    shown, left, after = rest.partition("\x1b[?1049l")
    assert entered == ""
    assert "mail" in shown
    assert left
    assert "mail" in after
