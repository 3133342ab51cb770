"""The command `bridge status`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from bridge.cli_shared import admin_socket, print_json
from bridge.errors import Exit, Refused

#: Columns of what is no terminal: nobody wraps lines there, and a row is found by `grep`.
_PIPE = 1000
#: Queues of which everything is shown when they are named.
_FEW = 3


class _Seconds(click.ParamType[float]):
    """How often the status is asked for."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(
                f"found {value!r}; allowed: seconds, as in --watch=5; queues are named before --watch", param, ctx
            )
        if not 0.1 <= seconds <= 3600:
            self.fail(f"found {value}; allowed: 0.1 to 3600 seconds", param, ctx)
        return seconds


@click.command()
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option(
    "--watch",
    "every",
    type=_Seconds(),
    is_flag=False,
    flag_value=1.0,
    metavar="[SECONDS]",
    help="Again and again, every second or so many, until Ctrl-C; also while the daemon is away.",
)
@click.option("--only", type=click.Choice(("not-moving", "moving", "drained")), help="Only queues of which this is so.")
@click.option("--json", "as_json", is_flag=True, help="What the daemon answered; with --watch an object on each line.")
@click.option("--socket", metavar="PATH", help="The daemon's admin socket, instead of the configuration's.")
@click.pass_obj
def status(
    file: str | None, queues: tuple[str, ...], every: float | None, only: str | None, as_json: bool, socket: str | None
) -> int:
    """Show what the daemon is doing, queue by queue, and why a queue does not move.

    QUEUE is a name or a shell pattern in quotes. What stands still comes first.
    """
    from rich.console import Console

    from bridge import status_view
    from bridge.status_watch import Watch, asking

    path = admin_socket(file, socket)
    terminal = sys.stdout.isatty()
    try:
        if every is not None:
            watch = Watch(asking(path), every, lambda told: status_view.chosen(told, queues, only))
            screen = Console()
            if terminal and not as_json and not screen.is_dumb_terminal:
                watch.on_screen(screen)
            else:
                watch.as_lines(as_json=as_json)
            return Exit.DONE
        told = status_view.chosen(asking(path)("status"), queues, only)
        if queues and only is None and not told["queues"]:
            raise Refused(
                f"no queue in scope is named {' or '.join(queues)}", hint="bridge status lists them; patterns in quotes"
            )
        if as_json:
            print_json(told)
        else:
            most = status_view.MOST if terminal and not queues and only is None else None
            console = Console() if terminal else Console(width=_PIPE)
            status_view.show(told, console, queues=most)
            if queues and len(told["queues"]) <= _FEW:
                for line in status_view.details(told):
                    console.print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read it has seen enough, as with `| head`; nothing more is written, at the exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.DONE
