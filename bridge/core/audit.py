"""Whether the old side of a queue is finished, and what it waits for, by name (design, section 7).

1. Drained is: the route is `quorum`, nothing is ready or unacked in the old queue, nobody but the bridge consumes it,
   and nothing was published into it for `drained_after`.
2. Every reason is said, not only the first: an operator stops workers and producers in one go.
3. What was not seen is a reason to wait, not a reason to go on.
4. Names are looked up less often than numbers: where a newer number says that there is nobody, an older name is no
   reason any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bridge.core.old_side import Consumer, Flow, Holder, OldSide, Publisher
from bridge.core.route import Route

#: Seconds by which the broker's numbers are older than its lists: it collects statistics so often.
_STATISTICS: Final = 5.0
#: Names in one sentence.
MOST_NAMES: Final = 5


@dataclass(frozen=True, slots=True)
class Counted:
    """What the broker told of the old queue; `age` in seconds."""

    ready: int
    unacked: int
    consumers: int
    age: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """How long nothing came into the old queue.

    Attributes:
        seconds: since the broker's count of publishes last changed or a message was last taken from the queue,
            whichever is later; since the first look where neither happened.
        seen: whether something came since the first look.
        known: whether the broker counts publishes, or everything that is published comes to the bridge.
    """

    seconds: float
    seen: bool
    known: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one queue.

    Attributes:
        queue: its name.
        route: its route.
        paused: whether nothing moves although the route says so.
        in_flight: messages of it that the bridge has taken and not acked: the broker counts them as unacked.
        ours: consumers of the old queue that are the bridge's.
        counted: None when the broker told nothing.
        fault: why it told nothing.
        quiet: None before the first look.
        old: who of the old side concerns this queue; None when that is not known.
        old_age: seconds since that was looked at.
    """

    queue: str
    route: Route
    paused: bool = False
    in_flight: int = 0
    ours: int = 0
    counted: Counted | None = None
    fault: str = ""
    quiet: Quiet | None = None
    old: OldSide | None = None
    old_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Drained:
    """Whether the old side of a queue is finished, and what it waits for when it is not."""

    queue: str
    yes: bool
    waits_for: tuple[str, ...]


def drained(seen: Seen, after: float) -> Drained:
    """Whether the old side of a queue is finished.

    Args:
        seen: what is known of it.
        after: seconds for which nothing may have come in.
    """
    waits_for = tuple(_waits_for(seen, after))
    return Drained(seen.queue, not waits_for, waits_for)


def _waits_for(seen: Seen, after: float) -> Iterator[str]:
    if seen.route is not Route.QUORUM:
        yield f"the route quorum: it is {seen.route}"
    elif seen.paused:
        yield "the bridge, which is paused"
    old = seen.old
    counted = seen.counted
    if counted is None:
        yield f"numbers of the old queue, which cannot be seen: {seen.fault or 'not looked at yet'}"
    else:
        yield from _messages(seen, counted, old)
        yield from _consumers(seen, counted, old)
    quiet = seen.quiet
    # That nothing came is newer than who published when something did.
    if old is not None and not (counted is not None and quiet is not None and quiet.known and quiet.seconds >= after):
        yield from publishing(old)
    if counted is not None and quiet is not None:
        yield from _quiet(quiet, after)


def _messages(seen: Seen, counted: Counted, old: OldSide | None) -> Iterator[str]:
    if counted.ready:
        yield f"messages that are ready in the old queue: {counted.ready} ({counted.age:.0f} s ago)"
    if seen.in_flight:
        yield f"messages in flight here: {seen.in_flight}"
    unacked = counted.unacked - seen.in_flight
    held = 0
    for holder in old.holders if old is not None and not (_outdated(seen, counted) and unacked <= 0) else ():
        held += holder.unacked
        yield holding(holder)
    left = unacked - held
    if left > 0:
        whose = "who holds them cannot be seen" if old is None else "nobody who is seen holds them"
        yield f"messages that are unacked in the old queue: {left} ({counted.age:.0f} s ago), {whose}"


