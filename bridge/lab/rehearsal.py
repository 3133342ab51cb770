"""A whole migration on real brokers with real Celery producers and workers, measured.

What happens, in this order:
1. New workers start on the target and wait. Producers fill the backlog into the source's queues, nobody consumes.
   From scratch it is the other way round: the target is empty and made for the queues that the source has by then.
2. Old workers and live traffic start; the daemon starts in route `legacy` and only looks on.
3. The steady state is measured for some seconds, then the daemon gets SIGUSR1: the cutover of all queues.
4. When the backlog is moved, the old workers are stopped. The tasks with an ETA that they held come back and move as
   well.
5. When the new workers have executed the backlog, the steady state is measured again. The daemon gets SIGHUP beside
   live traffic. Producers stop, and every task that was ever sent has to be executed; then the daemon gets SIGTERM.
6. From its start to its end the rehearsal is the daemon's service manager, with a watchdog, and judges what it was
   told.

Bulk queues hold the backlog, live queues the steady traffic; both hold tasks with an ETA. Bulk workers are slow on the
old side, so that most of the backlog is still there at the flip, and more on the new side, so that the rehearsal comes
to an end.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import LabError
from bridge.lab.celery_app import Part
from bridge.lab.crew import Crew, Member, pause_until
from bridge.lab.deadline import until
from bridge.lab.depths import Depths
from bridge.lab.fingerprint import caps_priority
from bridge.lab.producers import Orders
from bridge.lab.quiet import quiet_moment
from bridge.lab.records import Truth
from bridge.lab.report import Books, Moments, Report, measure
from bridge.lab.scratch import Scratch
from bridge.lab.subject import COMMAND, Sample, Subject, speed
from bridge.progress import Progress

#: `q1` is the last word of `a.q1`: Celery's own binding for delayed tasks, `#.q1`, catches those of `a.q1` too.
BULK = ("q1", "a.q1", "reports.daily", "thumbs")
LIVE = ("web", "mail")
QUEUES = BULK + LIVE

#: Processes that fill the backlog; one alone publishes about 1000 tasks a second.
FILLERS = 2

#: Pool processes of the bulk workers, old and new; and of the live workers on either side.
OLD_BULK, NEW_BULK, LIVE_POOL = 1, 4, 2

#: Messages that a worker fetches per pool process. High, since Celery's prefetch is static with quorum queues and a
#: task that left the ladder takes a place from up to a second before its ETA on.
PREFETCH = 64

#: Part of the backlog that the old workers may execute before the flip.
EATEN = 0.2

#: Seconds between the end of preparations and the flip, apart from the measured ones: the daemon's start.
PREPARING = 6.0

#: Part of the live tasks that has an ETA, and how many seconds ahead.
LIVE_ETA_SHARE, LIVE_ETA_FROM, LIVE_ETA_TO = 0.04, 2.0, 8.0

#: Seconds that single steps may take. Generous: a loaded machine is slow, and what is late is measured, not forbidden.
STEP_WITHIN = 120.0

#: Seconds that an old worker must be out of work for from the moment it is stopped, and how long we look for such a
#: pause.
PAUSE, PAUSE_WITHIN = 0.05, 30.0


#: Seconds within which live tasks start in a steady state, and how long we wait for that state.
PROMPT, SETTLED_WITHIN = 0.2, 30.0

#: Seconds without any progress after which a step is given up.
STALLED = 30.0

#: Seconds between two progress lines of a step that counts.
NOTE_EVERY = 2.0


@dataclass(frozen=True)
class Plan:
    """How large a rehearsal is.

    Attributes:
        tasks: of the backlog.
        eta_share: part of them with an ETA, from 2 to `eta_window` seconds ahead.
        rate: live tasks a second.
        seconds: each steady state is measured for so long.
        seed: of everything random; the same seed sends the same tasks.
        from_scratch: the target is empty, and made ready by `bridge apply` and the settings that `bridge plan` prints.
    """

    tasks: int = 20_000
    eta_share: float = 0.3
    eta_window: float = 60.0
    rate: float = 200.0
    seconds: float = 10.0
    seed: int = 1
    from_scratch: bool = False

    @property
    def bulk_seconds(self) -> float:
        """How long a due task of the backlog takes, so that the old bulk worker leaves enough of them."""
        due = self.tasks * (1 - self.eta_share)
        return OLD_BULK * (self.seconds + PREPARING) / max(1.0, EATEN * due)


class Rehearsal:
    """One rehearsal on two vhosts; `run` once, then `end`.

    Args:
        source: old side, `amqp` and `api` URL.
        target: new side, `amqp` and `api` URL and `version`.
        plan: how large it is.
        folder: for everything that is written.
        progress: told each step.
        daemon: the daemon as a command, where it is not this installation's (see `Subject`).

    Attributes:
        truth: what producers and workers wrote down.
    """

    def __init__(
        self,
        source: Mapping[str, str],
        target: Mapping[str, str],
        plan: Plan,
        folder: Path,
        progress: Progress,
        daemon: Sequence[str] = COMMAND,
    ) -> None:
        self._source = source["amqp"]
        self._target = target["amqp"]
        self._capped = caps_priority(target["version"])
        self._plan = plan
        self._folder = folder
        self._tell = progress
        self._crew = Crew(folder)
        self.truth = Truth(folder)
        self._subject = Subject(folder, source, target, QUEUES, daemon)
        self._old, self._new = Depths(self._source), Depths(self._target)
        self._noted = 0.0
        self._samples: list[Sample] = []

    def run(self) -> Report:
        """Rehearse and return what was measured.

        Raises:
            LabError: a step did not come about; nothing was measured.
        """
        for side in (self._old, self._new):
            side.delete(QUEUES)
        if self._plan.from_scratch:
            self._fill()
            self._make_target()
        else:
            self._start_workers("new", NEW_BULK)
            self._fill()
        old = self._start_workers("old", OLD_BULK)
        live = self._start_producer("live", 0, rate=self._plan.rate, live=True)
        self._step("starting the daemon, route legacy")
        self._subject.start(self._crew)
        self._settle()
        before = self._steady("before the flip")
        waiting = self._old.waiting(BULK)
        first = self._sample()
        flip = time.time()
        self._step(f"flip: SIGUSR1, {waiting} messages wait in the old queues")
        self._subject.cut_over()
        self._move(waiting, first)
        last = self._samples[-1]
        for worker in old:
            self._stop_quietly(worker)
        for worker in old:
            worker.finish(STEP_WITHIN)
        self._go_on("the new workers execute the backlog, {} due tasks left", self._due_backlog)

        self._settle()
        after = self._steady("after the flip")
        self._step("reloading the daemon: SIGHUP")
        self._subject.reload()
        live.signal(signal.SIGTERM)
        live.finish(STEP_WITHIN)
        self.truth.refresh()
        last_due = max((sent.eta or 0.0 for sent in self.truth.waiting.values()), default=0.0)
        self._go_on("waiting for the last ETA tasks, {} left", self._left, idle_until=last_due)
        self._go_on(
            "waiting for {} messages in the queues", lambda: self._old.waiting(QUEUES) + self._new.waiting(QUEUES)
        )
        books = self._books(waiting, first, last)
        self._subject.stop()
        self.truth.refresh()
        self._step("comparing what was sent with what arrived")
        moments = Moments(before, flip, last.at, after)
        return measure(self.truth, moments, books, capped=self._capped, protocol=self._subject.protocol)

    def end(self) -> None:
        """End all processes and delete the queues that the rehearsal made."""
        self._step("ending all processes")
        self._crew.end()
        self._subject.end()
        for side in (self._old, self._new):
            try:
                side.delete(QUEUES)
                side.close()
            except LabError:
                pass  # the broker went away, and what it held with it

    # ------------------------------------------------------------------------------------------------------- the steps

    def _fill(self) -> None:
        fillers = [
            self._start_producer(f"filler-{number}", share, rate=0, live=False)
            for number, share in enumerate(_shares(self._plan.tasks, FILLERS))
        ]

        def full() -> bool:
            self.truth.refresh()
            self._note(f"filling the old queues: {len(self.truth.sent)} of {self._plan.tasks} tasks")
            return all(filler.ended() for filler in fillers)

        for filler in fillers:
            filler.ending = True
        self._wait("the backlog to be filled", full, STEP_WITHIN + self._plan.tasks / 100)
        for filler in fillers:
            if filler.finish(STEP_WITHIN):
                raise LabError(f"{filler.name} could not publish", hint=filler.quote())

    def _make_target(self) -> None:
        scratch = Scratch(self._subject.file, self._folder, self._step)
        self._start_workers("new", NEW_BULK, scratch.make())
        scratch.verify()

    def _settle(self) -> None:
        """Wait until live tasks start promptly, for a time: where they never do, that is what is measured."""
        self._step("waiting until live tasks start promptly")

        def prompt() -> bool:
            self._crew.check()
            self.truth.refresh()
            late = time.time() - PROMPT
            return not any(sent.live and sent.eta is None and sent.at < late for sent in self.truth.waiting.values())

        until(prompt, SETTLED_WITHIN)

    def _steady(self, when: str) -> tuple[float, float]:
        begin = time.time()
        self._step(f"measuring {self._plan.seconds:.0f} s {when}")
        until(lambda: self._over(begin + self._plan.seconds), self._plan.seconds + 1)
        return begin, time.time()

    def _over(self, moment: float) -> bool:
        self._crew.check()
        return time.time() >= moment

    def _move(self, waiting: int, first: Sample) -> None:
        """Wait until the daemon has moved what waits in the old queues.

        Raises:
            LabError: it does not go on, with the daemon's own words why.
        """

        def left() -> int:
            sample = self._sample()
            self._note(f"moving the backlog: {sample.moved - first.moved} of {waiting}")
            return self._old.waiting(QUEUES)

        # Live messages pass at any time.
        if not self._go_on("", left, enough=self._plan.rate / 4):
            raise LabError(
                f"the daemon left {left()} messages in the old queues and moves no more", hint=self._subject.reasons()
            )

    def _due_backlog(self) -> int:
        self.truth.refresh()
        return sum(not sent.live and sent.eta is None for sent in self.truth.waiting.values())

    def _left(self) -> int:
        self.truth.refresh()
        return len(self.truth.waiting)

    def _go_on(self, step: str, left: Callable[[], int], enough: float = 0, idle_until: float = 0) -> bool:
        """Wait until no more than `enough` is left; False when, from `idle_until` on, it does not become less for a
        time.

        A task that does not come is what the rehearsal is there to find: it ends up in the report, not here.
        """
        least, since = left(), time.time()

        def over() -> bool:
            nonlocal least, since
            self._crew.check()
            now_left = left()
            if step:
                self._note(step.format(now_left))
            if now_left < least:
                least, since = now_left, time.time()
            return least <= enough or time.time() > max(since, idle_until) + STALLED

        while not until(over, STEP_WITHIN):
            pass
        return least <= enough

    def _stop_quietly(self, worker: Member) -> None:
        """Send SIGTERM in a moment when the worker has nothing to do and nothing is about to fall due (see `quiet`)."""
        self._step(f"stopping {worker.name}")
        deadline = time.time() + PAUSE_WITHIN
        while time.time() < deadline:
            etas = self._held(worker.name)
            now = time.time()
            moment = quiet_moment((eta for eta in etas if eta is not None), now, within=2.0, needed=PAUSE)
            at_work = any(eta is None or eta < now - 0.5 for eta in etas)
            if moment is not None and not at_work:
                pause_until(moment)
                if all(eta is not None and eta > moment for eta in self._held(worker.name)):
                    break
            else:
                pause_until(now + PAUSE)
        worker.signal(signal.SIGTERM)

    def _held(self, worker: str) -> list[float | None]:
        """Return when the tasks that this worker has and did not start are due; None is at once."""
        self.truth.refresh()
        mine = {received.id for received in self.truth.received if received.worker == worker}
        return [sent.eta for sent in self.truth.waiting.values() if sent.id in mine]

    # -------------------------------------------------------------------------------------------------------- the crew

    def _start_workers(self, side: str, bulk: int, settings: Path | None = None) -> list[Member]:
        self._step(f"starting the {side} workers")
        broker = self._source if side == "old" else self._target
        parts = [
            (self._part(side, "live", broker, LIVE, PREFETCH, settings), LIVE_POOL),
            # Few tasks at a time on the old side: what a worker has fetched stays with it at the flip.
            (self._part(side, "bulk", broker, BULK, 4 if side == "old" else PREFETCH, settings), bulk),
        ]
        members = [
            self._crew.start(
                part.name,
                [
                    *(sys.executable, "-m", "celery", "-A", "bridge.lab.celery_app", "worker"),
                    *("--pool", "prefork", "--concurrency", str(pool), "--hostname", f"{part.name}@%h"),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning"),
                    *("--queues", ",".join(part.queues)),
                ],
                part.environment(),
                # In real life they have machines of their own; here they must not starve what is measured.
                background=part.queues == BULK,
            )
            for part, pool in parts
        ]
        self._wait(f"the {side} workers to be ready", lambda: all(part.ready.exists() for part, _ in parts))
        return members

    def _part(
        self, side: str, word: str, broker: str, queues: tuple[str, ...], prefetch: int, settings: Path | None
    ) -> Part:
        return Part(f"{side}-{word}", side, broker, queues, str(self._folder), prefetch, str(settings or ""))

    def _start_producer(self, name: str, count: int, *, rate: float, live: bool) -> Member:
        plan = self._plan
        orders = Orders(
            broker=self._source,
            folder=str(self._folder),
            seed=_seed(plan.seed, name),
            count=count,
            rate=rate,
            live=live,
            due_queues=LIVE if live else BULK,
            eta_queues=LIVE if live else BULK + BULK + LIVE,
            eta_share=LIVE_ETA_SHARE if live else plan.eta_share,
            eta_from=LIVE_ETA_FROM,
            eta_to=LIVE_ETA_TO if live else plan.eta_window,
            seconds=0 if live else plan.bulk_seconds,
        )
        return self._crew.start(name, [sys.executable, "-m", "bridge.lab.producers"], text=orders.as_json())

    # ------------------------------------------------------------------------------------------------------ the figures

    def _sample(self) -> Sample:
        sample = self._subject.sample(time.time())
        self._samples.append(sample)
        return sample

    def _books(self, waiting: int, first: Sample, last: Sample) -> Books:
        end = self._sample()
        cost = (last.cpu - first.cpu) / (last.moved - first.moved) * 1e6 if last.moved > first.moved else None
        return Books(end.moved, end.converted, speed(self._samples, first.moved, waiting), cost)

    def _step(self, step: str) -> None:
        self._tell("rehearsal", step)

    def _note(self, step: str) -> None:
        """Tell a step that counts something, not more often than people read."""
        if time.monotonic() - self._noted >= NOTE_EVERY:
            self._noted = time.monotonic()
            self._step(step)

    def _wait(self, what: str, condition: Callable[[], bool], seconds: float = STEP_WITHIN) -> None:
        def look() -> bool:
            self._crew.check()
            return condition()

        if not until(look, seconds):
            raise LabError(f"waited {seconds:.0f} s for {what}")


def _seed(seed: int, name: str) -> int:
    # Not hash(): it differs from process to process.
    return int.from_bytes(f"{seed}/{name}".encode(), "big")


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (part < count % parts) for part in range(parts)]
