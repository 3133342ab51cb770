"""What kind of queue each queue of the target is, for the gates.

1. One question is one call for one queue. When the next one follows at once, the gates of many queues are being asked:
   then one listing answers them all, instead of a thousand calls.
2. A listing answers for a short time, and only where it says `quorum`: what it does not know, or what would close a
   gate, is looked up by itself, since somebody may just have declared it anew.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from gevent.lock import RLock

from bridge.errors import BridgeError
from bridge.management import Management, path

log = logging.getLogger("bridge.target_types")

#: Seconds within which a second question makes a listing worth its while.
SOON = 1.0
#: Seconds for which a listing answers.
FRESH = 5.0
_COLUMNS = "name,type"


class TargetTypes:
    """Types of the queues of one vhost.

    Args:
        api: of the target; None: nothing is known.
        vhost: of the target.
        clock: monotonic seconds.
    """

    def __init__(self, api: Management | None, vhost: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._vhost = vhost
        self._clock = clock
        # Many gates are asked at the same time: one of them lists, the others wait for that.
        self._lock = RLock()
        self._asked = self._listed_at = -math.inf
        self._listed: Mapping[str, str] = {}

    def of(self, name: str) -> str | None:
        """The type of a queue; None when it is not known, or not there.

        Raises:
            BridgeError: the API does not answer.
        """
        if self._api is None:
            return None
        with self._lock:
            now = self._clock()
            soon, self._asked = now - self._asked < SOON, now
            if soon and now - self._listed_at >= FRESH:
                try:
                    self._listed = dict(self._api.pages(path("queues", self._vhost), _read, _COLUMNS))
                    self._listed_at = now
                except BridgeError as fault:
                    # A broker that is too busy for a listing may answer for one queue all the same.
                    log.debug("target queues are asked for one by one: %s", fault)
                    self._asked = -math.inf
            if now - self._listed_at < FRESH and self._listed.get(name) == "quorum":
                return "quorum"
        queue = self._api.queue(self._vhost, name)
        return None if queue is None else queue.type


def _read(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["name"], item.get("type") or "classic"
