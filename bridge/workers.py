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
from bridge.workers_told import Cancelled, Carried, Resumed, Revoked, Survey, Worker, held_by, resumed, revoked

#: Seconds between two counts of consumers, and between two looks at who they are: the API is up to 5 s behind.
COUNT_EVERY = 0.3
LOOK_EVERY = 1.0
#: Seconds in which the API has caught up.
BEHIND = 7.0
#: Revoked ids in one message: 40 KB.
BATCH = 1000
#: Revoked ids that a worker keeps (`celery.worker.state.REVOKES_MAX`): more push the oldest out.
MOST_REVOKED = 50_000
#: Seconds in which new workers must have taken the ids of a batch over, and between two questions whether they have.
CARRIED = 15.0
ASK_EVERY = 0.5


class Workers:
    """The workers of one side.

    Args:
        config: whose sides and names.
        name: of the side.
        broker: where it is.
    """

    def __init__(self, config: Config, name: str, broker: Broker) -> None:
        self.name = name
        self.instance = config.instance
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
        return opened(self.name, self._broker, self._config.celery.control_exchange, self.instance)

    def _look(self) -> tuple[Look | None, str]:
        """What the API tells, or why it does not."""
        if self._api is None:
            return None, f"{self.name}.api is not set: workers that do not answer have no name"
        try:
            return management_old_side.look(self._api, self.vhost), ""
        except BridgeError as fault:
            return None, str(fault)

    def mailboxes(self, look: Look | None) -> dict[str, str]:
        """Connection to the worker whose mailbox is on it, as far as the API tells."""
        return {} if look is None else old_side.mailboxes(look, self._config.celery.control_exchange)

    # -- list
    # -----------------------------------------------------------------------------------------------------------

    def survey(self, patience: float = PATIENCE) -> Survey:
        """Who is there, what they hold, and who does not answer.

        Where workers cannot be asked, what the HTTP API shows of them is all there is, and the reason with it.

        Raises:
            BridgeError: neither the API nor the workers can be asked.
        """
        look, fault = self._look()
        boxes = self.mailboxes(look)
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
        except BridgeError as fault_of_asking:
            if look is None and not isinstance(fault_of_asking, Nobody):
                raise
            unknown.append(f"what workers say: {fault_of_asking} ({fault_of_asking.hint})")
        return _survey(self, look, boxes, told, self.instance, unknown)

    def _worth_asking(
        self, look: Look | None, boxes: Mapping[str, str], answering: list[str], unknown: list[str]
    ) -> list[str]:
        """Those who answer and do not hold too much to list it."""
        if look is None:
            return answering
        found, _ = old_holders.holders(look, boxes, self.instance, {})
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
        boxes = self.mailboxes(look)
        with self._opened() as control:
            before = self._counted(control, queues)
            ours = self._ours(queues, look)
            deadline = time.monotonic() + wait
            told: dict[str, Answers] = {}
            patience = min(PATIENCE, wait)
            consumed = control.ask("active_queues", expected=sorted(boxes.values()), patience=patience)
            expected = sorted({*boxes.values()}.difference(consumed.silent))
            for queue in queues:
                patience = max(1.0, min(PATIENCE, deadline - time.monotonic()))
                told[queue] = control.ask("cancel_consumer", {"queue": queue}, expected=expected, patience=patience)
                told[queue].silent = sorted({*told[queue].silent, *consumed.silent}.difference(told[queue].said))
            left = self._await(control, queues, ours, deadline)
        seen, fault = self._look_at_those(left)
        return [
            _cancelled(
                queue,
                max(0, before[queue] - ours[queue]),
                left[queue],
                self._consuming(queue, look, consumed),
                seen,
                told[queue],
                self,
                fault,
            )
            for queue in queues
        ]

    def _look_at_those(self, left: Mapping[str, int]) -> tuple[Look | None, str]:
        """Who the consumers are that are left: the API is behind, and names some who are gone for a while."""
        deadline = time.monotonic() + BEHIND
        while True:
            seen, fault = self._look()
            found = () if seen is None else old_side.consumers(seen, self.instance, {})
            counts = {queue: sum(one.queue == queue and not one.ours for one in found) for queue in left}
            if seen is None or not any(left.values()) or counts == dict(left) or time.monotonic() >= deadline:
                return seen, fault
            time.sleep(ASK_EVERY)  # noqa: TID251 - a poll of the condition above, with a deadline

    def _consuming(self, queue: str, look: Look | None, said: Answers) -> tuple[str, ...]:
        """The workers that consume a queue, as the broker says or as they say themselves."""
        seen = () if look is None else old_side.consumers(look, self.instance, self.mailboxes(look))
        found = {one.worker for one in seen if one.queue == queue and one.worker}
        for worker, each in said.said.items():
            if any(one.name == queue for one in remote_control.queues(each)):
                found.add(worker)
        return tuple(sorted(found))

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
            found = old_side.consumers(look, self.instance, {})
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
        expected = sorted(self.mailboxes(look).values()) if workers is None else list(workers)
        patience, deadline = min(PATIENCE, wait), time.monotonic() + wait
        with self._opened() as control:
            self._counted(control, queues)
            told = {
                queue: control.ask("add_consumer", {"queue": queue}, of=workers, expected=expected, patience=patience)
                for queue in queues
            }
            while True:
                said = control.ask("active_queues", of=workers, expected=expected, patience=patience).said
                consumed = {worker: {one.name for one in remote_control.queues(each)} for worker, each in said.items()}
                results = [resumed(queue, told[queue], consumed, expected) for queue in queues]
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
        expected = sorted(self.mailboxes(look).values())
        with self._opened() as control:
            return revoked(control.ask("revoked", expected=expected, patience=patience), fault)

    def take(self, ids: Sequence[str]) -> Carried:
        """Have all workers of this side take these ids for revoked, and see whether they do.

        Raises:
            BridgeError: they cannot be asked.
        """
        look, _ = self._look()
        expected = sorted(self.mailboxes(look).values())
        wanted = set(ids)
        with self._opened() as control:
            began = revoked(control.ask("revoked", expected=expected), "")
            answering = sorted(began.by_worker)
            missing = {worker: wanted.difference(known) for worker, known in began.by_worker.items()}
            new = sorted(set().union(*missing.values())) if missing else []
            for at in range(0, len(new), BATCH):
                control.tell(
                    "hello",
                    {"from_node": f"bridge@{self.instance}", "revoked": new[at : at + BATCH]},
                    seconds=CARRIED,
                )
            deadline = time.monotonic() + CARRIED
            while any(missing.values()) and time.monotonic() < deadline:
                now = revoked(control.ask("revoked", of=answering), "")
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
                answered="yes" if name in first.said else first.unread.get(name, "" if told else "not asked"),
                queues=tuple(sorted(set(queues))),
                held=held_by(name, held if look is not None else None, scheduled.get(name), reserved.get(name)),
                revoked=None if ids is None else len(remote_control.ids(ids)),
            )
        )
    others = tuple(one for one in consumers if one.worker is None and not one.ours)
    unread = tuple(why for worker, why in first.unread.items() if not worker)
    return Survey(side.name, side.vhost, tuple(workers), others, unread, tuple(unknown))


def _cancelled(
    queue: str,
    before: int,
    left: int,
    consumed_by: tuple[str, ...],
    look: Look | None,
    told: Answers,
    side: Workers,
    fault: str,
) -> Cancelled:
    consumers: tuple[Consumer, ...] = ()
    holders: tuple[Holder, ...] = ()
    if look is not None:
        boxes, instance = side.mailboxes(look), side.instance
        if left:
            found = old_side.consumers(look, instance, boxes)
            consumers = tuple(one for one in found if one.queue == queue and not one.ours)
        holding, _ = old_holders.holders(look, boxes, instance, {})
        holders = tuple(one for one in holding if one.queue == queue)
    errors = {worker: text for worker, said in told.said.items() if (text := remote_control.error(said))}
    unread = [f"answered {why}" for worker, why in told.unread.items() if not worker]
    return Cancelled(
        queue=queue,
        before=before,
        left=left,
        consumed_by=consumed_by,
        consumers=consumers,
        workers=tuple(sorted(worker for worker in told.said if worker not in errors)),
        errors=errors,
        silent=tuple(told.silent),
        holders=holders,
        unknown=tuple(filter(None, [fault, *unread])),
    )
