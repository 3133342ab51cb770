"""The command `bridge`.

1. Nothing heavy is imported at the top: `bridge run` patches the standard library for gevent before anything takes a
   socket from it, and `bridge config check` starts without gevent at all.
2. Everything ends in an exit code of `Exit`, and what goes wrong in a sentence; a traceback only with BRIDGE_DEBUG=1.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence

import click

from bridge import __version__
from bridge.cli_shared import admin_socket, named, print_json
from bridge.errors import BridgeError, ConfigError, Exit, Refused, redact

#: Commands that live in other rooms: name -> module, attribute, sentence, extra of the distribution that it needs.
_LAZY = {
    **{
        name: ("bridge.cli_control", name, sentence, "")
        for name, sentence in {
            "cancel": "Take back what was postponed.",
            "canary": "Send a share of a queue to the target.",
            "changes": "List who changed what, when and why.",
            "cutover": "Send everything of a queue to the target.",
            "dual": "Send everything to both sides (inline only).",
            "legacy": "Give a queue back to the old workers.",
            "pause": "Move nothing of a queue until `resume`.",
            "rate": "Limit queues to a rate, or show the limits.",
            "resume": "Go on after `pause`.",
            "rollback": "Go back; with --reverse, bring back what waits on the target.",
        }.items()
    },
    "apply": ("bridge.cli_topology", "apply", "Make what the plan says on the target, step by step.", ""),
    "certify": ("bridge.cli_certify", "certify", "Say whether the old vhost can be deleted.", ""),
    "health": ("bridge.cli_health", "health", "Say whether the daemon lives, for health checks.", ""),
    "lab": ("bridge.lab.commands", "lab", "Real brokers to rehearse on, and the rehearsal.", "lab"),
    "permissions": ("bridge.cli_topology", "permissions", "Print the least rights that the bridge's users need.", ""),
    "plan": ("bridge.cli_topology", "plan", "Print what is still to be made on the target, call by call.", ""),
    "quarantine": ("bridge.cli_quarantine", "quarantine", "Messages that could not be moved: see, send on.", ""),
    "replay": ("bridge.cli_replay", "replay", "Send copies of the backup stream again.", ""),
    "status": ("bridge.cli_status", "status", "Show what the daemon is doing, queue by queue.", ""),
    "workers": ("bridge.cli_workers", "workers", "The old workers: see them, have them stop consuming.", ""),
}
#: Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
_INTERRUPTED = 130


class _Doors(click.Group):
    """The top level: what is lazy is imported when it is called, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LAZY])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        module, attribute, _, extra = _LAZY[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing == "bridge" or not extra:
                raise
            raise Refused(
                f"`bridge {cmd_name}` needs the Python package {missing}, which is not installed",
                hint=f"pip install 'celery-quorum-bridge[{extra}]'",
            ) from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.commands.get(name)
            rows.append((name, command.get_short_help_str(80) if command else _LAZY[name][2]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Doors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", "file", metavar="FILE", envvar="BRIDGE_CONFIG", help="Or BRIDGE_CONFIG.")
@click.version_option(__version__, prog_name="bridge")
@click.pass_context
def bridge(ctx: click.Context, file: str | None) -> None:
    """Move a live Celery installation from RabbitMQ classic queues to quorum queues.

    Exit codes: 0 done, 1 refused, 2 usage or configuration, 3 a broker or the daemon cannot be reached.
    """
    ctx.obj = file


@bridge.command()
@click.pass_obj
def run(file: str | None) -> int:
    """Run the daemon in the foreground, until SIGTERM or SIGINT.

    SIGUSR1 cuts all queues in scope over, SIGUSR2 gives them back to the old workers, SIGHUP reads the configuration
    again.
    """
    name = named(file)
    # Nothing that is imported becomes garbage: looking for some is a fifth of the start. `Daemon` turns it on again.
    gc.disable()
    from gevent import events, monkey

    # At each of its steps gevent would ask the metadata of every installed distribution who listens: a fifth of a
    # second, and nobody does.
    events.notify_and_call_entry_points = events.notify  # type: ignore[attr-defined]
    monkey.patch_all()
    from bridge import daemon

    return daemon.run(name)


@bridge.command()
@click.option("--json", "as_json", is_flag=True, help='{"total": N, "listed": [{"queue", "id", "why", "at"}, ...]}')
@click.option("--socket", metavar="PATH", help="The daemon's admin socket, instead of the configuration's.")
@click.pass_obj
def duplicates(file: str | None, as_json: bool, socket: str | None) -> None:
    """List the tasks that may run twice, by id: a line each, queue, task id, when and why, between tabs."""
    from bridge.admin_client import fetch

    answer = fetch(admin_socket(file, socket), "duplicates")
    if as_json:
        print_json(answer)
        return
    for one in answer["listed"]:
        click.echo("\t".join((one["queue"], one["id"], one["at"], one["why"])))
    left = answer["total"] - len(answer["listed"])
    rest = f", the oldest {left} of them in the log only" if left > 0 else ""
    click.echo(f"{answer['total']} possible duplicates{rest}", err=True)


@bridge.command("check")
@click.option("--json", "as_json", is_flag=True, help='{"findings": [...], "blockers": N, "warnings": N, "notes": N}')
@click.pass_obj
def check_brokers(file: str | None, as_json: bool) -> int:
    """Look at both brokers and say what would go wrong, and what to do about it; exit 1 if there are blockers.

    Nothing is changed, and no message is taken.
    """
    name = named(file)
    from rich.console import Console

    from bridge import check_view, checking
    from bridge.core.check.rules import blocked

    found = checking.findings(name)
    if as_json:
        print_json(check_view.as_json(found))
    else:
        check_view.show(found, Console() if sys.stdout.isatty() else Console(width=200))
    return Exit.REFUSED if blocked(found) else Exit.DONE


@bridge.group()
def config() -> None:
    """Check a configuration, and look up what may be in one."""


@config.command()
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help='{"file", "ok", "faults": [{"path", "found", "allowed"}]}')
@click.pass_obj
def check(default: str | None, file: str | None, as_json: bool) -> int:
    """Say everything that is wrong with FILE; exit 2 if anything is. Brokers are not asked."""
    from bridge.config import load

    name = named(file or default)
    faults = []
    try:
        load(name, os.environ)
    except ConfigError as error:
        if not as_json:
            raise
        faults = [{"path": fault.path, "found": fault.found, "allowed": fault.allowed} for fault in error.faults]
    if as_json:
        print_json({"file": name, "ok": not faults, "faults": faults})
    else:
        click.echo(f"{name}: no faults")
    return Exit.USAGE if faults else Exit.DONE


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from bridge.config import schema

    print_json(schema())


@config.command()
def reference() -> None:
    """Print the reference page of the configuration, as Markdown."""
    from bridge.config_reference import reference

    click.echo(reference(), nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        result = bridge.main(arguments, prog_name="bridge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BridgeError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {redact(line)}", err=True)
        if error.hint:
            click.echo(f"hint: {redact(error.hint)}", err=True)
        return error.exit_code
    except Exception as error:
        # The last door: no traceback reaches an operator who did not ask for it.
        if os.environ.get("BRIDGE_DEBUG") == "1":
            raise
        text = redact(" ".join(str(error).split()))
        click.echo(f"unexpected error: {type(error).__name__}: {text}", err=True)
        click.echo("hint: BRIDGE_DEBUG=1 in the environment shows where it comes from", err=True)
        return Exit.REFUSED
    return result if isinstance(result, int) else Exit.DONE
