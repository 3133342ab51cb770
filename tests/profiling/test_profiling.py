from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.errors import LabError
from tests.guard.shapes import SHAPES, Shape
from tests.profiling import core, tools
from tests.profiling.__main__ import main
from tests.profiling.stacks import Row, rows
from tests.profiling.tools import Call, calls, sampled

SUMMARY = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.02    0.050100          12      4000           sendto
 30.11    0.020000           4      5000      1200 recvfrom
  8.87    0.001000           1       900           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.071100           7      9900      1200 total
"""


def test_a_function_has_what_it_did_and_what_it_called() -> None:
    assert rows("run;receive;deliver 6\nrun;receive 2\nrun;turn 1\nrun 1\n") == [
        Row("deliver", 0.6, 0.6),
        Row("receive", 0.2, 0.8),
        Row("run", 0.1, 1.0),
        Row("turn", 0.1, 0.1),
    ]


def test_a_function_that_calls_itself_counts_once() -> None:
    assert rows("walk;walk;walk 4") == [Row("walk", 1.0, 1.0)]
    assert rows("") == []


def test_who_waits_is_left_out() -> None:
    found = rows(
        "Hub.run (gevent/hub.py:1) 50\n_run (a.py:1);acquire_with_timeout (gevent/_threading.py:34) 9\n"
        "Hub.run (gevent/hub.py:1);send (b.py:1) 2"
    )
    assert found == [Row("send (b.py:1)", 1.0, 1.0), Row("Hub.run (gevent/hub.py:1)", 0.0, 1.0)]


def test_what_a_function_called_is_seen_alone() -> None:
    found = rows(
        "main (a.py);import (b.py) 90\nmain (a.py);play (c.py);deliver (d.py) 3\nmain (a.py);play (c.py) 1", "play"
    )
    assert found == [Row("deliver (d.py)", 0.75, 0.75), Row("play (c.py)", 0.25, 1.0)]


def test_calls_of_the_system_come_by_how_often_they_were_made() -> None:
    assert calls(SUMMARY) == [Call("recvfrom", 5000), Call("sendto", 4000), Call("epoll_wait", 900)]
    assert calls("") == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_shape_can_be_played_for_a_while(monkeypatch: pytest.MonkeyPatch, shape: Shape) -> None:
    monkeypatch.setattr(core, "BATCH", 80)
    core.main(0.001, shape.name)


def test_a_shape_that_there_is_not_is_named() -> None:
    done = CliRunner().invoke(main, ["--core", "nosuch"])
    assert done.exit_code == 1
    assert 'no shape "nosuch"' in done.stderr
    assert SHAPES[0].name in done.stderr


def test_what_cannot_look_on_says_what_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools, "py_spy", lambda: "false")
    with pytest.raises(LabError, match="false did not look at the process"), sampled(1, "raw", tmp_path / "stacks"):
        pass


def test_without_py_spy_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="py-spy is not installed") as fault:
        tools.py_spy()
    assert fault.value.hint == "make profile installs it"
