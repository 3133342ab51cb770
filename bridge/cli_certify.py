"""The command `bridge certify`: whether the old vhost can be deleted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bridge.cli_shared import print_json
from bridge.errors import Exit

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds in which the daemon must have looked at everything.
PATIENCE = 120.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help='{"ok", "layout", "vhost", "at", "seconds", "conditions": [...]}')
@click.option("--socket", metavar="PATH", help="The daemon's admin socket, instead of the configuration's.")
@click.pass_obj
def certify(file: str | None, as_json: bool, socket: str | None) -> int:
    """Say whether the old vhost can be deleted, condition by condition; exit 1 if it cannot.

    The daemon looks at both brokers now. Nothing is changed, and no message is taken.
    """
    from bridge.admin_client import fetch
    from bridge.config import admin_socket

    found = fetch(socket or admin_socket(file), "certify", patience=PATIENCE)
    if as_json:
        print_json(found)
    else:
        from rich.console import Console

        # Without a terminal nobody wraps lines: wide enough for any row.
        show(found, Console() if sys.stdout.isatty() else Console(width=250))
    return Exit.DONE if found["ok"] else Exit.REFUSED


def show(found: dict[str, Any], console: Console) -> None:
    """Print a certificate: what hinders first, notes last, then the sentence."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "condition"):
        table.add_column(heading, no_wrap=True)
    for heading in ("number", "age"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("what was seen", "what to do"):
        table.add_column(heading, overflow="fold")
    for one in sorted(found["conditions"], key=_rank):
        word, style = ("note", "dim") if one["note"] else ("yes", "green") if one["ok"] else ("no", "red")
        age = "" if one["age_s"] is None else f"{one['age_s']:.0f} s"
        number = "" if one["number"] is None else str(one["number"])
        cells = (one["name"], number, age, one["text"], one["todo"])
        table.add_row(Text(word, style=style), *(Text(cell) for cell in cells))
    console.print(table)
    hinder = sum(not one["ok"] for one in found["conditions"])
    vhost = f'vhost "{found["vhost"]}"'
    if found["ok"]:
        console.print(Text(f"yes: {vhost} can be deleted, as of {found['at']}", style="bold green"))
    else:
        how = "1 condition is" if hinder == 1 else f"{hinder} conditions are"
        console.print(Text(f"no: {vhost} cannot be deleted, {how} not met, as of {found['at']}", style="bold red"))


def _rank(condition: dict[str, Any]) -> int:
    """What hinders first, notes last; within these the order is the daemon's."""
    return 2 if condition["note"] else int(condition["ok"])
