from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.guard import __main__ as command
from tests.guard import counted, figures
from tests.guard.counted import Counts, Missing, Python
from tests.guard.figures import Change, Kept, compare, load, nearest, save
from tests.guard.shapes import BURDENED, SHAPES, Play

HERE = Python("python3", "3.11.7", "x86_64", "3.11.7 (main)", ())
PLAIN = SHAPES[1].name


def kept(version: str = "3.11.7", machine: str = "x86_64", **costs: float) -> Kept:
    return Kept(version, machine, f"{version} (main)", 20_000, {}, costs)


@pytest.mark.parametrize("shape", [*SHAPES, BURDENED], ids=lambda shape: shape.name)
def test_every_shape_is_moved_whole(shape) -> None:
    play = Play(shape)
    for _ in range(2):
        play.play(play.chunks(240))
    play.check()
    assert play.counts.confirmed >= 480 - 80 - shape.chunk


@pytest.mark.parametrize(
    ("now", "verdict"), [(2.0, "same"), (2.05, "same"), (1.95, "same"), (2.07, "dearer"), (1.93, "cheaper")]
)
def test_a_shape_is_dearer_or_cheaper_beyond_the_tolerance(now: float, verdict: str) -> None:
    [change] = compare(kept(due=2.0), HERE, {"due": now})
    assert change.verdict == verdict


def test_a_shape_without_a_figure_is_new() -> None:
    assert compare(kept(), HERE, {"due": 2.0}) == [Change("due", None, 2.0, figures.SAME_BUILD)]
    assert compare(kept(), HERE, {"due": 2.0})[0].verdict == "new"


@pytest.mark.parametrize(
    ("version", "tolerance"),
    [("3.11.7", figures.SAME_BUILD), ("3.11.2", figures.SAME_MINOR), ("3.13.0", figures.OTHER)],
)
def test_the_tolerance_follows_from_how_near_the_python_is(version: str, tolerance: float) -> None:
    assert kept(version).tolerance(HERE) == tolerance


def test_figures_of_the_nearest_python_on_the_same_kind_of_machine_are_compared_with() -> None:
    all_kept = [kept("3.13.0"), kept("3.12.1"), kept("3.11.2", machine="aarch64")]
    assert nearest(all_kept, HERE) == all_kept[1]
    assert nearest(all_kept[2:], HERE) is None
    assert nearest([], HERE) is None


def test_figures_come_back_as_they_were_kept(tmp_path: Path) -> None:
    one = Kept.of(HERE, Counts(20_000.4, {"due": 41_000.0}))
    assert one.costs == {"due": 2.05}
    save([one], tmp_path / "figures.json")
    assert load(tmp_path / "figures.json") == [one]
    assert load(tmp_path / "none.json") == []


def test_every_shape_has_a_figure() -> None:
    for one in load():
        assert set(one.costs) == {shape.name for shape in SHAPES}, f"make guard-update (Python {one.version})"


def counts(monkeypatch: pytest.MonkeyPatch, burdened: float = 45_000.0, **messages: float) -> None:
    """Have the command count this: 40 000 instructions a message, 20 000 a round of the calibration."""
    found = {shape.name: 40_000.0 for shape in SHAPES} | messages | {BURDENED.name: burdened}
    same = {shape.name: 2.0 for shape in SHAPES}
    monkeypatch.setattr(Python, "at", lambda program: HERE)
    monkeypatch.setattr(command, "load", lambda: [Kept("3.11.7", "x86_64", HERE.build, 20_000, {}, same)])
    monkeypatch.setattr(command, "count", lambda python, names: Counts(20_000.0, {name: found[name] for name in names}))


def test_the_same_costs_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch)
    done = CliRunner().invoke(command.main)
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_dearer_shape_fails_and_says_which_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, **{"ETA in a day": 44_000.0})
    done = CliRunner().invoke(command.main)
    assert done.exit_code == 1
    assert 'guard: "ETA in a day" costs 10.0% more than before (2.0 -> 2.200, 3% allowed)' in done.stderr
    assert "make profile" in done.stderr
    assert "make guard-update" in done.stderr
    assert "expiration" not in done.stderr


def test_a_cheaper_shape_passes_and_asks_for_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, expiration=30_000.0)
    done = CliRunner().invoke(command.main)
    assert done.exit_code == 0
    assert "make guard-update" in done.output


def test_a_guard_that_sees_no_burden_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, burdened=40_100.0)
    done = CliRunner().invoke(command.main)
    assert done.exit_code == 1
    assert "the guard itself is broken" in done.stderr


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_valgrind_it_is_skipped_but_never_in_ci(monkeypatch: pytest.MonkeyPatch, ci: str, code: int) -> None:
    def missing(python: Python, names: list[str]) -> Counts:
        raise Missing("valgrind is not installed", "apt-get install valgrind")

    monkeypatch.setattr(Python, "at", lambda program: HERE)
    monkeypatch.setattr(command, "count", missing)
    monkeypatch.setenv("CI", ci)
    done = CliRunner().invoke(command.main)
    assert done.exit_code == code
    assert "apt-get install valgrind" in done.stderr


def test_a_python_that_does_not_run_is_named() -> None:
    with pytest.raises(counted.GuardError, match="no-such-python does not run"):
        Python.at("no-such-python")
