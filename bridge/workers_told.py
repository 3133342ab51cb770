"""What became of a question to workers, as values: the commands show them, `bridge/workers.py` makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core import remote_control
from bridge.core.old_side import Consumer, Holder
from bridge.remote import Answers


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: `answered` is empty where it did not, else "yes", "not asked", or why its answer was not read.

    Attributes:
        host: and the others up to `user`: of its connection; empty where the HTTP API does not show it.
        version: of its Celery; empty where it did not say.
        queues: that it consumes, as it says, else as the broker says.
        held: queue to messages unacked, and of them ETA tasks and such as wait for a process; None: not known.
        revoked: ids of revoked tasks that it keeps; None: not known.
    """

    name: str
    host: str
    client: str
    user: str
    version: str
    answered: str
    queues: tuple[str, ...]
    held: Mapping[str, Mapping[str, int | None]]
    revoked: int | None


@dataclass(frozen=True, slots=True)
class Survey:
    """The old workers. `others` consume and are no worker with remote control, `unknown` is what could not be seen."""

    side: str
    vhost: str
    workers: tuple[Worker, ...]
    others: tuple[Consumer, ...]
    unread: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of one queue's consumers.

    Attributes:
        before: consumers before, and `left` those after, without the bridge's.
        consumed_by: workers that consumed it before.
        consumers: who they are, as far as the HTTP API tells; it is up to 5 s behind.
        workers: that said ok; `errors` what others said, `silent` who did not answer.
        holders: who still holds messages of it: those come back when these workers stop.
    """

    queue: str
    before: int
    left: int
    consumed_by: tuple[str, ...]
    consumers: tuple[Consumer, ...]
    workers: tuple[str, ...]
    errors: Mapping[str, str]
    silent: tuple[str, ...]
    holders: tuple[Holder, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resumed:
    """Who consumes a queue now, and who was told and does not."""

    queue: str
    workers: tuple[str, ...]
    errors: Mapping[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """Revoked ids by worker; who did not answer, and whose answer could not be read."""

    by_worker: Mapping[str, tuple[str, ...]]
    silent: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """All of them, once each."""
        return sorted({one for ids in self.by_worker.values() for one in ids})


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of carried ids: `missing` is how many each worker that answers still does not know."""

    ids: int
    new: int
    missing: Mapping[str, int]
    silent: tuple[str, ...]
    unread: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every worker knows every id."""
        return bool(self.missing) and not any(self.missing.values()) and not self.silent and not self.unread


def held_by(
    worker: str,
    held: tuple[Holder, ...] | None,
    scheduled: Mapping[str, int] | None,
    reserved: Mapping[str, int] | None,
) -> dict[str, dict[str, int | None]]:
    """What a worker holds by queue: what the broker says is unacked, and what the worker says of it."""
    unacked = None if held is None else {one.queue: one.unacked for one in held if one.worker == worker}
    queues = sorted({*(unacked or ()), *(scheduled or ()), *(reserved or ())})
    return {
        queue: {
            "unacked": None if unacked is None else unacked.get(queue, 0),
            "eta": None if scheduled is None else scheduled.get(queue, 0),
            "reserved": None if reserved is None else reserved.get(queue, 0),
        }
        for queue in queues
    }


def resumed(queue: str, told: Answers, consumed: Mapping[str, set[str]], expected: Sequence[str]) -> Resumed:
    """Who consumes a queue, by what workers say they consume, and who of those that were told does not."""
    errors = {worker: text for worker, said in told.said.items() if (text := remote_control.error(said))}
    there = tuple(sorted(worker for worker, queues in consumed.items() if queue in queues))
    asked = {*expected, *told.said}
    return Resumed(queue, there, errors, tuple(sorted(asked.difference(there))))


def revoked(answers: Answers, fault: str) -> Revoked:
    """Read the answers to `revoked`; `fault` is why there may be workers that nobody knows."""
    return Revoked(
        by_worker={worker: tuple(remote_control.ids(said)) for worker, said in sorted(answers.said.items())},
        silent=tuple(answers.silent),
        unread=answers.unread,
        unknown=(fault,) if fault else (),
    )
