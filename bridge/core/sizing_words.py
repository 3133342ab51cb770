"""The estimate of `core/sizing.py` in words: times and sizes as exact as they are meant, and the notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bridge.core.sizing import WRITE_AHEAD, Assumptions, Estimate, QueueTime, Seconds
from bridge.core.topology import Node

_TIMES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
#: Names of queues in a note; how many more there are is said.
_NAMED = 5


@dataclass(frozen=True)
class Facts:
    """What is known beside the estimate.

    Attributes:
        inline: whether the layout is inline.
        counted: whether the source's broker counts what comes in and what is worked.
        limits: limits that are in force on the daemon that was measured, in words.
        nodes: of the target.
        backup_on_target: whether the target keeps the backup's stream.
    """

    inline: bool = False
    counted: bool = True
    limits: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    backup_on_target: bool = False


def time(seconds: float | None) -> str:
    """A time in two digits: `never`, `under 1 s`, `42 s`, `3.5 min`, `11 h`, `2.1 d`."""
    if seconds is None:
        return "never"
    if 0 < seconds < 1:
        return "under 1 s"
    for unit, name in _TIMES:
        if seconds >= unit:
            return f"{_digits(seconds / unit)} {name}"
    return "0 s"


def span(seconds: Seconds) -> str:
    """A time with its range, `12 s (6 s to 24 s)`; without one where all three are the same in words."""
    expected, least, most = time(seconds.expected), time(seconds.least), time(seconds.most)
    return expected if expected == least == most else f"{expected} ({least} to {most})"


def size(count: float) -> str:
    """A number of bytes in two digits or three: `828 B`, `1.5 KiB`, `130 MiB`."""
    power = 0
    while count >= 1000 and power < len(_SIZES) - 1:
        count, power = count / 1024, power + 1
    return f"{_digits(count)} {_SIZES[power]}"


def number(count: float) -> str:
    """A rate in two digits: `0.25`, `4.5`, `450`, `12000`."""
    return f"{float(f'{count:.2g}'):.10g}"


def notes(estimate: Estimate, assumed: Assumptions, facts: Facts) -> Iterator[str]:
    """What the figures do not say by themselves, and what to do about it."""
    yield from _never(estimate)
    yield from _room(estimate, facts)
    if held := sum(queue.backlog.unacked for queue in estimate.queues):
        yield f"{held} messages are held unacked by workers: they come back when these stop, and are counted in"
    yield from _delayed(estimate, assumed)
    yield from _left_alone(estimate.queues, facts)
    if not facts.counted:
        yield "the source's broker counts no rates: what comes in meanwhile is not in the estimate"
    if unweighed := [
        queue.backlog.name for queue in estimate.queues if queue.backlog.size is None and not queue.backlog.quiet
    ]:
        yield f"{_names(unweighed)}: nothing to be weighed, taken to be as large as the others' messages"
    if facts.limits:
        yield f"measured with a limit in force: {'; '.join(facts.limits)}"
    if facts.inline:
        yield "inline: what waits in the legacy vhost is worked off by the old workers and is not moved"


def _never(estimate: Estimate) -> Iterator[str]:
    seconds = estimate.together
    flow = f"{number(estimate.arriving)}/s come in, {number(estimate.rate)}/s are expected to be moved"
    cure = (
        "measure your own rate (--measured, while a queue is moved); else cut over fewer queues at a time or when "
        "less comes in, or give a second bridge a part of the queues. What waits stays in the old queues meanwhile"
    )
    if seconds.expected is None:
        yield f"the backlog never ends: {flow}: {cure}"
    elif seconds.most is None:
        yield f"at the slow end of the range the backlog never ends: {flow}: {cure}"


def _room(estimate: Estimate, facts: Facts) -> Iterator[str]:
    cost = estimate.cost
    needed = cost.disk + WRITE_AHEAD + (cost.backup_disk if facts.backup_on_target else 0)
    for node in facts.nodes:
        if node.disk_free is None or node.disk_limit is None:
            continue
        room = max(0, node.disk_free - node.disk_limit)
        if room < needed:
            yield (
                f"target node {node.name} has {size(room)} on disk before its alarm, and up to {size(needed)} are "
                "needed if no new worker works meanwhile: make room, or start the new workers first"
            )


def _delayed(estimate: Estimate, assumed: Assumptions) -> Iterator[str]:
    if assumed.eta_shares:
        yield "the share of tasks with an ETA is what the daemon has seen of each queue so far"
    elif estimate.all_eta is not None and assumed.eta_share < 1 and estimate.messages:
        yield (
            f"which tasks have an ETA cannot be seen from outside: {assumed.eta_share * 100:g} % are assumed "
            f"(--eta-share); if all had one: {span(estimate.all_eta)}"
        )


def _left_alone(queues: Iterable[QueueTime], facts: Facts) -> Iterator[str]:
    waiting = [queue for queue in queues if queue.backlog.ready and queue.backlog.worked is not None]
    if facts.inline or not waiting:
        return
    stuck = [queue.backlog.name for queue in waiting if queue.old_workers is None]
    if stuck:
        yield f"the old workers do not work the backlog down: {_names(stuck)}"
    else:
        longest = max(queue.old_workers or 0.0 for queue in waiting)
        yield (
            f"left to the old workers (route legacy) the backlog is worked down in {time(longest)}; cut over after "
            "that, and there is hardly anything to be moved"
        )


def _names(queues: list[str]) -> str:
    more = f" and {len(queues) - _NAMED} more" if len(queues) > _NAMED else ""
    return ", ".join(f'"{name}"' for name in queues[:_NAMED]) + more


def _digits(value: float) -> str:
    """Two digits below 10, else a whole number."""
    return f"{value:.1f}" if value < 9.95 and round(value, 1) != round(value) else f"{value:.0f}"
