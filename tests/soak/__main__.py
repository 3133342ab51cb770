"""`python -m tests.soak`: the command."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from bridge.errors import BridgeError, Exit
from bridge.lab.brokers import Lab
from bridge.lab.releases import RELEASES
from tests.soak.report import Report, show
from tests.soak.run import Plan, Soak, Tell, drawn, possible

#: Faults that `--list` prints.
SHOWN = 50
#: Exit code of what a Ctrl-C broke off, as shells have it.
BROKEN_OFF = 130


@click.command()
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same faults and tasks.")
@click.option("--rate", type=click.FloatRange(1), default=60.0, show_default=True, help="Tasks a second.")
@click.option("--old", type=click.Choice(list(RELEASES)), default="3.10", show_default=True, help="Old RabbitMQ.")
@click.option("--new", type=click.Choice(list(RELEASES)), default="4.3", show_default=True, help="New RabbitMQ.")
@click.option("--nodes", type=click.IntRange(1, 7), default=3, show_default=True, help="Nodes of the new broker.")
@click.option("--only", multiple=True, help="Only faults with this in their name; may be given several times.")
@click.option("--list", "only_list", is_flag=True, help="Print the first faults that the seed draws, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the book as JSON.")
@click.option("--keep", is_flag=True, help="Keep the folder with everything that was written down.")
def main(
    minutes: float,
    seed: int,
    rate: float,
    old: str,
    new: str,
    nodes: int,
    only: tuple[str, ...],
    only_list: bool,
    as_json: bool,
    keep: bool,
) -> None:
    """Random faults beside live Celery traffic; the book of every task at the end.

    Exit code 1 when a task was lost, early or changed, when one was doubled that the daemon did not count, or when it
    did not come back by itself. Ctrl-C prints the book as it stands.
    """
    began = time.monotonic()
    console = Console(stderr=True)
    # A file or a pipe has no width to keep to.
    printed = Console(stderr=as_json, width=None if sys.stdout.isatty() else 160)

    def tell(step: str) -> None:
        seconds = int(time.monotonic() - began)
        console.print(f"{seconds // 60:02d}:{seconds % 60:02d}  {step}", highlight=False, markup=False, soft_wrap=True)

    # What ends it gently ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="bridge-soak-"))
    kept = True
    try:
        tell(f"bringing up RabbitMQ {old} and {new} with {nodes} node(s)")
        lab = Lab.up(f"soak-{os.getpid()}-{secrets.token_hex(2)}", old, new, nodes=nodes, owner_pid=os.getpid())
        try:
            if only_list:
                faults = drawn(possible(lab, only), seed)
                for _ in range(SHOWN):
                    print(next(faults)[0].name)
                code = int(Exit.DONE)
            else:
                report = _soak(lab, Plan(minutes * 60, seed, rate, only), folder, tell)
                show(report, printed)
                if as_json:
                    print(json.dumps(report.as_json(), indent=2))
                if report.verdict():
                    tell(report.verdict())
                code = _exit_code(report)
        finally:
            lab.down()
        kept = keep or code == Exit.REFUSED
    except BridgeError as fault:
        tell(f"{fault}\n{fault.hint}")
        code = fault.exit_code
    finally:
        if kept:
            tell(f"everything that was written down is in {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(code)


def _soak(lab: Lab, plan: Plan, folder: Path, tell: Tell) -> Report:
    """Soak until the end or until Ctrl-C, and return the book as it stands then."""
    soak = Soak(lab, plan, folder, tell)
    try:
        try:
            soak.run()
        except KeyboardInterrupt:
            tell("broken off; a second Ctrl-C ends without the book")
        return soak.report()
    finally:
        soak.end()


def _exit_code(report: Report) -> int:
    if report.verdict():
        return Exit.REFUSED
    return Exit.DONE if report.finished else BROKEN_OFF


if __name__ == "__main__":
    main()
