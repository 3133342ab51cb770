"""Live Celery traffic of a soak: producers on the old side, prefork workers on both, started again when they end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bridge.errors import LabError
from bridge.lab.celery_app import Part
from bridge.lab.crew import Crew, Member
from bridge.lab.deadline import until
from bridge.lab.producers import Orders
from tests.soak.app import environment

#: `q1` is the last word of `a.q1`: Celery's own binding for delayed tasks, `#.q1`, catches those of `a.q1` too.
QUEUES = ("q1", "a.q1", "web", "mail")
#: Tasks have an ETA in this part of them, and are due so many seconds later.
ETA_SHARE, ETA_FROM, ETA_TO = 0.2, 2.0, 15.0
PRODUCERS = 2
#: Pool processes of a worker, and messages that it fetches for each of them.
POOL, PREFETCH = 2, 16
#: Seconds in which all workers must consume, and in which a producer must end.
READY_WITHIN, ENDED_WITHIN = 120.0, 120.0


class Traffic:
    """All Celery processes of a soak.

    Args:
        folder: where they write.
        old: AMQP URL of the old vhost.
        new: AMQP URLs of the new vhost, one per node. As many workers as nodes, at most two: each begins with another.
        rate: tasks a second, of all producers together.
        seed: the same one sends the same tasks.

    Attributes:
        restarts: how often a worker or producer ended by itself and was started again, by its name.
    """

    def __init__(self, folder: Path, old: str, new: Sequence[str], *, rate: float, seed: int) -> None:
        self.restarts: dict[str, int] = {}
        self._crew = Crew(folder)
        self._folder = folder
        self._old = old
        self._rate = rate
        self._seed = seed
        parts = [Part("old", "old", old, QUEUES, str(folder), PREFETCH)]
        for number in range(min(2, len(new))):
            # Each begins with another node, and none with the first: that is the bridge's.
            turned = [*new[number + 1 :], *new[: number + 1]]
            parts.append(Part(f"new-{number + 1}", "new", ";".join(turned), QUEUES, str(folder), PREFETCH))
        self._parts = {part.name: part for part in parts}
        self._members: dict[str, Member] = {}

    def start_workers(self) -> None:
        """Start the workers and wait until all of them consume.

        Raises:
            LabError: they do not.
        """
        for name in self._parts:
            self._start(name)
        if not until(lambda: all(part.ready.exists() for part in self._parts.values()), READY_WITHIN):
            late = [name for name, part in self._parts.items() if not part.ready.exists()]
            raise LabError(
                f"workers do not consume after {READY_WITHIN:.0f} s: {', '.join(late)}",
                hint=self._members[late[0]].quote(),
            )

    def start_producers(self) -> None:
        """Start sending."""
        for number in range(PRODUCERS):
            self._start(f"producer-{number + 1}")

    def look_after(self) -> None:
        """Start again what ended by itself, as any supervisor does: a Celery worker may end with its broker."""
        for name, member in list(self._members.items()):
            if not member.ending and member.ended():
                member.end()
                self.restarts[name] = self.restarts.get(name, 0) + 1
                self._start(name)

    def stop_producers(self) -> None:
        """Send no more; what was sent is written down when this returns."""
        producers = [member for name, member in self._members.items() if name.startswith("producer")]
        for producer in producers:
            producer.signal(signal.SIGTERM)
        for producer in producers:
            producer.finish(ENDED_WITHIN)

    def end(self) -> None:
        """End everything."""
        self._crew.end()

    def _start(self, name: str) -> None:
        part = self._parts.get(name)
        if part is None:
            orders = self._orders(name)
            self._members[name] = self._crew.start(
                name, [sys.executable, "-m", "tests.soak.producer"], text=orders.as_json()
            )
            return
        command = [
            *(sys.executable, "-m", "celery", "-A", "tests.soak.app", "worker"),
            *("--pool", "prefork", "--concurrency", str(POOL), "--hostname", f"{part.name}@%h"),
            *("--without-gossip", "--without-mingle", "--loglevel", "warning", "--queues", ",".join(part.queues)),
        ]
        self._members[name] = self._crew.start(name, command, environment(part))

    def _orders(self, name: str) -> Orders:
        again = self.restarts.get(name, 0)  # one that is started again must not send the same ids
        return Orders(
            broker=self._old,
            folder=str(self._folder),
            seed=int.from_bytes(f"{self._seed}/{name}/{again}".encode(), "big"),
            count=0,
            rate=self._rate / PRODUCERS,
            live=True,
            due_queues=QUEUES,
            eta_queues=QUEUES,
            eta_share=ETA_SHARE,
            eta_from=ETA_FROM,
            eta_to=ETA_TO,
            seconds=0,
        )
