"""What was seen of faults, as the table of the docs and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.book import Book


@dataclass(frozen=True)
class Seen:
    """One fault in one world.

    Attributes:
        fault: its name.
        happens: what the bridge does, as the docs say it.
        world: old release and new release.
        book: what came of the tasks; None if the bridge did not come back.
        broken: what breaks the promise, a sentence each.
    """

    fault: str
    happens: str
    world: str
    book: Book | None
    broken: tuple[str, ...]

    def cell(self) -> str:
        """Its figures as the table shows them: lost, twice, early, seconds until it moves again."""
        if self.book is None:
            return "**did not come back**"
        back = "" if self.book.recovered is None else f"{self.book.recovered:.1f} s"
        figures = f"{self.book.lost} / {self.book.twice} / {self.book.early} / {back}"
        return f"**{figures}**" if self.broken else figures

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        book = None if self.book is None else asdict(replace(self.book, faults=()))
        seen = {"fault": self.fault, "happens": self.happens, "world": self.world}
        return {**seen, "book": book, "broken": list(self.broken)}


def table(seen: Sequence[Seen]) -> str:
    """Return a markdown table: a line for each fault, a column for each world."""
    worlds = list(dict.fromkeys(it.world for it in seen))
    lines = [
        _line("fault", "what happens", "old workers get new tasks after", *worlds),
        _line(*["---"] * (3 + len(worlds))),
    ]
    for name in dict.fromkeys(it.fault for it in seen):
        rows = {it.world: it for it in seen if it.fault == name}
        cells = [rows[world].cell() if world in rows else "" for world in worlds]
        lines.append(_line(name, next(iter(rows.values())).happens, _given_back(rows.values()), *cells))
    return "\n".join(lines)


def _given_back(rows: Iterable[Seen]) -> str:
    """The longest time over the worlds."""
    times = [it.book.given_back for it in rows if it.book is not None and it.book.given_back is not None]
    return f"{max(times):.1f} s" if times else ""


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
