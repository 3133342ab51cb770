"""`python -m tests.guard`: counts what a message costs the core, and compares with the figures that are kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tests.guard.counted import Counts, GuardError, Missing, Python, count
from tests.guard.figures import FILE, Change, Kept, compare, load, nearest, save
from tests.guard.shapes import BURDENED, SHAPES
from tests.support.ci import in_ci

_NAMES = [shape.name for shape in SHAPES]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Only this shape; may be given several times.")
@click.option("--update", is_flag=True, help="Keep what is counted now, for the given Pythons and no others.")
@click.option("--python", "programs", multiple=True, metavar="PROGRAM", help="Instead of this one; may be repeated.")
def main(only: Sequence[str], update: bool, programs: Sequence[str]) -> None:
    """Count the instructions of the core's hot path for fixed input. Exit code 1 when a shape got dearer."""
    if update and only:
        raise click.UsageError("--update keeps all shapes: leave --only out")
    try:
        pythons = [Python.at(program) for program in programs or (sys.executable,)]
        names = [name for name in _NAMES if not only or name in only]
        if update:
            _update(pythons, names)
            return
        passed = [_passes(python, names) for python in pythons]
        if not all(passed):
            sys.exit(1)
    except Missing as fault:
        click.echo(f"guard: {fault}\nguard: hint: {fault.hint}", err=True)
        # Like tests that need brokers: skipped where it cannot run, but never in CI.
        sys.exit(1 if in_ci() else 0)
    except GuardError as fault:
        click.echo(f"guard: {fault}" + (f"\nguard: hint: {fault.hint}" if fault.hint else ""), err=True)
        sys.exit(1)


def _update(pythons: Sequence[Python], names: Sequence[str]) -> None:
    before = load()
    kept = [Kept.of(python, count(python, names)) for python in pythons]
    save(kept)
    for one in kept:
        click.echo(f"guard: kept the figures of Python {one.version} on {one.machine}")
    left = [f"{one.version} on {one.machine}" for one in before if one.minor not in {new.minor for new in kept}]
    if left:
        click.echo(
            f"guard: dropped those of {', '.join(left)}, which were of an older core; --python keeps more of them"
        )
    click.echo(f"guard: commit tests/guard/{FILE.name}, and say in the message what got dearer or cheaper, and why")


def _passes(python: Python, names: Sequence[str]) -> bool:
    """Count, print the table, and say whether nothing got dearer."""
    counts = count(python, [*names, BURDENED.name])
    kept = nearest(load(), python)
    if kept is None:
        click.echo(
            f"guard: no figures are kept for {python.machine}: nothing to compare with; `make guard-update` keeps"
        )
        kept = Kept.of(python, counts)
    changes = compare(kept, python, {name: cost for name, cost in counts.costs.items() if name in names})
    click.echo(_table(python, kept, counts, changes))
    if not _sees_a_burden(python, counts):
        click.echo(
            "guard: it did not see a relay that was made dearer on purpose: the guard itself is broken", err=True
        )
        return False
    dearer = [change for change in changes if change.verdict == "dearer"]
    for change in dearer:
        click.echo(
            f'guard: "{change.name}" costs {change.by:.1%} more than before ({change.before} -> {change.now:.3f}, '
            f"{change.tolerance:.0%} allowed)",
            err=True,
        )
    if dearer:
        click.echo(
            'guard: where it goes: make profile ARGS="--core"; '
            "when it is worth its price: make guard-update, and commit the figures with the reason",
            err=True,
        )
    elif any(change.verdict != "same" for change in changes):
        click.echo("guard: nothing is dearer; make guard-update keeps the better figures, so that they are guarded too")
    return not dearer


def _sees_a_burden(python: Python, counts: Counts) -> bool:
    """Whether the same relay with one more copy of each message is found dearer than without."""
    burdened = SHAPES[1].name
    if burdened not in counts.costs:
        return True
    plain = Kept.of(python, counts)
    [change] = compare(plain, python, {burdened: counts.costs[BURDENED.name]})
    return change.verdict == "dearer"


def _table(python: Python, kept: Kept, counts: Counts, changes: Sequence[Change]) -> str:
    beside = f"kept: {kept.version}, {kept.tolerance(python):.0%} allowed"
    lines = [
        f"instructions of a message in the core, Python {python.version} on {python.machine}; {beside}",
        f"{'':34}{'instructions':>13}{'cost':>9}{'kept':>9}{'change':>9}",
    ]
    for change in changes:
        before = "" if change.before is None else f"{change.before:.3f}"
        lines.append(
            f"{change.name:34}{counts.messages[change.name]:13,.0f}{change.now:9.3f}{before:>9}{change.by:>+9.1%}"
            f"  {'' if change.verdict == 'same' else change.verdict}".rstrip()
        )
    lines.append(f"{'(a round of the calibration)':34}{counts.calibration:13,.0f}{1:9.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
