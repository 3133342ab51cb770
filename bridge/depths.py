"""How full the queues of both sides are: one look at each side for everybody who asks, with the time of the look.

1. One call a page of 500 queues and side, few columns: cheap enough for every few seconds with thousands of queues.
2. What was not seen is None, never 0; what was seen keeps the time at which it was, and whoever asks judges its age.
   The broker's own statistics are up to 5 s older (RabbitMQ, `collect_statistics_interval`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from bridge import snapshot
from bridge.core.topology import Queue
from bridge.errors import BridgeError
from bridge.management import Management, path

_COLUMNS = "name,messages_ready,messages_unacknowledged,messages_dlx,consumers,message_stats.publish"
#: What makes a broker count that collects no statistics.
_TOTALS = {"disable_stats": "true", "enable_queue_totals": "true"}


class Depth(NamedTuple):
    """What a queue held when it was looked at."""

    ready: int
    unacked: int
    consumers: int
    #: When that was, in monotonic seconds.
    at: float
    #: Messages that came in since the broker counts; None where it counts none.
    published: int | None = None
    #: Levels of the ladder: due messages that no queue has taken yet (`messages_dlx`).
    dead_letters: int = 0

    def age(self, now: float) -> float:
        """Seconds since the look; `now` in monotonic seconds."""
        return max(0.0, now - self.at)


class Place(NamedTuple):
    """A vhost and the API of its broker."""

    api: Management
    vhost: str


class Side:
    """The queues of one vhost.

    Args:
        place: where they are; None without an API.
        clock: monotonic seconds.
    """

    def __init__(self, place: Place | None, clock: Callable[[], float] = time.monotonic) -> None:
        #: Why the last look failed; empty when it did not.
        self.fault = "" if place is not None else "no HTTP API is configured for this side"
        #: When the last look succeeded, in monotonic seconds; None before.
        self.at: float | None = None
        self._place = place
        self._clock = clock
        self._seen: Mapping[str, Depth] = {}
        self._statistics: bool | None = None

    def look(self) -> None:
        """Look at all queues; a failure is in `fault`, and leaves what was seen before as it was."""
        place = self._place
        if place is None:
            return
        began = self._clock()
        try:
            more = self._more(place)
            pages = place.api.pages(path("queues", place.vhost), self._reader(), _COLUMNS, more, again=True)
            seen = {name: depth._replace(at=began) for name, depth in pages}
        except BridgeError as fault:
            self.fault = str(fault)
            # Another node may answer next, or the same one after a restart with other settings.
            self._statistics = None
            return
        self.fault, self.at, self._seen = "", began, seen

    def take(self, queues: Iterable[Queue], at: float) -> None:
        """All queues were looked at for something else, at `at`."""
        seen = {}
        for one in queues:
            published = one.published or 0 if self.counts_publishes else None
            seen[one.name] = Depth(one.ready, one.unacked, one.consumers, at, published, one.dead_letters)
        self.fault, self.at, self._seen = "", at, seen

    def _more(self, place: Place) -> Mapping[str, str]:
        """What to ask for beside the columns: with the metrics collector off only this makes the broker count."""
        if self._statistics is None:
            overview = place.api.get("overview", snapshot.overview, snapshot.OVERVIEW)
            self._statistics = overview is None or overview.statistics
        return {} if self._statistics else _TOTALS

    def _reader(self) -> Callable[[Mapping[str, Any]], tuple[str, Depth]]:
        """A reader of a queue; when it was seen is up to whoever asked."""
        counted = self._statistics is not False

        def read(item: Mapping[str, Any]) -> tuple[str, Depth]:
            # A queue into which nothing ever came has no statistics, which is 0 where they are kept.
            published = (item.get("message_stats") or {}).get("publish", 0 if counted else None)
            return item["name"], Depth(
                item.get("messages_ready") or 0,
                item.get("messages_unacknowledged") or 0,
                item.get("consumers") or 0,
                0.0,
                published,
                item.get("messages_dlx") or 0,
            )

        return read

    @property
    def counts_publishes(self) -> bool:
        """Whether the broker counts what is published; True until it says that it does not."""
        return self._statistics is not False

    def of(self, queue: str) -> Depth | None:
        """What a queue held; None when it was not seen, or was not there."""
        return self._seen.get(queue)


class Depths:
    """Both sides.

    Args:
        old: where the old workers' queues are: the source, or inline the legacy vhost; None without an API.
        new: the target; None without an API.
        clock: monotonic seconds.
    """

    def __init__(self, old: Place | None, new: Place | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.old_side = Side(old, clock)
        self.new_side = Side(new, clock)

    def look(self) -> None:
        """Look at both sides; failures are in their `fault`."""
        self.old_side.look()
        self.new_side.look()

    def old(self, queue: str) -> Depth | None:
        """What a queue of the old side held; None when that is not known."""
        return self.old_side.of(queue)

    def new(self, queue: str) -> Depth | None:
        """What a queue of the target held; None when that is not known."""
        return self.new_side.of(queue)
