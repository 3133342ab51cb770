"""Live Celery traffic for as long as a test wants it: a real producer, real workers on each side, and what they saw.

    with CeleryTraffic(folder, into=old, sides={"old": old, "new": new}, queues=("q1",)) as traffic:
        traffic.starts_on("new", 50)
        report = traffic.settle()
        assert report.lost == report.executed_twice == report.early == report.changed == 0

Producer and workers are processes of the lab's, with Celery of this environment.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Self

from bridge.lab.celery_app import Part
from bridge.lab.crew import Crew, Member
from bridge.lab.deadline import until
from bridge.lab.producers import Orders
from bridge.lab.records import Truth
from bridge.lab.report import Books, Moments, Report, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

#: Seconds in which a worker or producer must be ready, and in which the last tasks must have started.
READY_WITHIN = 60.0
SETTLES_WITHIN = 60.0


class CeleryTraffic:
    """A producer, and workers of the sides.

    Args:
        folder: where they write; a new one for each.
        into: AMQP URL that is published into.
        sides: AMQP URL of each side that has workers; `old` and `new`.
        queues: of the tasks; they are declared by the workers.
        workers: sides whose worker is there from the beginning; all by default.
        rate: tasks a second.
        eta_share: of the tasks, those with an ETA, 2 to `eta_to` seconds ahead.
        capped: the target caps the priority of tasks with an ETA (RabbitMQ 4.0 to 4.2).

    Attributes:
        truth: what was sent, received and started.
    """

    def __init__(
        self,
        folder: Path,
        *,
        into: str,
        sides: Mapping[str, str],
        queues: Sequence[str],
        workers: Sequence[str] | None = None,
        rate: float = 200.0,
        eta_share: float = 0.1,
        eta_to: float = 5.0,
        capped: bool = False,
    ) -> None:
        folder.mkdir()
        self.truth = Truth(folder)
        self._folder = folder
        self._crew = Crew(folder)
        self._sides = dict(sides)
        self._first = tuple(sides) if workers is None else tuple(workers)
        self._queues = tuple(queues)
        self._capped = capped
        self._orders = Orders(
            broker=into,
            folder=str(folder),
            seed=1,
            count=0,
            rate=rate,
            live=True,
            due_queues=self._queues,
            eta_queues=self._queues,
            eta_share=eta_share,
            eta_from=2.0,
            eta_to=eta_to,
            seconds=0,
        )
        self._producer: Member | None = None

    def __enter__(self) -> Self:
        try:
            for side in self._first:
                self.start_worker(side)
            self._producer = self._crew.start(
                "producer", [sys.executable, "-m", "bridge.lab.producers"], text=self._orders.as_json()
            )
            self._wait("the first tasks to be sent", lambda: bool(self.truth.sent))
        except BaseException:
            self._crew.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.end()

    def start_worker(self, side: str) -> None:
        """Start a worker of a side, and wait until it consumes."""
        part = Part(side, side, self._sides[side], self._queues, str(self._folder), prefetch=16)
        self._crew.start(
            f"worker-{side}",
            [
                *(sys.executable, "-m", "celery", "-A", "bridge.lab.celery_app", "worker"),
                *("--pool", "threads", "--concurrency", "4", "--hostname", f"{side}@%h"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning"),
                *("--queues", ",".join(self._queues)),
            ],
            part.environment(),
        )
        self._wait(f"the {side} worker", part.ready.exists)

    def started(self, side: str) -> int:
        """How many tasks were started on a side so far."""
        self.truth.refresh()
        return sum(start.side == side for starts in self.truth.started.values() for start in starts)

    def starts_on(self, side: str, count: int) -> None:
        """Wait until so many tasks that are sent from now on have started on a side.

        Raises:
            AssertionError: they do not.
        """
        began = time.time()

        def enough() -> bool:
            self.truth.refresh()
            return count <= sum(
                start.side == side and self.truth.sent[task].at >= began
                for task, starts in list(self.truth.started.items())
                for start in starts
                if task in self.truth.sent
            )

        self._wait(f"{count} new tasks on the {side} side", enough)

    def stop_producing(self) -> None:
        """Send nothing more."""
        if self._producer is not None and not self._producer.ended():
            self._producer.signal(signal.SIGTERM)
            self._producer.finish(READY_WITHIN)

    def settle(self) -> Report:
        """Send nothing more, wait until every task has started, and return what was found."""
        self.stop_producing()

        def over() -> bool:
            self._crew.check()
            self.truth.refresh()
            return not self.truth.waiting

        until(over, SETTLES_WITHIN)
        now = time.time()
        return measure(
            self.truth, Moments((now, now), now, now, (now, now)), Books(0, 0, None, None), capped=self._capped
        )

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        def look() -> bool:
            self._crew.check()
            self.truth.refresh()
            return condition()

        assert until(look, READY_WITHIN), f"waited {READY_WITHIN:g} s for {what}"
