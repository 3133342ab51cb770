"""The list of possible duplicates: which tasks the target may have twice, by id, for as many as it holds.

A task is on it when it was published and not acked as a connection was lost, or when it comes back from the source,
marked as delivered before, after the process before this one ended. A retry is a message of its own and never on it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.core.identity import task_id

log = logging.getLogger("bridge.doubles")

#: Tasks that are listed; older ones leave the list and stay in the log.
LONGEST = 10_000
#: Task ids in one line of the log.
_A_LINE = 20


@dataclass(frozen=True, slots=True)
class Double:
    """A task that may run twice."""

    queue: str
    #: Task id; empty when the message has none.
    id: str
    why: str
    at: datetime


class Doubles:
    """The list for all queues of the daemon."""

    def __init__(self) -> None:
        self.listed: deque[Double] = deque(maxlen=LONGEST)
        #: All that were ever listed, those of queues that are gone included.
        self.total = 0

    def add(self, queue: str, messages: Sequence[bytes], why: str) -> None:
        """List messages, each given by its header frame, and write them to the log."""
        if not messages:
            return
        ids = [task_id(message) for message in messages]
        now = datetime.now(UTC)
        self.total += len(ids)
        self.listed.extend(Double(queue, one, why, now) for one in ids)
        for start in range(0, len(ids), _A_LINE):
            line = [one or "?" for one in ids[start : start + _A_LINE]]
            log.warning('queue "%s": %d possible duplicates (%s): %s', queue, len(line), why, ", ".join(line))
