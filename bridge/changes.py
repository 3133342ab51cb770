"""The journal: who changed what of which queue, through which door, when and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

#: Changes that are kept and shown.
KEPT = 200


@dataclass(frozen=True, slots=True)
class Change:
    """One change, or a refused one.

    Attributes:
        at: when, in UTC.
        queue: the queue; `*` for all queues together.
        verb: what was asked.
        before: its route before, or what else the verb changes.
        after: the same afterwards.
        by: who asked.
        door: how: cli, http, signal, reload, config, schedule.
        reason: why, in his words.
        outcome: done, planned, refused.
        text: what it came to.
    """

    at: datetime
    queue: str
    verb: str
    before: str
    after: str
    by: str
    door: str
    reason: str
    outcome: str
    text: str

    def as_json(self) -> dict[str, str]:
        """The change as JSON has it."""
        # Not `asdict`, which copies: this is done for all that are kept at every look at the status and every save.
        return {**dict(zip(_NAMES, _values(self), strict=True)), "at": self.at.isoformat(timespec="seconds")}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Change:
        """The change that `as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        words = {field.name: str(given[field.name]) for field in fields(cls) if field.name != "at"}
        return cls(at=datetime.fromisoformat(given["at"]), **words)


_NAMES = [field.name for field in fields(Change)]
_values = attrgetter(*_NAMES)


class Journal:
    """The last changes, oldest first; whoever wants to be told of each is in `on_change`."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[Change], None]] = []
        self._kept: deque[Change] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._kept)

    def add(self, **what: str) -> None:
        """Write a change down; it is now. The arguments are those of `Change`."""
        change = Change(at=datetime.now(UTC), **what)
        self._kept.append(change)
        for tell in self.on_change:
            tell(change)

    def as_json(self) -> list[dict[str, str]]:
        """All that are kept."""
        return [change.as_json() for change in self._kept]

    def replace(self, changes: Iterable[Change]) -> None:
        """Take over the changes of the daemon before, instead of what is here."""
        self._kept = deque(changes, maxlen=KEPT)

    @staticmethod
    def read(given: Iterable[Mapping[str, Any]]) -> list[Change]:
        """The changes that `as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is no journal.
        """
        return [Change.from_json(one) for one in given]
