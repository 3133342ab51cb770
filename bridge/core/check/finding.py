"""What a check can say: a finding, and how grave it is."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

#: Names that a text shows before it says how many more there are.
SHOWN = 5


class Severity(enum.StrEnum):
    """How grave a finding is, gravest first."""

    #: The migration would fail or lose something: `bridge check` exits 1.
    BLOCKER = "blocker"
    #: Something changes for the application, or can go wrong: know it before the night.
    WARNING = "warning"
    #: Good to know; nothing has to be done.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Kind:
    """A finding that there can be. Its id never changes; it is an anchor of docs/plan/findings.md.

    Attributes:
        id: short words joined by hyphens.
        severity: always the same for an id.
        title: what it is, as a heading.
        meaning: what comes of it when nothing is done.
        cure: what to do about it.
    """

    id: str
    severity: Severity
    title: str
    meaning: str
    cure: str


class Found(NamedTuple):
    """What a rule yields: the id of a kind, where (`target queue`, `orders`), what was seen, what to do."""

    id: str
    place: str
    name: str
    seen: str
    todo: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What an operator reads. The fields are the keys of the JSON form, and stay.

    Attributes:
        id: a kind of the table.
        severity: the kind's.
        subject: what it is about, by name.
        seen: the values that were seen.
        todo: what to do here.
    """

    id: str
    severity: Severity
    subject: str
    seen: str
    todo: str

    def as_json(self) -> dict[str, str]:
        """The stable form for programs."""
        return {
            "id": self.id,
            "severity": self.severity.value,
            "subject": self.subject,
            "seen": self.seen,
            "todo": self.todo,
        }


def subject(place: str, names: Iterable[str]) -> str:
    """`queue "a"`, or `queues "a", "b"` for several.

    >>> subject("queue", ["a", "b"])
    'queues "a", "b"'
    """
    found = list(names)
    return f"{place if len(found) == 1 else place + 's'} {listed(found)}"


def listed(names: Iterable[str]) -> str:
    """The first names in quotes, and how many more there are.

    >>> listed("abcdefg")
    '"a", "b", "c", "d", "e" and 2 more'
    """
    found = list(names)
    text = ", ".join(f'"{name}"' for name in found[:SHOWN])
    return text if len(found) <= SHOWN else f"{text} and {len(found) - SHOWN} more"


def size(number: float) -> str:
    """Bytes for people.

    >>> size(512), size(16 * 1024**2)
    ('512 bytes', '16.0 MiB')
    """
    if number < 1024:
        return f"{number:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"


def dotted(version: tuple[int, ...]) -> str:
    """A version as it is written.

    >>> dotted((3, 10, 8))
    '3.10.8'
    """
    return ".".join(map(str, version))
