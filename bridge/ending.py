"""The end, as the daemon sees it: looks at the old side every few seconds, and says which queues are drained, how the
books stand, and on request whether the old vhost can be deleted (design, section 7).

`core/audit.py`, `core/books.py` and `core/certificate.py` decide; here is only looked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import gevent

from bridge import export, sides, snapshot
from bridge.config import Config
from bridge.core import ladder
from bridge.core.audit import Counted, Drained, Quiet, Seen, by_queue, drained
from bridge.core.books import Books, Gap, books, gap, total, with_gap
from bridge.core.certificate import (
    Facts,
    Ladder,
    Number,
    Process,
    Received,
    Transfer,
    as_json,
    certificate,
)
from bridge.core.old_side import OldSide
from bridge.core.rights import QUARANTINE
from bridge.core.route import Layout, Route
from bridge.core.topology import Queue
from bridge.depths import Depth, Depths, Place
from bridge.errors import BridgeError, redact
from bridge.levels import Levels
from bridge.management import path
from bridge.subscription import Subscription

log = logging.getLogger("bridge.ending")

#: Seconds between two looks: a broker's statistics are new every 5 s.
LOOK = 5.0
#: Queues that are judged at a stretch.
_AT_ONCE = 50
_NO_API = "{}.api is not set"
_CONNECTION = "name,client_properties.connection_name"
_EXCHANGE = "name,message_stats.publish_in"
_TRANSFERS = {"shovel": "shovel", "federation-upstream": "federation upstream"}


class Watch(Protocol):
    """Looks at who is on the old side (`bridge/old_side.py`)."""

    last: OldSide | None

    def look(self) -> OldSide:
        """Look now.

        Raises:
            BridgeError: the API does not answer.
        """


@dataclass(slots=True)
class _Count:
    """A number of the broker's that only changes when something comes, and when it last did."""

    value: int | None
    taken: int
    since: float
    seen: bool = False

    def look(self, value: int | None, taken: int, now: float) -> None:
        """The number now, and how many messages the bridge has taken by now."""
        # It falls when the broker restarts: what came just before that is not known, so it counts as a change.
        if (value, taken) != (self.value, self.taken):
            self.value, self.taken, self.since, self.seen = value, taken, now, True


@dataclass(slots=True)
class _Exchanges:
    """What exchanges took, since the first look."""

    since: float | None = None
    counts: dict[str, _Count] = field(default_factory=dict)
    fault: str = "not looked at yet"


