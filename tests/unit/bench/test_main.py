"""Which study runs in which world."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from bridge.errors import LabError
from tests.bench import __main__ as command
from tests.bench.report import Report
from tests.bench.studies import STUDIES
from tests.bench.study import Study
from tests.bench.world import WORLDS
from tests.support.brokers import World

ONE = Study("one", "", (), (), ("3.10->4.3",), lambda bench, world: iter(()))
TWO = replace(ONE, name="two", worlds=("3.10->4.0", "3.10->4.3"))


def chosen(*worlds: str, asked: bool) -> list[tuple[str, list[str]]]:
    found = command._by_world((ONE, TWO), worlds, asked=asked)
    return [(name, [study.name for study in studies]) for name, studies in found]


def test_each_world_is_brought_up_once_for_the_studies_that_name_it() -> None:
    assert chosen(asked=False) == [("3.10->4.0", ["two"]), ("3.10->4.3", ["one", "two"])]


def test_a_world_leaves_out_what_is_not_about_it() -> None:
    assert chosen("3.10->4.0", asked=False) == [("3.10->4.0", ["two"])]


def test_a_study_that_is_asked_for_runs_in_any_world() -> None:
    assert chosen("3.10->3.10", asked=True) == [("3.10->3.10", ["one", "two"])]


def test_every_study_has_its_name_alone_and_worlds_that_there_are() -> None:
    assert len({study.name for study in STUDIES}) == len(STUDIES)
    assert {world for study in STUDIES for world in study.worlds} <= set(WORLDS)
    assert all(aim.world in {None, *WORLDS} for study in STUDIES for aim in study.aims)


def test_a_study_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(bench: object, world: object) -> None:
        raise LabError("the queue is gone")

    report = Report((ONE, TWO), 1, 1.0)
    world = World("3.10->4.3", None, None)  # type: ignore[arg-type]  # nothing is asked of the brokers
    command._measured(report, replace(ONE, run=fails), world, None)  # type: ignore[arg-type]  # it ends before it yields
    command._measured(report, TWO, world, None)
    assert [(failed["study"], failed["error"]) for failed in report.failed] == [("one", "the queue is gone")]
    assert set(report.took) == {"one", "two"}
    assert "error: one in 3.10->4.3: the queue is gone" in capsys.readouterr().err


def test_drawing_needs_a_folder() -> None:
    said = CliRunner().invoke(command.bench, ["--draw", __file__])
    assert said.exit_code == 2
    assert "--draw takes --charts FOLDER or --page FILE as well" in said.output
