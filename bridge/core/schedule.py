"""When a postponed verb is due: pure arithmetic on a time and a number of messages, both of them arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: How long a verb that was due and refused waits until it is tried again: its gate asks the broker.
RETRY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class When:
    """What a postponed verb waits for: a time, few messages in the old queue, or both.

    Attributes:
        at: not before this time, with its zone.
        backlog: only while at most so many messages are ready in the old queue.
    """

    at: datetime | None = None
    backlog: int | None = None

    def __str__(self) -> str:
        told = [] if self.at is None else [f"at {stamp(self.at)}"]
        if self.backlog is not None:
            told.append(f"when at most {self.backlog} messages are ready in the old queue")
        return " and ".join(told)


def waits_for(when: When, now: datetime, ready: int | None, tried: datetime | None) -> str:
    """What a postponed verb waits for now; empty: it is due.

    Args:
        when: what it was postponed for.
        now: the time.
        ready: messages that are ready in the old queue; None is not known.
        tried: when it was tried and refused; None while it was not.
    """
    if when.at is not None and now < when.at:
        return f"for {stamp(when.at)}"
    if when.backlog is not None:
        if ready is None:
            return "to know how many messages are ready in the old queue"
        if ready > when.backlog:
            return f"until at most {when.backlog} messages are ready in the old queue, {ready} are now"
    # A clock that was set back does not keep it from being tried.
    if tried is not None and timedelta(0) <= now - tried < RETRY:
        return f"to be tried again, every {RETRY.seconds} s"
    return ""


def stamp(at: datetime) -> str:
    """A time with its zone, to the second."""
    return at.isoformat(" ", "seconds")
