"""Whether the daemon lives and whether it does its work: what the probes of a supervisor or a load balancer ask.

1. **Alive** is of this process alone: the loop answers, and each of its main duties turned in time. A broker that is
   away makes nobody dead: to start anew would not bring it back.
2. **Ready** is: it began, it does not stop, and each queue moves or has a reason not to. So a standby is ready, and so
   is a daemon whose target is away: it says so, and the old workers have the queues.
3. The answers are a word and the reason, in plain text: programs go by the status code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Protocol

from bridge.errors import redact

#: Status code, content type, text: as the admin door answers what is not JSON.
Told = tuple[int, str, str]

_PLAIN = "text/plain; charset=utf-8"
#: Seconds beyond its time after which a duty hangs: a busy loop is late, a stuck one does not come back.
LATE = 30.0
#: Seconds that one turn may take at most. Brokers are asked in some, of a thousand queues one after the other, and each
#: question has a limit of its own: what takes longer waits for something that does not come.
LONGEST = 900.0
#: Seconds for which a queue may be between two states without a reason.
BETWEEN = 10.0


class Queue(Protocol):
    """What is asked of a queue."""

    queue: str

    @property
    def state(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def since(self) -> datetime: ...


class Daemon(Protocol):
    """What is asked of the daemon: `Control`."""

    state: str
    standby: str


class Duty:
    """Something that is done again and again. Times are monotonic seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: When the turn began that is on; None between two.
        self._began: float | None = None
        #: When the last one ended, and when the next is due.
        self._turned = self._due = time.monotonic()

    def begins(self) -> None:
        """A turn begins."""
        self._began = time.monotonic()

    def rests(self, seconds: float) -> None:
        """A turn ended, and the next comes in so many seconds."""
        self._began, self._turned = None, time.monotonic()
        self._due = self._turned + seconds

    def age(self, now: float) -> float:
        """Seconds since the last turn ended."""
        return now - self._turned

    def hangs(self, now: float) -> bool:
        """Whether it should have turned by now."""
        return now > (self._due + LATE if self._began is None else self._began + LONGEST)


class Health:
    """Answers `GET /livez` and `GET /readyz`.

    Args:
        daemon: its state.
        queues: those in scope.
        sentence: what it does, in one line.
    """

    def __init__(self, daemon: Daemon, queues: Callable[[], Iterable[Queue]], sentence: Callable[[], str]) -> None:
        self._daemon = daemon
        self._queues = queues
        self._sentence = sentence
        self._duties: list[Duty] = []
        #: What contradicts what the daemon says of itself; empty: nothing.
        self.contradiction: Callable[[], str] = lambda: ""

    def duty(self, name: str, seconds: float) -> Duty:
        """A duty whose first turn comes within so many seconds."""
        duty = Duty(name)
        duty.rests(seconds)
        self._duties.append(duty)
        return duty

    def live(self) -> Told:
        """200 while the loop turns and every duty does, with the age of the last turn of each; 503 with those that
        hang.
        """
        now = time.monotonic()
        hung = self._hung(now)
        if hung:
            return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, f"{hung}\n"
        ages = "".join(f"{duty.name}: {duty.age(now):.1f} s ago\n" for duty in self._duties)
        return HTTPStatus.OK, _PLAIN, f"ok\n{ages}"

    def ready(self) -> Told:
        """200 when it is the active one or a standby, and what does not move has a reason; 503 with the reason."""
        fault = self._not_ready()
        if fault:
            return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, f"{redact(fault)}\n"
        return HTTPStatus.OK, _PLAIN, f"ok\n{redact(self._sentence())}\n"

    def _hung(self, now: float) -> str:
        if self._daemon.state == "stopping":
            return ""  # its duties have ended, and how long it may take is bounded
        hung = [duty for duty in self._duties if duty.hangs(now)]
        return "; ".join(f"{duty.name} hangs: its last turn was {duty.age(now):.0f} s ago" for duty in hung)

    def _not_ready(self) -> str:
        state = self._daemon.state
        if state not in ("active", "standby"):
            return state
        hung = self._hung(time.monotonic())
        if hung or state == "standby":
            return hung
        now = datetime.now(UTC)
        for queue in self._queues():
            lasts = (now - queue.since).total_seconds() > BETWEEN
            if queue.state != "moving" and not queue.why and lasts:
                return f'queue "{queue.queue}" is {queue.state} and says no reason'
        return self.contradiction()