class Ending:
    """Looks, judges, remembers.

    Args:
        layout: which vhost is the old one: the source's, or inline the legacy one.
        places: vhost and API of the source, of the old side (inline the legacy side, else the source) and of the
            target; None without an API.
        depths: of both sides, looked at here.
        subscriptions: the queues in scope now.
        folder: of messages in files.
        duplicates: how many tasks may have run twice.
        scope: names that the configuration names in full.
        after: seconds for which nothing may be published into a queue that is drained.
        instance: name of the bridge, which is in the names of its connections.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        layout: Layout,
        places: tuple[Place | None, Place | None, Place | None],
        depths: Depths,
        subscriptions: Callable[[], Iterable[Subscription]],
        *,
        folder: Path,
        duplicates: Callable[[], int],
        scope: Callable[[], Iterable[str]],
        after: Callable[[], float],
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: Called with the name of a queue that became drained.
        self.on_drained: Callable[[str], None] = lambda _queue: None
        #: Who is on the old side; None where that is not looked at.
        self.watch: Watch | None = None
        #: What the daemon is, and since when its state is saved.
        self.process: Callable[[], Process] = lambda: Process("starting", None)
        self.depths = depths
        self.gaps: tuple[Gap, ...] = ()
        self._layout = layout
        self._source, self._old, self._target = places
        self._subscriptions = subscriptions
        self._folder = folder
        self._duplicates = duplicates
        self._scope = scope
        self._after = after
        self._ours = f"bridge {instance} "
        self._clock = clock
        self._quiet: dict[str, _Count] = {}
        self._drained: dict[str, Drained] = {}
        #: Queues of which it was said, by this process or one before it; another route forgets it.
        self._told: set[str] = set()
        self._exchanges = _Exchanges()
        #: Who was on the old side at the last look, and what of it concerns each queue.
        self._concerned: OldSide | None = None
        self._concerns: dict[str, OldSide] = {}
        self.levels = Levels(depths, clock)

    # -- every few seconds
    # --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at all queues, and judge them; what fails is in the reasons of the queues, not an error."""
        self.depths.old_side.look()
        self._look_further()

    def _look_further(self) -> None:
        """What else there is to look at once the old queues were."""
        self.depths.new_side.look()
        self._look_at_exchanges()
        self.levels.look()
        self._judge(self._clock())

    def _look_at_exchanges(self) -> None:
        place, found, now = self._old, self._exchanges, self._clock()
        if place is None:
            found.fault = self._unset
            return
        if not self.depths.old_side.counts_publishes:
            found.fault = "the broker keeps no statistics"
            return
        try:
            told = dict(place.api.pages(path("exchanges", place.vhost), _published_in, _EXCHANGE, again=True))
        except BridgeError as fault:
            found.fault = str(fault)
            return
        found.fault = ""
        first, found.since = found.since is None, now if found.since is None else found.since
        for name, value in told.items():
            if name in found.counts or first:
                found.counts.setdefault(name, _Count(value, 0, now)).look(value, 0, now)
            else:
                # It was not there at the last look.
                found.counts[name] = _Count(value, 0, now, seen=value > 0)
        for name in found.counts.keys() - told.keys():
            del found.counts[name]

    @property
    def _unset(self) -> str:
        return _NO_API.format("source" if self._layout is Layout.TAKEOVER else "legacy")

    def _who(self) -> OldSide | None:
        """Who is on the old side, as of the last look. Inline, those who publish are on the source's: they may stay."""
        last = None if self.watch is None else self.watch.last
        if last is not None and self._layout is Layout.INLINE:
            last = replace(last, flows=())
        return last

    def _judge(self, now: float) -> None:
        old, judged = self._who(), {}
        if old is not self._concerned:
            self._concerned, self._concerns = old, {} if old is None else by_queue(old)
        concerns = self._concerns
        nobody = None if old is None else replace(old, flows=(), consumers=(), holders=(), unexplained={})
        for number, subscription in enumerate(list(self._subscriptions())):
            if number % _AT_ONCE == 0:
                # Messages move meanwhile.
                gevent.sleep(0)
            name = subscription.queue
            judged[name] = found = drained(self._seen(subscription, concerns.get(name, nobody), now), self._after())
            if subscription.route is not Route.QUORUM:
                self._told.discard(name)
            elif found.yes and name not in self._told:
                self._told.add(name)
                log.info('queue "%s": drained: its old side is finished', name)
                self.on_drained(name)
        self._drained = judged
        for name in self._quiet.keys() - judged.keys():
            del self._quiet[name]

    def _seen(self, subscription: Subscription, old: OldSide | None, now: float) -> Seen:
        name, depth = subscription.queue, self.depths.old(subscription.queue)
        reads_it = self._layout is Layout.TAKEOVER
        moving = reads_it and subscription.state == "moving" and subscription.route is not Route.REVERSE
        named = 0 if old is None else sum(one.ours for one in old.consumers)
        fault, counted, quiet = "", None, None
        if depth is None:
            fault = self._unset if self._old is None else self.depths.old_side.fault or "the queue is not there"
        else:
            # Inline, what we take is another queue's: only what the broker counts tells.
            taken = subscription.counts.taken if reads_it else 0
            count = self._quiet.get(name)
            if count is None:
                count = self._quiet[name] = _Count(depth.published, taken, now)
            count.look(depth.published, taken, now)
            quiet = Quiet(now - count.since, count.seen, depth.published is not None or moving)
            counted = Counted(depth.ready, depth.unacked, depth.consumers, depth.age(now))
        return Seen(
            name,
            subscription.route,
            subscription.paused,
            subscription.in_flight,
            max(named, int(moving)) if reads_it else 0,
            counted,
            fault,
            quiet,
            old,
            0.0 if old is None else max(0.0, time.time() - old.at.timestamp()),
        )

    # -- what others ask
    # ----------------------------------------------------------------------------------------------------

    def depth(self, queue: str) -> int | None:
        """Messages that are ready in an old queue, as of the last look; None where that is not known."""
        found = self.depths.old(queue)
        return None if found is None else found.ready

    def status(self) -> dict[str, Any]:
        """What the status has of it."""
        every = [one for each in self._subscriptions() for one in _books(each).values()]
        gaps = [{"since": _stamp(one.since), "until": _stamp(one.until)} for one in self.gaps]
        return {"books": {**total(every).as_json, "gaps": gaps}}

    def status_of(self, subscription: Subscription) -> dict[str, Any]:
        """What a queue's status has of it."""
        name, now = subscription.queue, self._clock()
        found = self._drained.get(name)
        return {
            "drained": found is not None and found.yes,
            "waits_for": ["the first look"] if found is None else list(found.waits_for),
            "books": {way: one.as_json for way, one in _books(subscription).items()},
            "depth": {
                "old": _depth(self.depths.old(name), now),
                "new": _depth(self.depths.new(subscription.terms.target), now),
            },
        }

    def dump(self) -> dict[str, Any]:
        """What the process that takes over has to know, as JSON has it."""
        ended = self.process().state == "stopping" and not any(sum(one.unsettled) for one in self._subscriptions())
        gaps = [asdict(one) for one in self.gaps]
        return {"at": time.time(), "ended": ended, "gaps": gaps, "drained": sorted(self._told)}

    def took_over(self, saved: Any) -> None:
        """Another process had the queues before, and saved this by `dump`; None: nothing."""
        if not isinstance(saved, dict):
            return
        known = tuple(Gap(float(one["since"]), float(one["until"])) for one in saved["gaps"])
        self.gaps = with_gap(known, gap(float(saved["at"]), time.time(), orderly=bool(saved["ended"])))
        self._told = {str(name) for name in saved["drained"]}

    # -- the certificate
    # ----------------------------------------------------------------------------------------------------

    def certify(self) -> dict[str, Any]:
        """Look at everything now, and say whether the old vhost can be deleted.

        Returns:
            `ok`, `vhost`, `at`, `seconds` (how long it took) and `conditions`, for programs.
        """
        began = self._clock()
        old_fault = self._look_at_old_side()
        looked = self._clock()
        queues, fault = self._queues()
        if queues is None:
            self.depths.old_side.look()
        else:
            self.depths.old_side.take(queues.values(), looked)
        self._look_further()
        facts = replace(self._facts(old_fault), queues=queues, fault=fault, age=self._clock() - looked)
        told = as_json(certificate(facts))
        for one in told["conditions"]:
            one["text"] = redact(one["text"])
        return {
            "ok": told["ok"],
            "layout": self._layout.value,
            "vhost": facts.vhost,
            "at": _stamp(time.time()),
            "seconds": round(self._clock() - began, 3),
            "conditions": told["conditions"],
        }

    def _look_at_old_side(self) -> str:
        """Why it cannot be seen who is there; empty when it can."""
        if self.watch is None:
            return self._unset if self._old is None else "not looked at"
        try:
            self.watch.look()
        except BridgeError as fault:
            return str(fault)
        return ""

    def _facts(self, old_fault: str) -> Facts:
        connections = self._connections()
        transfers, transfers_fault = self._transfers()
        subscriptions = list(self._subscriptions())
        exchanges, now = self._exchanges, self._clock()
        old = None if old_fault else self._who()
        return Facts(
            layout=self._layout,
            vhost="" if self._old is None else self._old.vhost,
            process=self.process(),
            scope=frozenset(one.queue for one in subscriptions),
            named=frozenset(self._scope()),
            drained=tuple(self._drained[one.queue] for one in subscriptions if one.queue in self._drained),
            old=old,
            old_fault=old_fault,
            old_age=0.0 if old is None else max(0.0, time.time() - old.at.timestamp()),
            received=None if exchanges.fault else _received(exchanges, now),
            watched=0.0 if exchanges.since is None else now - exchanges.since,
            after=self._after(),
            connections=connections,
            quarantine=self._quarantine(now),
            exported=self._exported(),
            books={f"{one.queue}": total(_books(one).values()) for one in subscriptions},
            gaps=self.gaps,
            duplicates=self._duplicates(),
            ladder=self._ladder(now),
            transfers=transfers,
            transfers_fault=transfers_fault,
            ingress=self._ingress(),
        )

    def _queues(self) -> tuple[Mapping[str, Queue] | None, str]:
        if self._old is None:
            return None, self._unset
        try:
            return {one.name: one for one in self._old.api.queues(self._old.vhost)}, ""
        except BridgeError as fault:
            return None, str(fault)

    def _connections(self) -> tuple[str, ...] | None:
        if self._old is None:
            return None
        where = f"{path('vhosts', self._old.vhost)}/connections"
        try:
            found = self._old.api.get(where, snapshot.listed(_connection), _CONNECTION)
        except BridgeError:
            return None
        return None if found is None else tuple(name for name, given in found if not given.startswith(self._ours))

    def _transfers(self) -> tuple[tuple[Transfer, ...] | None, str]:
        place = self._old
        if place is None:
            return None, self._unset
        try:
            found = place.api.get("parameters", snapshot.listed(lambda item: _transfer(item, place.vhost)))
        except BridgeError as fault:
            return None, str(fault)
        return tuple(one for one in found or () if one is not None), ""

    def _quarantine(self, now: float) -> Number:
        side = self.depths.new_side
        if self._target is None or side.fault or side.at is None:
            return Number(None, 0.0, _NO_API.format("target") if self._target is None else side.fault)
        found = side.of(QUARANTINE)
        return Number(0 if found is None else found.ready + found.unacked, now - side.at)

    def _exported(self) -> Number:
        try:
            return Number(len(export.files(self._folder)))
        except BridgeError as fault:
            return Number(None, 0.0, str(fault))

    def _ladder(self, now: float) -> Ladder:
        place, side = self._target, self.depths.new_side
        if place is None or side.fault or side.at is None:
            return Ladder(fault=_NO_API.format("target") if place is None else side.fault)
        where = path("exchanges", place.vhost, ladder.DELIVERY_EXCHANGE)
        try:
            bound = place.api.get(f"{where}/bindings/source", snapshot.bindings, snapshot.BINDING)
        except BridgeError as fault:
            return Ladder(fault=str(fault))
        levels = [side.of(ladder.level_name(level)) for level in range(ladder.LEVELS)]
        exits = {one.destination for one in bound or () if one.routing_key == ladder.exit_pattern(one.destination)}
        waiting = sum(one.ready + one.unacked for one in levels if one is not None)
        return Ladder(waiting, self.levels.stuck(), tuple(sorted(exits)), now - side.at)

    def _ingress(self) -> Number | None:
        if self._layout is not Layout.INLINE or self._source is None:
            return None
        try:
            return Number(sum(one.messages for one in self._source.api.queues(self._source.vhost)))
        except BridgeError as fault:
            return Number(None, 0.0, str(fault))


