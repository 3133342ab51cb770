"""The figures that are kept, and what is said when new ones differ from them.

What is compared is a message's cost in rounds of the calibration, counted in the same run: another build of the same
Python counts up to 10 % fewer instructions, and its costs differ by 2 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.guard.counted import Counts, Python

FILE = Path(__file__).parent / "figures.json"

#: What a cost may differ from the kept one, by how near this Python is to the one it was counted with: the very same
#: build (seen: 0.1 %), another of the same minor version (2 %), another minor version (16 %).
SAME_BUILD = 0.03
SAME_MINOR = 0.08
OTHER = 0.25


@dataclass(frozen=True)
class Kept:
    """Figures of one minor version of Python on one kind of machine.

    Attributes:
        version: such as 3.11.7.
        machine: such as x86_64.
        build: all that Python says about itself.
        calibration: instructions of a round of the calibration.
        messages: by shape, instructions of a message.
        costs: by shape, the same in rounds of the calibration; these are compared.
    """

    version: str
    machine: str
    build: str
    calibration: int
    messages: dict[str, int]
    costs: dict[str, float]

    @classmethod
    def of(cls, python: Python, counts: Counts) -> Kept:
        """Figures as they are kept: rounded to what they are worth."""
        return cls(
            python.version,
            python.machine,
            python.build,
            round(counts.calibration),
            {name: round(found) for name, found in counts.messages.items()},
            {name: round(cost, 3) for name, cost in counts.costs.items()},
        )

    @property
    def minor(self) -> tuple[int, int]:
        """Such as (3, 11)."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)

    def tolerance(self, python: Python) -> float:
        """What a cost may differ when it is counted with `python`."""
        if self.build == python.build:
            return SAME_BUILD
        return SAME_MINOR if _minor(python) == self.minor else OTHER


def _minor(python: Python) -> tuple[int, int]:
    major, minor, *_ = python.version.split(".")
    return int(major), int(minor)


def load(file: Path = FILE) -> list[Kept]:
    """Read the figures that are kept; none where there is no file."""
    return [Kept(**one) for one in json.loads(file.read_text())] if file.exists() else []


def save(kept: list[Kept], file: Path = FILE) -> None:
    """Keep these figures and no others: those of another Python would be of another core."""
    file.write_text(json.dumps([asdict(one) for one in kept], indent=2) + "\n")


def nearest(kept: list[Kept], python: Python) -> Kept | None:
    """The figures to compare with: of the nearest minor version on the same kind of machine; None: there are none."""
    here = _minor(python)
    same = [one for one in kept if one.machine == python.machine]
    return min(same, key=lambda one: abs(one.minor[1] - here[1]), default=None)


@dataclass(frozen=True)
class Change:
    """A shape's cost beside the one that is kept.

    Attributes:
        name: of the shape.
        before: the cost that is kept; None: the shape is new.
        now: the cost that was counted.
        tolerance: what they may differ.
    """

    name: str
    before: float | None
    now: float
    tolerance: float

    @property
    def by(self) -> float:
        """The share by which it is dearer; less than 0: cheaper."""
        return 0.0 if self.before is None else self.now / self.before - 1

    @property
    def verdict(self) -> str:
        """`same`, `dearer`, `cheaper` or `new`."""
        if self.before is None:
            return "new"
        if abs(self.by) <= self.tolerance:
            return "same"
        return "dearer" if self.by > 0 else "cheaper"


def compare(kept: Kept, python: Python, costs: Mapping[str, float]) -> list[Change]:
    """Every shape that was counted beside what is kept of it."""
    tolerance = kept.tolerance(python)
    return [Change(name, kept.costs.get(name), cost, tolerance) for name, cost in costs.items()]