def _consumers(seen: Seen, counted: Counted, old: OldSide | None) -> Iterator[str]:
    named = [] if old is None else [one for one in old.consumers if not one.ours]
    others = counted.consumers - seen.ours
    for one in [] if _outdated(seen, counted) and others <= 0 else named:
        yield consuming(one)
    if others > 0 and not named:
        yield f"consumers of the old queue that are not ours: {others} ({counted.age:.0f} s ago)"


def _outdated(seen: Seen, counted: Counted) -> bool:
    """Whether numbers are newer than names."""
    return seen.old_age > counted.age + _STATISTICS


def _quiet(quiet: Quiet, after: float) -> Iterator[str]:
    if not quiet.known:
        yield "the count of publishes, which the broker does not keep: who publishes cannot be seen"
    elif quiet.seconds < after:
        since = "the last message came" if quiet.seen else "it was first looked at, and nothing came,"
        yield f"quiet: {since} {quiet.seconds:.0f} s ago, {after:.0f} s are wanted"


def by_queue(old: OldSide) -> dict[str, OldSide]:
    """What concerns each queue that anything concerns, as `OldSide.of` gives it, with one look at everybody."""
    flows: dict[str, list[Flow]] = {}
    for flow in old.flows:
        for queue, rate in flow.queues.items():
            part = replace(flow, queues={queue: rate}, unnamed=min(flow.unnamed, rate))
            flows.setdefault(queue, []).append(part)
    consumers: dict[str, list[Consumer]] = {}
    for one in old.consumers:
        consumers.setdefault(one.queue, []).append(one)
    holders: dict[str, list[Holder]] = {}
    for holder in old.holders:
        holders.setdefault(holder.queue, []).append(holder)
    return {
        queue: replace(
            old,
            flows=tuple(flows.get(queue, ())),
            consumers=tuple(consumers.get(queue, ())),
            holders=tuple(holders.get(queue, ())),
            unexplained={queue: old.unexplained[queue]} if queue in old.unexplained else {},
        )
        for queue in {**flows, **consumers, **holders, **old.unexplained}
    }


# -- who it is, as sentences
# ---------------------------------------------------------------------------------------------------


def publishing(old: OldSide) -> Iterator[str]:
    """Who publishes."""
    for one in _once(old.publishers):
        yield f"{who(one)} to stop publishing ({one.rate:.1f} messages a second)"
    if old.unnamed > 0:
        yield f"somebody who cannot be named to stop publishing ({old.unnamed:.1f} messages a second)"


def consuming(one: Consumer) -> str:
    """A consumer, as what is waited for."""
    return f'{who(one)} to stop consuming (consumer "{one.tag}", priority {one.priority})'


def holding(one: Holder) -> str:
    """Somebody who holds messages, as what is waited for."""
    eta = "how many of them wait for an ETA is not known" if one.eta is None else f"{one.eta} of them wait for an ETA"
    return f"{who(one)} to finish or give back what it holds unacked: {one.unacked} ({eta})"


def who(one: Publisher | Consumer | Holder) -> str:
    """Somebody on the old side, in words: the worker's name, client, host and user, as far as they are known."""
    worker = None if isinstance(one, Publisher) else one.worker
    name = f"worker {worker}" if worker else f'connection "{one.connection}"' if one.connection else "a connection"
    parts = [one.client, f"from {one.host}" if worker and one.host else "", f'user "{one.user}"' if one.user else ""]
    told = ", ".join(part for part in parts if part)
    return f"{name} ({told})" if told else name


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, the first few and how many more."""
    found = list(names)
    shown = ", ".join(found[:MOST_NAMES])
    return f"{shown} and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else shown


def _once(publishers: Iterable[Publisher]) -> list[Publisher]:
    """Each connection once, with the most it publishes into one queue."""
    most: dict[str, Publisher] = {}
    for one in publishers:
        before = most.get(one.connection)
        if before is None or before.rate < one.rate:
            most[one.connection] = one
    return list(most.values())
