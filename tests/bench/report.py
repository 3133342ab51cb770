"""The result of a benchmark as a table for people and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bridge import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from tests.bench.relay import Contender, Run
    from tests.support.brokers import World


@dataclass(frozen=True)
class Spread:
    """The same figure of several rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        """Return the spread of at least one figure."""
        found = sorted(figures)
        return cls(statistics.median(found), found[0], found[-1])

    def text(self, digits: int) -> str:
        """Return `median (min-max)`."""
        median, least, most = (
            f"{figure:,.{digits}f}".replace(",", " ") for figure in (self.median, self.min, self.max)
        )
        return f"{median} ({least}-{most})"


@dataclass(frozen=True)
class Row:
    """One contender's figures.

    Attributes:
        rate: messages a second.
        cpu_us: microseconds of the daemon per message.
        times: how many times as fast as the row it is compared with, round by round.
        load: load averages at the beginning of its runs.
    """

    contender: Contender
    messages: int
    rate: Spread
    cpu_us: Spread | None
    times: Spread | None
    load: Spread

    def as_json(self) -> dict[str, Any]:
        """Return it with its targets; null where there is none."""
        other, least = self.contender.versus or (None, None)
        return {
            "name": self.contender.name,
            "messages": self.messages,
            "messages_per_s": asdict(self.rate),
            "times_as_fast": asdict(self.times) if self.times else None,
            "times_as_fast_as": other,
            "times_as_fast_target": least,
            "cpu_us_per_message": asdict(self.cpu_us) if self.cpu_us else None,
            "cpu_us_target": self.contender.cpu,
            "load_average": asdict(self.load),
        }

    def cells(self) -> list[str]:
        """Return its row of the table."""
        return [
            self.contender.name,
            str(self.messages),
            self.rate.text(0),
            self.cpu_us.text(1) if self.cpu_us else "in the broker",
            f"<= {self.contender.cpu:g}" if self.contender.cpu else "",
            self.load.text(1),
        ]


def rows(contenders: list[Contender], runs: list[Run]) -> list[Row]:
    """Return the figures of every contender."""
    found = []
    for row in contenders:
        mine = [run for run in runs if run.contender == row.name]
        costs = [run.cpu_us for run in mine if run.cpu_us is not None]
        times = None
        if row.versus is not None:
            theirs = {run.round: run.rate for run in runs if run.contender == row.versus[0]}
            times = Spread.of(run.rate / theirs[run.round] for run in mine)
        found.append(
            Row(
                row,
                mine[0].messages,
                Spread.of(run.rate for run in mine),
                Spread.of(costs) if costs else None,
                times,
                Spread.of(run.load for run in mine),
            )
        )
    return found


def machine() -> dict[str, Any]:
    """Return what it was measured on."""
    return {"cores": len(os.sched_getaffinity(0)), "cpu": _cpu_model(), "kernel": platform.release()}


def versions(world: World) -> dict[str, str]:
    """Return the versions of everything that takes part."""
    return {
        "old": world.old.version,
        "new": world.new.version,
        "bridge": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("pika", "gevent")},
    }


@dataclass(frozen=True)
class Report:
    """What was measured, where."""

    world: str
    same_broker: bool
    machine: dict[str, Any]
    versions: dict[str, str]
    rows: list[Row]
    runs: list[Run]

    @classmethod
    def of(cls, world: World, contenders: list[Contender], runs: list[Run]) -> Report:
        """Draw it up while the brokers are there to be asked."""
        return cls(world.name, world.same_broker, machine(), versions(world), rows(contenders, runs), runs)

    def as_json(self) -> dict[str, Any]:
        """Return all there is, every single run included."""
        return {
            "world": self.world,
            "machine": self.machine,
            "versions": self.versions,
            "message_bytes": self.runs[0].message_bytes,
            "rows": [row.as_json() for row in self.rows],
            "runs": [asdict(run) for run in self.runs],
        }

    def show(self, console: Console) -> None:
        """Print the table: medians, and the least and the most of the rounds in parentheses."""
        about, what = self.versions, self.machine
        table = Table(
            title=f"RabbitMQ {about['old']} -> {about['new']}" + (", one broker" if self.same_broker else ""),
            caption="median (least-most) of the rounds; ratios within a round; targets are aims, nothing fails on them",
        )
        for name in ("who", "messages", "messages/s", "CPU us/message", "target", "load average"):
            table.add_column(name, justify="left" if name == "who" else "right")
        for row in self.rows:
            table.add_row(*row.cells())
        console.print(table)
        for row in self.rows:
            if row.times is not None and row.contender.versus is not None:
                other, least = row.contender.versus
                text = f"{row.contender.name} / {other}: {row.times.text(2)}, target >= {least:g}"
                console.print(text, highlight=False)
        console.print(
            f"{what['cores']} cores shared with the brokers, {what['cpu']}; {self.runs[0].message_bytes} bytes a "
            f"message; bridge {about['bridge']}, Python {about['python']}, pika {about['pika']}, "
            f"gevent {about['gevent']}",
            highlight=False,
        )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
