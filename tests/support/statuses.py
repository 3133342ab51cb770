"""A daemon's status as the terminal, the page and the metrics get it, with everything in it that may be there."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bridge.core.counts import Counts


def queue(name: str, **changed: Any) -> dict[str, Any]:
    """Return the status of a queue that moves.

    Args:
        name: of the queue, and of its sister.
        changed: keys that are otherwise.
    """
    return {
        "name": name,
        "target": name,
        "route": "quorum",
        "paused": False,
        "state": "moving",
        "why": "",
        "since": "2026-11-22T10:00:00+00:00",
        "by": "",
        "reason": "",
        "changed_at": None,
        "planned": None,
        "next": ["legacy", "pause"],
        "limit": 500.0,
        "in_flight": 3,
        "read_ahead": 0,
        "rate": 201.25,
        "window": 500,
        "confirm_ms": 1.5,
        **{field.name: 0 for field in fields(Counts) if isinstance(field.default, int)},
        "moved": 1200,
        "converted": 400,
        "drained": False,
        "waits_for": [],
        "depth": {
            "old": {"ready": 70, "unacked": 3, "consumers": 1, "age_s": 1.0},
            "new": {"ready": 3, "unacked": 2, "consumers": 4, "age_s": 1.0},
        },
        "books": {"ahead": {"balanced": True}, "back": {"balanced": True}},
        "back": {"brought_back": 0, "from_ladder": 0},
        "rates": {
            "in": {"10s": 50.0, "1m": 52.0, "10m": 51.0},
            "out": {"10s": 200.0, "1m": 190.0, "10m": 150.0},
        },
        "due": {"minute": 4, "hour": 300, "day": 90, "week": 6, "later": 0},
        "confirm": {"p50_ms": 1.5, "p99_ms": 9.0},
        "ladder": {"waiting": 380},
        "finish": {"seconds": 90.0, "at": "2026-11-22T12:01:30+00:00", "why": ""},
        "gate": [{"check": "queue", "ok": True, "text": "it is there", "hint": ""}],
        **changed,
    }


def status(*queues: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return the status of an active daemon with these queues.

    Args:
        queues: of `queue`.
        changed: keys that are otherwise.
    """
    summed = ("in_flight", "rate", "moved", "converted")
    return {
        "version": "0.1.0",
        "instance": "main",
        "layout": "takeover",
        "state": "active",
        "standby": "",
        "since": "2026-11-22T10:00:00+00:00",
        "now": "2026-11-22T12:00:00.500+00:00",
        "pid": 4711,
        "why_first": "",
        "source": {"url": "amqp://u:***@old:5672/c", "connected": True, "reason": None},
        "target": {"url": "amqp://u:***@new:5672/q", "connected": True, "reason": None},
        "ladder": {
            "fault": None,
            "warning": None,
            "messages": 42,
            "levels": [{"level": 3, "messages": 12, "due": 12}, {"level": 10, "messages": 30, "due": 0}],
            "stuck": [3],
            "age_s": 4.0,
        },
        "backup": {"required": True, "fault": None},
        "clock": {"jumps": 0, "last": None},
        "lost_features": [],
        "reload_fault": None,
        "control": {
            "queue": "bridge.control.main",
            "held": True,
            "saved_at": "2026-11-22T11:59:58+00:00",
            "term": 1,
            "fault": None,
        },
        "limit": 1000.0,
        "hooks": {"running": 0, "waiting": 0, "started": 2, "failed": 0, "given_up": 0, "last_failure": None},
        "ladder_back": {"state": "idle", "why": ""},
        "books": {"balanced": True, "gaps": []},
        "old_side": {
            "publishers": [{"name": "shop", "host": "10.0.0.9:5000"}],
            "holders": [{"name": "celery@old", "host": "10.0.0.1:4"}],
            "more": {"publishers": 2},
            "age_s": 3.0,
        },
        "probe": {
            "every_s": 30,
            "last_ms": 4.0,
            "p50_ms": 3.0,
            "p99_ms": 8.0,
            "at": "2026-11-22T11:59:50+00:00",
            "fault": None,
        },
        "totals": {
            **{name: sum(one[name] for one in queues) for name in summed},
            "rates": {
                "in": {"10s": 50.0, "1m": 52.0, "10m": 51.0},
                "out": {"10s": 200.0, "1m": 190.0, "10m": 150.0},
            },
            "due": {"minute": 4, "hour": 300, "day": 90, "week": 6, "later": 0},
            "finish": {"seconds": 90.0, "at": "2026-11-22T12:01:30+00:00", "why": ""},
            "confirm": {"p50_ms": 1.5, "p99_ms": 9.0},
            "ladder": {"waiting": 380},
        },
        "queues": list(queues),
        "changes": [],
        **changed,
    }
