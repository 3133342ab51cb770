"""The results of the benchmarks: tables for people, JSON that is kept."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bridge import __version__
from tests.bench.study import Sample, compared, spread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from tests.bench.study import Aim, Spread, Study
    from tests.support.brokers import World

#: What takes part besides brokers and bridge, by package.
_PACKAGES = ("pika", "gevent", "kombu", "celery", "amqp")


@dataclass
class Report:
    """What was measured, where.

    Attributes:
        studies: those that were asked for.
        rounds: as asked for.
        scale: as asked for; figures of another scale than 1 are a try.
        worlds: versions and number of the target's nodes of each world that was up.
        samples: every run.
        took: seconds that each study took in each world.
        failed: studies that ended early: study, world and what was wrong.
    """

    studies: tuple[Study, ...]
    rounds: int
    scale: float
    worlds: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    took: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)

    def met(self, world: World) -> None:
        """Note the versions of a world that is up."""
        nodes = len(world.new.nodes)
        self.worlds[world.name] = {"old": world.old.version, "new": world.new.version, "nodes": nodes}

    def as_json(self) -> dict[str, Any]:
        """Return all there is, every single run included."""
        return {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "worlds": self.worlds,
            "rounds": self.rounds,
            "scale": self.scale,
            "studies": {study.name: self._study(study) for study in self.studies if self._of(study)},
            "took_s": self.took,
            "samples": [asdict(sample) for sample in self.samples],
            "failed": self.failed,
        }

    def keep(self, file: Path) -> None:
        """Write the JSON so that the file is whole at every moment."""
        beside = file.with_name(f".{file.name}.new")
        beside.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        beside.replace(file)

    def show(self, console: Console, study: Study, world: str) -> None:
        """Print what a study found in a world: medians, and the least and the most of the rounds in parentheses."""
        found = [sample for sample in self._of(study) if sample.world == world]
        if not found:
            return
        about = self.worlds[world]
        nodes = f", {about['nodes']} nodes" if about["nodes"] > 1 else ""
        # A column that nobody filled is left out.
        columns = [column for column in study.columns if spread(found, column.key)]
        table = Table(title=f"{study.name}: RabbitMQ {about['old']} -> {about['new']}{nodes}", caption=study.about)
        table.add_column("shape")
        table.add_column("who")
        for title in (*(column.title for column in columns), "load average"):
            table.add_column(title, justify="right")
        for shape, row in rows(found):
            mine = [sample for sample in found if (sample.shape, sample.row) == (shape, row)]
            cells = [(spread(mine, column.key), column.digits) for column in columns]
            load = max(sample.load for sample in mine)
            table.add_row(
                shape, row, *(figure.text(digits) if figure else "" for figure, digits in cells), f"{load:.1f}"
            )
        console.print(table)
        for text in aims_met(study, world, found):
            console.print(text, highlight=False)
        if (took := self.took.get(study.name, {}).get(world)) is not None:
            console.print(f"  {len(found)} runs in {took:.0f} s", highlight=False)

    def _of(self, study: Study) -> list[Sample]:
        return [sample for sample in self.samples if sample.study == study.name]

    def _study(self, study: Study) -> dict[str, Any]:
        mine = self._of(study)
        worlds = list(dict.fromkeys(sample.world for sample in mine))
        figures, aims = [], []
        for world in worlds:
            here = [sample for sample in mine if sample.world == world]
            for shape, row in rows(here):
                same = [sample for sample in here if (sample.shape, sample.row) == (shape, row)]
                keys = dict.fromkeys(key for sample in same for key in sample.values)
                values = {key: asdict(figure) for key in keys if (figure := spread(same, key))}
                figures.append({"world": world, "shape": shape, "row": row, "runs": len(same), "values": values})
            for aim, shape, figure in _aimed(study, world, here):
                wanted = asdict(aim) | {"world": world, "shape": shape}
                aims.append(wanted | {"seen": asdict(figure), "met": aim.met(figure.median)})
        return {
            "about": study.about,
            "columns": [asdict(column) for column in study.columns],
            "figures": figures,
            "aims": aims,
        }


def machine() -> dict[str, Any]:
    """Return what it was measured on."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gib": round(pages * size / 2**30, 1),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Return the versions of everything that takes part, the brokers apart."""
    return {
        "bridge": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def kept(file: Path) -> list[Sample]:
    """Return the runs of a report that was written with `Report.keep`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a report.
    """
    try:
        return [Sample(**sample) for sample in json.loads(file.read_text())["samples"]]
    except (KeyError, TypeError) as fault:
        raise ValueError(f"{file} is not a report of the benchmarks: {fault!r}") from fault


def aims_met(study: Study, world: str, found: list[Sample]) -> Iterable[str]:
    """Say of each aim what was seen of it in a world, and whether that is enough."""
    for aim, shape, figure in _aimed(study, world, found):
        what = f"{aim.row}, {shape}: {_title(study, aim.value)}"
        if aim.than is not None:
            what += f" / {aim.than}" + (f", {aim.than_shape}" if aim.than_shape else "")
        yield f"  {'yes' if aim.met(figure.median) else 'NO '}  {what}: {figure.text(2)}, aim {aim.text()}"


def rows(samples: Iterable[Sample]) -> list[tuple[str, str]]:
    """Return shapes and rows in the order in which they were first measured, shape by shape."""
    shapes = list(dict.fromkeys(sample.shape for sample in samples))
    found = dict.fromkeys((sample.shape, sample.row) for sample in samples)
    return sorted(found, key=lambda pair: shapes.index(pair[0]))


def _aimed(study: Study, world: str, samples: list[Sample]) -> Iterable[tuple[Aim, str, Spread]]:
    """Return each aim with each shape that it concerns and that was measured, and what was seen of it."""
    for aim in study.aims:
        for shape in dict.fromkeys(sample.shape for sample in samples):
            if aim.concerns(world, shape) and (figure := compared(aim, samples, world, shape)):
                yield aim, shape, figure


def _title(study: Study, key: str) -> str:
    return next((column.title for column in study.columns if column.key == key), key)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
