"""The commands for messages that could not be moved: `bridge quarantine list`, `show`, `redrive`, `export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli_shared import loaded, print_json
from bridge.errors import Exit

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.quarantine_queue import QuarantineQueue
    from bridge.quarantine_stock import Found, Outcome, Stock

#: Failures that are listed one by one.
_LISTED = 20


@click.group()
def quarantine() -> None:
    """Messages that could not be moved: in queue bridge.quarantine of the target, and in the files of export.folder.

    A message has an id made of its content: messages of the same content have the same, and go together.
    """


_queue = click.option("--queue", "queues", metavar="NAME", multiple=True, help="Only of this source queue.")
_reason = click.option("--reason", "reasons", metavar="REASON", multiple=True, help="Only with this reason.")
_all = click.option("--all", "every", is_flag=True, help="All messages.")
_ids = click.argument("ids", metavar="[ID]...", nargs=-1)


@quarantine.command("list")
@_queue
@_reason
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Messages that are shown.")
@click.option("--json", "as_json", is_flag=True, help='{"messages", "total", "reasons", "beyond", "unread", "limited"}')
@click.pass_obj
def list_messages(
    file: str | None, queues: tuple[str, ...], reasons: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """Show what there is, those of the queue first. Nothing is changed."""
    from bridge.quarantine_stock import selected, take_stock

    config = loaded(file)
    with _opened(config) as queue:
        stock = take_stock(queue, Path(config.export.folder))
    found = selected(stock, (), queues, reasons)
    if as_json:
        print_json(
            {
                "messages": [each.as_json() for each in found[:limit]],
                "total": len(found),
                "reasons": stock.reasons(),
                "beyond": stock.beyond,
                "unread": stock.unread,
                "limited": stock.limited,
            }
        )
        return
    _warn(stock)
    _print_table(found[:limit])
    shown = min(limit, len(found))
    click.echo(f"{shown} of {len(found)} messages are shown" if shown < len(found) else _messages(len(found)))
    click.echo(
        "by reason, all of them: "
        + (", ".join(f"{_safe(reason)} {number}" for reason, number in stock.reasons().items()) or "none")
    )


@quarantine.command()
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help='{..., "properties": [{"name", "type", "value"}], "body": [...]}')
@click.pass_obj
def show(file: str | None, id_: str, as_json: bool) -> None:
    """Show one message: its properties with their types, and the beginning of its body. Nothing in it is run."""
    from bridge import quarantine_stock
    from bridge.core import described

    config = loaded(file)
    with _opened(config) as queue:
        stock = quarantine_stock.take_stock(queue, Path(config.export.folder))
        found = quarantine_stock.selected(stock, (id_,))
        shown = quarantine_stock.show(queue, found[0])
    rows, body = described.rows(shown.header), described.preview(shown.body)
    if as_json:
        properties = [{"name": row.name, "type": row.type, "value": row.value} for row in rows]
        print_json({**found[0].as_json(), "of_this_content": len(found), "properties": properties, "body": body})
        return
    _warn(stock)
    for name, value in _facts(found[0]):
        click.echo(f"{name:<10} {value}")
    if len(found) > 1:
        click.echo(f"{len(found)} messages have this content")
    click.echo("\nproperties and headers, with their types")
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        click.echo(f"  {row.name:<{min(width, 40)}}  {row.type:<9}  {row.value}")
    click.echo(f"\nbody, {len(shown.body)} of {found[0].size} bytes")
    for line in body:
        click.echo(f"  {line}")


@quarantine.command()
@_ids
@_all
@_queue
@_reason
@click.option(
    "--to",
    type=click.Choice(["target", "source"]),
    default="target",
    show_default=True,
    help="To the target as the daemon moves messages, or back into the old queue.",
)
@click.option("--dry-run", is_flag=True, help="Only say which messages would go.")
@click.option("--json", "as_json", is_flag=True, help='{"dry_run", "to", "chosen", "done", "failed", "fault", "hint"}')
@click.pass_obj
def redrive(
    file: str | None,
    ids: tuple[str, ...],
    every: bool,
    queues: tuple[str, ...],
    reasons: tuple[str, ...],
    to: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Send messages on once what kept them is mended; each leaves the quarantine when the broker confirmed it.

    Copies of messages that moved (copy-too-large) are sent only when they are named by ID or --reason: they run again.

    Exit code 1 when one could not be sent: it stays where it is.
    """
    from bridge.progress import counted
    from bridge.quarantine_stock import redrive, selected, take_stock, to_send
    from bridge.republish import Republisher

    _some(ids, every, queues, reasons)
    config = loaded(file)
    with _opened(config) as queue:
        stock = take_stock(queue, Path(config.export.folder))
        chosen = to_send(selected(stock, ids, queues, reasons), ids, reasons)
        if not as_json:
            _warn(stock)
        if dry_run or not chosen:
            return _would(chosen, f"to the {to}", {"dry_run": dry_run, "to": to}, as_json)
        with Republisher(config, to=to) as by, counted(len(chosen), quiet=as_json) as tell:
            outcome = redrive(queue, chosen, stock, by, lambda tried: tell(tried, f"{tried} of {len(chosen)} sent"))
    return _told(outcome, chosen, f"sent to the {to}", {"dry_run": False, "to": to}, as_json)


