"""`bridge status --watch`: the status again and again, with what it was before as lines of blocks.

1. The daemon may go and come back: the last status stays on the screen, and above it stands since when nobody answers.
2. What was before this watch began is the daemon's to tell (`/api/history`); without it, it is what was seen since.
3. Without a terminal each look is one line; as JSON, one object.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from bridge import status_view
from bridge.admin_client import fetch, fetch_status
from bridge.errors import AccessRefused, BridgeError
from bridge.metrics import at
from bridge.sparks import bar, sparkline
from bridge.status_rows import More, rate, show_number

#: Seconds between two looks at the daemon when nothing else is said, and at its history.
EVERY: Final = 1.0
_HISTORY: Final = 5.0
#: What is remembered of a queue, and cells of what is drawn.
_KEPT: Final = 60
_CHART: Final = 30
_TREND: Final = 10
#: Where in a point of the history a number is.
_POINT: Final = {"old": 1, "new": 2, "in": 4, "out": 5}

#: Gives one status, or what the daemon told of its past.
Ask = Callable[[str], dict[str, Any]]


@dataclass(slots=True)
class Past:
    """What was seen since the watch began, and what the daemon told of the time before."""

    #: Numbers of all queues by name, the newest last: from the daemon's history where there is one.
    sums: dict[str, deque[float | None]] = field(default_factory=dict)
    told: dict[str, list[float | None]] | None = None
    out: dict[str, deque[float | None]] = field(default_factory=dict)
    #: The most that waited in each queue on its way, since it set out on it.
    peaks: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, status: Mapping[str, Any]) -> None:
        """Remember one status."""
        totals = status["totals"]
        for name, value in (
            ("in", rate(totals, "in")),
            ("out", rate(totals, "out")),
            ("old", _depth(status, "old")),
            ("new", _depth(status, "new")),
        ):
            self.sums.setdefault(name, deque(maxlen=_KEPT)).append(value)
        for queue in status["queues"]:
            self.out.setdefault(queue["name"], deque(maxlen=_TREND)).append(rate(queue, "out"))
            waiting = _waiting(queue)
            if waiting is not None:
                way = queue["name"], queue["route"]
                self.peaks[way] = max(self.peaks.get(way, 0.0), waiting)

    def take(self, history: Mapping[str, Any]) -> None:
        """The daemon's own memory, as `/api/history` answers."""
        points = history.get("points") or []
        self.told = {name: [point[index] for point in points] for name, index in _POINT.items()} if points else None

    def chart(self, name: str) -> Sequence[float | None]:
        """What a number was, the newest last."""
        if self.told is not None and len(self.told[name]) >= len(self.sums.get(name, ())) / _HISTORY:
            return self.told[name]
        return list(self.sums.get(name, ()))

    def done(self, queue: Mapping[str, Any]) -> float | None:
        """Which share of what waited is moved; None for a queue that is not on its way."""
        waiting, most = _waiting(queue), self.peaks.get((queue["name"], queue["route"]), 0.0)
        if waiting is None or most <= 0:
            return None
        return 1 - waiting / most

    def more(self, status: Mapping[str, Any], blocks: str) -> More:
        """What stands in the rows beside the status."""
        trend = {name: sparkline(list(seen), _TREND, blocks) for name, seen in self.out.items()}
        done = {}
        for queue in status["queues"]:
            share = self.done(queue)
            if share is not None:
                done[queue["name"]] = f"{bar(share, _TREND, blocks)} {share * 100:3.0f}%"
        return More(trend, done)

    def charts(self, blocks: str, width: int) -> list[Text]:
        """Rates and depths of all queues together, as lines of blocks."""
        units = {"in": "/s", "out": "/s", "old": " wait in old queues", "new": " wait in new queues"}
        told = []
        for name, unit in units.items():
            seen = self.chart(name)
            if any(value is not None for value in seen):
                last = next(value for value in reversed(seen) if value is not None)
                drawn = sparkline(seen, min(_CHART, max(_TREND, width - 40)), blocks)
                told.append(Text(f"{name:<4}{drawn} {show_number(last)}{unit}", style="cyan"))
        return told


