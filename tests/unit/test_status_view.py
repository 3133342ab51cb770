from __future__ import annotations

import copy
import io
from typing import Any

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
        {"name": "mail", "target": "mail-v2", "route": "quorum", "state": "moving", "why": None, **NUMBERS},
        {
            "name": "[b]img[/b]",
            "target": "[b]img[/b]",
            "route": "legacy",
            "state": "idle",
            "why": "route is legacy",
            **NUMBERS,
        },
    ],
}


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
        "queue route state in flight moved converted rate why it is not moving".split(),
        "mail -> mail-v2 quorum moving 3 1200 400 201.2/s".split(),
        "[b]img[/b] legacy idle 3 1200 400 201.2/s route is legacy".split(),
        "total 3 1200 400 201.2/s".split(),
    ]


def test_a_narrow_screen_loses_no_text() -> None:
    status = copy.deepcopy(STATUS)
    status["queues"][0]["name"] = status["queues"][0]["target"] = "q" * 90
    assert "".join(shown(status, width=80)).count("q") >= 90
