"""How fast a number grows, over windows of time, and when what waits is moved.

1. A rate is what came between two samples, by the time between them: the newest, and the oldest that the window needs.
2. A number that falls began anew, as a broker's counters do when it restarts: it is added to what was known.
3. The time to finish is what waits by what goes more than comes; where as much comes or more, there is none.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

#: Names of the windows, and seconds.
WINDOWS: Final = {"10s": 10.0, "1m": 60.0, "10m": 600.0}
#: Samples that a window has, about.
_PARTS: Final = 12
#: Seconds of samples without which a rate is not known.
ENOUGH: Final = 3.0
#: How much more may seem to come than is moved where nothing waits.
SLACK: Final = 1.2
#: Seconds beyond which a time to finish tells nothing but that there is none: a year.
NEVER: Final = 366 * 86_400.0


class Meter:
    """The rate of a number that only grows.

    Args:
        windows: seconds, each over which a rate is asked for.
    """

    __slots__ = ("_added", "_at", "_kept", "_value", "_windows")

    def __init__(self, windows: Sequence[float]) -> None:
        self._windows = windows
        #: For each window its samples, the oldest first: time, value, time, value.
        self._kept = [array("d") for _ in windows]
        self._at = 0.0
        self._value = 0.0
        #: What was there before the number began anew.
        self._added = 0.0

    def add(self, now: float, number: float) -> None:
        """The number now; `now` in monotonic seconds."""
        if number + self._added < self._value:
            self._added = self._value
        self._at, self._value = now, number + self._added
        for window, kept in zip(self._windows, self._kept, strict=True):
            if not kept or now - kept[-2] >= window / _PARTS:
                kept.append(now)
                kept.append(self._value)
                while len(kept) > 2 and kept[2] <= now - window:
                    del kept[:2]

    def stood(self, now: float) -> None:
        """The number is not what it was, and that is new: it stood for longer than any window, and nobody added it."""
        for window, kept in zip(self._windows, self._kept, strict=True):
            kept[:] = array("d", (now - window, self._value))

    def rates(self) -> list[float | None]:
        """Over each window, by the second; None while there are too few samples."""
        return [self._rate(kept) for kept in self._kept]

    def _rate(self, kept: array[float]) -> float | None:
        if not kept or self._at - kept[0] < ENOUGH:
            return None
        return (self._value - kept[1]) / (self._at - kept[0])


class Finish(NamedTuple):
    """Seconds until nothing is left; None: there is no telling, and why."""

    seconds: float | None
    why: str = ""
    #: As much comes as is moved, or more.
    grows: bool = False


def finish(left: int | None, came: float | None, went: float | None, comes: str) -> Finish:
    """When nothing is left.

    Args:
        left: messages that wait; None: not known.
        came: messages a second that come.
        went: messages a second that are moved.
        comes: what `came` is called where it is not known.
    """
    if left is None:
        return Finish(None, "how many wait is not known")
    if left == 0:
        # What waits and what came are counted by the broker at different times, each up to 5 s old.
        if came is not None and went is not None and came > went * SLACK + 1:
            return Finish(None, f"more comes than is moved now: {came:.1f}/s come, {went:.1f}/s are moved")
        return Finish(0.0)
    if went is None:
        return Finish(None, "the rate is not known yet")
    if came is None:
        return Finish(None, f"{comes} is not known")
    pace = f"{came:.1f}/s come, {went:.1f}/s are moved"
    if went <= came:
        return Finish(None, f"the source grows as fast or faster: {pace}", grows=True)
    if left / (went - came) > NEVER:
        return Finish(None, f"not within a year at this pace: {pace}")
    return Finish(left / (went - came))
