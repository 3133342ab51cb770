"""What is measured of the queues beside what is counted: rates, confirm times, the time to finish, the last hour.

1. Every second only what happened since is looked at; every few seconds a point of the last hour is made of it, and
   what takes longer is worked out for the status to be told until the next one.
2. Nothing is asked of a broker for it: depths and publishes come from the looks that others make (`bridge/depths.py`).
3. What is not known is None, never 0; what was seen too long ago is not known.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import gevent

from bridge.core.delays import PARTS, histogram
from bridge.core.flow import ENOUGH, WINDOWS, Finish, Meter, finish
from bridge.core.history import History, Ring
from bridge.core.quantiles import Quantiles
from bridge.core.route import Layout, Route
from bridge.depths import Depth, Depths
from bridge.errors import UnknownQueue
from bridge.levels import NOT_SEEN, Levels
from bridge.subscription import Subscription

#: Seconds between two points of the history, and how many there are: an hour.
POINT = 5.0
POINTS = 720
#: Queues that are looked at at a stretch.
_AT_ONCE = 50
#: Seconds after which what was seen of a queue says nothing about now.
STALE = 60.0
#: Seconds from the beginning of a state for which its rate is that of the last ten seconds: over a minute, what was
#: before it would count as well.
YOUNG = 60.0
#: Old and new depth (ready), ladder, rates in and out, confirm: parts of 1 that a point of the history tells apart.
_SCALES = (1, 1, 1, 16, 16, 1000)
_SHARES = (0.5, 0.99)
_SLOTS = int(60 / POINT)
_LONG = tuple(WINDOWS)[1:]
#: Numbers by name, each None where it is not known.
Numbers = Mapping[str, float | None]
_UNKNOWN: Numbers = dict.fromkeys(WINDOWS)
_NO_CONFIRM: Numbers = {"p50_ms": None, "p99_ms": None}


@dataclass(slots=True)
class _Of:
    """What is measured of one queue."""

    ring: Ring
    #: When it was first looked at, in monotonic seconds.
    began: float
    came: Meter = field(default_factory=lambda: Meter(tuple(WINDOWS.values())))
    went: Meter = field(default_factory=lambda: Meter([WINDOWS[name] for name in _LONG]))
    lags: Quantiles = field(default_factory=lambda: Quantiles(_SLOTS))
    #: When the broker was looked at for `came`, in monotonic seconds.
    seen: float = -1.0
    #: What the target held while it was brought back: monotonic seconds and messages, the oldest first.
    held: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SLOTS + 1))
    #: As of the last point: rates, confirm times, messages in the ladder.
    rates_in: Numbers = field(default_factory=lambda: _UNKNOWN)
    rates_out: Numbers = field(default_factory=lambda: _UNKNOWN)
    confirm: Numbers = field(default_factory=lambda: _NO_CONFIRM)
    waiting: int = 0
    #: Tasks that were brought back out of the ladder by then.
    brought: int = 0
    #: What the last point was made of, and its numbers; whether the next one is the same if nothing of it changes.
    made_of: tuple[object, ...] = ()
    point: list[float | None] = field(default_factory=list)
    still: bool = False


class Figures:
    """The figures of all queues.

    Args:
        layout: where the bridge sits.
        subscriptions: the queues in scope now.
        clock: monotonic seconds.
        wall: UTC epoch seconds.
    """

    def __init__(
        self,
        layout: Layout,
        subscriptions: Callable[[], Iterable[Subscription]],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        #: How full the queues are, and the levels of the ladder; None where nobody looks.
        self.depths: Depths | None = None
        self.levels: Levels | None = None
        #: How many tasks of a queue were brought back out of the ladder.
        self.brought: Callable[[str], int] = lambda _queue: 0
        self._layout = layout
        self._subscriptions = subscriptions
        self._clock = clock
        self._wall = wall
        self._history = History(_SCALES, POINTS)
        self._of: dict[str, _Of] = {}
        self._total = self._history.ring()
        self._lags = Quantiles(_SLOTS)
        self._point = float("-inf")

    # -- every second
    # ----------------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """Look at what happened; to be called every second."""
        now = self._clock()
        for subscription in self._subscriptions():
            counts = subscription.counts
            if counts.waits:
                subscription.settle()
            lags = counts.lags
            back = subscription.back_counts.lags
            if lags or back:
                of = self._known(subscription.queue, now)
                for found in (lags, back):
                    of.lags.add(found)
                    self._lags.add(found)
                    found.clear()
        if now - self._point >= POINT:
            self._point = now
            self._look(now)

    def forget(self) -> None:
        """Another daemon is the active one: nothing is known of the queues."""
        self._of.clear()

    def _known(self, queue: str, now: float) -> _Of:
        found = self._of.get(queue)
        if found is None:
            found = self._of[queue] = _Of(self._history.ring(), now, brought=self.brought(queue))
        return found

    def _look(self, now: float) -> None:
        """A point of the history."""
        wall = self._wall()
        sums: list[float | None] = [None] * len(_SCALES)
        here = set()
        for number, subscription in enumerate(list(self._subscriptions())):
            if number % _AT_ONCE == 0:
                # Messages move meanwhile.
                gevent.sleep(0)
            here.add(subscription.queue)
            of = self._known(subscription.queue, now)
            self._look_at(subscription, of, now, wall)
            for column, one in enumerate(of.point):
                if one:
                    sums[column] = one + (sums[column] or 0)
                elif one is not None and sums[column] is None:
                    sums[column] = 0
        sums[-1] = _ms(self._lags.turn())
        self._history.put(self._total, sums)
        self._history.turn(wall)
        for queue in self._of.keys() - here:
            del self._of[queue]

    def _look_at(self, subscription: Subscription, of: _Of, now: float, wall: float) -> None:
        """A point of one queue; where nothing happens, that costs next to nothing."""
        counts, back, waiting = subscription.counts, subscription.back_counts, subscription.waiting
        old, new = self._old(subscription.queue, now), self._new(subscription.terms.target, now)
        went = counts.moved + counts.to_legacy + back.to_legacy
        made_of = (
            went,
            counts.taken,
            None if old is None else (old.ready, old.published),
            None if new is None else new.ready,
            waiting.empty and of.lags.empty,
        )
        if made_of == of.made_of and of.still:
            self._history.again(of.ring)
            return
        if of.still:
            of.came.stood(now)
            of.went.stood(now)
        of.made_of = made_of
        self._look_at_publishes(subscription, of, old, now)
        of.went.add(now, went)
        of.rates_out = dict(zip(_LONG, map(_rounded, of.went.rates()), strict=True))
        lag = None
        if not of.lags.empty:
            lag = of.lags.turn()
            of.confirm = self._confirm(of.lags)
        brought = self.brought(subscription.queue)
        if brought != of.brought:
            waiting.take(brought - of.brought)
            of.brought = brought
        of.waiting = waiting.count(wall)
        if subscription.route is not Route.REVERSE:
            of.held.clear()
        elif new is not None:
            of.held.append((new.at, new.ready + of.waiting))
        out = None if now - of.began < ENOUGH else subscription.rate()
        of.point = [
            None if old is None else old.ready,
            None if new is None else new.ready,
            of.waiting,
            of.rates_in["10s"],
            out,
            _ms(lag),
        ]
        self._history.put(of.ring, of.point)
        nothing_came = of.rates_in["10m"] == 0.0 or of.rates_in is _UNKNOWN
        of.still = nothing_came and of.rates_out["10m"] == 0.0 and out == 0.0 and waiting.empty and of.lags.empty
        of.still &= subscription.route is not Route.REVERSE

    @staticmethod
    def _confirm(lags: Quantiles) -> Numbers:
        p50, p99 = lags.of(_SHARES)
        return _NO_CONFIRM if p50 is None else {"p50_ms": _ms(p50), "p99_ms": _ms(p99)}

    def _look_at_publishes(self, subscription: Subscription, of: _Of, old: Depth | None, now: float) -> None:
        """What came: inline all that comes is taken, elsewhere the broker counts it."""
        if self._layout is Layout.INLINE:
            of.came.add(now, subscription.counts.taken - subscription.counts.redelivered)
        elif old is None or old.published is None:
            of.rates_in = _UNKNOWN
            return
        elif old.at != of.seen:
            of.seen = old.at
            of.came.add(old.at, old.published)
        of.rates_in = dict(zip(WINDOWS, map(_rounded, of.came.rates()), strict=True))

    def _old(self, queue: str, now: float) -> Depth | None:
        return None if self.depths is None else _fresh(self.depths.old(queue), now)

    def _new(self, queue: str, now: float) -> Depth | None:
        return None if self.depths is None else _fresh(self.depths.new(queue), now)

    # -- what others ask
    # ------------------------------------------------------------------------------------------------

    def of_queue(self, subscription: Subscription, rate: float, now: datetime) -> dict[str, Any]:
        """A queue's part of the status; `rate` is that of the last ten seconds, `now` the time in UTC."""
        of = self._of.get(subscription.queue, _NOTHING)
        if subscription.counts.waits:
            subscription.settle()
        monotonic = self._clock()
        out = {"10s": rate if monotonic - of.began >= ENOUGH else None, **of.rates_out}
        return {
            "rates": {"in": of.rates_in, "out": out},
            "due": histogram(subscription.counts),
            "confirm": of.confirm,
            "ladder": {"waiting": of.waiting},
            "finish": self._finish(subscription, of, out, monotonic, now),
        }

    def totals(self, queues: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The same of all queues, from what `of_queue` gave."""
        return {
            "rates": {
                way: {name: _rounded(_sum(queue["rates"][way][name] for queue in queues)) for name in WINDOWS}
                for way in ("in", "out")
            },
            "due": {part: sum([queue["due"][part] for queue in queues]) for part in PARTS},
            "confirm": self._confirm(self._lags),
            "ladder": {"waiting": sum([queue["ladder"]["waiting"] for queue in queues])},
            "finish": _last(queues),
        }

    def grows(self, subscription: Subscription, now: datetime) -> str:
        """How much faster than it is moved a queue grows; empty where it does not."""
        if subscription.route in _NOT_MOVED or subscription.state != "moving":
            return ""
        of, monotonic = self._of.get(subscription.queue, _NOTHING), self._clock()
        out = {"10s": subscription.rate(), **of.rates_out}
        found = self._finish(subscription, of, out, monotonic, now)
        return str(found["why"]) if found["grows"] else ""

    def ladder(self) -> dict[str, Any]:
        """The levels of the target's ladder."""
        return NOT_SEEN if self.levels is None else self.levels.status()

    def history(self, queue: str | None = None) -> dict[str, Any]:
        """Numbers of the last hour of a queue, or of all together: `every_s`, `queue`, and `points` of epoch seconds,
        messages ready in the old and in the new queue, messages in the ladder, messages a second in and out, and
        milliseconds from publish to confirm; None where that was not known.

        Raises:
            UnknownQueue: it is not in scope.
        """
        ring = self._total
        if queue:
            if queue not in {one.queue for one in self._subscriptions()}:
                raise UnknownQueue(f'queue "{queue}": not in scope', hint="see the status for those that are")
            ring = self._known(queue, self._clock()).ring
        return {"every_s": int(POINT), "queue": queue or None, "points": self._history.points(ring)}

    def _finish(
        self, subscription: Subscription, of: _Of, out: Numbers, monotonic: float, now: datetime
    ) -> Mapping[str, Any]:
        """When what waits is moved, at the pace of the last minute."""
        route = subscription.route
        if route in _NOT_MOVED:
            return _NOT_MOVED[route]
        shown = subscription.shown
        if shown.state != "moving":
            return _NOT_NOW
        if route is Route.REVERSE:
            return _finish_back(of, out["10s"], now)
        if self._layout is Layout.INLINE:
            return _INLINE
        old = self._old(subscription.queue, monotonic)
        young = (now - shown.since).total_seconds() < YOUNG
        window = "10s" if young or out["1m"] is None or of.rates_in["1m"] is None else "1m"
        left, came = None if old is None else old.ready, of.rates_in[window]
        return _told(finish(left, came, out[window], "how much is published into the old queue"), now)


def _finish_back(of: _Of, out: float | None, now: datetime) -> Mapping[str, Any]:
    """When nothing is left on the target, by what it held at the last looks."""
    held = of.held
    net = None
    if len(held) > 1 and held[-1][0] - held[0][0] >= ENOUGH:
        net = (held[0][1] - held[-1][1]) / (held[-1][0] - held[0][0])
    came = None if net is None or out is None else max(0.0, out - net)
    return _told(finish(held[-1][1] if held else None, came, out, "how much still comes to the target"), now)


def _told(found: Finish, now: datetime) -> Mapping[str, Any]:
    if found.seconds is None:
        return {"seconds": None, "at": None, "why": found.why, "grows": found.grows}
    at = (now + timedelta(seconds=found.seconds)).isoformat(timespec="seconds")
    return {"seconds": round(found.seconds, 1), "at": at, "why": "", "grows": False}


def _unknown(why: str) -> Mapping[str, Any]:
    return {"seconds": None, "at": None, "why": why, "grows": False}


_NOT_MOVED = {
    Route.LEGACY: _unknown("route legacy: nothing is moved"),
    Route.CANARY: _unknown("route canary: the old workers have the rest"),
    Route.DUAL: _unknown("route dual: both sides have every message"),
}
_NOT_NOW = _unknown("nothing is moved now")
_INLINE = _unknown("in the inline layout nobody looks at how many wait in the source queue")
_NO_QUEUE = _unknown("no queue is moved")
#: Of a queue that nobody has looked at yet.
_NOTHING = _Of(History(_SCALES, 0).ring(), float("inf"))


def _last(queues: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """When the last queue is finished; not known as long as it is not of one that is moved."""
    moved = [queue for queue in queues if queue["route"] in (Route.QUORUM.value, Route.REVERSE.value)]
    for queue in moved:
        if queue["finish"]["seconds"] is None:
            found = queue["finish"]
            return {**found, "why": f'queue "{queue["name"]}": {found["why"]}'}
    return max((queue["finish"] for queue in moved), key=lambda one: float(one["seconds"]), default=_NO_QUEUE)


def _fresh(depth: Depth | None, now: float) -> Depth | None:
    """What was seen, unless that is too long ago."""
    return depth if depth is not None and depth.age(now) < STALE else None


def _sum(each: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None where none is."""
    known = [one for one in each if one is not None]
    return sum(known) if known else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
