"""What is counted of one queue's messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final


@dataclass(slots=True)
class Counts:
    """What happened to the messages of one queue since the daemon started."""

    taken: int = 0
    moved: int = 0
    converted: int = 0
    confirmed: int = 0
    returned: int = 0
    nacked: int = 0
    eta_unreadable: int = 0
    priority_capped: int = 0
    exported: int = 0
    quarantined: int = 0
    copied: int = 0
    backup_missed: int = 0
    #: Delivered to the old side: by the route `legacy` of the inline layout, by `dual`, or brought back.
    to_legacy: int = 0
    #: Went to the legacy side, because a canary by task names could not read theirs.
    task_unreadable: int = 0
    #: Went to one side only while `dual` was degraded.
    degraded: int = 0
    redelivered: int = 0
    possible_duplicates: int = 0
    #: Taken, and back with the source without having arrived: what was returned or nacked is among them.
    given_back: int = 0
    #: The converted ones by how long they had to wait when they were converted (`delays.BORDERS`).
    due_minute: int = 0
    due_hour: int = 0
    due_day: int = 0
    due_week: int = 0
    due_later: int = 0
    #: Delays in seconds of converted messages, each with how many there were: those that nobody has looked at yet.
    waits: Counter[int] = field(default_factory=Counter, compare=False, repr=False)
    #: Seconds from publish to confirm, one of each turn: those that nobody has looked at yet.
    lags: list[float] = field(default_factory=list, compare=False, repr=False)


#: The names of all that are numbers.
NUMBERS: Final = tuple(one.name for one in fields(Counts) if one.name not in ("waits", "lags"))
