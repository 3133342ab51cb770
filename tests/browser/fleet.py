"""A made-up daemon behind the real doors: many queues whose numbers move, for what needs no broker.

    python -m tests.browser.fleet --port 8642 --queues 1000

Its verbs change routes and nothing else; its numbers go by the clock and by each queue's place in the list.
"""

from __future__ import annotations

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import argparse
import math
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.address import HostPort
from bridge.asked import Answer, Request
from bridge.config_sections import Secret
from bridge.core.route import VERB_OF, Layout, Route, State, Verb, next_verbs, sentence

TOKEN = "s3cret-of-many-letters"
NAMES = (
    "mail.transactional mail.bulk images.resize images.thumbnails invoices.render invoices.send search.index "
    "search.reindex webhooks reports.daily reports.export payments.capture payments.refund sync.crm "
    "sync.warehouse audit"
).split()
#: Seconds between two points of the history.
POINT = 5


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


class Queue:
    """One queue: its route, and numbers as a function of time."""

    def __init__(self, place: int, name: str, began: datetime) -> None:
        self.place, self.name, self.began = place, name, began
        self.state = State(Route.QUORUM if place % 3 else Route.LEGACY)
        if place % 16 == 5:
            self.state = State(Route.CANARY)
        if place % 16 == 9:
            self.state = State(Route.QUORUM, paused=True)
        self.faulted = place % 16 == 12
        self.no_workers = place % 16 in (12, 15)
        if place % 16 == 15:
            self.state = State(Route.LEGACY)
        self.by, self.reason, self.changed = "anna@ops1", "the night of the move", began

    def moving(self) -> bool:
        return self.state.route is not Route.LEGACY and not self.state.paused and not self.faulted

    def rate_in(self, at: float) -> float:
        base = (7 * (self.place + 3)) % 23 + 2.0
        return base * (1 + 0.35 * math.sin(at / 37 + self.place) + 0.15 * math.sin(at / 7 + 2 * self.place))

    def old(self, at: float) -> int:
        age = at - self.began.timestamp()
        backlog = ((self.place * 7919) % 9 + 1) * 4200 * (0.4 if self.moving() else 1.0)
        if not self.moving():
            return int(backlog * 0.3 + self.rate_in(at) * 3)
        return max(0, int(backlog * math.exp(-(age - 1500) / 900) * 0.4 + 3 * self.rate_in(at)))

    def rate_out(self, at: float) -> float:
        if not self.moving():
            return 0.0
        share = 0.2 if self.state.route is Route.CANARY else 1.0
        return share * (self.rate_in(at) + self.old(at) / 240)

    def moved(self, at: float) -> int:
        return int((at - self.began.timestamp()) * (self.rate_out(at) * 0.1 + 15)) if self.moving() else 0

    def held(self, at: float) -> int:
        return int(self.moved(at) * 0.17 * 0.3)

    def gate(self) -> list[dict[str, Any]]:
        workers = "no worker consumes" if self.no_workers else "3 workers consume"
        return [
            {"check": "queue", "ok": True, "text": f'target queue "{self.name}" exists and is quorum', "hint": ""},
            {"check": "exit", "ok": True, "text": "the ladder is complete and our exit is bound", "hint": ""},
            {
                "check": "consumers",
                "ok": not self.no_workers,
                "text": f'{workers} target queue "{self.name}"; wanted: at least 1',
                "hint": "start the new workers, then ask again" if self.no_workers else "",
            },
            {"check": "alarm", "ok": True, "text": "the target has no alarm", "hint": ""},
        ]

    def status(self, now: datetime) -> dict[str, Any]:
        at = now.timestamp()
        out, into, old = self.rate_out(at), self.rate_in(at), self.old(at)
        moved = self.moved(at)
        converted = int(moved * 0.17)
        route, paused = self.state.route, self.state.paused
        state = "paused" if paused else "faulted" if self.faulted else "moving" if self.moving() else "idle"
        why = {
            "paused": "paused: nothing moves until resume",
            "faulted": f'unroutable: the target returned 3 messages; bind "{self.name}" on the target',
            "idle": "route legacy: the old workers have this queue",
        }.get(state, "")
        growing = self.moving() and into >= out
        left = old / max(0.1, out - into) if self.moving() and not growing else None
        ahead = {"taken": moved, "confirmed": moved, "balanced": True}
        spans = {"10s": 1.0, "1m": 0.97, "10m": 1.12}
        return {
            "name": self.name,
            "target": self.name,
            "route": route.value,
            "paused": paused,
            "state": state,
            "why": why,
            "since": stamp(self.began),
            "by": self.by if route is not Route.LEGACY else "",
            "reason": self.reason if route is not Route.LEGACY else "",
            "changed_at": stamp(self.changed) if route is not Route.LEGACY else None,
            "planned": None,
            "next": [verb.typed for verb in next_verbs(self.state, Layout.TAKEOVER)],
            "limit": None,
            "in_flight": int(out / 4) if self.moving() else 0,
            "rate": round(out, 1),
            "rates": {
                "in": {span: round(into * factor, 1) for span, factor in spans.items()},
                "out": {span: round(out * factor, 1) for span, factor in spans.items()},
            },
            "window": 120 if self.moving() else None,
            "confirm_ms": 3.2 if self.moving() else None,
            "confirm": {"p50_ms": 3.1, "p99_ms": 11.4} if self.moving() else None,
            "taken": moved,
            "moved": moved,
            "confirmed": moved,
            "converted": converted,
            "due": {key: int(converted * share) for key, share in DUE.items()},
            "ladder": {"waiting": self.held(at)},
            "finish": {
                "seconds": left,
                "at": None if left is None else stamp(now + timedelta(seconds=left)),
                "why": "" if left is not None else "as much is published as is moved" if growing else "nothing moves",
            },
            "gate": self.gate(),
            "returned": 3 if self.faulted else 0,
            "nacked": 0,
            "quarantined": 1 if self.place % 16 == 2 else 0,
            "exported": 0,
            "possible_duplicates": 0,
            "drained": False,
            "waits_for": [
                "quiet: 41 s without a publish, 300 s are wanted",
                "2 consumers beside ours: worker@old-3, worker@old-4",
            ],
            "books": {"ahead": ahead, "back": {"balanced": True}},
            "depth": {
                "old": {"ready": old, "unacked": int(into / 2), "consumers": 4, "age_s": at % 2},
                "new": {"ready": int(out / 6), "unacked": 4, "consumers": 0 if self.no_workers else 3, "age_s": at % 2},
            },
            "back": {"brought_back": 0},
        }


