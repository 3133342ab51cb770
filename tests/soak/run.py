"""The soak itself: faults drawn by a seed, one after the other, and the waiting for what comes back by itself."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.lab.brokers import Lab
from bridge.lab.deadline import until
from bridge.lab.fingerprint import caps_priority
from tests.faults import cluster, fault
from tests.faults.cluster_stage import ClusterStage
from tests.faults.fault import CLUSTER, OWN_BROKER, TRAFFIC, TWO_BROKERS, Fault
from tests.faults.stage import Stage
from tests.soak.book import Book
from tests.soak.report import Report, Suffered
from tests.soak.traffic import QUEUES, Traffic
from tests.soak.watch import Watch, listed
from tests.support.brokers import Vhosts

#: Seconds of undisturbed traffic between two faults, least and most.
REST = (2.0, 6.0)
#: Seconds in which tasks must reach the new workers again, and in which all must have run at the end.
MOVES_WITHIN, DRAINED_WITHIN = 180.0, 900.0
#: Seconds without any progress after which the end is not waited for any longer: a broker offers what left the ladder
#: and found no queue again after three minutes (semantics.md, 8.3).
STALLED = 240.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How a soak goes: for how many seconds, by which seed, how many tasks a second, which faults (parts of names)."""

    seconds: float
    seed: int
    rate: float
    only: tuple[str, ...] = ()


def possible(lab: Lab, only: Sequence[str] = ()) -> list[Fault]:
    """Return the faults that can be done to a lab while real Celery sends: none that deletes what was sent."""
    here = {OWN_BROKER}
    if lab.old.cluster is not lab.new.cluster:
        here.add(TWO_BROKERS)
    if len(lab.new.nodes) >= 3:
        here.add(CLUSTER)
    every = (*fault.ALL, *cluster.possible(lab.new.version))
    found = [one for one in every if one.needs <= here and TRAFFIC not in one.needs]
    return [one for one in found if not only or any(part in one.name for part in only)]


def drawn(faults: Sequence[Fault], seed: int) -> Iterator[tuple[Fault, float]]:
    """Yield faults, each with the seconds of rest after it, for ever; the same seed draws the same.

    Every fault comes once before any comes again: a soak is to have seen them all.
    """
    rng = random.Random(seed)
    while True:
        bag = list(faults)
        rng.shuffle(bag)
        for one in bag:
            yield one, rng.uniform(*REST)


