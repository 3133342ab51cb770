"""Commands at transitions: what they are told, how long they may take, and what becomes of what they say."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from bridge import config_sections
from bridge.changes import Change
from bridge.hooks import AT_ONCE, Hooks

AT = datetime(2024, 5, 1, 2, 30, tzinfo=UTC)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Turn the loop until the condition holds."""
    with gevent.Timeout(seconds):
        while not condition():
            gevent.sleep(0.01)


@contextmanager
def running(**section: Any) -> Iterator[Hooks]:
    hooks = Hooks("blue", config_sections.Hooks(**section))
    greenlet = gevent.spawn(hooks.run)
    try:
        yield hooks
    finally:
        hooks.end()
        greenlet.join(5)


def change(queue: str = "mail", verb: str = "cutover", **given: str) -> Change:
    facts = {"before": "legacy", "after": "quorum", "by": "ann", "door": "cli", "reason": "tonight"}
    return Change(at=AT, queue=queue, verb=verb, **{**facts, "outcome": "done", "text": "", **given})


def queue(name: str = "mail", why: str = "") -> Any:
    return SimpleNamespace(queue=name, why=why, route=SimpleNamespace(value="quorum"))


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


TELL = "import json, os, sys; open(sys.argv[1], 'a').write(json.dumps([dict(os.environ), sys.stdin.read()]) + '\\n')"


def test_a_command_is_told_the_facts_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_TOKEN", "do-not-tell-anybody")
    monkeypatch.setenv("LANG", "C.UTF-8")
    told = tmp_path / "told"
    with running(on_cutover=python(TELL, str(told))) as hooks:
        for name in ("mail", "reports"):
            hooks.changed(change(name))
        for other in (change(outcome="refused"), change(verb="rate"), change(verb="pause")):
            hooks.changed(other)
        until(lambda: hooks.status()["started"] == 1 and hooks.status()["running"] == 0)
    (line,) = told.read_text().splitlines()
    environment, stdin = json.loads(line)
    assert environment.pop("LC_CTYPE", "C.UTF-8") == "C.UTF-8"  # Python's own
    assert {name for name in environment if not name.startswith("BRIDGE_")} <= {"PATH", "HOME", "LANG"}
    assert environment["LANG"] == "C.UTF-8"
    assert (environment["BRIDGE_EVENT"], environment["BRIDGE_QUEUES"], environment["BRIDGE_BY"]) == (
        "cutover",
        "2",
        "ann",
    )
    assert "BRIDGE_TOKEN" not in environment
    assert [each["queue"] for each in json.loads(stdin)["queues"]] == ["mail", "reports"]
    assert hooks.status()["failed"] == 0


def test_every_event_has_its_command(tmp_path: Path) -> None:
    names = [name for name in config_sections.Hooks.model_fields if name.startswith("on_")]
    program = "import os, sys; open(sys.argv[1], 'a').write(os.environ['BRIDGE_EVENT'] + ' ' + sys.argv[2] + '\\n')"
    told = tmp_path / "told"
    with running(**{name: python(program, str(told), name) for name in names}) as hooks:
        for verb in ("cutover", "canary", "dual", "legacy", "reverse", "pause", "resume"):
            hooks.changed(change(verb, verb))
        hooks.throttled(queue("a"), "too deep")
        hooks.drained("b")
        hooks.drained("b")
        hooks.active()
        hooks.state(queue("c", "no such queue"), "moving", "faulted")
        hooks.state(queue("c"), "faulted", "moving")
        hooks.look()
        until(lambda: hooks.status()["started"] == len(names) - 1 and hooks.status()["running"] == 0, 30)
        assert hooks.status()["waiting"] == 0, "that it moves again is told when it lasts"
    lines = sorted(told.read_text().splitlines())
    assert lines == sorted(f"{name.removeprefix('on_')} {name}" for name in names if name != "on_recovered")


def test_that_a_queue_moves_again_is_told_when_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.core.hooked.STEADY", 0.1)
    with running(on_recovered="true") as hooks:
        hooks.state(queue(why="no such queue"), "moving", "faulted")
        hooks.state(queue(), "faulted", "moving")

        def told() -> bool:
            hooks.look()
            return bool(hooks.status()["started"] == 1)

        until(told)