DUE = {"minute": 0.46, "hour": 0.31, "day": 0.15, "week": 0.06, "later": 0.02}
SUMMED = (
    "in_flight",
    "rate",
    "moved",
    "converted",
    "returned",
    "nacked",
    "quarantined",
    "exported",
    "possible_duplicates",
)


class Fleet:
    """All queues; verbs and looks as `app` wants them."""

    def __init__(self, number: int) -> None:
        self.began = datetime.now(UTC) - timedelta(seconds=2400)
        names = [NAMES[one] if one < len(NAMES) else f"{NAMES[one % len(NAMES)]}.{one:04d}" for one in range(number)]
        self.queues = {name: Queue(place, name, self.began) for place, name in enumerate(names)}
        self.changes: list[dict[str, Any]] = []
        for place, queue in enumerate(list(self.queues.values())[:16]):
            if queue.state.route is not Route.LEGACY:
                at = self.began + timedelta(seconds=1500 + 40 * place)
                verb = VERB_OF[queue.state.route]
                self.note(
                    queue.name, verb.value, "legacy", str(queue.state), "done", "everything goes to the target", at
                )
        at = self.began + timedelta(seconds=2300)
        self.note("audit", "cutover", "legacy", "legacy", "refused", 'target queue "audit": 0 consumers, wanted: 1', at)

    def note(
        self, queue: str, verb: str, before: str, after: str, outcome: str, text: str, at: datetime | None = None
    ) -> None:
        row = {"at": stamp(at or datetime.now(UTC)), "queue": queue, "verb": verb, "before": before, "after": after}
        self.changes = [
            *self.changes,
            {**row, "by": "anna@ops1", "door": "cli", "reason": "", "outcome": outcome, "text": text},
        ]

    def status(self) -> dict[str, Any]:
        now = datetime.now(UTC)
        queues = [queue.status(now) for queue in self.queues.values()]
        totals: dict[str, Any] = {key: round(sum(queue[key] for queue in queues), 1) for key in SUMMED}
        totals["rates"] = {
            side: {span: round(sum(queue["rates"][side][span] for queue in queues), 1) for span in ("10s", "1m", "10m")}
            for side in ("in", "out")
        }
        totals["due"] = {key: sum(queue["due"][key] for queue in queues) for key in DUE}
        totals["confirm"] = {"p50_ms": 3.3, "p99_ms": 12.1}
        totals["ladder"] = {"waiting": sum(queue["ladder"]["waiting"] for queue in queues)}
        left = 5040 - now.timestamp() % 60
        totals["finish"] = {"seconds": left, "at": stamp(now + timedelta(seconds=left)), "why": ""}
        held = [queue for queue in queues if queue["state"] == "faulted"]
        waiting = totals["ladder"]["waiting"]
        levels = [{"level": level, "messages": int(waiting / 2 ** abs(9 - level)), "due": 0} for level in range(4, 17)]
        return {
            "version": "0.1.0",
            "instance": "main",
            "pid": os.getpid(),
            "layout": "takeover",
            "state": "active",
            "standby": "",
            "since": stamp(self.began),
            "now": stamp(now),
            "why_first": f'queue "{held[0]["name"]}" is faulted: {held[0]["why"]}' if held else "",
            "source": {"url": "amqp://bridge:***@old:5672/chost", "connected": True, "reason": None},
            "target": {"url": "amqp://bridge:***@new:5672/qhost", "connected": True, "reason": None},
            "ladder": {
                "fault": None,
                "warning": None,
                "messages": waiting,
                "levels": [one for one in levels if one["messages"]],
                "stuck": [],
                "age_s": now.timestamp() % 5,
            },
            "old_side": {
                "publishers": [
                    {"name": "web-1", "user": "shop", "host": "10.0.4.11", "queues": ["mail.transactional"]},
                    {"name": "web-2", "user": "shop", "host": "10.0.4.12", "queues": ["webhooks", "search.index"]},
                ],
                "holders": [{"name": "worker@old-3", "user": "shop", "host": "10.0.5.3", "queues": ["audit"]}],
                "more": {"publishers": 3, "holders": 0},
                "age_s": now.timestamp() % 30,
            },
            "probe": {"every_s": 30, "last_ms": 6.4, "p50_ms": 6.1, "at": stamp(now), "fault": None},
            "backup": None,
            "clock": {"jumps": 0, "last": None},
            "lost_features": [],
            "reload_fault": None,
            "limit": None,
            "control": {"queue": "bridge.control.main", "held": True, "fault": None},
            "books": {"balanced": True},
            "totals": totals,
            "queues": queues,
            "changes": self.changes[-200:],
        }

    def history(self, name: str | None) -> dict[str, Any]:
        until = int(time.time() // POINT) * POINT
        # Some stand for all: what a thousand were in an hour would take seconds to make up.
        chosen = list(self.queues.values())[: len(NAMES)] if name is None else [self.queues[name]]
        points = []
        for at in range(until - 2300, until, POINT):
            old, into = sum(one.old(at) for one in chosen), sum(one.rate_in(at) for one in chosen)
            out = sum(one.rate_out(at) for one in chosen)
            points.append([at, old, int(out / 6), sum(one.held(at) for one in chosen), into, out, 3.1])
        return {"every_s": POINT, "queue": name, "points": points}

    def check(self, again: str | None) -> dict[str, Any]:
        findings = [
            (
                "blocker",
                "target-consumers-missing",
                "target queue audit",
                "0 consumers",
                "start its workers before the cutover",
            ),
            (
                "warning",
                "prefetch-zero",
                "source queue reports.daily",
                "a consumer without a prefetch",
                "set one in the worker",
            ),
            (
                "warning",
                "ttl-becomes-policy",
                "source queue webhooks",
                "x-message-ttl 86400000",
                "apply makes the policy bridge.webhooks",
            ),
            (
                "note",
                "priority-lost",
                "source queue mail.bulk",
                "x-max-priority 10",
                "quorum queues have two priorities",
            ),
        ]
        rows = [dict(zip(("severity", "id", "subject", "seen", "todo"), one, strict=True)) for one in findings]
        at = stamp(datetime.now(UTC) - timedelta(seconds=42))
        told = {"running": False, "at": at, "age_s": 42.0, "fault": None, "findings": rows}
        return {**told, "blockers": 1, "warnings": 2, "notes": 1}

    def gate(self, name: str) -> dict[str, Any]:
        checks = self.queues[name].gate()
        return {"queue": name, "verb": "cutover", "ok": all(row["ok"] for row in checks), "checks": checks}

    # -- verbs

    def ask(self, request: Request) -> list[Answer]:
        return [self._one(self.queues[name], request) for name in request.queues or self.queues]

    def _one(self, queue: Queue, request: Request) -> Answer:
        before, after = queue.state, queue.state
        if request.verb is Verb.PAUSE:
            after = State(before.route, paused=True)
        elif request.verb is Verb.RESUME:
            after = State(before.route)
        else:
            after = State(next(route for route, verb in VERB_OF.items() if verb is request.verb), before.paused)
        closed = next((row for row in queue.gate() if not row["ok"]), None)
        if request.verb in (Verb.CUTOVER, Verb.CANARY, Verb.DUAL) and closed is not None:
            self.note(queue.name, request.verb.value, str(before), str(before), "refused", closed["text"])
            return self._answer(queue, "refused", before, closed["text"], closed["hint"])
        outcome = "unchanged" if before == after else "would" if request.dry_run else "done"
        if outcome == "done":
            queue.state, queue.reason, queue.changed = after, request.reason, datetime.now(UTC)
            self.note(queue.name, request.verb.value, str(before), str(after), "done", sentence(after, Layout.TAKEOVER))
        return self._answer(queue, outcome, before, sentence(after, Layout.TAKEOVER), "")

    def _answer(self, queue: Queue, outcome: str, before: State, text: str, hint: str) -> Answer:
        offered = tuple(verb.typed for verb in next_verbs(queue.state, Layout.TAKEOVER))
        return Answer(
            queue.name, outcome, str(before), queue.state.route.value, queue.state.paused, text, hint, offered
        )

    def set_rate(self, queues: Any, rate: Any, **how: Any) -> list[Answer]:
        names = list(self.queues) if queues is None else queues
        return [
            self._answer(self.queues[name], "done", self.queues[name].state, f"at most {rate}", "") for name in names
        ]

    def cancel(self, queues: Any, **how: Any) -> list[Answer]:
        names = list(self.queues) if queues is None else queues
        return [
            self._answer(self.queues[name], "unchanged", self.queues[name].state, "nothing is planned", "")
            for name in names
        ]


def main() -> None:
    """Serve until SIGTERM."""
    import gevent
    from gevent.event import Event

    from bridge.web import tcp
    from bridge.web.access import Access
    from bridge.web.app import app
    from bridge.web.events import Events
    from bridge.web.server import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--queues", type=int, default=len(NAMES))
    given = parser.parse_args()
    fleet, where = Fleet(given.queues), HostPort("127.0.0.1", given.port)
    looks = {"status": fleet.status, "history": fleet.history, "check": fleet.check, "gate": fleet.gate}
    events = Events(fleet.status)
    server = serve(tcp.listen(where), app(fleet, looks, Access(where, Secret(TOKEN)), {}, events))
    ended = Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    ended.wait()
    events.close()
    server.stop(timeout=1)


if __name__ == "__main__":
    main()
