"""When to leave a target queue alone for a while, and when to go on: decided from what was seen, with the reason.

1. An alarm of the target's broker closes, its end opens.
2. Depth closes at the bound and opens below a part of it, so that one message more or less changes nothing.
3. How long a confirm takes cannot be seen while nothing is sent. After a wait a trial of few messages is let through:
   quick answers open, a slow one closes again, for twice as long.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

#: Seconds before the first trial after slow confirms, and before each later one at most.
FIRST_WAIT = 5.0
LONGEST_WAIT = 60.0
#: Messages a second while a trial is on.
TRIAL_RATE = 5.0
#: Seconds without slow confirms after which the next wait is the first one again.
SOUND = 60.0
#: Seconds between two looks at a depth that nothing of ours can have brought near the bound: others publish too.
DEPTH_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the configuration allows (`throttle:`)."""

    #: Messages ready in the target queue; None is no bound.
    depth: int | None = None
    #: Seconds until the target confirms; None is no bound.
    confirm: float | None = None
    #: Per cent of a bound below which it goes on.
    resume: int = 80

    @property
    def depth_again(self) -> int:
        """Messages below which a queue goes on that was left alone for its depth."""
        return math.ceil((self.depth or 0) * self.resume / 100)

    @property
    def confirm_again(self) -> float:
        """Seconds up to which a trial is quick."""
        return (self.confirm or 0.0) * self.resume / 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the target of one queue."""

    target: str
    #: Why its broker takes nothing; empty when it does.
    alarm: str = ""
    #: Messages ready in the queue; None when that is not known.
    depth: int | None = None
    #: Seconds that the last confirm took; None when there was none yet.
    confirm: float | None = None
    #: Seconds that the oldest publish has waited for its confirm; 0 when none waits.
    waiting: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """Leave it alone for a reason, or go on."""

    #: Why it is left alone; empty: go on.
    why: str = ""
    #: Go on with few messages only.
    trial: bool = False


class _State(enum.Enum):
    OPEN = enum.auto()
    ALARM = enum.auto()
    DEEP = enum.auto()
    SLOW = enum.auto()
    TRIAL = enum.auto()


class Throttle:
    """One target queue."""

    def __init__(self) -> None:
        self._state = _State.OPEN
        self._why = ""
        self._wait = 0.0
        #: When the next trial begins, and when confirms were slow last.
        self._trial_at = 0.0
        self._slow_at = -math.inf

    def look(self, now: float, seen: Seen, bounds: Bounds) -> Decision:
        """What to do now (monotonic seconds)."""
        if seen.alarm:
            return self._close(_State.ALARM, f"target takes no publishes now: {seen.alarm}")
        if self._state is _State.ALARM:
            self._state = _State.OPEN
        if self._deep(seen.depth, bounds):
            return self._close(_State.DEEP, self._why if seen.depth is None else _deep(seen, bounds))
        if self._state is _State.DEEP:
            self._state = _State.OPEN
        if bounds.confirm is None:
            self._state = _State.OPEN
        elif self._state is _State.SLOW:
            if now < self._trial_at or seen.waiting:
                # What still waits for its confirm was sent before the wait: no trial, and no verdict on one.
                return Decision(self._why)
            self._state = _State.TRIAL
        else:
            self._judge(now, seen, bounds.confirm, bounds)
        if self._state is _State.SLOW:
            return Decision(self._why)
        return Decision(trial=self._state is _State.TRIAL)

    def _close(self, state: _State, why: str) -> Decision:
        self._state, self._why = state, why
        return Decision(why)

    def _deep(self, depth: int | None, bounds: Bounds) -> bool:
        """Whether the queue is too deep; what is not known changes nothing."""
        if bounds.depth is None:
            return False
        if depth is None:
            return self._state is _State.DEEP
        return depth >= (bounds.depth_again if self._state is _State.DEEP else bounds.depth)

    def _judge(self, now: float, seen: Seen, bound: float, bounds: Bounds) -> None:
        """Close when confirms are slow; end a trial when one is quick."""
        trial = self._state is _State.TRIAL
        took = max(seen.confirm or 0.0, seen.waiting)
        if took <= (bounds.confirm_again if trial else bound):
            if seen.confirm is not None:
                self._state = _State.OPEN
            return
        self._wait = FIRST_WAIT if now - self._slow_at > SOUND + self._wait else min(self._wait * 2, LONGEST_WAIT)
        self._slow_at, self._trial_at = now, now + self._wait
        self._state = _State.SLOW
        self._why = (
            f"target took {took:.1f} s to confirm{' a trial' if trial else ''}, {bound:g} s are the bound; "
            f"a trial of few messages follows after {self._wait:g} s"
        )


def _deep(seen: Seen, bounds: Bounds) -> str:
    return (
        f'target queue "{seen.target}" has {seen.depth} messages ready, {bounds.depth} are the bound; '
        f"it goes on below {bounds.depth_again}"
    )


def look_again(now: float, seen_at: float | None, depth: int | None, sent: int, every: float, bounds: Bounds) -> bool:
    """Whether a queue's depth must be asked for: it may have come to the bound, or was not looked at for a while.

    Args:
        now: monotonic seconds.
        seen_at: when it was seen last; None is never.
        depth: what was seen then; None when the queue did not answer.
        sent: messages that were sent there since.
        every: seconds after which it is asked for in any case.
        bounds: what is allowed.
    """
    if bounds.depth is None:
        return False
    if seen_at is None or now - seen_at >= every:
        return True
    return sent > 0 and depth is not None and depth + sent >= bounds.depth
