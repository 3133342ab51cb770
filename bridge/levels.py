"""The levels of the target's delay ladder by the looks at its queues: what is in them, and which are stuck.

Due messages that stay are what a stuck level has (semantics.md, 8.3): a quorum queue counts those that no queue has
taken yet (`messages_dlx`), and those of an orderly level are gone at its next report.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from bridge.core import ladder
from bridge.depths import Depths

#: Seconds over which due messages must stay in a level of the ladder to count as stuck: two reports of a quorum queue.
STAYS = 12.0
_NAMES = tuple(ladder.level_name(level) for level in range(ladder.LEVELS))


class Levels:
    """The levels, as they were at the looks of the last seconds.

    Args:
        depths: of both sides, looked at by somebody else.
        clock: monotonic seconds.
    """

    def __init__(self, depths: Depths, clock: Callable[[], float] = time.monotonic) -> None:
        self._depths = depths
        self._clock = clock
        self._looks: deque[tuple[float, Mapping[int, int]]] = deque()

    def look(self) -> None:
        """The target's queues were just looked at."""
        now, found = self._clock(), {}
        for level, name in enumerate(_NAMES):
            depth = self._depths.new(name)
            found[level] = 0 if depth is None else depth.dead_letters
        self._looks.append((now, found))
        while self._looks[0][0] < now - STAYS:
            self._looks.popleft()

    def stuck(self) -> dict[int, int]:
        """How many due messages stayed in each level, over all looks of the last seconds."""
        return {level: min([due[level] for _, due in self._looks], default=0) for level in range(ladder.LEVELS)}

    def status(self) -> dict[str, Any]:
        """What the status has of them: the levels that are not empty, and those that are stuck."""
        side, now = self._depths.new_side, self._clock()
        if side.at is None:
            return NOT_SEEN
        # One look alone cannot tell what stays.
        stuck = self.stuck() if len(self._looks) > 1 else {}
        levels = []
        for level, name in enumerate(_NAMES):
            depth = side.of(name)
            if depth is not None and depth.ready + depth.unacked + depth.dead_letters:
                # Due ones are counted beside the others (seen on 3.10 and 4.3).
                messages = depth.ready + depth.unacked + depth.dead_letters
                levels.append({"level": level, "messages": messages, "due": depth.dead_letters})
        return {
            "levels": levels,
            "messages": sum(one["messages"] for one in levels),
            "stuck": [level for level, due in stuck.items() if due],
            "age_s": round(max(0.0, now - side.at), 1),
        }


#: What the status has while nobody has looked.
NOT_SEEN: dict[str, Any] = {"levels": [], "messages": None, "stuck": [], "age_s": None}
