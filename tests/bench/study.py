"""What a benchmark is made of: a study has rows that are measured in turn, and each measured run is one sample.

1. A round measures every row once; rounds follow each other, so that a machine that is busy for a while is busy for all
   rows, and ratios are taken within a round. Each second round goes the other way: a machine that throttles favours
   whoever comes after a rest, so only an even number of rounds compares rows that stand in different places.
2. What is aimed at stands beside the figures. Nothing is asserted: a figure depends on the machine.
"""

from __future__ import annotations

import math
import os
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.brokers import World

    Run = Callable[["Bench", World], Iterator["Sample"]]

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One measured run.

    Attributes:
        study: name of the study.
        world: old and new broker, as in WORLDS.
        shape: what was moved, such as "1 KiB" or "200 queues".
        row: who moved it, such as "bridge" or "Shovel, prefetch 1000".
        round: counted from 1.
        values: the figures by key of the study's columns; one that does not apply is absent.
        load: the machine's load average of the last minute, when the run began.
    """

    study: str
    world: str
    shape: str
    row: str
    round: int
    values: dict[str, float]
    load: float = field(default_factory=lambda: os.getloadavg()[0])


@dataclass(frozen=True)
class Column:
    """A figure of a study: its key in `Sample.values`, its title with the unit, and the digits that are printed."""

    key: str
    title: str
    digits: int = 0


@dataclass(frozen=True)
class Aim:
    """What a figure is to be.

    Attributes:
        row: whose figure.
        value: its key.
        than: the row that it is divided by, in the same round; None takes the figure itself.
        least: at least so much.
        most: at most so much.
        shape: only in this shape; None: in each.
        world: only in this world; None: in each.
        than_shape: the shape in which the other row is taken; None: the same one.
    """

    row: str
    value: str
    than: str | None
    least: float | None = None
    most: float | None = None
    shape: str | None = None
    world: str | None = None
    than_shape: str | None = None

    def concerns(self, world: str, shape: str) -> bool:
        """Whether it is an aim in this world and shape."""
        return self.world in (None, world) and self.shape in (None, shape)

    def met(self, figure: float) -> bool:
        """Whether a figure is what it is to be."""
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)

    def text(self) -> str:
        """Return what is wanted, such as `>= 1.2`."""
        wanted = [f"{sign} {bound:g}" for sign, bound in ((">=", self.least), ("<=", self.most)) if bound is not None]
        return " and ".join(wanted)


@dataclass(frozen=True)
class Study:
    """A benchmark.

    Attributes:
        name: what `--only` takes.
        about: one sentence: what it measures.
        columns: its figures, in the order in which they are printed.
        aims: what they are to be.
        worlds: the worlds in which it runs when no world is asked for.
        run: measures `bench.rounds` rounds in a world that is up, a sample after each run.
    """

    name: str
    about: str
    columns: tuple[Column, ...]
    aims: tuple[Aim, ...]
    worlds: tuple[str, ...]
    run: Run


@dataclass(frozen=True)
class Bench:
    """What one call of the benchmarks was asked for.

    Attributes:
        rounds: how often each row is measured.
        scale: what sizes are multiplied with; below 1 for a try.
        progress: told what is measured now.
    """

    rounds: int
    scale: float
    progress: Callable[[str], None]

    def size(self, count: int, least: int = 1000) -> int:
        """Return a number of messages (queues, seconds ...) made smaller or larger as asked for, at least `least`."""
        return max(least, round(count * self.scale))

    def turns(self, rows: Iterable[T]) -> Iterator[tuple[int, T]]:
        """Yield each row once in each round, with the round's number: in each second round in opposite order."""
        in_order = tuple(rows)
        for number in range(1, self.rounds + 1):
            for row in in_order if number % 2 else reversed(in_order):
                yield number, row


@dataclass(frozen=True)
class Spread:
    """The same figure of several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        """Return the spread of at least one figure."""
        found = sorted(figures)
        return cls(statistics.median(found), found[0], found[-1])

    def text(self, digits: int) -> str:
        """Return `median (least-most)`, or the figure alone where all are alike in these digits."""
        median, least, most = (
            f"{figure:,.{digits}f}".replace(",", " ") for figure in (self.median, self.least, self.most)
        )
        return median if least == most else f"{median} ({least}-{most})"


def spread(samples: Iterable[Sample], value: str) -> Spread | None:
    """Return the spread of one figure over these samples; None when none of them has it."""
    found = [sample.values[value] for sample in samples if value in sample.values]
    return Spread.of(found) if found else None


def compared(aim: Aim, samples: Iterable[Sample], world: str, shape: str) -> Spread | None:
    """Return what an aim looks at, round by round: the figure, or how many times the other row's it is.

    Rounds that lack one of the two are left out; None when none is left.
    """
    mine: dict[int, float] = {}
    theirs: dict[int, float] = {}
    for sample in samples:
        if sample.world != world or aim.value not in sample.values:
            continue
        if sample.row == aim.row and sample.shape == shape:
            mine[sample.round] = sample.values[aim.value]
        if sample.row == aim.than and sample.shape == (aim.than_shape or shape):
            theirs[sample.round] = sample.values[aim.value]
    if aim.than is None:
        return Spread.of(mine.values()) if mine else None
    ratios = [
        figure / theirs[number] if theirs[number] else math.inf for number, figure in mine.items() if number in theirs
    ]
    return Spread.of(ratios) if ratios else None


# Titles that several studies share, so that the same figure has the same name everywhere.
RATE = Column("rate", "messages/s")
CPU = Column("cpu_us", "CPU us/message", 1)
BROKER_CPU = Column("broker_cpu_us", "brokers' CPU us/message", 0)
RSS = Column("rss_mib", "most memory MiB", 0)
P50 = Column("p50_ms", "p50 ms", 1)
P99 = Column("p99_ms", "p99 ms", 1)
#: What `moved` measures.
MOVED = (RATE, CPU, BROKER_CPU, RSS)
