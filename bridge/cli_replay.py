"""The command `bridge replay`: copies of the backup stream are sent again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from bridge.cli_shared import loaded, print_json
from bridge.errors import Exit, Refused, Unreachable

if TYPE_CHECKING:
    from bridge.progress import Tell
    from bridge.replay import Book, Wanted

#: Rows of the table for people; --json has all.
ROWS = 40


def _moment(_ctx: click.Context, _option: click.Parameter, given: str | None) -> float | None:
    """A time as an option, in UTC epoch seconds."""
    from bridge.replay import moment

    if given is None:
        return None
    try:
        return moment(given, time.time())
    except ValueError:
        raise click.BadParameter(f'found "{given}"; allowed: 2026-05-01T12:00 (UTC), or 2h: so long ago') from None


@click.command()
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Source queue, or a shell pattern; repeatable.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Task name, or a shell pattern; repeatable.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Task id; repeatable.")
@click.option("--since", callback=_moment, metavar="T", help="Moved at T or later: 2026-05-01T12:00 (UTC), or 2h ago.")
@click.option("--until", callback=_moment, metavar="T", help="Moved before T.")
@click.option("--all", "everything", is_flag=True, help="Every copy there is.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="No more than N, the oldest first.")
@click.option(
    "--to",
    type=click.Choice(["target", "source"]),
    default="target",
    show_default=True,
    help="Where to: as the daemon moves them, or unchanged to the queues they were taken from.",
)
@click.option("--dry-run", is_flag=True, help="Count what would be sent, by queue, task and minute; send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help='{"read", "matched", "published", "failed", "groups", ...}')
@click.pass_obj
def replay(
    file: str | None,
    queues: tuple[str, ...],
    tasks: tuple[str, ...],
    ids: tuple[str, ...],
    since: float | None,
    until: float | None,
    everything: bool,
    limit: int | None,
    to: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Send copies of the backup stream again: tasks that may have run already, and then run twice.

    Options that are given must all fit. Exit codes: 0 all were sent, 1 some were not, 3 a broker cannot be reached.
    """
    import math

    from bridge import logs
    from bridge.replay import Wanted

    wanted = Wanted(
        queues,
        tasks,
        frozenset(ids),
        -math.inf if since is None else since,
        math.inf if until is None else until,
        limit,
    )
    if wanted.everything is not everything:
        raise click.UsageError(
            "--all and options that leave something out exclude each other"
            if everything
            else "say which copies: --queue, --task, --id, --since, --until, or --all"
        )
    config = loaded(file)
    logs.set_up("error", "text")

    def walk(wanted: Wanted, *, dry_run: bool) -> Book:
        from bridge.progress import counted
        from bridge.replay import replay as walked

        with counted(1.0, quiet=as_json) as tell:
            return walked(config, wanted, to=to, dry_run=dry_run, tell=_telling(tell))

    if not dry_run and not yes:
        if not sys.stdin.isatty() or as_json:
            raise Refused(
                "a replay sends tasks that may have run already, and nobody can be asked here",
                hint="look at it with --dry-run first, then add --yes",
            )
        counted = walk(wanted, dry_run=True)
        _show(counted, to)
        if counted.fault is not None or not counted.matched:
            return _exit_code(counted)
        if not click.confirm(f"Send these {counted.matched} tasks again? Those that ran already will run twice"):
            click.echo("nothing was sent")
            return Exit.REFUSED
    book = walk(wanted, dry_run=dry_run)
    if as_json:
        print_json({"to": to, **book.as_json()})
    else:
        _show(book, to)
    return _exit_code(book)


def _exit_code(book: Book) -> Exit:
    if isinstance(book.fault, Unreachable):
        return Exit.UNREACHABLE
    return Exit.REFUSED if book.fault is not None or book.failed else Exit.DONE


def _show(book: Book, to: str) -> None:
    """The book as people read it."""
    if book.dry_run and book.groups:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("queue", "task", "minute", "copies", box=None)
        rows = sorted(book.groups.items())
        for (queue, task, minute), count in rows[:ROWS]:
            table.add_row(Text(queue), Text(task or "-"), minute, str(count))
        (Console() if sys.stdout.isatty() else Console(width=200)).print(table)
        if len(rows) > ROWS:
            click.echo(f"and {len(rows) - ROWS} rows more: --json has them all")
    click.echo(f"read       {book.read}" + (f", {book.foreign} of them no copies" if book.foreign else ""))
    click.echo(f"matched    {book.matched}")
    if book.dry_run:
        click.echo("dry run: nothing was sent")
    else:
        click.echo(f"published  {book.published} to the {to}")
        click.echo(f"failed     {sum(book.failed.values())}")
    for reason, count in book.failed.most_common():
        click.echo(f"  {count} x {reason}")
    if book.fault is not None:
        click.echo(f"error: ended before the end: {book.fault}", err=True)
        if book.fault.hint:
            click.echo(f"hint: {book.fault.hint}", err=True)


def _telling(tell: Tell) -> Callable[[Book], None]:
    """How far it is in the time that the copies span."""

    def told(book: Book) -> None:
        if book.first is not None and book.at is not None:
            span = max(1.0, time.time() - book.first)
            words = f"{book.read} read, {book.matched} matched, {book.published} published"
            tell((book.at - book.first) / span, words)

    return told
