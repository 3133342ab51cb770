"""The one snapshot of all numbers at one moment: whatever shows something renders from it.

Other rooms add what is theirs: `Control.more` for the whole, `Control.more_of_queue` for each queue.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from bridge import __version__
from bridge.core.counts import NUMBERS
from bridge.core.why_first import Side, Stand, why_first
from bridge.verbs import state_of

if TYPE_CHECKING:
    from bridge.amqp import Connection
    from bridge.control import Control
    from bridge.records import Plan
    from bridge.subscription import Subscription

#: Those that a histogram has are told there.
_COUNTS = tuple(name for name in NUMBERS if not name.startswith("due_"))
_counted = attrgetter(*_COUNTS)
_SUMMED = ("in_flight", "rate", *_COUNTS)


def snapshot(control: Control, subscriptions: Iterable[Subscription], now: datetime) -> dict[str, Any]:
    """All numbers at one moment; `now` is the time, in UTC."""
    queues = [queue(control, subscription, now) for subscription in subscriptions]
    stands = [
        Stand(
            one["name"], one["state"], one["why"], one["route"], one["finish"]["why"] if one["finish"]["grows"] else ""
        )
        for one in queues
    ]
    forward, shared = control.links.forward, control.shared
    source, target = forward.source, forward.target
    stream, jump = shared.stream, control.clock.last
    told: dict[str, Any] = {
        "version": __version__,
        "now": now.isoformat(timespec="milliseconds"),
        "why_first": _first(control, stands),
        "instance": control.instance,
        "layout": control.layout.value,
        "state": control.state,
        "standby": control.standby,
        "since": stamp(control.since),
        "pid": os.getpid(),
        "source": _side(control.addresses[0], source.closed.is_set(), source.reason, None),
        "target": _side(control.addresses[1], target.closed.is_set(), target.reason, target.blocked),
        **_legacy(control),
        "ladder": {"fault": shared.exits.fault, "warning": shared.exits.warning, **control.figures.ladder()},
        "old_side": control.old_side(),
        "backup": None if stream is None else {"required": stream.required, "fault": stream.fault},
        "clock": {
            "jumps": control.clock.jumps,
            "last": None if jump is None else {"seconds": round(jump.seconds, 3), "at": stamp(jump.at)},
        },
        "lost_features": control.lost_features,
        "reload_fault": control.reload_fault,
        "limit": control.limit,
        "totals": {
            **{name: sum([queue[name] for queue in queues]) for name in _SUMMED},
            **control.figures.totals(queues),
        },
        "queues": queues,
        "changes": control.changes.as_json(),
    }
    for more in control.more:
        told.update(more())
    return told


def queue(control: Control, subscription: Subscription, now: datetime) -> dict[str, Any]:
    """One queue's part of the snapshot."""
    shown, record = subscription.shown, control.records.of(subscription)
    relay = shown.relay
    rate = round(subscription.rate(), 1)
    told: dict[str, Any] = {
        "name": subscription.queue,
        "target": subscription.terms.target,
        "route": subscription.route.value,
        "paused": subscription.paused,
        "state": shown.state,
        "why": shown.why,
        "since": stamp(shown.since),
        "by": record.by,
        "reason": record.reason,
        "changed_at": None if record.changed_at is None else stamp(record.changed_at),
        "planned": None if record.plan is None else _planned(control, subscription, record.plan, now),
        "next": control.verbs.offered(subscription, state_of(subscription)),
        "limit": subscription.limit,
        "in_flight": subscription.in_flight,
        "read_ahead": len(relay.ahead.waiting) if relay else 0,
        "rate": rate,
        "window": relay.pace.prefetch if relay else None,
        "confirm_ms": round(relay.ledger.lag * 1000, 3) if relay else None,
        # Not `asdict`, which copies: with a thousand queues that would be most of the answer's time.
        **dict(zip(_COUNTS, _counted(subscription.counts), strict=True)),
        **control.figures.of_queue(subscription, rate, now),
        "gate": control.gates.of(subscription),
    }
    for more in control.more_of_queue:
        told.update(more(subscription))
    return told


def why_first_of(control: Control, subscriptions: Iterable[Subscription], now: datetime) -> str:
    """Why it is not moving, or what waits, in one sentence; empty when all moves."""
    stands = [
        Stand(one.queue, one.state, one.why, one.route.value, control.figures.grows(one, now)) for one in subscriptions
    ]
    return _first(control, stands)


def _first(control: Control, stands: list[Stand]) -> str:
    forward, legacy = control.links.forward, control.links.legacy
    sides = [_end("source", forward.source, None), _end("target", forward.target, forward.target.blocked)]
    if legacy is not None:
        sides.append(_end("legacy", legacy.target, legacy.target.blocked))
    stuck, fault = control.figures.ladder()["stuck"], control.shared.exits.fault or ""
    return why_first(control.state, control.standby, sides, stuck, fault, stands)


def _end(name: str, connection: Connection, blocked: str | None) -> Side:
    closed = connection.closed.is_set()
    return Side(name, not closed, (connection.reason if closed else blocked) or "")


def stamp(at: datetime) -> str:
    """A time, to the second."""
    return at.isoformat(timespec="seconds")


def _planned(control: Control, subscription: Subscription, plan: Plan, now: datetime) -> dict[str, Any]:
    return {**plan.as_json(), "waits_for": control.postponed.waits_for(subscription, plan, now)}


def _legacy(control: Control) -> dict[str, Any]:
    """The third side, in the inline layout."""
    link = control.links.legacy
    if link is None:
        return {}
    side = link.target
    return {"legacy": _side(control.addresses[2], side.closed.is_set(), side.reason, side.blocked)}


def _side(address: str, closed: bool, reason: str, blocked: str | None) -> dict[str, Any]:
    return {"url": address, "connected": not closed, "reason": reason if closed else blocked}
