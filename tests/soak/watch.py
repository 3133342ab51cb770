"""What the daemon says and how large it is, looked at every second over all its runs."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from bridge.admin_client import fetch_status
from bridge.errors import BridgeError

#: Seconds between two looks.
EVERY = 1.0
#: Totals of a daemon that say that a message may have been doubled; they begin anew with each of its processes.
COUNTED = ("possible_duplicates", "redelivered")


#: What the daemon logs of them (bridge/doubles.py).
_NAMED = re.compile(r"\d+ possible duplicates \([^)]*\): ([\w?, -]+)")


@dataclass(frozen=True)
class Look:
    """The daemon at one moment: seconds since the soak began, resident memory in MB, messages in flight."""

    at: float
    rss: float
    in_flight: int


@dataclass
class _Run:
    """Totals of one process of the daemon, as it last said them."""

    totals: dict[str, int] = field(default_factory=dict)


class Watch:
    """Looks at the daemon from a thread of its own until the block ends.

    Args:
        socket: admin socket of the daemon.

    Attributes:
        looks: what was seen, in order.
    """

    def __init__(self, socket: str) -> None:
        self.looks: list[Look] = []
        self._socket = socket
        self._began = time.monotonic()
        self._runs: dict[int, _Run] = {}
        self._status: dict[str, Any] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._ending.set()
        self._thread.join(30)
        self._look()

    def counted(self) -> dict[str, int]:
        """Return the sum of `COUNTED` over all processes of the daemon, `moved` and `converted` beside them."""
        names = (*COUNTED, "moved", "converted")
        return {name: sum(run.totals.get(name, 0) for run in self._runs.values()) for name in names}

    @property
    def runs(self) -> int:
        """How many processes of the daemon were seen."""
        return len(self._runs)

    def why(self) -> str:
        """Return what the daemon last said about why nothing moves."""
        said = [f"{queue['name']}: {queue['state']}: {queue['why']}" for queue in self._status.get("queues", ())]
        sides = [f"{side}: {self._status.get(side, {}).get('reason')}" for side in ("source", "target")]
        return "; ".join(sides + said)

    def memory(self) -> dict[str, float | None]:
        """Return its resident memory in MB: the most, and the median of the first and of the last quarter."""
        sizes = [look.rss for look in self.looks]
        quarter = max(1, len(sizes) // 4)
        return {
            "max": _of(max, sizes),
            "first_quarter": _of(statistics.median, sizes[:quarter]),
            "last_quarter": _of(statistics.median, sizes[-quarter:]),
        }

    def in_flight(self) -> dict[str, int]:
        """Return the most messages in flight that were seen, and those at the end."""
        counts = [look.in_flight for look in self.looks]
        return {"max": max(counts, default=0), "last": counts[-1] if counts else 0}

    def _look_on(self) -> None:
        while not self._ending.wait(EVERY):
            self._look()

    def _look(self) -> None:
        try:
            status = fetch_status(self._socket)
            rss = psutil.Process(status["pid"]).memory_info().rss / 1e6
        except (BridgeError, psutil.Error):
            return  # it was just killed, or is stopped: that is what a soak does to it
        self._status = status
        totals = status["totals"]
        self._runs.setdefault(status["pid"], _Run()).totals = totals
        self.looks.append(Look(time.monotonic() - self._began, rss, totals["in_flight"]))


def listed(log: str) -> frozenset[str] | None:
    """Return the ids of the tasks that the daemon named in its log as possible duplicates; None: it named none.

    The log has them all: those too that a process named right before it was killed.
    """
    found = _NAMED.findall(log)
    return frozenset(word for words in found for word in words.split(", ")) if found else None


def _of(function: Callable[[list[float]], float], values: list[float]) -> float | None:
    return round(function(values), 1) if values else None
