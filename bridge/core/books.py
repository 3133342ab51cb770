"""The books of a queue: everything that was taken is somewhere (design, section 7).

1. taken = confirmed + quarantined + exported + given back + in flight. What is confirmed is on the target, or on the
   legacy side; a message of the route `dual` is confirmed once, and counted on each side that has it.
2. What the source gets back and hands out again is taken once more: both takings stand in the books.
3. The books outlive the process. What was in flight when it ended is given back, by the source, in the books of the
   next one; what it did after it last wrote them down is a gap, with its time, and no number is made up for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from bridge.core.counts import NUMBERS, Counts

#: Gaps that are kept; each is the end of a process that did not end by itself.
MOST_GAPS: Final = 100
#: All numbers of `Counts`, in the order of `NUMBERS`.
numbers = attrgetter(*NUMBERS)
#: What is saved beside the counts.
_IN_FLIGHT = "in_flight"


class Books(NamedTuple):
    """Where the messages of a queue, or of all, are."""

    # A tuple: four are made for every queue at every look at the status.

    taken: int = 0
    confirmed: int = 0
    quarantined: int = 0
    exported: int = 0
    given_back: int = 0
    in_flight: int = 0

    @property
    def difference(self) -> int:
        """Messages that were taken and are nowhere; below zero, that are somewhere and were not taken."""
        found = self.confirmed + self.quarantined + self.exported + self.given_back + self.in_flight
        return self.taken - found

    @property
    def as_json(self) -> dict[str, int | bool]:
        """As it stands in the status."""
        # Written out: this is done for every queue, twice, at every look at the status.
        return {
            "taken": self.taken,
            "confirmed": self.confirmed,
            "quarantined": self.quarantined,
            "exported": self.exported,
            "given_back": self.given_back,
            "in_flight": self.in_flight,
            "balanced": balanced(self),
        }


@dataclass(frozen=True, slots=True)
class Gap:
    """A time of which the books know nothing: a process ended before it wrote down what it had done.

    `since` and `until` are UTC epoch seconds: when the books were last written, and when the next process took over.
    """

    since: float
    until: float


def books(counts: Counts, in_flight: int) -> Books:
    """The books of a queue now.

    Args:
        counts: what happened to its messages.
        in_flight: taken, and neither arrived nor given back (`Relay.waiting`).
    """
    return Books(
        counts.taken, counts.confirmed, counts.quarantined, counts.exported, counts.given_back, in_flight=in_flight
    )


def balanced(found: Books) -> bool:
    """Whether everything that was taken is somewhere, once."""
    return found.difference == 0 and min(found) >= 0


def total(every: Iterable[Books]) -> Books:
    """The books of several queues, or of a queue's two directions, as one."""
    listed = list(every)
    return Books(*map(sum, zip(*listed, strict=True))) if listed else Books()


def dump(counts: Counts, in_flight: int) -> dict[str, int]:
    """What of a queue is to be saved."""
    # Not `asdict`, which copies: this is done for every queue at every change.
    return {**dict(zip(NUMBERS, numbers(counts), strict=True)), _IN_FLIGHT: in_flight}


def carry_over(counts: Counts, saved: Mapping[str, object]) -> None:
    """Add to `counts` what an earlier process saved: what it had in flight is given back by its end.

    A number that is missing, since an older version saved it, is 0; one that is not known, of a newer one, is left out.
    """
    for name in NUMBERS:
        setattr(counts, name, getattr(counts, name) + _number(saved, name))
    counts.given_back += _number(saved, _IN_FLIGHT)


def _number(saved: Mapping[str, object], name: str) -> int:
    found = saved.get(name)
    return found if isinstance(found, int) else 0


def gap(saved_at: float, taken_over_at: float, *, orderly: bool) -> Gap | None:
    """What the books cannot know of the process before this one; None when it wrote them at its end.

    Args:
        saved_at: when it last wrote them, in UTC epoch seconds.
        taken_over_at: when this one read them, in UTC epoch seconds; clocks of two machines may differ.
        orderly: it wrote them as its last act.
    """
    return None if orderly else Gap(saved_at, max(saved_at, taken_over_at))


def with_gap(gaps: Iterable[Gap], found: Gap | None) -> tuple[Gap, ...]:
    """The gaps with one more, if there is one; of too many the oldest go."""
    return (*gaps, *(() if found is None else (found,)))[-MOST_GAPS:]
