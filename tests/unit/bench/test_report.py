"""The results of the benchmarks: what is printed, what is kept, what is drawn from it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tests.bench import charts
from tests.bench.page import page
from tests.bench.report import Report, kept
from tests.bench.study import CPU, RATE, Aim, Sample, Study

if TYPE_CHECKING:
    from pathlib import Path

WORLD = "3.10->4.3"
STUDY = Study(
    "movers",
    "who moves how fast",
    (RATE, CPU),
    (Aim("bridge", "rate", "Shovel", least=1.2), Aim("bridge", "rate", None, least=1000)),
    (WORLD,),
    lambda bench, world: iter(()),
)


def report() -> Report:
    found = Report((STUDY,), 2, 1.0, {WORLD: {"old": "3.10.8", "new": "4.3.6", "nodes": 1}})
    for number, rate in enumerate((100.0, 120.0), 1):
        found.samples += [
            Sample("movers", WORLD, "1 KiB", "bridge", number, {"rate": rate, "cpu_us": 9.0}, 0.5),
            Sample("movers", WORLD, "1 KiB", "Shovel", number, {"rate": 50.0}, 0.5),
        ]
    return found


def test_a_table_has_medians_and_says_which_aims_are_met() -> None:
    printed = io.StringIO()
    report().show(Console(file=printed, width=160), STUDY, WORLD)
    text = printed.getvalue()
    assert "movers: RabbitMQ 3.10.8 -> 4.3.6" in text
    assert "110 (100-120)" in text
    assert "yes  bridge, 1 KiB: messages/s / Shovel: 2.20 (2.00-2.40), aim >= 1.2" in text
    assert "NO   bridge, 1 KiB: messages/s: 110.00 (100.00-120.00), aim >= 1000" in text


def test_nothing_is_printed_of_a_study_that_measured_nothing() -> None:
    printed = io.StringIO()
    report().show(Console(file=printed), STUDY, "3.10->4.0")
    assert not printed.getvalue()


def test_what_is_kept_has_every_run_and_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    report().keep(file)
    assert kept(file) == report().samples
    found = json.loads(file.read_text())
    assert found["worlds"][WORLD]["new"] == "4.3.6"
    assert {"machine", "versions", "made", "failed"} <= set(found)
    assert [aim["met"] for aim in found["studies"]["movers"]["aims"]] == [True, False]
    assert found["studies"]["movers"]["figures"][1]["values"] == {"rate": {"median": 50, "least": 50, "most": 50}}


def test_the_page_has_conditions_medians_and_aims() -> None:
    text = page([report().as_json()], (STUDY,))
    assert "## movers, 3.10->4.3\n\nWho moves how fast.\n\nRabbitMQ 3.10.8 and 4.3.6; " in text
    assert "| 1 KiB | bridge | 110 (100-120) | 9.0 | 0.5 |" in text
    assert "- NO   bridge, 1 KiB: messages/s: 110.00 (100.00-120.00), aim >= 1000" in text


def test_the_later_of_two_reports_counts() -> None:
    before, after = report().as_json(), report()
    after.samples = after.samples[2:]
    text = page([after.as_json() | {"made": "2031-01-01T00:00:00+00:00"}, before], (STUDY,))
    assert "| 1 KiB | bridge | 120 | 9.0 | 0.5 |" in text
    assert text.count("## movers") == 1


def test_another_file_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a report of the benchmarks"):
        kept(tmp_path / "other.json")


def test_charts_stand_alone_and_stay_the_same(tmp_path: Path) -> None:
    files = charts.draw(report().samples, tmp_path / "charts")
    assert [file.name for file in files] == ["movers.svg"]
    text = files[0].read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    assert "<script" not in text
    assert text.count("http") == text.count("http://www.w3.org")
    assert charts.draw(report().samples, tmp_path / "charts")[0].read_text() == text