class Soak:
    """One soak on a lab; `run` it, then `report`, then `end`.

    Args:
        lab: old and new side.
        plan: how it goes.
        folder: for everything that is written.
        tell: told each step.
    """

    def __init__(self, lab: Lab, plan: Plan, folder: Path, tell: Tell) -> None:
        self._lab = lab
        self._plan = plan
        self._tell = tell
        self._suffered: list[Suffered] = []
        self._finished = False
        self._began = self._ended = time.monotonic()
        self._book = Book(folder, capped=caps_priority(lab.new.version))
        kind = ClusterStage if len(lab.new.nodes) > 1 else Stage
        self._stage = kind(Vhosts(lab.old, lab.new), folder, queue=QUEUES[0], traffic=False)
        self._stage.daemon.config["queues"] = {"include": list(QUEUES)}
        urls = [node.amqp(lab.new.vhost) for node in lab.new.nodes]
        self._traffic = Traffic(folder, lab.old.amqp, urls, rate=plan.rate, seed=plan.seed)
        self._watch: Watch | None = None

    def run(self) -> None:
        """Send, break, heal and wait for as long as the plan says; then wait until every task has run.

        Raises:
            LabError: Celery's processes could not be started.
            AssertionError: the daemon ended by itself, or could not be started.
        """
        self._tell("starting workers, daemon and producers")
        self._traffic.start_workers()
        self._stage.__enter__()
        self._watch = Watch(self._stage.daemon.config["admin"]["socket"])
        self._traffic.start_producers()
        faults = possible(self._lab, self._plan.only)
        self._tell(f"{len(faults)} kinds of faults, seed {self._plan.seed}")
        self._began = time.monotonic()
        self._moves(time.time())
        for one, rest in drawn(faults, self._plan.seed):
            if time.monotonic() - self._began >= self._plan.seconds:
                break
            self._suffer(one)
            self._go_on(rest)
        self._tell("all healed; no more tasks are sent")
        self._traffic.stop_producers()
        self._drain()
        self._watch.stop()
        self._stage.daemon.stop()
        self._finished = True

    def report(self) -> Report:
        """Return the book as it stands, finished or not."""
        self._book.refresh()
        watch = self._watch
        log = self._stage.daemon.process.stderr if watch is not None else ""
        return Report(
            versions=(self._lab.old.version, self._lab.new.version),
            nodes=len(self._lab.new.nodes),
            seed=self._plan.seed,
            seconds=(time.monotonic() if not self._finished else self._ended) - self._began,
            finished=self._finished,
            figures=self._book.figures(listed(log)),
            counted=watch.counted() if watch else {},
            runs=watch.runs if watch else 0,
            memory=watch.memory() if watch else {},
            in_flight=watch.in_flight() if watch else {},
            restarts=dict(self._traffic.restarts),
            tracebacks=log.count("Traceback"),
            suffered=tuple(self._suffered),
        )

    def end(self) -> None:
        """End all processes; the lab stays."""
        if self._watch is not None:
            self._watch.stop()
        self._traffic.end()
        self._stage.close()

    def _suffer(self, one: Fault) -> None:
        """Do one fault, heal it, and wait until new tasks run on the new side again."""
        self._tell(f"{one.name}: begins")
        old_before = self._book.runs["old"]
        trouble = ""
        try:
            one.inject(self._stage)
            self._go_on(one.lasts)
        except (AssertionError, BridgeError) as fault:
            trouble = f"did not come about: {fault}"
        one.heal(self._stage)
        took = self._moves(time.time())
        back = self._book.runs["old"] - old_before
        if took is None:
            trouble = f"nothing moves {MOVES_WITHIN:.0f} s after it was healed: {self._why()}"
            said = trouble
        else:
            said = trouble or f"healed, new tasks run on the new side after {took:.1f} s"
        self._tell(f"{one.name}: {said}; {back} tasks ran on the old side meanwhile")
        self._suffered.append(Suffered(one.name, took, trouble))

    def _why(self) -> str:
        return self._watch.why() if self._watch is not None else ""

    def _moves(self, since: float) -> float | None:
        """Wait until a task that was sent after `since` has run on the new side; return after how many seconds."""
        found: list[float] = []

        def moved() -> bool:
            self._look()
            at = self._book.ran_after(since, "new")
            if at is not None:
                found.append(at - since)
            return bool(found)

        until(moved, MOVES_WITHIN)
        return found[0] if found else None

    def _go_on(self, seconds: float) -> None:
        """Let traffic run for a time; it is the time that is awaited."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            threading.Event().wait(min(1.0, left))
            self._look()

    def _look(self) -> None:
        self._traffic.look_after()
        self._book.refresh()

    def _drain(self) -> None:
        """Wait until every task has run and nothing is left in the queues, for as long as there is progress."""
        least, since = self._left(), time.time()
        self._tell(f"waiting for the last {least} tasks and messages")

        def over() -> bool:
            nonlocal least, since
            self._look()
            left = self._left()
            if left < least:
                least, since = left, time.time()
            due = max((sent.eta or 0.0 for sent in self._book.waiting()), default=0.0)
            return least == 0 or time.time() > max(since, due) + STALLED

        until(over, DRAINED_WITHIN)
        self._ended = time.monotonic()
        if least:
            self._tell(f"{least} tasks and messages are left, which become no fewer")

    def _left(self) -> int:
        """Tasks that have to run, messages in the queues of both sides, messages in flight."""
        depths = 0
        for side, admin in ((self._lab.old, self._stage.old), (self._lab.new, self._stage.new)):
            queues: list[dict[str, Any]] = admin.call("GET", f"queues/{side.vhost}")
            depths += sum(queue.get("messages", 0) for queue in queues if queue["name"] in QUEUES)
        try:
            flying = int(self._stage.daemon.status()["totals"]["in_flight"])
        except BridgeError:
            flying = 1  # it does not answer: nobody knows
        return len(self._book.waiting()) + depths + flying
