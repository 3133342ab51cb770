"""`bridge lab rehearse`: the command; what it rehearses is in `rehearsal`, what it measures in `report`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.errors import Exit
from bridge.lab.commands import broker_options

if TYPE_CHECKING:
    from bridge.lab.brokers import Lab
    from bridge.lab.report import Report
    from bridge.progress import Progress

#: Options that choose brokers: when none is named, a lab that is up is used as it is.
_CHOOSING = ("old", "new", "nodes", "same_broker")


@click.command()
@broker_options
@click.option("--tasks", type=click.IntRange(100), default=20_000, show_default=True, help="Tasks in the backlog.")
@click.option(
    "--eta-share", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Part of them with an ETA."
)
@click.option(
    "--eta-window",
    type=click.FloatRange(3),
    default=60.0,
    show_default=True,
    help="ETAs are 2 to so many seconds ahead.",
)
@click.option("--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Live tasks a second.")
@click.option(
    "--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="How long to measure before and after."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed sends the same tasks.")
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Empty the target's vhost first; check, apply and the printed Celery settings make it.",
)
@click.option(
    "--daemon",
    metavar="COMMAND",
    default="",
    help="Rehearse with this program as the bridge, in a container for one; {folder} is the rehearsal's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--keep", is_flag=True, help="Keep the lab and the folder with everything that was written down.")
def rehearse(
    old: str, new: str, nodes: int, same_broker: bool, name: str, daemon: str, as_json: bool, keep: bool, **size: Any
) -> int:
    """Rehearse a whole migration with real Celery producers and workers, and print what was measured.

    Uses the lab NAME if it is up, else brings it up and takes it down again. The rehearsal's queues are deleted before
    and after. Exit code 1 when a task was lost, executed early or changed, or the service manager not told the truth.
    """
    from rich.console import Console

    from bridge.lab.report import show
    from bridge.progress import reporter

    folder = Path(tempfile.mkdtemp(prefix="bridge-rehearsal-"))
    wanted = {"old": old, "new": new, "nodes": nodes, "same_broker": same_broker}
    clean = False
    try:
        with _terminable(), reporter() as progress, _lab(name, wanted, keep, progress) as lab:
            report = _rehearse(lab, folder, size, progress, shlex.split(daemon))
            one = ", two vhosts of one broker" if lab.old.cluster is lab.new.cluster else ""
            title = f"RabbitMQ {lab.old.version} -> {lab.new.version}{one}"
        clean = not report.faults
    finally:
        if clean and not keep:
            shutil.rmtree(folder)
        else:
            click.echo(f"what was written down is in {folder}", err=True)
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        # Without a terminal nobody wraps lines.
        show(report, title, Console() if sys.stdout.isatty() else Console(width=120))
    return _judge(report, folder)


def _rehearse(lab: Lab, folder: Path, size: dict[str, Any], progress: Progress, daemon: list[str]) -> Report:
    from bridge.lab.rehearsal import Plan, Rehearsal
    from bridge.lab.subject import COMMAND

    if size["from_scratch"]:
        progress("rehearsal", "emptying the target's vhost")
        lab.new.cluster.drop_vhost(lab.new.vhost)
        lab.new.cluster.make_vhost(lab.new.vhost)
    sides = lab.env()
    source, target = ({key: side[key] for key in ("amqp", "api", "version")} for side in (sides["old"], sides["new"]))
    rehearsal = Rehearsal(source, target, Plan(**size), folder, progress, daemon or COMMAND)
    try:
        return rehearsal.run()
    finally:
        rehearsal.end()


def _judge(report: Report, folder: Path) -> int:
    """Say what went wrong, with examples; all of it goes to a file."""
    from bridge.lab.report import EXAMPLES

    if report.faults:
        details = folder / "faults.json"
        details.write_text(json.dumps(report.faults, indent=2, ensure_ascii=False))
        for kind, found in report.faults.items():
            for line in found[:EXAMPLES]:
                click.echo(f"{kind}: {line}", err=True)
        click.echo(f"all of them: {details}", err=True)
    verdict = report.verdict()
    if verdict:
        click.echo(verdict, err=True)
    return Exit.REFUSED if verdict else Exit.DONE


@contextmanager
def _lab(name: str, wanted: dict[str, Any], keep: bool, progress: Progress) -> Iterator[Lab]:
    """Give a lab that is up, or one that ends with us, however we end."""
    from bridge.lab.brokers import Lab

    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    chosen = any(context.get_parameter_source(option) is not default for option in _CHOOSING)
    found = None if chosen else Lab.find(name)
    lab = found or Lab.up(name, **wanted, owner_pid=None if keep else os.getpid(), progress=progress)
    try:
        yield lab
    finally:
        if lab.brokers.fresh and not keep:
            progress("rehearsal", "taking the lab down")
            lab.down()


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the rehearsal as Ctrl-C does: with everything that it started."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
