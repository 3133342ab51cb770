"""What is kept of one queue beside its traffic: who set its route, what is planned, and all of it as JSON.

The daemon that takes over restores a queue from what `entry` gave.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from bridge.core import books
from bridge.core.counts import NUMBERS, Counts
from bridge.core.route import Route, State, Verb
from bridge.core.schedule import When
from bridge.subscription import Subscription
from bridge.terms import Share


@dataclass(slots=True)
class Plan:
    """A postponed verb."""

    verb: Verb
    when: When
    by: str
    reason: str
    since: datetime
    share: Share | None = None
    force: bool = False
    #: When it was due and refused the last time, and why.
    tried: datetime | None = None
    refused: str = ""

    def as_json(self) -> dict[str, Any]:
        """The plan as the status and the saved state have it."""
        return {
            "verb": self.verb.value,
            "at": _text(self.when.at),
            "when_backlog": self.when.backlog,
            "by": self.by,
            "reason": self.reason,
            "since": _text(self.since),
            "share": _share(self.share),
            "force": self.force,
            "tried": _text(self.tried),
            "refused": self.refused,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Plan:
        """The plan that `as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(
            Verb(given["verb"]),
            When(_time(given["at"]), given["when_backlog"]),
            given["by"],
            given["reason"],
            datetime.fromisoformat(given["since"]),
            share_of(given["share"]),
            given["force"],
            _time(given["tried"]),
            given["refused"],
        )


@dataclass(frozen=True, slots=True)
class Configured:
    """What the configuration said of a queue when it was last carried out: another value is a verb."""

    route: Route
    share: Share | None


@dataclass(slots=True)
class Record:
    """What is known of a queue's route beside the route itself."""

    configured: Configured
    #: Who set the route; empty: nobody yet, it is the one that every queue begins with.
    by: str = ""
    reason: str = ""
    changed_at: datetime | None = None
    plan: Plan | None = None
    #: How many verbs were asked so far: one that was looked at for long finds out that it is not the last.
    asked: int = 0


def entry(subscription: Subscription, record: Record) -> dict[str, Any]:
    """A queue as JSON, to be restored from."""
    subscription.settle()
    ahead, back = subscription.unsettled
    return {
        "route": subscription.route.value,
        "paused": subscription.paused,
        "wanted": None if subscription.wanted is None else subscription.wanted.value,
        "since": _text(record.changed_at),
        "by": record.by,
        "reason": record.reason,
        "share": _share(subscription.share),
        "limit": subscription.limit,
        "canary_taken": subscription.canary_taken,
        "planned": None if record.plan is None else record.plan.as_json(),
        "configured": {"route": record.configured.route.value, "share": _share(record.configured.share)},
        "counts": _counted(subscription.counts, ahead),
        "back_counts": _counted(subscription.back_counts, back),
        "waiting": subscription.waiting.dump(time.time()),
    }


@dataclass(frozen=True, slots=True)
class Entry:
    """A saved queue, read and found whole."""

    state: State
    wanted: Route | None
    share: Share | None
    limit: float | None
    canary_taken: int
    record: Record
    counts: Mapping[str, object]
    back_counts: Mapping[str, object]
    #: When converted tasks are due, and how many.
    waiting: Sequence[tuple[int, int]]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Entry:
        """What `entry` gave.

        Raises:
            KeyError, TypeError, ValueError: it is not whole.
        """
        configured = Configured(Route(given["configured"]["route"]), share_of(given["configured"]["share"]))
        plan = given["planned"]
        return cls(
            state=State(Route(given["route"]), bool(given["paused"])),
            wanted=None if given["wanted"] is None else Route(given["wanted"]),
            share=share_of(given["share"]),
            limit=None if given["limit"] is None else float(given["limit"]),
            canary_taken=int(given["canary_taken"]),
            record=Record(
                configured,
                given["by"],
                given["reason"],
                _time(given["since"]),
                None if plan is None else Plan.from_json(plan),
            ),
            counts=dict(given["counts"]),
            back_counts=dict(given["back_counts"]),
            # Older versions saved none.
            waiting=[(int(due), int(tasks)) for due, tasks in given.get("waiting", ())],
        )

    def restore(self, subscription: Subscription) -> None:
        """Give a subscription the route, the limit and the numbers that were saved."""
        subscription.set_share(self.share)
        subscription.set_state(self.state)
        subscription.canary_taken = self.canary_taken
        subscription.set_limit(self.limit)
        if self.wanted is not None:
            subscription.hold(self.wanted, "not asked yet")
        # Who has counted on meanwhile keeps his numbers.
        for counts, saved in ((subscription.counts, self.counts), (subscription.back_counts, self.back_counts)):
            taken = saved.get("taken", 0)
            if isinstance(taken, int) and taken >= counts.taken:
                for name in NUMBERS:
                    setattr(counts, name, 0)
                books.carry_over(counts, saved)
                if counts is subscription.counts:
                    counts.waits.clear()
                    subscription.waiting.load(self.waiting, time.time())


class Records:
    """The records of all queues: of those in scope, and as JSON of those that were saved and are not."""

    def __init__(self) -> None:
        self._here: dict[str, Record] = {}
        self._away: dict[str, Mapping[str, Any]] = {}
        #: What each queue's entry was made of last, and that entry: of a thousand queues most stand still.
        self._made: dict[str, tuple[tuple[object, ...], Mapping[str, Any]]] = {}

    def of(self, subscription: Subscription) -> Record:
        """What is known of a queue in scope."""
        found = self._here.get(subscription.queue)
        if found is None:
            found = self._here[subscription.queue] = Record(Configured(Route.LEGACY, None))
        return found

    @property
    def planned(self) -> bool:
        """Whether a verb is planned for any queue in scope."""
        return any(record.plan is not None for record in self._here.values())

    def take_up(self, subscription: Subscription) -> bool:
        """A queue came into scope: it gets what was saved of it, and whether there was something."""
        saved = self._away.pop(subscription.queue, None)
        if saved is None:
            return False
        self._restore(subscription, Entry.read(saved))
        return True

    def put_away(self, subscription: Subscription) -> None:
        """A queue left the scope."""
        self._away[subscription.queue] = entry(subscription, self.of(subscription))
        del self._here[subscription.queue]
        self._made.pop(subscription.queue, None)

    def dump(self, subscriptions: Iterable[Subscription]) -> dict[str, Any]:
        """All queues as JSON."""
        return {**self._away, **{one.queue: self._entry(one) for one in subscriptions}}

    def _entry(self, subscription: Subscription) -> Mapping[str, Any]:
        record, name = self.of(subscription), subscription.queue
        subscription.settle()
        if record.plan is not None or not subscription.waiting.empty:
            # A plan changes as it is tried, and what waits is as many by another moment.
            self._made.pop(name, None)
            return entry(subscription, record)
        made_of = _made_of(subscription, record)
        known = self._made.get(name)
        if known is None or known[0] != made_of:
            known = self._made[name] = made_of, entry(subscription, record)
        return known[1]

    def load(self, saved: Mapping[str, Any], subscriptions: Iterable[Subscription]) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is not whole; nothing was taken over.
        """
        read = {name: Entry.read(one) for name, one in saved.items()}
        self._away = dict(saved)
        for subscription in subscriptions:
            if self._away.pop(subscription.queue, None) is not None:
                self._restore(subscription, read[subscription.queue])

    def _restore(self, subscription: Subscription, saved: Entry) -> None:
        saved.restore(subscription)
        self._here[subscription.queue] = saved.record


def _made_of(subscription: Subscription, record: Record) -> tuple[object, ...]:
    """All that `entry` reads, but for a plan and what waits."""
    return (
        subscription.route,
        subscription.paused,
        subscription.wanted,
        subscription.share,
        subscription.limit,
        subscription.canary_taken,
        subscription.unsettled,
        books.numbers(subscription.counts),
        books.numbers(subscription.back_counts),
        record.changed_at,
        record.by,
        record.reason,
        record.configured,
    )


def _counted(counts: Counts, in_flight: int) -> dict[str, int]:
    """What was counted, without the zeros: with many queues most are, and all of it is saved at every change."""
    return {name: number for name, number in books.dump(counts, in_flight).items() if number}


def share_of(given: Mapping[str, Any] | None) -> Share | None:
    """The share that JSON has.

    Raises:
        AttributeError, TypeError: it is none.
    """
    if given is None:
        return None
    tasks = given.get("tasks")
    return Share(
        given.get("rate"), given.get("first"), given.get("percent"), None if tasks is None else tuple(map(str, tasks))
    )


def _share(share: Share | None) -> dict[str, Any] | None:
    return None if share is None else {name: value for name, value in asdict(share).items() if value is not None}


def _time(given: str | None) -> datetime | None:
    return None if given is None else datetime.fromisoformat(given)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
