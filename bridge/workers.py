"""What is asked of the old workers, on request only: what they hold, to stop consuming, which tasks were revoked.

1. "ok" of a worker proves nothing: it comes before the deed, and from workers that never consumed the queue. So the
   broker's count of consumers is the proof.
2. A verb goes to all workers of the vhost, and each one that is known and did not answer is named.
3. Revoked ids are carried as workers carry them to each other when one starts (`hello`, Celery's mingle): a `revoke`
   would write into the result backend too, over results that are there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge import management_old_side, sides
from bridge.admin_client import fetch_status
from bridge.config import Config
from bridge.config_sections import Broker
from bridge.core import old_holders, old_side, remote_control
from bridge.core.old_side import Consumer, Holder, Look
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.management import Management
from bridge.old_side import MOST_ASKED, workers_side
from bridge.remote import PATIENCE, Answers, Nobody, RemoteControl, opened

#: Seconds between two counts of consumers, and between two looks at who they are: the API is up to 5 s behind.
COUNT_EVERY = 0.3
LOOK_EVERY = 1.0
#: Revoked ids in one message: 40 KB.
BATCH = 1000
#: Revoked ids that a worker keeps (`celery.worker.state.REVOKES_MAX`): more push the oldest out.
MOST_REVOKED = 50_000
#: Seconds in which new workers must have taken the ids of a batch over, and between two questions whether they have.
CARRIED = 15.0
ASK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: `answered` is empty where it did not, else "yes" or why its answer could not be read.

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


class Workers:
    """The workers of one side.

    Args:
        config: whose sides and names.
        name: of the side.
        broker: where it is.
    """

    def __init__(self, config: Config, name: str, broker: Broker) -> None:
        self.name = name
        self.vhost = broker.amqp[0].vhost
        self._broker = broker
        self._config = config
        self._api: Management | None = sides.management(name, broker)

    @classmethod
    def old(cls, config: Config) -> Workers:
        """The old workers of a configuration."""
        return cls(config, *workers_side(config))

    @classmethod
    def new(cls, config: Config) -> Workers:
        """The new workers."""
        return cls(config, "target", config.target)

    def _opened(self) -> Any:
        return opened(self.name, self._broker, self._config.celery.control_exchange, self._config.instance)

    def _look(self) -> tuple[Look | None, str]:
        """What the API tells, or why it does not."""
        if self._api is None:
            return None, f"{self.name}.api is not set: workers that do not answer have no name"
        try:
            return management_old_side.look(self._api, self.vhost), ""
        except BridgeError as fault:
            return None, str(fault)

    def _mailboxes(self, look: Look | None) -> dict[str, str]:
        return {} if look is None else old_side.mailboxes(look, self._config.celery.control_exchange)

    # -- list
    # -----------------------------------------------------------------------------------------------------------

    def survey(self, patience: float = PATIENCE) -> Survey:
        """Who is there, what they hold, and who does not answer.

        Raises:
            Unreachable: the broker does not answer.
            Refused: the user may not use remote control.
        """
        look, fault = self._look()
        boxes = self._mailboxes(look)
        expected = sorted(boxes.values())
        unknown = [fault] if fault else list(look.unknown if look else ())
        told: dict[str, Answers] = {}
        try:
            with self._opened() as control:
                for question in ("active_queues", "revoked", "report"):
                    told[question] = control.ask(question, expected=expected, patience=patience)
                    # Who did not answer the first question is not waited for again.
                    expected = sorted({*told[question].said, *filter(None, told[question].unread)})
                asked = self._worth_asking(look, boxes, expected, unknown)
                for question in ("scheduled", "reserved"):
                    told[question] = control.ask(question, of=asked, patience=patience) if asked else Answers()
        except Nobody as nobody:
            unknown.append(f"{nobody}; {nobody.hint}")
        return _survey(self, look, boxes, told, self._config.instance, unknown)

    def _worth_asking(
        self, look: Look | None, boxes: Mapping[str, str], answering: list[str], unknown: list[str]
    ) -> list[str]:
        """Those who answer and do not hold too much to list it."""
        if look is None:
            return answering
        found, _ = old_holders.holders(look, boxes, self._config.instance, {})
        asked = old_holders.worth_asking(found, MOST_ASKED)
        many = sorted({one.worker for one in found if one.worker and one.worker not in asked})
        if many:
            unknown.append(f"ETA tasks of {', '.join(many)}: they hold more than {MOST_ASKED} messages to list")
        return [worker for worker in asked if worker in answering]

    # -- cancel and resume
    # ----------------------------------------------------------------------------------------------

    def cancel(self, queues: Sequence[str], wait: float) -> list[Cancelled]:
        """Have all workers stop consuming these queues, and see whether they did.

        Args:
            queues: names; others than those that exist are refused before anything is asked.
            wait: seconds until whoever still consumes is reported.

        Raises:
            Refused: there is no such queue, or the user may not do this.
            Unreachable: the broker does not answer.
        """
        look, fault = self._look()
        boxes = self._mailboxes(look)
        with self._opened() as control:
            before = self._counted(control, queues)
            ours = self._ours(queues, look)
            deadline = time.monotonic() + wait
            told: dict[str, Answers] = {}
            expected = sorted(boxes.values())
            for queue in queues:
                patience = max(1.0, min(PATIENCE, deadline - time.monotonic()))
                told[queue] = control.ask("cancel_consumer", {"queue": queue}, expected=expected, patience=patience)
                expected = [worker for worker in expected if worker not in told[queue].silent]
            left = self._await(control, queues, ours, deadline)
        seen, fault = self._look()
        return [
            _cancelled(queue, before[queue], left[queue], seen, self._mailboxes(seen), told[queue], self._config, fault)
            for queue in queues
        ]

    def _counted(self, control: RemoteControl, queues: Iterable[str]) -> dict[str, int]:
        counts = {queue: control.consumers(queue) for queue in queues}
        missing = [queue for queue, count in counts.items() if count is None]
        if missing:
            raise Refused(
                f'{self.name}: vhost "{self.vhost}" has no queue "{missing[0]}"; no worker was told anything',
                hint="name queues as the broker has them: `bridge workers list` shows who consumes which",
            )
        return {queue: count or 0 for queue, count in counts.items()}

    def _ours(self, queues: Sequence[str], look: Look | None) -> dict[str, int]:
        """How many consumers of each queue are the bridge's."""
        if look is not None and look.connections:
            found = old_side.consumers(look, self._config.instance, {})
            return {queue: sum(one.ours for one in found if one.queue == queue) for queue in queues}
        if self.name != "source":
            return dict.fromkeys(queues, 0)
        try:
            status = fetch_status(self._config.admin.socket)
        except Unreachable:
            return dict.fromkeys(queues, 0)
        moving = {one["name"] for one in status["queues"] if one["state"] == "moving"}
        return {queue: int(queue in moving) for queue in queues}

    def _await(
        self, control: RemoteControl, queues: Sequence[str], ours: dict[str, int], deadline: float
    ) -> dict[str, int]:
        """Count until nobody else consumes, or it is time; how many others are left."""
        looked = time.monotonic()
        while True:
            left = {queue: max(0, (control.consumers(queue) or 0) - ours[queue]) for queue in queues}
            now = time.monotonic()
            if not any(left.values()) or now >= deadline:
                return left
            if now - looked >= LOOK_EVERY and self._api is not None:
                # The bridge may come and go meanwhile.
                ours.update(self._ours(queues, self._look()[0]))
                looked = now
            time.sleep(COUNT_EVERY)  # noqa: TID251 - a poll of the condition above, with a deadline

    def resume(self, queues: Sequence[str], workers: Sequence[str] | None, wait: float) -> list[Resumed]:
        """Have workers consume these queues again.

        Args:
            queues: names.
            workers: who; None: all.
            wait: seconds until whoever does not is reported.

        Raises:
            Refused: there is no such queue, or the user may not do this.
            Unreachable: the broker does not answer.
        """
        look, _ = self._look()
        expected = sorted(self._mailboxes(look).values()) if workers is None else list(workers)
        with self._opened() as control:
            self._counted(control, queues)
            told = {
                queue: control.ask("add_consumer", {"queue": queue}, of=workers, expected=expected) for queue in queues
            }
            deadline = time.monotonic() + wait
            while True:
                said = control.ask("active_queues", of=workers, expected=expected).said
                consumed = {worker: {one.name for one in remote_control.queues(each)} for worker, each in said.items()}
                results = [_resumed(queue, told[queue], consumed, expected) for queue in queues]
                if all(not one.missing for one in results) or time.monotonic() >= deadline:
                    return results
                time.sleep(ASK_EVERY)  # noqa: TID251 - a poll of the condition above, with a deadline

    # -- revoked
    # --------------------------------------------------------------------------------------------------------

    def revoked(self, patience: float = PATIENCE) -> Revoked:
        """The ids of revoked tasks that workers keep.

        Raises:
            BridgeError: they cannot be asked.
        """
        look, fault = self._look()
        expected = sorted(self._mailboxes(look).values())
        with self._opened() as control:
            return _revoked(control.ask("revoked", expected=expected, patience=patience), fault)

    def take(self, ids: Sequence[str]) -> Carried:
        """Have all workers of this side take these ids for revoked, and see whether they do.

        Raises:
            BridgeError: they cannot be asked.
        """
        look, _ = self._look()
        expected = sorted(self._mailboxes(look).values())
        wanted = set(ids)
        with self._opened() as control:
            began = _revoked(control.ask("revoked", expected=expected), "")
            answering = sorted(began.by_worker)
            missing = {worker: wanted.difference(known) for worker, known in began.by_worker.items()}
            new = sorted(set().union(*missing.values())) if missing else []
            for at in range(0, len(new), BATCH):
                control.tell(
                    "hello",
                    {"from_node": f"bridge@{self._config.instance}", "revoked": new[at : at + BATCH]},
                    seconds=CARRIED,
                )
            deadline = time.monotonic() + CARRIED
            while any(missing.values()) and time.monotonic() < deadline:
                now = _revoked(control.ask("revoked", of=answering), "")
                missing = {worker: wanted.difference(now.by_worker.get(worker, ())) for worker in answering}
                if any(missing.values()):
                    time.sleep(ASK_EVERY)  # noqa: TID251 - a poll of the condition above, with a deadline
        return Carried(
            ids=len(wanted),
            new=len(new),
            missing={worker: len(left) for worker, left in missing.items()},
            silent=began.silent,
            unread=began.unread,
        )


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of one queue's consumers.

    Attributes:
        before: consumers before, and `left` those after, without the bridge's.
        consumers: who they are, as far as the HTTP API tells; it is up to 5 s behind.
        workers: that said ok; `errors` what others said, `silent` who did not answer.
        holders: who still holds messages of it: those come back when these workers stop.
    """

    queue: str
    before: int
    left: int
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


def _survey(
    side: Workers,
    look: Look | None,
    boxes: Mapping[str, str],
    told: Mapping[str, Answers],
    instance: str,
    unknown: list[str],
) -> Survey:
    def said(question: str, worker: str) -> Any:
        return told[question].said.get(worker) if question in told else None

    first = told.get("active_queues", Answers())
    names = sorted({*boxes.values(), *first.said, *filter(None, first.unread)})
    known = look.queues if look is not None else {}
    consumed = {worker: remote_control.queues(said("active_queues", worker)) for worker in names}
    waiting = {
        question: {
            worker: remote_control.tasks(each, consumed.get(worker, ()), known)
            for worker, each in told[question].said.items()
        }
        for question in ("scheduled", "reserved")
        if question in told
    }
    scheduled, reserved = waiting.get("scheduled", {}), waiting.get("reserved", {})
    held: tuple[Holder, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    if look is not None:
        held, _ = old_holders.holders(look, boxes, instance, scheduled)
        consumers = old_side.consumers(look, instance, boxes)
    connection_of = {worker: connection for connection, worker in boxes.items()}
    workers = []
    for name in names:
        connection = connection_of.get(name, "")
        who = old_side.ConnectionSeen(connection) if look is None else old_side.named(look, connection)
        queues = [one.name for one in consumed[name]] or [one.queue for one in consumers if one.worker == name]
        ids = said("revoked", name)
        workers.append(
            Worker(
                name=name,
                host=who.host,
                client=who.client,
                user=who.user,
                version=remote_control.version(said("report", name)),
                answered="yes" if name in first.said else first.unread.get(name, ""),
                queues=tuple(sorted(set(queues))),
                held=_held(name, held if look is not None else None, scheduled.get(name), reserved.get(name)),
                revoked=None if ids is None else len(remote_control.ids(ids)),
            )
        )
    others = tuple(one for one in consumers if one.worker is None and not one.ours)
    unread = tuple(why for worker, why in first.unread.items() if not worker)
    return Survey(side.name, side.vhost, tuple(workers), others, unread, tuple(unknown))


def _held(
    worker: str,
    held: tuple[Holder, ...] | None,
    scheduled: Mapping[str, int] | None,
    reserved: Mapping[str, int] | None,
) -> dict[str, dict[str, int | None]]:
    """By queue: what the broker says is unacked, and what the worker says of it."""
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


def _cancelled(
    queue: str,
    before: int,
    left: int,
    look: Look | None,
    boxes: Mapping[str, str],
    told: Answers,
    config: Config,
    fault: str,
) -> Cancelled:
    consumers: tuple[Consumer, ...] = ()
    holders: tuple[Holder, ...] = ()
    if look is not None:
        if left:
            found = old_side.consumers(look, config.instance, boxes)
            consumers = tuple(one for one in found if one.queue == queue and not one.ours)
        holding, _ = old_holders.holders(look, boxes, config.instance, {})
        holders = tuple(one for one in holding if one.queue == queue)
    errors = {worker: text for worker, said in told.said.items() if (text := remote_control.error(said))}
    unread = [f"answered {why}" for worker, why in told.unread.items() if not worker]
    return Cancelled(
        queue=queue,
        before=before,
        left=left,
        consumers=consumers,
        workers=tuple(sorted(worker for worker in told.said if worker not in errors)),
        errors=errors,
        silent=tuple(told.silent),
        holders=holders,
        unknown=tuple(filter(None, [fault, *unread])),
    )


def _resumed(queue: str, told: Answers, consumed: Mapping[str, set[str]], expected: Sequence[str]) -> Resumed:
    errors = {worker: text for worker, said in told.said.items() if (text := remote_control.error(said))}
    there = tuple(sorted(worker for worker, queues in consumed.items() if queue in queues))
    asked = {*expected, *told.said}
    return Resumed(queue, there, errors, tuple(sorted(asked.difference(there))))


def _revoked(answers: Answers, fault: str) -> Revoked:
    return Revoked(
        by_worker={worker: tuple(remote_control.ids(said)) for worker, said in sorted(answers.said.items())},
        silent=tuple(answers.silent),
        unread=answers.unread,
        unknown=(fault,) if fault else (),
    )
