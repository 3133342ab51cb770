"""Notices when somebody sets the clock: delays are counted from wall time (design, section 4.2).

A jump makes nothing early: the `eta` header stays as it was, and the worker waits the rest of the time by its own
clock. What was sent into the ladder by a clock that was wrong comes out of it at the wrong time, so the jump is said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

log = logging.getLogger("bridge.clock")

#: Seconds by which the clock must have been set to count: daemons that keep time slew smaller differences away.
JUMP = 1.0


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock was set: by how many seconds (forward is positive), and what it said after it."""

    seconds: float
    at: datetime


class ClockWatch:
    """Compares wall time with monotonic time at each look.

    Args:
        wall: UTC epoch seconds.
        monotonic: seconds of a clock that nobody sets.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.jumps = 0
        self.last: Jump | None = None
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def look(self) -> Jump | None:
        """The jump since the last look; None when there was none."""
        wall = self._wall()
        offset = wall - self._monotonic()
        moved, self._offset = offset - self._offset, offset
        if abs(moved) < JUMP:
            return None
        self.jumps += 1
        self.last = Jump(moved, datetime.fromtimestamp(wall, UTC))
        log.warning(
            "the clock was set %s by %.1f s: tasks that are sent into the ladder from now on wait by the new time; "
            "none runs early, since workers look at the ETA again",
            "forward" if moved > 0 else "back",
            abs(moved),
        )
        return self.last
