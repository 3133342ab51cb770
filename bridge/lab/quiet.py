"""When an old worker can be stopped without Celery itself running a task twice.

A prefork worker that gets SIGTERM while a pool process is at work may end without acking what that process had
accepted: the broker hands the task out again and it runs a second time, and the worker takes 30 s to end (seen with
Celery 5.7 and billiard 4.3). The rehearsal measures the bridge, so it stops an old worker between two of its tasks, as
a careful operator would stop one that is out of work. The worker tells us what it holds, and the tasks' ETAs tell when
it will be at work again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

#: Seconds after an ETA in which the worker may still be at work on that task.
AT_WORK = 0.02


def quiet_moment(etas: Iterable[float], now: float, within: float, needed: float) -> float | None:
    """Return when a worker that holds tasks with these ETAs is out of work for the longest time.

    Args:
        etas: epoch seconds at which the tasks it holds are due.
        now: epoch seconds.
        within: how many seconds from now at most.
        needed: seconds that the pause must last at least, counted from the returned moment.

    Returns:
        the beginning of the longest pause, or None when none is long enough.
    """
    held, end = tuple(etas), now + within
    due = sorted(eta for eta in held if now - AT_WORK < eta < end)
    later = min((eta for eta in held if eta >= end), default=end + needed)
    pauses = [(max(now, before + AT_WORK), after) for before, after in pairwise([now - AT_WORK, *due, later])]
    begin, length = max(((begin, after - begin) for begin, after in pauses), key=lambda pause: pause[1])
    return begin if length >= needed else None
