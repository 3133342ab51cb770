"""Where time goes, from sampled stacks: each function's own share and its share with all it calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

#: Innermost functions of a process that waits: gevent's loop, for sockets and timers, and its thread pool, for work. A
#: thread that goes to sleep while it is looked at is taken for one that works.
WAITING = ("Hub.run (gevent", "acquire_with_timeout (gevent")


@dataclass(frozen=True)
class Row:
    """A function's part of the samples.

    Attributes:
        name: of the function, with its file and line.
        own: share of the samples in which it ran itself.
        whole: share of those in which it, or something that it called, did.
    """

    name: str
    own: float
    whole: float


def rows(folded: str, within: str = "") -> list[Row]:
    """Read folded stacks, `outermost;...;innermost COUNT` a line, as py-spy writes them (`--format raw`).

    Sorted by their own share, the largest first. Who waits is left out. With `within`, only what a function of
    this name called counts.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in folded.splitlines():
        stack, _, times = line.rpartition(" ")
        if not stack:
            continue
        frames, count = stack.split(";"), int(times)
        if within:
            outer = [number for number, frame in enumerate(frames) if frame.split(" ")[0] == within]
            frames = frames[outer[0] :] if outer else []
        if not frames or frames[-1].startswith(WAITING):
            continue
        total += count
        own[frames[-1]] += count
        # A function that calls itself counts once.
        whole.update(dict.fromkeys(frames, count))
    found = [Row(name, own[name] / total, times / total) for name, times in whole.items()]
    return sorted(found, key=lambda row: (-row.own, -row.whole))
