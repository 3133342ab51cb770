"""A whole migration with real Celery producers and workers, shortened; and one that is broken off."""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from bridge.lab.brokers import Lab
from bridge.lab.deadline import until
from bridge.lab.rehearsal import Plan, Rehearsal
from bridge.lab.report import LADDER
from bridge.progress import silent
from tests.support.brokers import need_brokers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.brokers import Vhosts

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

SHORT = Plan(tasks=1500, eta_window=10.0, seconds=3.0)


# `make demo` rehearses 3.10->4.0, too; from scratch it is played below.
@pytest.mark.long
@pytest.mark.parametrize("world", ["3.10->3.10", "3.10->4.0", "3.10->4.3"], indirect=True)
def test_no_task_is_lost_doubled_early_or_changed(vhosts: Vhosts, tmp_path: Path) -> None:
    sides = vhosts.env()
    source, target = ({key: side[key] for key in ("amqp", "api", "version")} for side in (sides["old"], sides["new"]))
    rehearsal = Rehearsal(source, target, SHORT, tmp_path, silent)
    try:
        report = rehearsal.run()
    finally:
        rehearsal.end()

    assert report.faults == {}
    assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0)
    # It was a migration: both sides worked, the daemon moved most of the backlog, held ETA tasks came back and went
    # over.
    assert report.started_old > 0
    assert report.books.moved >= report.started_new
    assert report.books.moved > SHORT.tasks / 2
    converted = {received.id for received in rehearsal.truth.received if received.exchange.startswith(LADDER)}
    held = {received.id for received in rehearsal.truth.received if received.side == "old"}
    assert report.books.converted == len(converted)
    assert converted & held
    assert report.latency_before
    assert report.latency_after
    assert report.eta_error
    # The rehearsal was its service manager, and heard from it all that there is.
    assert report.protocol is not None
    assert report.protocol.ready is not None
    assert report.protocol.reload is not None
    assert report.protocol.signs >= 2


# What `apply` makes and Celery accepts is tested in every world by tests/functional/test_apply.py.
@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_from_scratch_no_task_is_lost(vhosts: Vhosts, tmp_path: Path) -> None:
    sides = vhosts.env()
    source, target = ({key: side[key] for key in ("amqp", "api", "version")} for side in (sides["old"], sides["new"]))
    told: list[str] = []
    plan = dataclasses.replace(SHORT, from_scratch=True)
    rehearsal = Rehearsal(source, target, plan, tmp_path, lambda _, step: told.append(step))
    try:
        report = rehearsal.run()
    finally:
        rehearsal.end()
    assert report.faults == {}
    assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0)
    assert report.books.moved == report.started_new > SHORT.tasks / 2
    assert any(step.startswith("apply: ") for step in told)
    assert any(step.startswith("check: 0 blockers") for step in told)


def test_a_rehearsal_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    need_brokers()
    name = f"rehearse-{secrets.token_hex(4)}"
    told = tmp_path / "told"
    command = [sys.executable, "-m", "bridge", "lab", "rehearse", "--name", name, "--same-broker", "--tasks", "300"]
    with told.open("wb") as output:
        rehearsal = subprocess.Popen(command, stderr=output, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        assert until(lambda: b"before the flip" in told.read_bytes() or rehearsal.poll() is not None, 120)
        assert rehearsal.poll() is None, told.read_text()
        started = psutil.Process(rehearsal.pid).children(recursive=True)
        assert len(started) > 10
        rehearsal.send_signal(signal.SIGTERM)
        assert rehearsal.wait(60) == 128 + signal.SIGINT
    finally:
        rehearsal.kill()
        rehearsal.wait()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    assert Lab.find(name) is None
    assert "Traceback" not in told.read_text()
