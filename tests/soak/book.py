"""The book of a soak: every task that was sent, and what became of it, read on while it runs.

1. `lost`: the old broker confirmed it, and no worker ever began to execute it.
2. `early`: a worker began to execute it before its ETA. `changed`: a worker was given another body, other properties or
   header values (types included) than were sent, or found it in another queue.
3. `twice`: executed more than once in the same try. A broker that loses a worker's connection gives what that worker
   had to the next one, and Celery executes it again; nobody between them can help that. So those are told apart which
   reached the workers as two messages (`doubled`): there were two where one was sent. The daemon has to have named
   them, or the old broker has to have said so to an old worker: of what a killed daemon had nobody else can tell.
   The ladder's own dead-lettering is at least once: an ETA task that came out of it twice while nodes of the target
   were killed or parted is told apart (`doubled_in_ladder`).
4. `retries`: of tasks that asked to be tried again. Celery gives up a retry that it cannot publish, so one that did
   not run is noted and not lost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from bridge.lab.fingerprint import differences
from bridge.lab.records import Reader, Sent
from tests.soak.records import Got, Ran, properties_of, unsure

#: Examples of each kind of fault that are named.
EXAMPLES = 5
#: Runs that are remembered with the moment in which their task was sent.
RECENT = 5000


@dataclass(slots=True)
class Task:
    """What is known of one task.

    Attributes:
        sent: as its producer published it; absent until that is read, and for what is not of this soak.
        sure: the old broker confirmed it.
        runs: its runs of the first try.
        came: its deliveries of the first try, as (side, redelivered).
        held: deliveries that wait for `sent`.
    """

    sent: Sent | None = None
    sure: bool = False
    runs: list[Ran] = field(default_factory=list)
    came: list[tuple[str, bool]] = field(default_factory=list)
    held: list[Got] = field(default_factory=list)
    wrong: str = ""

    @property
    def doubled(self) -> bool:
        """Whether it reached the workers as more than one message.

        Two that came for the first time on the new side are; so is what came on both sides when the old broker had
        given it to somebody before, who was not an old worker.
        """
        new = [redelivered for side, redelivered in self.came if side == "new"]
        old = [redelivered for side, redelivered in self.came if side == "old"]
        return new.count(False) > 1 or (bool(new) and bool(old) and all(old))


@dataclass(frozen=True)
class Figures:
    """The book at one moment; `examples` names some tasks of each kind that should not be."""

    sent: int
    unsure: int
    run: int
    run_old: int
    run_new: int
    lost: int
    early: int
    changed: int
    twice: int
    doubled: int
    doubled_unlisted: int | None
    doubled_in_ladder: int | None
    doubled_untold: int | None
    retries_came: int
    retries_run: int
    examples: dict[str, list[str]]


class Book:
    """Reads what all processes write into `folder`.

    Args:
        folder: of the soak.
        capped: the target caps the priority of tasks with an ETA (RabbitMQ 4.0 to 4.2).
    """

    def __init__(self, folder: Path, *, capped: bool) -> None:
        self.tasks: dict[str, Task] = {}
        self._capped = capped
        self._sure = Reader(folder, Sent)
        self._unsure = Reader(unsure(folder), Sent)
        self._got = Reader(folder, Got)
        self._ran = Reader(folder, Ran)
        #: Runs of first tries by side.
        self.runs = {"old": 0, "new": 0}
        self._retries_came: set[str] = set()
        self._retries_run: set[str] = set()
        #: Runs of first tries in the order in which they were read.
        self._recent: deque[Ran] = deque(maxlen=RECENT)

    def refresh(self) -> None:
        """Take in what was written since the last time."""
        for sure, reader in ((True, self._sure), (False, self._unsure)):
            for sent in reader.news():
                task = self._task(sent.id)
                task.sent, task.sure = sent, sure
                for got in task.held:
                    self._compare(task, got)
                task.held.clear()
        for got in self._got.news():
            if got.retries:
                self._retries_came.add(got.id)
                continue
            task = self._task(got.id)
            task.came.append((got.side, got.redelivered))
            if task.sent is None:
                task.held.append(got)
            else:
                self._compare(task, got)
        for ran in self._ran.news():
            if ran.retries:
                self._retries_run.add(ran.id)
            else:
                self._task(ran.id).runs.append(ran)
                self.runs[ran.side] += 1
                self._recent.append(ran)

    def waiting(self) -> list[Sent]:
        """Return the tasks that have to run and did not yet."""
        return [task.sent for task in self.tasks.values() if task.sure and not task.runs and task.sent is not None]

    def ran_after(self, moment: float, side: str) -> float | None:
        """Return when the first task without an ETA that was sent after `moment` ran on a side; None: none has."""
        times = [
            ran.at
            for ran in self._recent
            if ran.side == side and (sent := self.tasks[ran.id].sent) and sent.eta is None and sent.at >= moment
        ]
        return min(times, default=None)

    def figures(self, listed: frozenset[str] | None) -> Figures:
        """Return the book as it stands.

        Args:
            listed: ids of the tasks that the daemon named as possible duplicates; None: it names none.
        """
        tasks = [task for task in self.tasks.values() if task.sent is not None]
        lost = [task for task in tasks if task.sure and not task.runs]
        early = [task for task in tasks if task.sent and any(ran.at < (task.sent.eta or 0) for ran in task.runs)]
        changed = [task for task in tasks if task.wrong]
        twice = [task for task in tasks if len(task.runs) > 1]
        doubled = [task for task in tasks if task.doubled]
        unlisted = [task for task in doubled if task.sent and listed is not None and task.sent.id not in listed]
        untold = [task for task in unlisted if ("old", True) not in task.came]
        in_ladder = [task for task in untold if task.sent and task.sent.eta and all(s == "new" for s, _ in task.came)]
        found = {"lost": lost, "early": early, "changed": changed, "doubled": doubled, "doubled, not listed": unlisted}
        return Figures(
            sent=sum(task.sure for task in tasks),
            unsure=sum(not task.sure for task in tasks),
            run=sum(bool(task.runs) for task in tasks),
            run_old=self.runs["old"],
            run_new=self.runs["new"],
            lost=len(lost),
            early=len(early),
            changed=len(changed),
            twice=len(twice),
            doubled=len(doubled),
            doubled_unlisted=None if listed is None else len(unlisted),
            doubled_in_ladder=None if listed is None else len(in_ladder),
            doubled_untold=None if listed is None else len(untold) - len(in_ladder),
            retries_came=len(self._retries_came),
            retries_run=len(self._retries_run),
            examples={kind: [_name(task) for task in some[:EXAMPLES]] for kind, some in found.items() if some},
        )

    def _task(self, task_id: str) -> Task:
        return self.tasks.setdefault(task_id, Task())

    def _compare(self, task: Task, got: Got) -> None:
        sent = task.sent
        assert sent is not None
        wrong = []
        if got.queue != sent.queue:
            wrong.append(f"it came out of queue {got.queue}")
        if got.body != sent.body:
            wrong.append("the body is another")
        if got.properties != sent.properties:
            wrong += differences(
                properties_of(sent), properties_of(got), has_eta=sent.eta is not None, capped=self._capped
            )
        if wrong:
            task.wrong = "; ".join(wrong)


def _name(task: Task) -> str:
    sent = task.sent
    assert sent is not None
    when = "due at once" if sent.eta is None else f"due {sent.eta - sent.at:.1f} s after it was sent"
    runs = ", ".join(f"on {ran.worker} after {ran.at - sent.at:.3f} s" for ran in task.runs) or "never"
    came = ", ".join(f"{side}{' again' if redelivered else ''}" for side, redelivered in task.came) or "nowhere"
    wrong = f"; {task.wrong}" if task.wrong else ""
    task_sent = f"{sent.id} ({sent.shape}, queue {sent.queue}, sent at {sent.at:.3f}, {when})"
    return f"{task_sent}: came to {came}; ran {runs}{wrong}"
