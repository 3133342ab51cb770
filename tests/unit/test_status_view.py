from __future__ import annotations

import copy
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from bridge import status_view

NUMBERS = {"in_flight": 3, "moved": 1200, "converted": 400, "rate": 201.25}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "instance": "main",
    "state": "running",
    "since": "2026-11-22T10:00:00Z",
    "pid": 4711,
    "source": {"url": "amqp://u:***@old:5672/c", "connected": True, "reason": None},
    "target": {"url": "amqp://u:***@new:5672/q", "connected": False, "reason": "connection refused"},
    "lost_features": ["discovery of new queues: source.api is not set"],
    "totals": NUMBERS,
    "queues": [
        {
            "name": "mail",
            "target": "mail-v2",
            "route": "quorum",
            "state": "moving",
            "why": None,
            "depth": {"old": {"ready": 70}, "new": {"ready": 0}},
            **NUMBERS,
        },
        {
            "name": "[b]img[/b]",
            "target": "[b]img[/b]",
            "route": "legacy",
            "state": "idle",
            "why": "route is legacy",
            "depth": {"old": {"ready": 5}, "new": None},
            **NUMBERS,
        },
    ],
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(status: dict[str, Any], width: int = 160) -> list[str]:
    out = io.StringIO()
    status_view.show(status, Console(file=out, width=width))
    return out.getvalue().splitlines()


def test_what_is_wrong_comes_before_the_table() -> None:
    lines = shown(STATUS)
    assert lines[:4] == [
        "bridge 0.1.0, instance main, pid 4711: running since 2026-11-22T10:00:00Z",
        "source amqp://u:***@old:5672/c connected",
        "target amqp://u:***@new:5672/q not connected: connection refused",
        "without: discovery of new queues: source.api is not set",
    ]


def test_each_queue_has_a_row_and_the_sum_has_one() -> None:
    rows = [line.split() for line in shown(STATUS)[4:]]
    assert rows == [
        "queue route state old/new in flight moved converted rate why it is not moving, and what else is set".split(),
        "mail -> mail-v2 quorum moving 70/0 3 1200 400 201.2/s".split(),
        "[b]img[/b] legacy idle 5/? 3 1200 400 201.2/s route is legacy".split(),
        "total 3 1200 400 201.2/s".split(),
    ]


def test_a_standby_says_so_first() -> None:
    lines = shown({**STATUS, "state": "standby", "standby": "host h1, pid 4, is the active one since 10:00"})
    assert lines[0] == "on standby: host h1, pid 4, is the active one since 10:00"
    assert lines[1].startswith("bridge 0.1.0, instance main, pid 4711: standby since ")
    waiting = {"url": "amqp://u:***@old:5672/c", "connected": False, "reason": "not connected yet"}
    lines = shown({**STATUS, "standby": "yes", "source": waiting, "ladder": {"fault": "not verified yet"}})
    assert lines[2].startswith("target amqp://u:***@new:5672/q not connected: ")
    assert lines[3].startswith("without: ")


def test_what_holds_for_all_queues_is_said_above() -> None:
    status = {
        **STATUS,
        "target": {"url": "amqp://u:***@new:5672/q", "connected": True, "reason": "memory"},
        "legacy": {"url": "amqp://u:***@old:5672/l", "connected": False, "reason": None},
        "control": {"fault": "the queue is full"},
        "ladder": {"fault": "no exit", "warning": None},
        "backup": None,
        "reload_fault": "route: found 'x'",
        "limit": 500.0,
    }
    assert shown(status)[2:9] == [
        "target amqp://u:***@new:5672/q connected, takes no publishes: memory",
        "legacy amqp://u:***@old:5672/l not connected: no reason known",
        "state is not saved: the queue is full",
        "ladder: no exit",
        "the file is not in force: route: found 'x'",
        "limit: at most 500/s, all queues together",
        "without: discovery of new queues: source.api is not set",
    ]


@pytest.mark.parametrize(
    ("more", "remarks"),
    [
        ({"state": "paused", "why": "paused; the route is quorum"}, "paused; the route is quorum"),
        ({"state": "throttled", "why": "memory alarm", "limit": 5.0}, "memory alarm; at most 5/s"),
        (
            {"planned": {"verb": "cutover", "waits_for": "for 02:30", "refused": ""}},
            "cutover is planned: waits for 02:30",
        ),
        (
            {"planned": {"verb": "cutover", "waits_for": "", "refused": "no workers"}},
            "cutover is planned: due, refused so far: no workers",
        ),
        ({"waits_for": ["12 ready", "a consumer"], "drained": False}, "not drained: 12 ready and 1 more"),
        ({"waits_for": ["12 ready"], "drained": False}, "not drained: 12 ready"),
        ({"waits_for": [], "drained": True}, ""),
        ({"waits_for": ["the route quorum"], "drained": False, "route": "canary"}, ""),
        ({"by": "alice@h1", "changed_at": "2026-11-22T12:05:00+00:00"}, "by alice@h1, 11-22 12:05"),
        ({"by": "", "changed_at": None, "planned": None, "limit": None}, ""),
    ],
)
def test_what_else_is_set_stands_in_the_row(more: dict[str, Any], remarks: str) -> None:
    queue = {**STATUS["queues"][0], "target": "mail", **more}
    row = shown({**STATUS, "queues": [queue]})[-2].split()
    state = "drained" if more.get("drained") else more.get("state", "moving")
    assert row[:3] == ["mail", more.get("route", "quorum"), state]
    assert " ".join(row[8:]) == remarks


def test_a_narrow_screen_loses_no_text() -> None:
    status = copy.deepcopy(STATUS)
    status["queues"][0]["name"] = status["queues"][0]["target"] = "q" * 90
    assert "".join(shown(status, width=80)).count("q") >= 90
