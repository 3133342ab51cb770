"""`--wait`: after a verb, until what waited is where the verb sends it.

1. Nothing is asked of the daemon but its status; to end the waiting changes nothing.
2. It takes looks that are newer than the verb: what was seen before it says nothing.
3. A queue that is faulted for a while, or that somebody gave another route, will not come to its end: that is said, and
   the others are waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from bridge.errors import AccessRefused, BridgeError, Exit
from bridge.metrics import at
from bridge.progress import counted

#: Seconds between two looks at the status.
EVERY: Final = 0.5
#: Seconds for which a queue may be faulted: what passes by itself passes sooner.
FAULTED: Final = 15.0
#: Seconds after which a depth that nobody knows will not be known: two looks of a busy daemon.
UNKNOWN: Final = 30.0
#: Seconds by which what a look sees may be older than the look: RabbitMQ's `collect_statistics_interval`.
STATISTICS: Final = 5.0
#: The route that a verb leads to, and the side on which messages wait meanwhile.
_SIDES: Final = {"quorum": "old", "reverse": "new", "legacy": ""}

Ask = Callable[[], dict[str, Any]]


@dataclass(slots=True)
class Waited:
    """What came of the queues."""

    done: list[str] = field(default_factory=list)
    #: Those that will not come to their end, and why.
    failed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        failed = [{"queue": queue, "why": why} for queue, why in self.failed.items()]
        return {"seconds": round(self.seconds, 1), "done": self.done, "failed": failed, "left": self.left}

    @property
    def exit_code(self) -> Exit:
        """0 when all came to their end."""
        return Exit.REFUSED if self.failed or self.left else Exit.DONE


class Waiting:
    """Queues on their way.

    Args:
        goals: the route that each was given.
        ask: gives the status.
        clock: monotonic seconds.
    """

    def __init__(self, goals: Mapping[str, str], ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self.result = Waited(left=list(goals))
        self._goals = goals
        self._ask = ask
        self._clock = clock
        self._begun = clock()
        #: Looks through the ladder when the verb was given.
        self._looks: int | None = None
        self._faulted: dict[str, float] = {}
        #: The most that waited, and what waits now, of each queue.
        self._most: dict[str, float] = {}
        self._now: dict[str, float] = {}
        self._away = ""

    def look(self) -> bool:
        """Look once; whether there is more to wait for.

        Raises:
            AccessRefused: the status is not ours to see.
        """
        now = self._clock()
        self.result.seconds = now - self._begun
        try:
            status = self._ask()
        except AccessRefused:
            raise
        except BridgeError as fault:
            self._away = str(fault)
            return bool(self.result.left)
        self._away = ""
        if self._looks is None:
            self._looks = int(at(status, "ladder_back", "looks") or 0)
        queues = {queue["name"]: queue for queue in status["queues"]}
        for name in list(self.result.left):
            queue = queues.get(name)
            why = "it is not in scope any more" if queue is None else self._hopeless(queue, now)
            if why:
                self.result.failed[name] = why
                self.result.left.remove(name)
            elif queue is not None and self._there(queue, status):
                self.result.done.append(name)
                self.result.left.remove(name)
        return bool(self.result.left)

    def _hopeless(self, queue: Mapping[str, Any], now: float) -> str:
        """Why a queue will not come to its end; empty when it may."""
        name, goal = queue["name"], self._goals[queue["name"]]
        if queue["route"] != goal:
            return f"its route is {queue['route']} now, by {queue.get('by') or 'somebody'}"
        if queue.get("paused"):
            return f"it is paused, by {queue.get('by') or 'somebody'}"
        if queue["state"] == "faulted":
            if now - self._faulted.setdefault(name, now) >= FAULTED:
                return str(queue["why"])
        else:
            self._faulted.pop(name, None)
        side = _SIDES[goal]
        if side and at(queue, "depth", side, "ready") is None and now - self._begun >= UNKNOWN:
            return f"how many wait in its {side} queue is not known: it takes the HTTP API of that side"
        return ""

    def _there(self, queue: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        """Whether nothing waits any more, by a look that is newer than the verb."""
        name, side = queue["name"], _SIDES[self._goals[queue["name"]]]
        if not side:
            return not queue["in_flight"]
        ready, age = at(queue, "depth", side, "ready"), at(queue, "depth", side, "age_s")
        if ready is None:
            return False
        self._now[name] = ready
        self._most[name] = max(self._most.get(name, 0.0), ready)
        if ready or age is None or age + STATISTICS >= self.result.seconds or queue["state"] != "moving":
            return False
        return side == "old" or (not queue["in_flight"] and self._ladder_is_through(status))

    def _ladder_is_through(self, status: Mapping[str, Any]) -> bool:
        """Whether a look through the ladder that began after the verb found nothing more to bring back."""
        back = status.get("ladder_back") or {}
        # One may have been under way when the verb came.
        looked = int(back.get("looks") or 0) - (self._looks or 0)
        return looked >= 1 and back.get("state") != "looking" and at(back, "last", "brought_back") == 0

    @property
    def total(self) -> float:
        """The most that waited."""
        return sum(self._most.values())

    def words(self) -> tuple[float, str]:
        """How much of the most that waited is through, and a line that says it."""
        waiting = sum(self._now.get(name, 0.0) for name in self.result.left)
        share = 1 - waiting / self.total if self.total else 0.0
        if self._away:
            return share, f"the daemon does not answer: {self._away}"
        ended = len(self.result.done) + len(self.result.failed)
        more = f", {self.result.left[0]} among them" if self.result.left else ""
        return share, f"{ended} of {len(self._goals)} queues are through; {waiting:.0f} messages wait{more}"


def wait(goals: Mapping[str, str], ask: Ask, timeout: float | None, *, quiet: bool) -> Waited:
    """Wait until the queues came to their end, or until `timeout` seconds have passed; tell how far it is on stderr.

    Raises:
        AccessRefused: the status is not ours to see.
    """
    waiting, pause = Waiting(goals, ask), threading.Event()
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with counted(1.0, quiet=quiet) as tell:
            while waiting.look():
                tell(*waiting.words())
                if deadline is not None and time.monotonic() >= deadline:
                    break
                pause.wait(EVERY)
    except KeyboardInterrupt:
        click.echo("no longer waited for; the queues go on", err=True)
        raise
    return waiting.result


def tell(waited: Waited, timeout: float | None) -> None:
    """Say what came of it: what is through on stdout, what is not on stderr."""
    if waited.done:
        click.echo(f"through after {waited.seconds:.0f} s: {', '.join(waited.done)}")
    for queue, why in waited.failed.items():
        click.echo(f"not through: {queue}: {why}", err=True)
    if waited.left:
        click.echo(f"not through within {timeout:.0f} s: {', '.join(waited.left)}; they go on", err=True)