def _depth(status: Mapping[str, Any], side: str) -> float | None:
    known = [ready for queue in status["queues"] if (ready := at(queue, "depth", side, "ready")) is not None]
    return float(sum(known)) if known else None


def _waiting(queue: Mapping[str, Any]) -> float | None:
    """What waits to be moved on a route that empties a queue; None on others, and where that is not known."""
    side = {"quorum": "old", "reverse": "new"}.get(queue["route"])
    found = None if side is None else at(queue, "depth", side, "ready")
    return None if found is None else float(found)


@dataclass(slots=True)
class Watch:
    """One watch.

    Args:
        ask: gives what the daemon answers: `status`, `history`.
        every: seconds between two looks.
        choose: leaves the queues that are to be shown.
    """

    ask: Ask
    every: float
    choose: Callable[[dict[str, Any]], dict[str, Any]]
    past: Past = field(default_factory=Past)
    status: dict[str, Any] | None = None
    #: Since when the daemon does not answer, and why; None while it does.
    away: tuple[datetime, str] | None = None
    _next_history: float = 0.0
    _over: bool = False
    _pause: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Ask once.

        Raises:
            AccessRefused: it is not ours to ask; waiting mends nothing.
        """
        try:
            found = self.choose(self.ask("status"))
        except AccessRefused:
            raise
        except BridgeError as fault:
            self.away = (datetime.now(UTC) if self.away is None else self.away[0], str(fault))
            return
        self.status, self.away = found, None
        self.past.add(found)
        if time.monotonic() >= self._next_history:
            self._next_history = time.monotonic() + _HISTORY
            try:
                self.past.take(self.ask("history"))
            except BridgeError:
                # An older daemon has none: then it is what was seen.
                self.past.told = None

    def picture(self, console: Console) -> list[Text]:
        """What is on the screen."""
        away = [] if self.away is None else [self._gone(self.away)]
        if self.status is None:
            return away
        blocks = status_view.blocks_of(console)
        return away + status_view.picture(
            self.status,
            console,
            lines=console.height - len(away),
            more=self.past.more(self.status, blocks),
            charts=self.past.charts(blocks, console.width),
        )

    def _gone(self, away: tuple[datetime, str]) -> Text:
        return status_view.gone(away[0], away[1], datetime.now(UTC))

    def on_screen(self, console: Console) -> None:
        """Show it until Ctrl-C or SIGTERM; the last picture stays on the terminal."""
        with self._until_ended(), Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
            while not self._over:
                self.look()
                live.update(_lines(self.picture(console)), refresh=True)
                self._pause.wait(self.every)
        for line in self.picture(console):
            console.print(line)

    def as_lines(self, *, as_json: bool) -> None:
        """Print a line for each look until Ctrl-C or SIGTERM; that the daemon is away once, and again when it is for
        another reason.
        """
        told: str | None = None
        with self._until_ended():
            while not self._over:
                self.look()
                if self.away is None and self.status is not None:
                    told = None
                    click.echo(_compact(self.status) if as_json else status_view.line(self.status))
                elif self.away is not None and self.away[1] != told:
                    since, told = self.away
                    gone = {"error": told, "since": since.isoformat(timespec="seconds")}
                    click.echo(_compact(gone) if as_json else self._gone(self.away).plain)
                sys.stdout.flush()
                self._pause.wait(self.every)

    @contextmanager
    def _until_ended(self) -> Iterator[None]:
        """Ctrl-C ends what is done here, and SIGTERM does: left in the middle of a picture, a terminal shows nothing of
        what is typed.
        """

        def end(_number: int, _frame: object) -> None:
            # The exception ends what is waited for. Python drops one that is raised while an object is being deleted.
            self._over = True
            raise KeyboardInterrupt

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except KeyboardInterrupt:
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _lines(told: list[Text]) -> Text:
    return Text("\n", no_wrap=True, overflow="ellipsis").join(told)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def asking(socket: str) -> Ask:
    """Asks the daemon that listens on a socket."""
    return lambda what: fetch_status(socket) if what == "status" else fetch(socket, what)
