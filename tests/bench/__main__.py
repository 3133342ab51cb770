"""`python -m tests.bench`: how fast the bridge moves on real brokers. Numbers are printed, never asserted."""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from bridge.errors import BridgeError, Exit, redact
from bridge.progress import reporter
from tests.bench import page as pages
from tests.bench.report import Report, kept
from tests.bench.studies import STUDIES
from tests.bench.study import Bench
from tests.bench.world import WORLDS, brought_up

if TYPE_CHECKING:
    from tests.bench.study import Sample, Study
    from tests.support.brokers import World

#: Lines that are kept of where a study failed.
TRACED = 12

_NAMES = {study.name: study for study in STUDIES}
_EPILOG = "Studies: " + ", ".join(_NAMES) + "."


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.option("--only", type=click.Choice(list(_NAMES)), multiple=True, metavar="NAME", help="This study; repeatable.")
@click.option("--world", type=click.Choice(list(WORLDS)), multiple=True, help="These brokers; repeatable.")
@click.option("--lab", metavar="NAME", help="Measure on a lab that is up (`bridge lab up`), and leave it up.")
@click.option("--runs", type=click.IntRange(1), default=4, show_default=True, help="Rounds: runs of each row.")
@click.option("--scale", type=click.FloatRange(0.001, 100), default=1.0, show_default=True, help="Times all sizes.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Keep the JSON in this file.")
@click.option("--charts", "folder", type=click.Path(file_okay=False, path_type=Path), help="Draw charts into it.")
@click.option(
    "--draw",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Measure nothing, draw this JSON; repeatable.",
)
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="With --draw: all tables as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, every run included, instead of tables.")
def bench(
    only: tuple[str, ...],
    world: tuple[str, ...],
    lab: str | None,
    runs: int,
    scale: float,
    out: Path | None,
    folder: Path | None,
    draw: tuple[Path, ...],
    page: Path | None,
    as_json: bool,
) -> int:
    """Measure the bridge on real brokers, beside everything that could be used instead.

    Without --only all studies run, each in the worlds that it is about.
    """
    if draw or page:
        return _drawn(draw, folder, page)
    chosen = tuple(_NAMES[name] for name in dict.fromkeys(only)) if only else STUDIES
    report = Report(chosen, runs, scale)
    # Without a terminal nobody wraps lines: wide enough for any row.
    console = None if as_json else Console() if sys.stdout.isatty() else Console(width=180)
    for place, studies in [("", chosen)] if lab else _by_world(chosen, world, asked=bool(only)):
        with ExitStack() as up:
            try:
                with reporter() as progress:
                    found = up.enter_context(brought_up(place, lab, progress))
                report.met(found)
            except BridgeError as fault:
                _failed(report, "", place, fault)
                continue
            for study in studies:
                _measured(report, study, found, out)
                if console is not None:
                    report.show(console, study, found.name)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=1))
    if out is not None:
        report.keep(out)
    if folder is not None:
        _draw(report.samples, folder)
    return Exit.REFUSED if report.failed else Exit.DONE


def _by_world(studies: tuple[Study, ...], worlds: tuple[str, ...], *, asked: bool) -> list[tuple[str, list[Study]]]:
    """Return what is measured in each world, so that its brokers are brought up once.

    A study runs in the worlds that it names. Where it was asked for together with worlds, these count.
    """
    found = []
    for name in worlds or WORLDS:
        here = [study for study in studies if name in study.worlds or (asked and worlds)]
        if here:
            found.append((name, here))
    return found


def _measured(report: Report, study: Study, world: World, out: Path | None) -> None:
    """Run a study in a world; each run is in the report, and kept, as soon as it is there."""
    with reporter() as progress:
        bench = Bench(report.rounds, report.scale, partial(progress, f"{study.name}, {world.name}"))
        began = time.monotonic()
        try:
            for sample in study.run(bench, world):
                report.samples.append(sample)
                if out is not None:
                    report.keep(out)
        except Exception as fault:  # noqa: BLE001  a run of an hour must not be lost to one study: it says what ended it
            _failed(report, study.name, world.name, fault)
        report.took.setdefault(study.name, {})[world.name] = round(time.monotonic() - began, 1)


def _failed(report: Report, study: str, world: str, fault: Exception) -> None:
    what = redact(str(fault) if isinstance(fault, BridgeError) else repr(fault))
    where = "".join(traceback.format_exception(fault)).splitlines()[-TRACED:]
    report.failed.append({"study": study, "world": world, "error": what, "trace": redact("\n".join(where))})
    click.echo(f"error: {' in '.join(filter(None, (study, world)))}: {what}", err=True)
    if hint := getattr(fault, "hint", None):
        click.echo(f"hint: {redact(hint)}", err=True)


def _drawn(files: tuple[Path, ...], folder: Path | None, page: Path | None) -> int:
    if not files or (folder is None and page is None):
        raise click.UsageError("--draw takes --charts FOLDER or --page FILE as well, and --page takes --draw")
    try:
        samples = [sample for file in files for sample in kept(file)]
        if folder is not None:
            _draw(samples, folder)
        if page is not None:
            page.write_text(pages.page([json.loads(file.read_text()) for file in files], STUDIES))
    except ValueError as fault:
        raise click.UsageError(str(fault)) from fault
    return Exit.DONE


def _draw(samples: list[Sample], folder: Path) -> None:
    # Its library is there for benchmarks only, and only for who wants charts.
    from tests.bench.charts import draw

    for file in draw(samples, folder):
        click.echo(f"drawn: {file}", err=True)


def main() -> int:
    """Run the command and return its exit code."""
    # Whoever stops us gets what Ctrl-C does: brokers and daemon end with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(bench.main(prog_name="python -m tests.bench", standalone_mode=False) or 0)
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


if __name__ == "__main__":
    sys.exit(main())
