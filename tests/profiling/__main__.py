"""`python -m tests.profiling`: where time goes, in the daemon on real brokers or in the core alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click

from bridge.errors import BridgeError, Exit, LabError, redact
from bridge.progress import reporter
from tests.bench.load import DAY, KIB, Load
from tests.bench.world import WORLDS, brought_up
from tests.guard.shapes import SHAPES
from tests.profiling.drain import Drained, drained
from tests.profiling.stacks import Row, rows
from tests.profiling.tools import Call, calls, sampled, sampling, traced

#: Where flame graphs are left.
FOLDER = Path(__file__).parents[2] / "build" / "profile"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--core", "shape", is_flag=False, flag_value=SHAPES[1].name, help="The core alone, no broker; a shape.")
@click.option("--seconds", type=click.FloatRange(0.5), default=8.0, show_default=True, help="With --core: how long.")
@click.option("--world", type=click.Choice(list(WORLDS)), default="3.10->4.3", show_default=True, help="Brokers.")
@click.option("--lab", metavar="NAME", help="On a lab that is up (`bridge lab up`).")
@click.option("--messages", type=click.IntRange(2000), default=30_000, show_default=True, help="Messages to drain.")
@click.option("--size", type=click.IntRange(1000), default=KIB, show_default=True, help="Bytes of each.")
@click.option("--eta", is_flag=True, help="Each has an ETA in a day.")
@click.option("--native", is_flag=True, help="Name functions in C as well.")
@click.option("--top", type=click.IntRange(1), default=25, show_default=True, help="Functions to print.")
def main(
    shape: str | None,
    seconds: float,
    world: str,
    lab: str | None,
    messages: int,
    size: int,
    eta: bool,
    native: bool,
    top: int,
) -> None:
    """Print where time goes by function, and leave flame graphs in build/profile/.

    The daemon drains the same backlog four times: untouched, sampled twice by py-spy (for the table and for the flame
    graph), and with its system calls counted by strace.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        if shape is not None:
            _core(shape, seconds, native, top)
            return
        work = Load(messages, size, DAY if eta else None)
        with reporter() as progress, brought_up(world, lab, progress) as found:
            progress("profile", f"draining {messages} messages untouched")
            plain = drained(found, work, lambda _pid: nullcontext())
            progress("profile", "the same, sampled for the table")
            stacks = FOLDER / "daemon.folded"
            drained(found, work, partial(sampled, form="raw", file=stacks, native=native))
            progress("profile", "the same, sampled for the flame graph")
            flame = FOLDER / "daemon.svg"
            drained(found, work, partial(sampled, form="flamegraph", file=flame, native=native))
            progress("profile", "the same, with its system calls counted")
            summary = FOLDER / "daemon.calls"
            drained(found, work, partial(traced, file=summary))
        _show(rows(stacks.read_text()), top, plain.user + plain.system)
        _show_drain(plain, calls(summary.read_text()))
        click.echo(f"flame graph: {_named(flame)}; the stacks of the table: {_named(stacks)}")
    except BridgeError as fault:
        click.echo(f"error: {redact(str(fault))}", err=True)
        if fault.hint:
            click.echo(f"hint: {redact(fault.hint)}", err=True)
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit(Exit.REFUSED)


def _core(shape: str, seconds: float, native: bool, top: int) -> None:
    """Sample the player of one of the guard's shapes."""
    if shape not in {one.name for one in SHAPES}:
        raise LabError(f'no shape "{shape}": there are {", ".join(one.name for one in SHAPES)}')
    stacks, flame = FOLDER / "core.folded", FOLDER / "core.svg"
    for form, file in (("raw", stacks), ("flamegraph", flame)):
        player = [sys.executable, "-m", "tests.profiling.core", f"{seconds / 2:g}", shape]
        command = [*sampling(form, file, native=native), "--", *player]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=FOLDER.parents[1])
        if done.returncode or not file.exists():
            raise LabError(f"py-spy failed: {done.stderr.strip()[-500:]}", hint="it takes root, or ptrace allowed")
    click.echo(f"the core alone, {shape}:")
    _show(rows(stacks.read_text(), "Play.play"), top, None)
    click.echo(f"flame graph: {_named(flame)}; the stacks of the table: {_named(stacks)}")


def _show(found: Sequence[Row], top: int, cost: float | None) -> None:
    """Print the table; `cost` is microseconds a message, to be shared out."""
    click.echo(f"{'own':>7}{'whole':>8}" + ("" if cost is None else f"{'us/msg':>8}") + "  function")
    for row in found[:top]:
        share = "" if cost is None else f"{row.own * cost:8.2f}"
        click.echo(f"{row.own:7.1%}{row.whole:8.1%}{share}  {row.name}")


def _show_drain(plain: Drained, made: Sequence[Call]) -> None:
    cost = plain.user + plain.system
    click.echo(
        f"{plain.rate:.0f} messages/s, {cost:.2f} us of processor time a message: "
        f"{plain.user:.2f} the daemon's own, {plain.system:.2f} the kernel's ({plain.system / cost:.0%})"
    )
    listed = ", ".join(f"{call.name} {call.count / plain.count:.3f}" for call in made[:8])
    click.echo(f"system calls a message: {listed}")


def _named(file: Path) -> str:
    return file.relative_to(FOLDER.parents[1]).as_posix()


if __name__ == "__main__":
    main()