def ending(
    config: Callable[[], Config], subscriptions: Callable[[], Iterable[Subscription]], duplicates: Callable[[], int]
) -> Ending:
    """The end of the bridge that is configured; `config` is asked again and again."""
    first = config()
    source, target = sides.place("source", first.source), sides.place("target", first.target)
    old = source if first.legacy is None else sides.place("legacy", first.legacy)
    return Ending(
        first.layout,
        (source, old, target),
        Depths(old, target),
        subscriptions,
        folder=Path(first.export.folder),
        duplicates=duplicates,
        scope=lambda: config().explicit_names(),
        after=lambda: config().drained_after,
        instance=first.instance,
    )


def _books(subscription: Subscription) -> dict[str, Books]:
    """The books of what a queue moves ahead, and of what it brings back."""
    ahead, back = subscription.unsettled
    return {"ahead": books(subscription.counts, ahead), "back": books(subscription.back_counts, back)}


def _depth(found: Depth | None, now: float) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "ready": found.ready,
        "unacked": found.unacked,
        "consumers": found.consumers,
        "age_s": round(found.age(now), 1),
    }


def _published_in(item: Mapping[str, Any]) -> tuple[str, int]:
    return item["name"], (item.get("message_stats") or {}).get("publish_in") or 0


def _connection(item: Mapping[str, Any]) -> tuple[str, str]:
    """Name of a connection, and the one it gave itself."""
    return item["name"], str((item.get("client_properties") or {}).get("connection_name") or "")


def _received(exchanges: _Exchanges, now: float) -> tuple[Received, ...]:
    return tuple(Received(name, now - one.since) for name, one in sorted(exchanges.counts.items()) if one.seen)


def _transfer(item: Mapping[str, Any], vhost: str) -> Transfer | None:
    """A shovel or an upstream that lives in the old vhost, or has its name at the end of an address."""
    kind = _TRANSFERS.get(str(item.get("component")))
    if kind is None:
        return None
    addresses = [str(one) for key in ("src-uri", "dest-uri", "uri") for one in _each(item["value"].get(key))]
    ends = f"/{path(vhost)}".lower()
    named = any(one.partition("?")[0].lower().endswith((ends, f"/{vhost.lower()}")) for one in addresses)
    if item.get("vhost") != vhost and not named:
        return None
    return Transfer(kind, str(item["name"]), str(item.get("vhost")))


def _each(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else () if value is None else (value,)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
