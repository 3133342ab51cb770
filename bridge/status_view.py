"""The status as people read it: what is not moving and why first, then a table of queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

#: Columns of a queue's numbers: heading, key in the status.
_NUMBERS = (("in flight", "in_flight"), ("moved", "moved"), ("converted", "converted"))


def show(status: dict[str, Any], console: Console) -> None:
    """Print `status`, as the daemon gave it, on `console`."""
    console.print(Group(*_heads(status), _queues(status)))


def _heads(status: dict[str, Any]) -> Iterator[RenderableType]:
    line = "bridge {version}, instance {instance}, pid {pid}: {state} since {since}"
    yield Text(line.format_map(status), style="bold")
    for side in ("source", "target"):
        end = status[side]
        word = "connected" if end["connected"] else f"not connected: {end['reason'] or 'no reason known'}"
        yield Text(f"{side} {end['url']} {word}", style="" if end["connected"] else "red")
    for lost in status["lost_features"]:
        yield Text(f"without: {lost}", style="yellow")


def _queues(status: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("queue", overflow="fold", min_width=5)
    table.add_column("route")
    table.add_column("state")
    for heading, _ in _NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("why it is not moving", overflow="fold")
    for queue in status["queues"]:
        name = queue["name"] if queue["target"] == queue["name"] else f"{queue['name']} -> {queue['target']}"
        cells = [name, queue["route"], queue["state"], *_numbers(queue), queue["why"] or ""]
        table.add_row(*(Text(cell) for cell in cells), style="yellow" if queue["why"] else "")
    table.add_row("total", "", "", *_numbers(status["totals"]), "", style="bold")
    return table


def _numbers(counts: dict[str, Any]) -> list[str]:
    return [f"{counts[key]}" for _, key in _NUMBERS] + [f"{counts['rate']:.1f}/s"]
