"""`bridge lab`: brokers up, their addresses, brokers down, and the rehearsal on them."""

from __future__ import annotations

import functools
import importlib
import json
import shlex
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge.errors import Exit
from bridge.lab.releases import RELEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.lab.brokers import SideInfo

_Command = TypeVar("_Command", bound="Callable[..., Any]")

#: Name of the lab when none is given.
DEFAULT_NAME = "default"

_name = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Several labs may be up side by side.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def broker_options(command: _Command) -> _Command:
    """Add the options that choose brokers: `old`, `new`, `nodes`, `same_broker` and `name` reach the command.

    `new` is the old broker's release when both sides are on one broker.
    """

    @click.option("--old", type=click.Choice(list(RELEASES)), default="3.10", show_default=True, help="Old RabbitMQ.")
    @click.option(
        "--new", type=click.Choice(list(RELEASES)), help="New RabbitMQ.  [default: 4.0, or OLD on one broker]"
    )
    @click.option("--nodes", type=click.IntRange(1, 7), default=1, show_default=True, help="Nodes of the new broker.")
    @click.option("--same-broker", is_flag=True, help="Old and new side are two vhosts of one broker.")
    @_name
    @functools.wraps(command)
    def chosen(*args: Any, old: str, new: str | None, same_broker: bool, **rest: Any) -> Any:
        if same_broker and new not in (None, old):
            raise click.UsageError(f"--same-broker has one release only: --old {old} and --new {new} differ")
        new = new or (old if same_broker else "4.0")
        return command(*args, old=old, new=new, same_broker=same_broker, **rest)

    return chosen  # type: ignore[return-value]  # click's options are kept on the function, which is what it looks for


class _Rooms(click.Group):
    """The rehearsal is a room of its own, imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "rehearse"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "rehearse":
            return super().get_command(ctx, cmd_name)
        command: click.Command = importlib.import_module("bridge.lab.rehearse").rehearse
        return command


@click.group(cls=_Rooms)
def lab() -> None:
    """Real brokers to rehearse, test and measure with.

    From Docker where an engine answers, else from Debian's packages (as root); never the system's own RabbitMQ.
    """


@lab.command()
@broker_options
@_json
def up(old: str, new: str, nodes: int, same_broker: bool, name: str, as_json: bool) -> int:
    """Bring brokers up and print their addresses; they stay until `bridge lab down`."""
    from bridge.lab.brokers import Lab
    from bridge.progress import reporter

    with reporter() as progress:
        found = Lab.up(name, old, new, nodes=nodes, same_broker=same_broker, progress=progress)
    if not found.brokers.fresh:
        click.echo(f'lab "{name}" was up already', err=True)
    _show(found.env(), as_json=as_json)
    return Exit.DONE


@lab.command()
@_name
@_json
@click.option("--export", "as_export", is_flag=True, help="Lines for a shell: OLD_AMQP, OLD_API, NEW_AMQP, NEW_API.")
def env(name: str, as_json: bool, as_export: bool) -> int:
    """Print the addresses of a lab that is up, user and password in the URLs."""
    from bridge.lab.brokers import Lab

    if as_json and as_export:
        raise click.UsageError("--json and --export exclude each other")
    sides = Lab.attach(name).env()
    if as_export:
        for line in export_lines(sides):
            click.echo(line)
    else:
        _show(sides, as_json=as_json)
    return Exit.DONE


@lab.command()
@_name
def down(name: str) -> int:
    """End a lab's brokers and delete their data; a lab that is not up is fine."""
    from bridge.lab.brokers import take_down

    click.echo(f'lab "{name}" is down' if take_down(name) else f'lab "{name}" was not up', err=True)
    return Exit.DONE


def export_lines(sides: dict[str, SideInfo]) -> list[str]:
    """What a shell evaluates to have the addresses as variables, of each side's first node."""
    return [
        f"export {side.upper()}_{door.upper()}={shlex.quote(url)}"
        for side, info in sides.items()
        for door, url in (("amqp", info["amqp"]), ("api", info["api"]))
    ]


def _show(sides: dict[str, SideInfo], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(sides, indent=2))
        return
    for key, side in sides.items():
        click.echo(f"{key}: RabbitMQ {side['version']}")
        for node in side["nodes"]:
            click.echo(f"  {node['amqp']}")
            click.echo(f"  {node['api']}")
