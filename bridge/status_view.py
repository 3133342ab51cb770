"""The status as people read it: what waits and why first, then the sums, then the queues."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from bridge.core.sizing_words import time as in_words
from bridge.metrics import at
from bridge.sparks import ASCII, BLOCKS, sparkline
from bridge.standstill import stands
from bridge.status_rows import More, left, rate, rows, show_number
from bridge.units import show_rate

#: Queues that a terminal is shown without being asked for more.
MOST: Final = 50
#: What may be asked for by `--only`: its name, and which queues it leaves.
ONLY: Final[Mapping[str, Callable[[Mapping[str, Any]], bool]]] = {
    "not-moving": stands,
    "moving": lambda queue: queue.get("state") == "moving",
    "drained": lambda queue: bool(queue.get("drained")),
}
#: The ends there may be; the legacy side only in the inline layout.
_SIDES: Final = ("source", "target", "legacy")
#: How long tasks had to wait: the key in the status, and what it is called.
_DUE: Final = (("minute", "1 min"), ("hour", "1 h"), ("day", "1 d"), ("week", "1 week"), ("later", "later"))
#: Lines that the queues have at least: heading, sum, how many there are more, and some of them.
_LEAST: Final = 8
#: Names that a line lists before it counts the others.
_NAMED: Final = 3


def show(
    status: Mapping[str, Any],
    console: Console,
    *,
    queues: int | None = None,
    lines: int | None = None,
    more: More | None = None,
) -> None:
    """Print `status`, as the daemon gave it, on `console`; the arguments are those of `picture`."""
    for line in picture(status, console, queues=queues, lines=lines, more=more):
        console.print(line)


def picture(
    status: Mapping[str, Any],
    console: Console,
    *,
    queues: int | None = None,
    lines: int | None = None,
    more: More | None = None,
    charts: Sequence[Text] = (),
) -> list[Text]:
    """The status line by line.

    Args:
        status: as the daemon gave it.
        console: how wide it may be, and whether blocks can be printed.
        queues: how many are shown at most; None is all.
        lines: how many lines there is room for; None is any number.
        more: what a watch knows of the queues.
        charts: what a watch knows of all queues together.
    """
    heads = [part for head in _heads(status, blocks_of(console)) for part in head.wrap(console, console.width)]
    heads += charts
    if lines is not None:
        # On a low screen the queues matter more than what comes last of the head.
        heads = heads[: max(2, lines - _LEAST)]
    room = None if lines is None else max(_LEAST - 1, lines - len(heads) - 1)
    found = rows(status, console, queues=queues, lines=room, more=more)
    told = [*heads, *found.lines]
    if found.hidden:
        standing = f", {found.standing} of them not moving" if found.standing else ""
        told.append(Text(f"and {found.hidden} more queues{standing}: name them, or --only not-moving", style="dim"))
    return told


def details(status: Mapping[str, Any]) -> Iterator[Text]:
    """What is known of each queue beside its row: the gate of the verb that would come next, and what can be asked."""
    for queue in status["queues"]:
        name, checks = queue["name"], queue.get("gate")
        closed = [check for check in checks or () if not check["ok"]]
        for check in closed:
            hint = f" ({check['hint']})" if check.get("hint") else ""
            yield Text(f"{name}: the gate is closed: {check['text']}{hint}", style="yellow")
        if checks and not closed:
            yield Text(f"{name}: the gate is open")
        if queue.get("next"):
            yield Text(f"{name}: next: {', '.join(queue['next'])}")
        if (why := at(queue, "finish", "why")) and not at(queue, "finish", "grows"):
            yield Text(f"{name}: no time to finish: {why}")


def blocks_of(console: Console) -> str:
    """What lines and bars are made of where this console prints."""
    return ASCII if console.options.ascii_only else BLOCKS


def chosen(status: dict[str, Any], names: Sequence[str], only: str | None) -> dict[str, Any]:
    """The status with the queues that fit one of these names or shell patterns, and `only`; without names, all."""
    listed = status["queues"]
    if names:
        listed = [queue for queue in listed if any(fnmatch.fnmatchcase(queue["name"], name) for name in names)]
    if only is not None:
        listed = [queue for queue in listed if ONLY[only](queue)]
    return {**status, "queues": listed}


def line(status: Mapping[str, Any]) -> str:
    """The status in one line, for a log: time, state, sums, and what is first to be said."""
    now = datetime.fromisoformat(status["now"]).astimezone() if status.get("now") else datetime.now().astimezone()
    first = status.get("why_first") or _standing(status["queues"])
    return f"{now:%H:%M:%S} {status['state']}: {_sums(status)}" + (f"; {first}" if first else "")


def _standing(queues: Iterable[Mapping[str, Any]]) -> str:
    names = [queue["name"] for queue in queues if stands(queue)]
    return f"not moving: {_listed(names)}" if names else ""


def _listed(names: Sequence[str], more: int = 0) -> str:
    more += max(0, len(names) - _NAMED)
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more else "")


def _heads(status: Mapping[str, Any], blocks: str) -> Iterator[Text]:
    standby = status.get("standby")
    if first := status.get("why_first") or (f"on standby: {standby}" if standby else ""):
        yield Text(first, style="bold yellow")
    yield Text("bridge {version}, instance {instance}, pid {pid}: {state} since {since}".format_map(status), "bold")
    yield from _ends(status)
    for part, what in (
        ("control", "state is not saved"),
        ("ladder", "ladder"),
        ("backup", "backup"),
        ("probe", "probe"),
    ):
        if (fault := at(status, part, "fault")) and not (standby and part == "ladder"):
            yield Text(f"{what}: {fault}", style="red")
    if warning := at(status, "ladder", "warning"):
        yield Text(f"ladder: {warning}", style="yellow")
    if fault := status.get("reload_fault"):
        yield Text(f"the file is not in force: {fault}", style="red")
    if (limit := status.get("limit")) is not None:
        yield Text(f"limit: at most {show_rate(limit)}, all queues together", style="yellow")
    for lost in status.get("lost_features") or ():
        yield Text(f"without: {lost}", style="yellow")
    if not standby:
        yield Text(_sums(status))
        yield from _ladder(status, blocks)
    yield from _old_side(status)
    if (took := at(status, "probe", "last_ms")) is not None and not at(status, "probe", "fault"):
        yield Text(f"probe: {show_number(took)} ms through the real path")


def _ends(status: Mapping[str, Any]) -> Iterator[Text]:
    for side in _SIDES:
        end = status.get(side)
        # A standby opens nothing but the target, where the state is.
        if end is not None and (end["connected"] or side == "target" or not status.get("standby")):
            word = "connected" if end["connected"] else f"not connected: {end['reason'] or 'no reason known'}"
            blocked = f", takes no publishes: {end['reason']}" if end["connected"] and end["reason"] else ""
            yield Text(f"{side} {end['url']} {word}{blocked}", style="" if end["connected"] and not blocked else "red")


def _sums(status: Mapping[str, Any]) -> str:
    """All queues together: how fast, how much is on its way, and when it is done."""
    totals = status["totals"]
    moving = sum(queue.get("state") == "moving" for queue in status["queues"])
    parts = [f"{moving} of {len(status['queues'])} queues move"]
    if (coming := rate(totals, "in")) is not None:
        parts.append(f"in {show_number(coming)}/s")
    parts += [f"out {show_number(rate(totals, 'out'))}/s", f"{show_number(totals['in_flight'])} in flight"]
    if (p99 := at(totals, "confirm", "p99_ms")) is not None:
        parts.append(f"confirmed in {show_number(at(totals, 'confirm', 'p50_ms'))} ms (99 %: {show_number(p99)} ms)")
    told = ", ".join(parts)
    if time_left := left(totals):
        when = at(totals, "finish", "at")
        return f"{told}; done in {time_left}" + (
            f", at {datetime.fromisoformat(when).astimezone():%H:%M}" if when else ""
        )
    why = at(totals, "finish", "why")
    return f"{told}; {why}" if why and at(totals, "finish", "grows") else told


def _ladder(status: Mapping[str, Any], blocks: str) -> Iterator[Text]:
    """What waits in the target's ladder, and for how long the converted ones had to."""
    messages = at(status, "ladder", "messages")
    if messages:
        levels, stuck = at(status, "ladder", "levels") or [], at(status, "ladder", "stuck") or []
        told = f"ladder: {show_number(messages)} wait in {len(levels)} level{'' if len(levels) == 1 else 's'}"
        yield Text(told + (f"; stuck: {', '.join(map(str, stuck))}" if stuck else ""), style="red" if stuck else "")
    due = at(status, "totals", "due")
    if isinstance(due, Mapping) and any(due.values()):
        counts = [due.get(key) or 0 for key, _ in _DUE]
        heights = sparkline(counts, len(counts), blocks)
        named = zip(_DUE, heights, counts, strict=True)
        parts = [
            f"{'' if key == 'later' else '< '}{name} {block} {show_number(count)}"
            for (key, name), block, count in named
        ]
        yield Text(f"converted tasks had to wait: {'  '.join(parts)}")


def _old_side(status: Mapping[str, Any]) -> Iterator[Text]:
    """Who is still on the old side, by name."""
    told = []
    for key, what in (("publishers", "published to by"), ("holders", "messages are held by")):
        found = at(status, "old_side", key)
        if found:
            more = at(status, "old_side", "more")
            count = more.get(key, 0) if isinstance(more, Mapping) else 0
            told.append(f"{what} {_listed([_person(one) for one in found], count)}")
    if told:
        yield Text(f"old side: {'; '.join(told)}")


def _person(one: Mapping[str, Any]) -> str:
    """A worker by its name; a connection also by where it comes from, since its name is most often its library's."""
    name, host = str(one.get("name")), one.get("host")
    return name if not host or "@" in name else f"{name} ({host})"


def gone(since: datetime, why: str, now: datetime) -> Text:
    """That the daemon does not answer: since when, and why."""
    seconds = (now - since).total_seconds()
    return Text(
        f"the daemon does not answer since {since.astimezone():%H:%M:%S}, {in_words(seconds)}: {why}", style="bold red"
    )
