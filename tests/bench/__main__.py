"""`python -m tests.bench relay`: how fast the bridge moves on real brokers. Numbers are printed, never asserted."""

from __future__ import annotations

import json
import signal
import sys

import click
from rich.console import Console

from bridge.errors import BridgeError, Exit, redact
from bridge.lab.progress import reporter
from tests.bench.relay import contenders, measured
from tests.bench.report import Report
from tests.bench.world import WORLDS, brought_up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure the bridge on real brokers."""


@bench.command()
@click.option("--world", type=click.Choice(list(WORLDS)), default="3.10->4.3", show_default=True, help="Brokers.")
@click.option("--lab", metavar="NAME", help="Measure on a lab that is up (`bridge lab up`), and leave it up.")
@click.option("--messages", type=click.IntRange(1000), default=40_000, show_default=True, help="Due messages a run.")
@click.option(
    "--eta-messages", type=click.IntRange(4000), default=10_000, show_default=True, help="With an ETA, a run."
)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Rounds: runs of each mover.")
@click.option(
    "--shovel",
    type=click.Choice(["direct", "tcp"]),
    default="direct",
    show_default=True,
    help="How the Shovel connects to the broker it runs on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, every run included.")
def relay(world: str, lab: str | None, messages: int, eta_messages: int, runs: int, shovel: str, as_json: bool) -> None:
    """Move queues by the bridge and by the Shovel in turn, and ETA messages by both ways into the ladder."""
    rows = contenders(direct=shovel == "direct")
    with reporter() as progress, brought_up(world, lab, progress) as found:
        results = measured(found, rows, runs, messages, eta_messages, progress)
        # While the brokers are up: they are asked for their versions.
        answer = Report.of(found, rows, results)
    if as_json:
        click.echo(json.dumps(answer.as_json(), indent=2))
    else:
        # Without a terminal nobody wraps lines: wide enough for any row.
        answer.show(Console() if sys.stdout.isatty() else Console(width=160))


def main() -> int:
    """Run the command and return its exit code."""
    # Whoever stops us gets what Ctrl-C does: brokers and daemon end with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bench.main(prog_name="python -m tests.bench", standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        return Exit.USAGE
    except click.Abort:
        return Exit.REFUSED
    except BridgeError as fault:
        click.echo(f"error: {redact(str(fault))}", err=True)
        if fault.hint:
            click.echo(f"hint: {redact(fault.hint)}", err=True)
        return fault.exit_code
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