def test_what_fails_is_said_counted_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    with running(
        on_paused="/no/such/program", on_resumed=python("import sys; print('bad\\x07 luck'); sys.exit(3)")
    ) as hooks:
        hooks.changed(change(verb="pause"))
        until(lambda: hooks.status()["failed"] == 1)
        failure = hooks.status()["last_failure"]
        assert failure["event"] == "paused"
        assert failure["text"] == "hook on_paused: /no/such/program: could not be started: No such file or directory"
        hooks.changed(change(verb="resume"))
        until(lambda: hooks.status()["failed"] == 2)
        assert hooks.status()["last_failure"]["text"].endswith(": exit code 3: bad  luck")
    assert [record.levelno for record in caplog.records if record.name == "bridge.hooks"] == [logging.WARNING] * 2


def test_passwords_that_a_command_says_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(on_active=["echo", "amqp://u:s3cret@host/v"]) as hooks:
        hooks.active()
        until(lambda: hooks.status()["started"] == 1 and hooks.status()["running"] == 0)
    assert "amqp://u:***@host/v" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_command_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    # A child that outlives its parent and does not care for SIGTERM.
    program = f"trap '' TERM; (while :; do date +%s.%N > {alive}; sleep 0.05; done) & sleep 60"
    with running(on_active=["sh", "-c", program], timeout="1s") as hooks:
        hooks.active()
        until(lambda: hooks.status()["failed"] == 1)
        assert hooks.status()["last_failure"]["text"].endswith("ended after 1 s, its time limit")
        last = alive.read_text()
        gevent.sleep(0.3)
        assert alive.read_text() == last


def test_no_more_than_so_many_run_at_once_and_those_that_wait_begin_in_order(tmp_path: Path) -> None:
    told, go = tmp_path / "told", tmp_path / "go"
    program = f"echo $BRIDGE_BY >> {told}; until [ -e {go} ]; do sleep 0.02; done"
    with running(on_cutover=["sh", "-c", program]) as hooks:
        for number in range(AT_ONCE + 4):
            hooks.changed(change(by=f"{number:02}"))
        until(lambda: told.exists() and len(told.read_text().splitlines()) == AT_ONCE)
        assert (hooks.status()["running"], hooks.status()["waiting"]) == (AT_ONCE, 4)
        go.touch()
        until(lambda: hooks.status()["started"] == AT_ONCE + 4 and hooks.status()["running"] == 0)
    lines = told.read_text().splitlines()
    assert sorted(lines[:AT_ONCE]) == [f"{number:02}" for number in range(AT_ONCE)]
    assert len(lines) == AT_ONCE + 4


def test_a_flood_is_cut_short_and_leaves_the_loop_alone(caplog: pytest.LogCaptureFixture) -> None:
    gaps: list[float] = []

    def tick() -> None:
        last = time.monotonic()
        while True:
            gevent.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    ticking = gevent.spawn(tick)
    with running(on_active="yes flood", timeout="1s") as hooks:
        hooks.active()
        until(lambda: hooks.status()["failed"] == 1)
    ticking.kill()
    (record,) = [record for record in caplog.records if record.name == "bridge.hooks"]
    assert 4000 < len(record.getMessage()) < 7000
    assert len(gaps) > 100, "the loop turned all the time"


def test_output_of_what_a_command_leaves_behind_is_not_waited_for() -> None:
    with running(on_active=["sh", "-c", "sleep 20 & echo done"]) as hooks:
        hooks.active()
        until(lambda: hooks.status()["started"] == 1 and hooks.status()["running"] == 0, 5)
        assert hooks.status()["failed"] == 0


def test_the_end_waits_for_what_was_started_but_no_longer_than_one_may_take(tmp_path: Path) -> None:
    done = tmp_path / "done"
    hooks = Hooks("blue", config_sections.Hooks(on_legacy=["touch", str(done)], on_paused="sleep 60", timeout="1s"))
    gevent.spawn(hooks.run)
    hooks.changed(change(verb="legacy"))
    hooks.end()
    assert done.exists(), "what was gathered is not forgotten"
    hooks.changed(change(verb="legacy"))
    assert hooks.status()["waiting"] == 0, "nothing more is begun after that"

    hooks = Hooks("blue", config_sections.Hooks(on_paused="sleep 60", timeout="1s"))
    for number in range(20):
        hooks.changed(change(verb="pause", by=str(number)))
    with gevent.Timeout(4.0):
        hooks.end()
    assert hooks.status()["waiting"] == 20 - AT_ONCE


def test_other_commands_are_in_force_with_a_reload(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with running(on_paused="false", on_resumed="false") as hooks:
        hooks.changed(change(verb="resume"))
        hooks.reload(config_sections.Hooks(on_paused=["touch", str(told)]))
        hooks.changed(change(verb="pause"))
        until(told.exists)
        assert hooks.status()["failed"] == 0, "one that waited has no command any more"
