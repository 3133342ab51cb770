from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from bridge import health
from bridge.health import Health


@dataclass
class Daemon:
    state: str = "active"
    standby: str = ""


@dataclass
class Queue:
    queue: str = "mail"
    state: str = "moving"
    why: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=1))


def made(daemon: Daemon, *queues: Queue) -> Health:
    return Health(daemon, lambda: queues, lambda: "active: 1 of 1 queues moving, 0 faulted")


def test_it_lives_while_every_duty_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon()
    checked = made(daemon)
    gates, report = checked.duty("gates", 2.0), checked.duty("report", 1.0)
    code, kind, text = checked.live()
    assert (code, kind) == (200, "text/plain; charset=utf-8")
    assert text == "ok\ngates: 0.0 s ago\nreport: 0.0 s ago\n"

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 31.5)
    # One is in the middle of a turn, which may take its time; the other should have begun one.
    gates.begins()
    code, _, text = checked.live()
    assert (code, text) == (503, "report hangs: its last turn was 32 s ago\n")
    assert checked.ready() == (503, "text/plain; charset=utf-8", text)
    report.begins()
    report.rests(1.0)
    assert checked.live()[0] == 200

    monkeypatch.setattr(time, "monotonic", lambda: now + 31.5 + health.LONGEST + 1)
    report.rests(1.0)
    assert checked.live()[2] == "gates hangs: its last turn was 933 s ago\n"
    daemon.state = "stopping"
    assert checked.live()[0] == 200


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_what_begins_or_ends_is_not_ready(state: str) -> None:
    assert made(Daemon(state)).ready() == (503, "text/plain; charset=utf-8", f"{state}\n")


def test_a_standby_is_ready() -> None:
    code, _, text = made(Daemon("standby", "host h1 is active"), Queue(state="idle")).ready()
    assert (code, text) == (200, "ok\nactive: 1 of 1 queues moving, 0 faulted\n")


def test_each_queue_moves_or_has_a_reason() -> None:
    waiting = Queue("img", "waiting", "target is not connected")
    assert made(Daemon(), Queue(), waiting, Queue(state="leaving", since=datetime.now(UTC))).ready()[0] == 200
    code, _, text = made(Daemon(), waiting, Queue(state="leaving")).ready()
    assert (code, text) == (503, 'queue "mail" is leaving and says no reason\n')


def test_what_contradicts_it_counts_and_no_password_is_told() -> None:
    checked = made(Daemon(), Queue())
    checked.contradiction = lambda: "amqp://u:s3cret@h/v took a message and nothing came"
    assert checked.ready()[::2] == (503, "amqp://u:***@h/v took a message and nothing came\n")
