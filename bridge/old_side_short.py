"""Who is on the old side, in short: for the status, which is asked for every second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from bridge.core.old_side import Holder, OldSide
from bridge.core.route import Layout

#: Names that are told of publishers and of holders, and of the queues of one of them.
MOST = 20
MOST_QUEUES = 5
#: What the status has while nobody has looked.
NOT_SEEN: Mapping[str, Any] = {
    "publishers": [],
    "holders": [],
    "more": {"publishers": 0, "holders": 0},
    "age_s": None,
}


class Watch(Protocol):
    """Who looks; `last` is what the last look found."""

    last: OldSide | None


class OldSideShort:
    """The last look at the old side, made short once.

    Args:
        watch: looks again and again.
        layout: inline, those who publish are on the source's side, and may stay.
        now: the time, in UTC.
    """

    def __init__(
        self,
        watch: Watch,
        layout: Layout,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._watch = watch
        self._layout = layout
        self._now = now
        self._seen: OldSide | None = None
        self._short: Mapping[str, Any] = NOT_SEEN

    def status(self) -> Mapping[str, Any]:
        """What the status has of it."""
        last = self._watch.last
        if last is None:
            return NOT_SEEN
        if last is not self._seen:
            self._seen, self._short = last, _short(last, self._layout)
        return {**self._short, "age_s": round(max(0.0, (self._now() - last.at).total_seconds()), 1)}


def _short(last: OldSide, layout: Layout) -> dict[str, Any]:
    publishers = [] if layout is Layout.INLINE else _publishers(last)
    holders = _holders(last)
    return {
        "publishers": publishers[:MOST],
        "holders": holders[:MOST],
        "more": {"publishers": max(0, len(publishers) - MOST), "holders": max(0, len(holders) - MOST)},
    }


def _publishers(last: OldSide) -> list[dict[str, Any]]:
    """Each connection once, those that publish most first."""
    found: dict[str, dict[str, Any]] = {}
    for flow in last.flows:
        for one in flow.publishers:
            name = one.client or one.connection
            empty = {"name": name, "user": one.user, "host": one.host, "queues": set(), "rate": 0.0}
            told = found.setdefault(one.connection, empty)
            told["queues"].update(flow.queues)
            told["rate"] += one.rate
    every = sorted(found.values(), key=lambda one: (-one["rate"], one["name"]))
    return [{**one, **_queues(one["queues"]), "rate": round(one["rate"], 1)} for one in every]


def _holders(last: OldSide) -> list[dict[str, Any]]:
    """Each connection once, those that hold most first."""
    found: dict[str, list[Holder]] = {}
    for one in last.holders:
        found.setdefault(one.connection, []).append(one)
    every = []
    for held in found.values():
        first = held[0]
        etas = [one.eta for one in held]
        every.append(
            {
                "name": first.worker or first.client or first.connection,
                "user": first.user,
                "host": first.host,
                **_queues({one.queue for one in held}),
                "unacked": sum(one.unacked for one in held),
                "eta": None if None in etas else sum(eta or 0 for eta in etas),
            }
        )
    return sorted(every, key=lambda one: (-one["unacked"], one["name"]))


def _queues(names: set[str]) -> dict[str, Any]:
    """The first names, and how many there are beside them."""
    return {"queues": sorted(names)[:MOST_QUEUES], "more_queues": max(0, len(names) - MOST_QUEUES)}
