"""What became of the tasks of one stretch of traffic, by their numbers: counted first, judged apart."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.lab.fingerprint import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from tests.faults.traffic import Came, Sent

#: Seconds before its ETA at which a task may be in its worker's queue: the worker waits for the rest (design, 4.2).
HELD_BY_WORKER = 1.0
#: Seconds in which the old workers must have new tasks again when the bridge cannot move them.
GIVEN_BACK_WITHIN = 5.0
#: How many numbers are named where something is wrong.
_NAMED = 10


@dataclass(frozen=True)
class Book:
    """Counts of one stretch of traffic.

    Attributes:
        sent: tasks that the old broker has confirmed.
        lost: of these, those that no worker got and that nobody deleted.
        deleted: tasks that were deleted on purpose (purged, or with their queue), as the broker counted them.
        changed: tasks whose body or properties came otherwise than they were sent.
        early: ETA tasks that were in a worker's queue of the new side more than a second before they were due.
        twice: second copies. A copy that a broker hands out again to the worker that had it is not one.
        counted: what was said of them: by the daemon as possible duplicates, by the old broker as redelivered to an old
            worker (nobody else can tell when the daemon was killed).
        unlisted: tasks of which there were second copies, and which neither of them named.
        window: how many may be in flight, which is how many one fault may double.
        gap: the longest time in seconds in which no worker got anything, while tasks were sent.
        given_back: seconds from the fault until the old workers got new tasks; None if they did not.
        recovered: seconds from its end until new tasks came to the new worker again; None if nothing was waited for.
        faults: what is wrong, a sentence each.
    """

    sent: int
    lost: int
    deleted: int
    changed: int
    early: int
    twice: int
    counted: int
    unlisted: int
    window: int
    gap: float
    given_back: float | None = None
    recovered: float | None = None
    wants_given_back: bool = False
    faults: tuple[str, ...] = ()

    def judged(self) -> tuple[str, ...]:
        """What breaks the promise (design, section 1), a sentence each; nothing if it was kept."""
        broken = list(self.faults)
        if self.twice > self.window:
            broken.append(f"{self.twice} tasks came twice, at most {self.window} were in flight")
        if self.twice > self.counted:
            broken.append(f"{self.twice} tasks came twice, only {self.counted} were counted as possible duplicates")
        if self.wants_given_back and (self.given_back is None or self.given_back > GIVEN_BACK_WITHIN):
            took = "never" if self.given_back is None else f"after {self.given_back:.1f} s"
            broken.append(f"old workers got new tasks {took}, allowed: {GIVEN_BACK_WITHIN:g} s")
        return tuple(broken)

    def check(self) -> None:
        """Raise an AssertionError that names everything that breaks the promise."""
        broken = self.judged()
        assert not broken, "\n".join(broken) + f"\n{replace(self, faults=())}"


def balance(
    sent: Mapping[int, Sent],
    confirmed: AbstractSet[int],
    before: Sequence[Came],
    after: Sequence[Came],
    *,
    deleted: int,
    counted: int,
    listed: AbstractSet[str],
    held: float,
    window: int,
    capped: bool,
) -> Book:
    """Balance what was sent against what came.

    Args:
        sent: every task by its number, confirmed or not.
        confirmed: numbers that the old broker has taken.
        before: what the old workers got.
        after: what the new workers got.
        deleted: messages that were deleted on purpose.
        counted: what the daemon said of duplicates; what the old workers saw redelivered is added here.
        listed: ids of the tasks that it named as such.
        held: when the last task was sent, in seconds of the monotonic clock.
        window: messages that may be in flight.
        capped: the target is a RabbitMQ 4.0 to 4.2 (design, section 4.11).
    """
    missing = sorted(confirmed - {it.number for it in before} - {it.number for it in after})
    changed = sorted({it.number for it in (*before, *after) if _changed(sent.get(it.number), it, capped)})
    early = sorted({it.number for it in after if _early(sent.get(it.number), it)})
    copies = _copies(before, after)
    named = {it.number for it in before if it.redelivered} | {int(one) for one in listed}
    unlisted = sorted(number for number, count in copies.items() if count > 1 and number not in named)
    lost = max(0, len(missing) - deleted)
    faults = []
    if lost:
        faults.append(f"lost: {lost} tasks, among {missing[:_NAMED]}")
    if deleted > len(missing):
        faults.append(f"{deleted} messages were deleted, but only {len(missing)} tasks are missing")
    if changed:
        faults.append(f"changed: {len(changed)} tasks, {changed[:_NAMED]}: {_how(sent, (*before, *after), capped)}")
    if unlisted:
        faults.append(f"not listed: {len(unlisted)} tasks came twice, {unlisted[:_NAMED]}")
    if early:
        faults.append(f"early: {len(early)} tasks, {early[:_NAMED]}")
    return Book(
        sent=len(confirmed),
        lost=lost,
        deleted=deleted,
        changed=len(changed),
        early=len(early),
        twice=sum(copies.values()) - len(copies),
        counted=counted + sum(it.redelivered for it in before),
        unlisted=len(unlisted),
        window=window,
        gap=_gap(it.at for it in (*before, *after) if it.at < held),
        faults=tuple(faults),
    )


def doubled(before: Sequence[Came], after: Sequence[Came]) -> list[int]:
    """The numbers of which there were two copies or more."""
    return sorted(number for number, count in _copies(before, after).items() if count > 1)


def _copies(before: Iterable[Came], after: Sequence[Came]) -> Counter[int]:
    """How many copies of each task there were.

    The old vhost has one of each; a worker there that gets it again lost its first delivery. On the new side a copy is
    what was not delivered before; what only came as redelivered had lost its first delivery.
    """
    copies = Counter(it.number for it in after if not it.redelivered)
    for number in {it.number for it in after} - copies.keys():
        copies[number] += 1
    copies.update({it.number for it in before})
    return copies


def _changed(sent: Sent | None, came: Came, capped: bool) -> bool:
    if sent is None:
        return False  # of an earlier stretch, or another's: it is in no book of ours
    return came.body != sent.body or bool(
        differences(sent.properties, came.properties, has_eta=sent.due is not None, capped=capped)
    )


def _how(sent: Mapping[int, Sent], came: Iterable[Came], capped: bool) -> list[str]:
    for it in came:
        was = sent.get(it.number)
        if was is not None and _changed(was, it, capped):
            return differences(was.properties, it.properties, has_eta=was.due is not None, capped=capped) or ["body"]
    return []


def _early(sent: Sent | None, came: Came) -> bool:
    return sent is not None and sent.due is not None and came.wall < sent.due - HELD_BY_WORKER


def _gap(times: Iterable[float]) -> float:
    return max((second - first for first, second in itertools.pairwise(sorted(times))), default=0.0)