@quarantine.command("export")
@_ids
@_all
@_queue
@_reason
@click.option("--to", "folder", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--remove", is_flag=True, help="Take each out of the quarantine when the disk has it.")
@click.option("--json", "as_json", is_flag=True, help='{"to", "removed", "chosen", "done", "failed", "fault", "hint"}')
@click.pass_obj
def export_messages(
    file: str | None,
    ids: tuple[str, ...],
    every: bool,
    queues: tuple[str, ...],
    reasons: tuple[str, ...],
    folder: Path,
    remove: bool,
    as_json: bool,
) -> int:
    """Write messages to files in FOLDER, as those of export.folder are."""
    from bridge.progress import counted
    from bridge.quarantine_stock import selected, store, take_stock

    _some(ids, every, queues, reasons)
    config = loaded(file)
    same = folder.resolve() == Path(config.export.folder).resolve()
    with _opened(config) as queue:
        stock = take_stock(queue, Path(config.export.folder))
        # What is a file of this very folder is there already.
        chosen = [each for each in selected(stock, ids, queues, reasons) if each.file is None or not same]
        if not as_json:
            _warn(stock)
        with counted(len(chosen), quiet=as_json) as tell:
            outcome = store(
                queue,
                chosen,
                stock,
                folder,
                remove=remove,
                tell=lambda tried: tell(tried, f"{tried} of {len(chosen)} written"),
            )
    return _told(outcome, chosen, f"written to {folder}", {"to": str(folder), "removed": remove}, as_json)


# -- what they have in common
# --------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(config: Config) -> Iterator[QuarantineQueue]:
    from bridge import logs, sides
    from bridge.quarantine_queue import QuarantineQueue

    logs.set_up("warning", "text")
    queue = QuarantineQueue(sides.connection("target", config.target, config.instance))
    try:
        yield queue
    finally:
        queue.close()


def _some(ids: tuple[str, ...], every: bool, queues: tuple[str, ...], reasons: tuple[str, ...]) -> None:
    if not (ids or every or queues or reasons):
        raise click.UsageError("name messages by ID, --queue or --reason, or all of them with --all")
    if every and ids:
        raise click.UsageError("--all and ids exclude each other")


def _would(chosen: list[Found], where: str, told: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json({**told, "chosen": [each.as_json() for each in chosen], **_NOTHING})
        return Exit.DONE
    _print_table(chosen)
    click.echo(f"{_messages(len(chosen))} would be sent {where}; nothing was changed")
    return Exit.DONE


#: What became of messages when nothing was tried.
_NOTHING: dict[str, Any] = {"done": 0, "failed": [], "fault": None, "hint": None}


def _told(outcome: Outcome, chosen: list[Found], what: str, told: dict[str, Any], as_json: bool) -> int:
    fault = outcome.fault
    if as_json:
        failed = [{"id": found.id, "where": found.where, "why": why} for found, why in outcome.failed]
        said = {"fault": fault and str(fault), "hint": fault and fault.hint}
        print_json({**told, "chosen": len(chosen), "done": outcome.done, "failed": failed, **said})
        if fault is not None:
            return fault.exit_code
        return Exit.REFUSED if outcome.failed else Exit.DONE
    click.echo(f"{outcome.done} of {_messages(len(chosen))} {what}")
    for found, why in outcome.failed[:_LISTED]:
        click.echo(f"stays: {found.id} of queue {_name(found)}: {why}", err=True)
    if len(outcome.failed) > _LISTED:
        click.echo(f"stay: {len(outcome.failed) - _LISTED} more, see --json", err=True)
    if fault is not None:
        raise fault
    return Exit.REFUSED if outcome.failed else Exit.DONE


def _warn(stock: Stock) -> None:
    for text in stock.unread:
        click.echo(f"warning: {text}", err=True)
    if stock.beyond:
        click.echo(
            f"warning: {stock.beyond} more messages of the queue were not looked at: redrive some first", err=True
        )
    if stock.limited:
        click.echo(
            "warning: bridge.quarantine was declared without x-delivery-limit: -1: the broker drops what was looked at "
            "20 times. Give it a policy with delivery-limit: -1, or export all with --remove and delete it",
            err=True,
        )


def _print_table(found: list[Found]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not found:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "where", "queue", "reason", "task", "task id", "eta"):
        table.add_column(heading, overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("written", no_wrap=True)
    for each in found:
        cells = (each.id, each.where, _name(each), _safe(each.reason), each.task.name, each.task.id, _eta(each))
        table.add_row(*(Text(cell) for cell in cells), f"{each.size}", _moment(each.time))
    # Without a terminal nobody wraps lines: wide enough for any row.
    (Console() if sys.stdout.isatty() else Console(width=250)).print(table)


def _facts(found: Found) -> Iterator[tuple[str, str]]:
    yield "id", found.id
    yield "where", found.where if found.file is None else str(found.file)
    yield "queue", _name(found)
    yield "reason", _safe(found.reason)
    yield "task", found.task.name or "none"
    yield "task id", found.task.id or "none"
    yield "eta", found.task.unreadable or _eta(found) or "none"
    if found.time is not None:
        yield "written", _moment(found.time)


def _name(found: Found) -> str:
    return _safe(found.queue) or "unknown"


def _safe(text: str) -> str:
    from bridge.core.described import safe

    return safe(text)


def _eta(found: Found) -> str:
    return "unreadable" if found.task.unreadable else _moment(found.task.eta)


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _messages(number: int) -> str:
    return f"{number} message{'' if number == 1 else 's'}"
