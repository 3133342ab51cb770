"""`bridge plan --time`: how long the migration takes and what it costs, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge.cli_shared import admin_socket, loaded, print_json
from bridge.core import sizing
from bridge.core.sizing_words import notes, number, size, span, time
from bridge.errors import Exit
from bridge.units import parse_duration, parse_rate, parse_size, show_duration

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.sizing_look import Sized

_F = TypeVar("_F", bound=Callable[..., Any])


def _read(
    parse: Callable[[str], object], allowed: str
) -> Callable[[click.Context, click.Parameter, str | None], object]:
    """A callback of an option that is read by `parse`, which raises ValueError for what is not `allowed`."""

    def read(_context: click.Context, _option: click.Parameter, text: str | None) -> object:
        try:
            return None if text is None else parse(text)
        except ValueError:
            raise click.BadParameter(f'"{text}" is not {allowed}') from None

    return read


def _bandwidth(text: str) -> int:
    given, _, per = text.partition("/")
    found = parse_size(given)
    if per.strip() != "s" or not found:
        raise ValueError("not bytes a second")
    return found


def _share(text: str) -> float:
    found = float(text.strip().removesuffix("%"))
    if not 0 <= found <= 100:
        raise ValueError("not a share")
    return found / 100


def _ahead(text: str) -> int:
    found = parse_duration(text)
    if not found:
        raise ValueError("not ahead")
    return found


#: Options of `--time` alone, with their names in the function that is called.
_OPTIONS = (
    click.option(
        "--rate",
        callback=_read(parse_rate, "a rate such as 5000/s or 300000/m"),
        metavar="RATE",
        help="With --time: all queues together are moved at this rate, such as 5000/s, instead of the model's.",
    ),
    click.option(
        "--measured",
        is_flag=True,
        default=None,
        help="With --time: as fast as the running daemon moves at this moment.",
    ),
    click.option("--socket", metavar="PATH", help="With --measured: the daemon's admin socket, if not the file's."),
    click.option(
        "--bandwidth",
        callback=_read(_bandwidth, "bytes a second such as 12MB/s"),
        metavar="BYTES/s",
        help="With --time: what the line to a broker carries, such as 12MB/s for 100 Mbit/s.",
    ),
    click.option(
        "--eta-share",
        callback=_read(_share, "a share such as 30%"),
        metavar="P",
        help="With --time: the part of the tasks that has an ETA, such as 30%; it cannot be seen from outside.",
    ),
    click.option(
        "--eta-ahead",
        callback=_read(_ahead, "a duration such as 6h or 1d"),
        metavar="TIME",
        help=f"With --time: how far ahead those are due; {show_duration(sizing.AHEAD)} by default.",
    ),
)


def options(command: _F) -> _F:
    """The options that only `--time` has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def estimate(file: str | None, *, as_json: bool, **given: Any) -> int:
    """Print how long it takes; exit 1 where it never ends.

    Args:
        file: the configuration.
        as_json: for programs.
        given: the options of `options`; None for those that were not given.
    """
    from bridge import sizing_look
    from bridge.admin_client import fetch_status
    from bridge.applying import source_api, survey

    if given["rate"] is not None and given["measured"]:
        raise click.UsageError("--rate and --measured exclude each other")
    if given["socket"] is not None and not given["measured"]:
        raise click.UsageError("--socket goes with --measured")
    config = loaded(file)
    status = fetch_status(admin_socket(file, given["socket"])) if given["measured"] else None
    assumed = sizing.Assumptions(
        rate=given["rate"],
        bandwidth=given["bandwidth"],
        eta_share=given["eta_share"] or 0.0,
        ahead=given["eta_ahead"] or sizing.AHEAD,
    )
    rates = sizing_look.traffic(source_api(config), config.source.amqp[0].vhost)
    found = sizing_look.sized(config, survey(config), rates, assumed, status)
    if as_json:
        print_json(_json(found))
    else:
        from rich.console import Console

        # Without a terminal nobody wraps lines: wide enough for any row.
        _show(found, Console(highlight=False) if sys.stdout.isatty() else Console(width=250, highlight=False))
    return Exit.REFUSED if found.estimate.together.expected is None else Exit.DONE


def _json(found: Sized) -> dict[str, Any]:
    assumed = asdict(found.assumed)
    return {
        "basis": asdict(found.basis),
        "assumed": {**assumed, "eta_shares": dict(found.assumed.eta_shares), "version": list(found.assumed.version)},
        **found.estimate.as_json(),
        "notes": list(notes(found.estimate, found.assumed, found.facts)),
    }


def _show(found: Sized, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    estimate = found.estimate
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("queue", overflow="fold", min_width=5)
    for heading in ("messages", "each", "come in", "worked", "moved at", "takes", "old workers alone"):
        table.add_column(heading, justify="right", no_wrap=True)
    for queue in estimate.queues:
        if queue.backlog.quiet:
            continue
        backlog = queue.backlog
        table.add_row(
            Text(backlog.name),
            str(backlog.messages),
            size(queue.size) if backlog.size is not None else "?",
            _rate(backlog.arriving),
            _rate(backlog.worked),
            _rate(queue.rate),
            span(queue.seconds),
            time(queue.old_workers) if backlog.worked is not None else "?",
        )
    table.add_row(
        "together",
        str(estimate.messages),
        size(estimate.cost.fetched / estimate.messages) if estimate.messages else "?",
        _rate(estimate.arriving) if found.facts.counted else "?",
        "",
        _rate(estimate.rate),
        span(estimate.together),
        style="bold",
    )
    console.print(table)
    for line in _lines(found):
        console.print(Text(line), soft_wrap=True)


def _rate(rate: float | None) -> str:
    return "?" if rate is None else f"{number(rate)}/s"


def _lines(found: Sized) -> Iterator[str]:
    estimate, basis, cost = found.estimate, found.basis, found.estimate.cost
    yield ""
    if quiet := sum(queue.backlog.quiet for queue in estimate.queues):
        yield f"not listed: {quiet} {'queue' if quiet == 1 else 'queues'} in which nothing waits and nothing comes in"
    yield f"rests on {basis.text}; the range is for {basis.slow:g} to {basis.fast:g} times as fast"
    yield (
        f"network: {size(cost.fetched)} from the source, {size(cost.sent)} from the bridge"
        + (f", {size(cost.between_nodes)} between the target's nodes" if cost.between_nodes else "")
    )
    yield (
        f"target, each node: up to {size(cost.disk)} on disk and {size(cost.memory)} in memory for what new workers "
        f"have not worked off, beside {size(sizing.WRITE_AHEAD)} on disk and three times that in memory for the "
        "write-ahead log"
    )
    if cost.backup_disk:
        yield f"backup: {size(cost.backup_disk)} on each node that keeps the stream"
    if cost.hops:
        yield f"ladder: {number(cost.hops)} hops until the tasks with an ETA are due"
    yield (
        f"processor time: bridge {time(cost.daemon_cpu)}, old broker {time(cost.source_cpu)}, "
        f"target {time(cost.target_cpu)}"
    )
    for note in notes(estimate, found.assumed, found.facts):
        yield f"note: {note}"
