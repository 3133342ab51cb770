"""The exits of quiet queues from the ladder: bound anew when somebody took them away, since what waits in the ladder
needs its exit when it is due.

1. One listing of the bindings tells of all of them; a queue whose exit is missing there is woken, and binds it.
2. Where nothing can be listed, each exit is bound anew: the broker's answer is the proof that it is there.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gevent.lock import RLock

from bridge.core import ladder
from bridge.errors import BridgeError
from bridge.management import Management, path

log = logging.getLogger("bridge.exit_watch")

#: Seconds for which a listing answers, or the failure to get one.
FRESH = 10.0
_COLUMNS = "destination,destination_type,routing_key"


class ExitWatch:
    """Sees that exits are bound.

    Args:
        api: of the target; None: each exit is bound whenever it is asked for.
        vhost: of the target.
        bind: binds the exit of a queue, whether it is bound or not.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        api: Management | None,
        vhost: str,
        bind: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._path = path("exchanges", vhost, ladder.DELIVERY_EXCHANGE, "bindings", "source")
        self._bind = bind
        self._clock = clock
        # Many queues ask at the same time: one of them lists, the others wait for that.
        self._lock = RLock()
        self._listed_at = -math.inf
        self._bound: frozenset[str] = frozenset()

    def missing(self, queues: Iterable[str]) -> set[str]:
        """The target queues of these whose exit is not known to be there: all, where nothing can be listed."""
        return set(queues) - self._listed()

    def look(self, queue: str) -> None:
        """See that the exit of a queue is there.

        Raises:
            BridgeError: it is not, and cannot be bound; as `bind`.
        """
        if queue not in self._listed():
            self._bind(queue)

    def _listed(self) -> frozenset[str]:
        """The queues whose exit is bound, as far as it is known."""
        if self._api is None:
            return self._bound
        with self._lock:
            if self._clock() - self._listed_at >= FRESH:
                self._bound = frozenset()
                try:
                    self._bound = self._api.get(self._path, _read, _COLUMNS, again=True) or self._bound
                except BridgeError as fault:
                    log.debug("exits are bound one by one: %s", fault)
                self._listed_at = self._clock()
            return self._bound


def _read(bindings: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(
        one["destination"]
        for one in bindings
        if one["destination_type"] == "queue" and one["routing_key"] == ladder.exit_pattern(one["destination"])
    )
