"""Looks at the old side again and again: who is still there, each time with what came since the last look.

1. A look costs five calls of the HTTP API, whatever the number of queues and connections.
2. Workers are asked for their ETA tasks far less often, and only those that hold some and not too many: a worker lists
   every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bridge import management_old_side, sides
from bridge.config import Config
from bridge.config_sections import Broker
from bridge.core import old_holders, old_side
from bridge.core.old_publishers import flows
from bridge.core.old_side import Look, OldSide
from bridge.errors import BridgeError
from bridge.management import Management

if TYPE_CHECKING:
    from bridge.remote import RemoteControl

#: Seconds between two looks of the daemon.
LOOK = 30.0
#: Seconds between two questions to the workers.
ASK = 300.0
#: Tasks that a worker may hold and still be asked for them: their list is 6 MB then.
MOST_ASKED = 10_000
#: Seconds that two looks must be apart for their counts to tell rates: a broker counts every 5 s.
APART = 12.0

#: Opens remote control towards the old workers.
Opens = Callable[[], "AbstractContextManager[RemoteControl]"]


class OldSideWatch:
    """Looks at a vhost.

    Args:
        source: API of the side where producers publish.
        vhost: of that side.
        instance: name of this bridge.
        control_exchange: of the workers.
        legacy: API and vhost of the workers, where that is another one: in the inline layout.
        asks: opens remote control towards the workers; None: they are not asked.
    """

    def __init__(
        self,
        source: Management,
        vhost: str,
        instance: str,
        *,
        control_exchange: str = "celery",
        legacy: tuple[Management, str] | None = None,
        asks: Opens | None = None,
    ) -> None:
        #: What the last look found.
        self.last: OldSide | None = None
        #: Why the last look failed; empty when it did not.
        self.fault = ""
        self._source = source, vhost
        self._legacy = legacy
        self._instance = instance
        self._control_exchange = control_exchange
        self._asks = asks
        #: Earlier looks that the next ones are compared with, the oldest first.
        self._looks: list[Look] = []
        self._scheduled: dict[str, Mapping[str, int]] = {}
        self._asked: datetime | None = None
        self._unasked = ""

    def look(self) -> OldSide:
        """Look now.

        Raises:
            Unreachable: an API does not answer; what was found before stays in `last`.
            AccessRefused: it refuses the user.
        """
        try:
            self.last = self._look()
        except BridgeError as fault:
            self.fault = str(fault)
            raise
        self.fault = ""
        return self.last

    def as_json(self) -> dict[str, Any]:
        """The last look, its age in seconds and why there is none newer."""
        last = self.last
        if last is None:
            return {"at": None, "age_s": None, "fault": self.fault or "not looked yet"}
        age = (datetime.now(UTC) - last.at).total_seconds()
        return {**last.as_json(), "age_s": round(age, 1), "fault": self.fault}

    def _look(self) -> OldSide:
        seen = management_old_side.look(*self._source)
        at_work = seen if self._legacy is None else management_old_side.look(*self._legacy)
        workers = old_side.mailboxes(at_work, self._control_exchange)
        hosts = frozenset(old_side.named(at_work, connection).address for connection in workers)
        published = flows(seen, self._before(seen), workers if at_work is seen else {}, self._instance, hosts)
        self._ask(at_work, workers)
        held, left = old_holders.holders(at_work, workers, self._instance, self._scheduled)
        unknown = [*seen.unknown, *(at_work.unknown if at_work is not seen else ())]
        if self._unasked:
            unknown.append(f"ETA tasks of the workers: {self._unasked}")
        return OldSide(
            at=seen.at,
            flows=published,
            consumers=old_side.consumers(at_work, self._instance, workers),
            holders=held,
            workers={worker: connection for connection, worker in workers.items()},
            unexplained=left,
            unknown=tuple(unknown),
        )

    def _before(self, seen: Look) -> Look | None:
        """The newest look that is old enough to compare this one with, which is kept for later ones."""
        old = [look for look in self._looks if (seen.at - look.at).total_seconds() >= APART]
        self._looks = [*old[-1:], *self._looks[len(old) :], seen]
        return old[-1] if old else None

    def _ask(self, look: Look, workers: Mapping[str, str]) -> None:
        """Ask the workers for their ETA tasks, if it is time."""
        names = set(workers.values())
        self._scheduled = {worker: counts for worker, counts in self._scheduled.items() if worker in names}
        if self._asks is None:
            return
        found, _ = old_holders.holders(look, workers, self._instance, {})
        asked = old_holders.worth_asking(found, MOST_ASKED)
        if not asked:
            # Of nobody is anything unknown.
            self._unasked = ""
            return
        if self._asked is not None and (look.at - self._asked).total_seconds() < ASK:
            return
        self._asked = look.at
        try:
            with self._asks() as control:
                self._scheduled = scheduled(control, asked, look)
            self._unasked = ""
        except BridgeError as fault:
            self._unasked = str(fault)


def scheduled(control: RemoteControl, workers: list[str], look: Look) -> dict[str, Mapping[str, int]]:
    """How many ETA tasks these workers hold, by queue; those that answered.

    Raises:
        BridgeError: they could not be asked.
    """
    # Not at the top: workers are asked minutes after the start, if at all.
    from bridge.core import remote_control

    consumed = control.ask("active_queues", of=workers).said
    said = control.ask("scheduled", of=workers).said
    return {
        worker: remote_control.tasks(each, remote_control.queues(consumed.get(worker)), look.queues)
        for worker, each in said.items()
    }


def workers_side(config: Config) -> tuple[str, Broker]:
    """The side where the old workers are, and its name."""
    return ("source", config.source) if config.legacy is None else ("legacy", config.legacy)


def watch(config: Config, *, ask: bool = True) -> OldSideWatch | None:
    """The watch that a configuration asks for; None where the source has no HTTP API.

    Args:
        config: whose sides.
        ask: whether the workers are asked for their ETA tasks.
    """
    source = sides.management("source", config.source)
    if source is None:
        return None
    name, broker = workers_side(config)
    legacy = None
    if config.legacy is not None:
        api = sides.management("legacy", config.legacy)
        if api is None:
            return None
        legacy = api, config.legacy.amqp[0].vhost

    def asks() -> AbstractContextManager[RemoteControl]:
        from bridge import remote

        return remote.opened(name, broker, config.celery.control_exchange, config.instance)

    return OldSideWatch(
        source,
        config.source.amqp[0].vhost,
        config.instance,
        control_exchange=config.celery.control_exchange,
        legacy=legacy,
        asks=asks if ask else None,
    )
