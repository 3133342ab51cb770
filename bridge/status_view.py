"""The status as people read it: what is not moving and why first, then a table of queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.units import show_rate

#: Columns of a queue's numbers: heading, key in the status.
_NUMBERS = (("in flight", "in_flight"), ("moved", "moved"), ("converted", "converted"))
#: The ends there may be; the legacy side only in the inline layout.
_SIDES = ("source", "target", "legacy")


def show(status: dict[str, Any], console: Console) -> None:
    """Print `status`, as the daemon gave it, on `console`."""
    console.print(Group(*_heads(status), _queues(status)))


def _heads(status: Mapping[str, Any]) -> Iterator[RenderableType]:
    if standby := status.get("standby"):
        yield Text(f"on standby: {standby}", style="bold yellow")
    line = "bridge {version}, instance {instance}, pid {pid}: {state} since {since}"
    yield Text(line.format_map(status), style="bold")
    for side in _SIDES:
        end = status.get(side)
        # A standby opens nothing but the target, where the state is.
        if end is not None and (end["connected"] or side == "target" or not standby):
            word = "connected" if end["connected"] else f"not connected: {end['reason'] or 'no reason known'}"
            blocked = f", takes no publishes: {end['reason']}" if end["connected"] and end["reason"] else ""
            yield Text(f"{side} {end['url']} {word}{blocked}", style="" if end["connected"] and not blocked else "red")
    for part, what in (("control", "state is not saved"), ("ladder", "ladder"), ("backup", "backup")):
        if (fault := (status.get(part) or {}).get("fault")) and not (standby and part == "ladder"):
            yield Text(f"{what}: {fault}", style="red")
    if fault := status.get("reload_fault"):
        yield Text(f"the file is not in force: {fault}", style="red")
    if (limit := status.get("limit")) is not None:
        yield Text(f"limit: at most {show_rate(limit)}, all queues together", style="yellow")
    for lost in status["lost_features"]:
        yield Text(f"without: {lost}", style="yellow")


def _queues(status: Mapping[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("queue", overflow="fold", min_width=5)
    table.add_column("route")
    table.add_column("state")
    table.add_column("old/new", justify="right", no_wrap=True)
    for heading, _ in _NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("why it is not moving, and what else is set", overflow="fold")
    for queue in status["queues"]:
        name = queue["name"] if queue["target"] == queue["name"] else f"{queue['name']} -> {queue['target']}"
        state = "drained" if queue.get("drained") else queue["state"]
        cells = [name, queue["route"], state, _ready(queue), *_numbers(queue), "; ".join(_remarks(queue))]
        table.add_row(*(Text(cell) for cell in cells), style="yellow" if queue["why"] else "")
    table.add_row("total", "", "", "", *_numbers(status["totals"]), "", style="bold")
    return table


def _remarks(queue: Mapping[str, Any]) -> Iterator[str]:
    """All that the numbers do not say, the gravest first."""
    if queue["why"]:
        yield queue["why"]
    if plan := queue.get("planned"):
        wait = f"waits {plan['waits_for']}" if plan["waits_for"] else "due"
        yield f"{plan['verb']} is planned: {wait}" + (f", refused so far: {plan['refused']}" if plan["refused"] else "")
    if queue.get("limit") is not None:
        yield f"at most {show_rate(queue['limit'])}"
    if queue["route"] == "quorum" and (waits_for := queue.get("waits_for")) and not queue.get("drained"):
        more = f" and {len(waits_for) - 1} more" if len(waits_for) > 1 else ""
        yield f"not drained: {waits_for[0]}{more}"
    if queue.get("by") and queue.get("changed_at"):
        yield f"by {queue['by']}, {_clock(queue['changed_at'])}"


def _ready(queue: Mapping[str, Any]) -> str:
    """Messages that are ready in the old queue and in the new one, where that is known."""
    depth = queue.get("depth") or {}
    return "/".join(str(side["ready"]) if (side := depth.get(name)) else "?" for name in ("old", "new"))


def _clock(at: str) -> str:
    # The year is known, and the day matters: a bridge runs for weeks.
    return f"{datetime.fromisoformat(at).astimezone():%m-%d %H:%M}"


def _numbers(counts: Mapping[str, Any]) -> list[str]:
    return [f"{counts[key]}" for _, key in _NUMBERS] + [f"{counts['rate']:.1f}/s"]
