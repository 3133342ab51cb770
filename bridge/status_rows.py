"""The queues of a status as rows that fit a screen: what stands still first, and as many columns as there is room for.

1. Which columns there are follows from the width: those that come last in `_COLUMNS` by rank go first.
2. Why a queue stands still is never cut: it goes below its row where it does not fit beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from bridge.core.sizing_words import time as in_words
from bridge.metrics import at
from bridge.standstill import gravity, stands
from bridge.units import show_rate

#: Cells between two columns, and before what is said below a row.
_GAP: Final = 2
_INDENT: Final = 4
#: Cells that the names have at least, and of which they are not wider while numbers are left out for it.
_LEAST_NAME: Final = 14
_MOST_NAME: Final = 32
#: Cells that a remark below a row has at least.
_LEAST_REMARK: Final = 20

_Queue = Mapping[str, Any]


class _Column(NamedTuple):
    heading: str
    cell: Callable[[_Queue], str]
    #: The lower, the longer it stays when the screen is narrow.
    rank: int
    left: bool = False
    #: Whether the sum over all queues is one, read off the totals.
    summed: bool = False


@dataclass(frozen=True, slots=True)
class More:
    """What a watch knows beside the status: a line of blocks for each queue, and how far it is."""

    trend: Mapping[str, str]
    done: Mapping[str, str]


def show_number(value: float | None) -> str:
    """A number as short as it can be said: `-`, `0.5`, `42`, `12.3k`, `4.5M`; what is not known is `?`."""
    if value is None:
        return "?"
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            shown = value / (1e3 if name == "k" else unit)
            return f"{shown:.0f}{name}" if shown >= 100 else f"{shown:.1f}{name}"
    if value == int(value):
        return f"{int(value)}"
    return f"{value:.1f}".removesuffix(".0") if abs(value) < 100 else f"{value:.0f}"


def rate(status: Mapping[str, Any], way: str, window: str = "10s") -> float | None:
    """Messages a second, `in` or `out`, of a queue or of all; None where that is not known."""
    found = at(status, "rates", way, window)
    if found is None and way == "out":
        found = status.get("rate")
    return found if isinstance(found, int | float) else None


def left(status: Mapping[str, Any]) -> str:
    """How long until it is done, in words; empty where that is not known."""
    seconds = at(status, "finish", "seconds")
    return "" if seconds is None or seconds == 0 else in_words(seconds)


def _depth(side: str, queue: _Queue) -> float | None:
    found = at(queue, "depth", side, "ready")
    return found if isinstance(found, int | float) else None


def _state(queue: _Queue) -> str:
    return "drained" if queue.get("drained") else str(queue.get("state"))


def _sum(key: str) -> Callable[[_Queue], str]:
    return lambda queue: show_number(queue.get(key))


def _rate_cell(way: str) -> Callable[[_Queue], str]:
    return lambda queue: show_number(rate(queue, way))


def _p99(queue: _Queue) -> str:
    found = at(queue, "confirm", "p99_ms")
    return "" if found is None else show_number(found)


def _waiting(queue: _Queue) -> str:
    found = at(queue, "ladder", "waiting")
    return "" if found is None else show_number(found)


def _name(queue: _Queue) -> str:
    target = queue.get("target") or queue["name"]
    return queue["name"] if target == queue["name"] else f"{queue['name']} -> {target}"


def _columns(more: More | None) -> tuple[_Column, ...]:
    watched: tuple[_Column, ...] = ()
    if more is not None:
        watched = (
            _Column("trend", lambda queue: more.trend.get(queue.get("name", ""), ""), 5, left=True),
            _Column("done", lambda queue: more.done.get(queue.get("name", ""), ""), 4, left=True),
        )
    return (
        _Column("route", lambda queue: queue.get("route", ""), 0, left=True),
        _Column("state", lambda queue: "" if "state" not in queue else _state(queue), 0, left=True),
        _Column("old", lambda queue: show_number(_depth("old", queue)), 0),
        _Column("new", lambda queue: show_number(_depth("new", queue)), 0),
        _Column("in/s", _rate_cell("in"), 3, summed=True),
        _Column("out/s", _rate_cell("out"), 1, summed=True),
        _Column("left", left, 2, summed=True),
        *watched,
        _Column("in flight", _sum("in_flight"), 6, summed=True),
        _Column("ladder", _waiting, 9, summed=True),
        _Column("moved", _sum("moved"), 7, summed=True),
        _Column("converted", _sum("converted"), 8, summed=True),
        _Column("p99 ms", _p99, 10, summed=True),
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """What of the queues is shown."""

    lines: list[Text]
    #: Queues for which there was no room, and those of them that stand still.
    hidden: int = 0
    standing: int = 0


def rows(
    status: Mapping[str, Any],
    console: Console,
    *,
    queues: int | None = None,
    lines: int | None = None,
    more: More | None = None,
) -> Rows:
    """Lay the queues of a status out.

    Args:
        status: what the daemon told.
        console: where it is printed.
        queues: how many are shown at most; None is all.
        lines: lines there is room for, the heading and the sum among them; None is any number.
        more: what a watch knows.
    """
    ordered = sorted(status["queues"], key=gravity)
    shown = ordered if queues is None else ordered[:queues]
    if lines is not None:
        shown = shown[: max(1, lines)]
    totals = status.get("totals") or {}
    table = _Table.of(shown, totals, console.width, _columns(more))
    told = [table.heading()]
    room = None if lines is None else lines - 2
    printed = 0
    for queue in shown:
        made = list(table.row(queue, console))
        if room is not None and len(told) - 1 + len(made) > max(room, 1) and printed:
            break
        told += made
        printed += 1
    told.append(table.sum(totals))
    hidden = ordered[printed:]
    return Rows(told, len(hidden), sum(map(stands, hidden)))


@dataclass(frozen=True, slots=True)
class _Table:
    columns: Sequence[_Column]
    widths: Sequence[int]
    #: Cells of the names.
    name: int
    width: int

    @classmethod
    def of(cls, queues: Sequence[_Queue], totals: Mapping[str, Any], width: int, columns: Sequence[_Column]) -> _Table:
        """The columns for which there is room, as wide as what is in them."""
        names = max((cell_len(_name(queue)) for queue in queues), default=0)
        least = max(len("queue"), min(names, _MOST_NAME, max(_LEAST_NAME, width // 4)))
        sizes = {
            column: max(
                len(column.heading),
                *(cell_len(column.cell(queue)) for queue in queues),
                cell_len(column.cell(totals)) if column.summed else 0,
                0,
            )
            for column in columns
        }
        kept: set[_Column] = set()
        room = width - least
        for column in sorted(columns, key=lambda one: one.rank):
            needed = sizes[column] + _GAP
            if column.rank and (needed > room or not sizes[column]):
                break
            room -= needed
            kept.add(column)
        chosen = [column for column in columns if column in kept]
        taken = sum(sizes[column] + _GAP for column in chosen)
        name = max(least, min(max(names, len("queue")), width - taken))
        return cls(chosen, [sizes[column] for column in chosen], name, width)

    def heading(self) -> Text:
        """What the columns are."""
        return Text(self._line("queue", [column.heading for column in self.columns]), style="bold")

    def sum(self, totals: Mapping[str, Any]) -> Text:
        """All queues together."""
        cells = [column.cell(totals) if column.summed else "" for column in self.columns]
        return Text(self._line("total", cells), style="bold")

    def row(self, queue: _Queue, console: Console) -> Iterator[Text]:
        """A queue: its numbers, the rest of a name that is too long, and what else is to be said of it."""
        style = "red" if queue.get("state") == "faulted" else "yellow" if stands(queue) else ""
        first, *rest = chop_cells(_name(queue), self.name) or [""]
        line = self._line(first, [column.cell(queue) for column in self.columns])
        grave, light = list(_grave(queue)), list(_light(queue))
        beside, both = "; ".join(grave), "; ".join([*grave, *light])
        room = self.width - cell_len(line) - _GAP
        whole = next((text for text in (both, beside) if text and cell_len(text) <= room), "")
        yield Text(f"{line}{' ' * _GAP}{whole}" if whole else line, style=style)
        for part in rest:
            yield Text(part, style=style)
        if beside and not whole:
            for below in Text(beside).wrap(console, max(_LEAST_REMARK, self.width - _INDENT)):
                yield Text(" " * _INDENT + below.plain.rstrip(), style=style)

    def _line(self, name: str, cells: Sequence[str]) -> str:
        parts = [set_cell_size(name, self.name)]
        for column, width, cell in zip(self.columns, self.widths, cells, strict=True):
            pad = " " * (width - cell_len(cell))
            parts.append(cell + pad if column.left else pad + cell)
        return (" " * _GAP).join(parts).rstrip()


def _grave(queue: _Queue) -> Iterator[str]:
    """What must be said of a queue, the gravest first."""
    if queue.get("why") and queue.get("state") != "idle":
        yield queue["why"]
    if plan := queue.get("planned"):
        wait = f"waits {plan['waits_for']}" if plan["waits_for"] else "due"
        yield f"{plan['verb']} is planned: {wait}" + (f", refused so far: {plan['refused']}" if plan["refused"] else "")
    if queue.get("limit") is not None:
        yield f"at most {show_rate(queue['limit'])}"
    if queue.get("state") == "moving" and at(queue, "finish", "grows"):
        yield str(at(queue, "finish", "why"))
    if (missing := _not_drained(queue)) and not _depth("old", queue):
        yield missing


def _not_drained(queue: _Queue) -> str:
    """What the old side is not finished for, by name."""
    waits_for = queue.get("waits_for")
    if queue.get("route") != "quorum" or not waits_for or queue.get("drained"):
        return ""
    others = f" and {len(waits_for) - 1} more" if len(waits_for) > 1 else ""
    return f"not drained: {waits_for[0]}{others}"


def _light(queue: _Queue) -> Iterator[str]:
    """What may be left out where there is no room for it."""
    if queue.get("why") and queue.get("state") == "idle":
        yield queue["why"]
    # While messages are ready there, the column says it.
    if (missing := _not_drained(queue)) and _depth("old", queue):
        yield missing
    if queue.get("by") and queue.get("changed_at"):
        yield f"by {queue['by']}, {_clock(queue['changed_at'])}"


def _clock(moment: str) -> str:
    # The year is known, and the day matters: a bridge runs for weeks.
    return f"{datetime.fromisoformat(moment).astimezone():%m-%d %H:%M}"
