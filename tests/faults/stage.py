"""A migration under way, with everything in reach that can go wrong with it.

    with Stage(vhosts, folder) as stage:
        stage.endure(fault)          # inject, live traffic meanwhile, heal, wait until it moves again by itself
        stage.settle().check()       # every task came, once, unchanged, not early

A producer and old workers are on the old vhost, new workers on the new one, the daemon is between two proxies, as a
user of its own. It needs no pytest. Without traffic (`traffic=False`) it is the daemon and what can happen to it.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from bridge.errors import BridgeError
from bridge.lab.deadline import until
from bridge.lab.fingerprint import caps_priority
from tests.faults.book import balance
from tests.faults.fault import OWN_BROKER
from tests.faults.service import Service
from tests.faults.traffic import Producer, Worker
from tests.support.daemon import queue_of, takeover
from tests.support.peers import Admin, as_user
from tests.support.proxy import Proxy
from tests.support.raw_amqp import RawAmqp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from tests.faults.book import Book
    from tests.faults.fault import Fault
    from tests.support.brokers import Vhosts
    from tests.support.daemon import Status

#: The daemon's user on both sides: what is taken from it is taken from nobody else.
MOVER = "mover"
#: Seconds in which new tasks must come to the new worker again after a fault, and in which all tasks must have come.
MOVES_WITHIN = 90.0
SETTLES_WITHIN = 60.0
#: New tasks that must have come to a worker before it counts as having the queue.
_SOME = 20
#: Seconds after its ETA in which a task must be out of the ladder.
_OUT_OF_LADDER = 0.5


class Stage:
    """One migrated queue with traffic on both sides.

    Args:
        vhosts: old and new, both fresh.
        folder: for the daemon's files.
        queue: its name on both sides.
        rate: tasks a second.
        ahead: seconds that ETA tasks are ahead, least and most.
        share: of the tasks, those with an ETA.
        window: messages that the daemon may have in flight.
        heartbeat: of its connections, in seconds.
        traffic: without, there is neither producer nor worker.

    Attributes:
        source: the proxy between the daemon and the old vhost.
        target: the proxy between the daemon and the new vhost.
        daemon: kill it, start it, pause it; its `config` may be changed before it is started.
        producer: of the tasks, on the old vhost.
        before: the old worker.
        after: the new worker.
        old: the old broker's HTTP API, with all rights.
        new: the new broker's.
        deleted: messages that were deleted on purpose: faults add to it what the broker answered.
    """

    producer: Producer
    before: Worker
    after: Worker

    def __init__(
        self,
        vhosts: Vhosts,
        folder: Path,
        *,
        queue: str = "orders",
        rate: float = 200.0,
        ahead: tuple[float, float] = (2.0, 6.0),
        share: float = 0.2,
        window: int = 500,
        heartbeat: int = 10,
        traffic: bool = True,
    ) -> None:
        self.vhosts = vhosts
        self.queue = queue
        self.window = window
        self.heartbeat = heartbeat
        self.old, self.new = Admin(vhosts.old.api), Admin(vhosts.new.api)
        self.ahead = ahead
        self.share = share
        self.deleted = 0
        self._rate, self._traffic = rate, traffic
        self._stack = ExitStack()
        self._counted = 0
        self._given_back: float | None = None
        self._recovered: float | None = None
        self._wants_given_back = False
        password = secrets.token_hex(8)
        for admin, side in ((self.old, vhosts.old), (self.new, vhosts.new)):
            admin.make_user(MOVER, password, side.vhost)
        self.source = self._stack.enter_context(Proxy(as_user(vhosts.old.amqp, MOVER, password)))
        self.target = self._stack.enter_context(Proxy(as_user(vhosts.new.amqp, MOVER, password)))
        config = takeover(vhosts, folder, route="quorum", relay={"window": window}, log={"level": "info"})
        for name, proxy in (("source", self.source), ("target", self.target)):
            config[name]["amqp"] = f"{proxy.url}?heartbeat={heartbeat}"
        self.daemon = Service(config, folder)

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything; the vhosts stay."""
        self._stack.close()
        for admin in (self.old, self.new)[: 1 if self.same_broker else 2]:
            admin.drop_user(MOVER)

    def _open(self) -> None:
        self.declare_source()
        self.declare_target()
        self._stack.callback(self.daemon.end)
        self.daemon.start()
        if self._traffic:
            old, new = self.vhosts.old.amqp, self.vhosts.new.amqp
            self.before = self._stack.enter_context(Worker(old, self.queue))
            self.after = self._stack.enter_context(Worker(new, self.queue))
            self.producer = self._stack.enter_context(
                Producer(old, self.queue, rate=self._rate, ahead=self.ahead, share=self.share)
            )
            self.moves()

    @property
    def same_broker(self) -> bool:
        """Whether both sides are vhosts of one broker."""
        return self.vhosts.old.cluster is self.vhosts.new.cluster

    def declare_source(self) -> None:
        """Declare the old queue."""
        with RawAmqp(self.vhosts.old.amqp) as amqp:
            amqp.declare(self.queue)

    def declare_target(self) -> None:
        """Declare the new queue."""
        with RawAmqp(self.vhosts.new.amqp) as amqp:
            amqp.declare(self.queue, **{"x-queue-type": "quorum"})

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing is published in this block, and everything that was is out of queues, ladder and daemon.

        Traffic that is not ours goes on.
        """
        if not self._traffic:
            yield
            return
        with self.producer.held():
            assert until(self._drained, SETTLES_WITHIN), f"tasks stay on their way:\n{self.daemon.quote()}"
            yield

    # -- a fault from its beginning to its end
    # -----------------------------------------------------------------------

    def endure(self, fault: Fault) -> None:
        """Inject a fault, wait while it lasts, heal it, and wait until the bridge moves new tasks again by itself.

        Raises:
            AssertionError: it does not.
        """
        # Where one broker has both sides, a fault of the target's is the source's as well: nobody can work.
        alone = not (self.same_broker and OWN_BROKER in fault.needs)
        self._wants_given_back = fault.given_back and alone
        says = fault.says if alone else ""
        fault.inject(self)
        try:
            self._last(fault.lasts, says)
        finally:
            fault.heal(self)
        self._recovered = self.moves()
        if says:
            self.daemon.wait_until(lambda status: says not in self._said(status))

    def _last(self, seconds: float, says: str) -> None:
        """Let a fault last so long, and see what must be seen meanwhile."""
        began = time.monotonic()
        self._given_back = self._new_tasks_at(self.before, seconds) if self._wants_given_back else None
        if says:
            self.daemon.wait_until(lambda status: says in self._said(status))
        # Its length is what it is; there is nothing to wait for.
        threading.Event().wait(max(0.0, began + seconds - time.monotonic()))

    def moves(self, seconds: float = MOVES_WITHIN) -> float:
        """Wait until tasks that are published from now on come to the new worker; return after how many seconds.

        Raises:
            AssertionError: they do not within `seconds`.
        """
        if not self._traffic:
            return self._moved_at(seconds)
        took = self._new_tasks_at(self.after, seconds)
        assert took is not None, f"no new task came to the new worker within {seconds:g} s:\n{self.daemon.quote()}"
        return took

    def _said(self, status: Status) -> str:
        """Why nothing moves, if a status says it."""
        return f"{queue_of(status, self.queue)['why']}; {status['target']['reason']}"

    def _new_tasks_at(self, worker: Worker, seconds: float) -> float | None:
        """Wait until tasks without an ETA that are published from now on come to a worker: the seconds to the first."""
        began, first, seen = time.monotonic(), self.producer.next, len(worker.came)
        found: list[float] = []

        def enough() -> bool:
            nonlocal seen
            fresh = worker.came[seen:]
            seen += len(fresh)
            found.extend(it.at for it in fresh if it.number >= first and self.producer.sent[it.number].due is None)
            return len(found) >= _SOME

        return found[0] - began if until(enough, seconds) else None

    def _moved_at(self, seconds: float) -> float:
        """Wait until the daemon says that it moved more: the seconds that took."""
        began, before = time.monotonic(), self.daemon.status()["totals"]["moved"]
        self.daemon.wait_until(lambda status: status["totals"]["moved"] >= before + _SOME, seconds)
        return time.monotonic() - began

    def settle(self, late: float = 0.0) -> Book:
        """Hold the producer until all that was sent has come, and balance the books; then all begins anew.

        Args:
            late: seconds that tasks may come late.
        """
        with self.producer.held():
            held = time.monotonic()
            self.all_came(late)
            assert self.daemon.alive, f"the daemon ended:\n{self.daemon.quote()}"
            counted = self.daemon.counted()
            book = balance(
                self.producer.sent,
                self.producer.confirmed,
                list(self.before.came),
                list(self.after.came),
                deleted=self.deleted,
                counted=counted - self._counted,
                listed=self.daemon.listed(),
                held=held,
                window=self.window,
                capped=caps_priority(self.vhosts.new.version),
            )
            book = replace(
                book,
                given_back=self._given_back,
                recovered=self._recovered,
                wants_given_back=self._wants_given_back,
                # None may reach an operator.
                faults=(*book.faults, *(["a traceback is in the log"] if "Traceback" in self.daemon.log else ())),
            )
            self._counted, self.deleted = counted, 0
            self._given_back, self._recovered, self._wants_given_back = None, None, False
            for one in (self.producer, self.before, self.after):
                one.forget()
        return book

    def all_came(self, late: float = 0.0) -> bool:
        """Wait until every task came and nothing is on its way any more; False if that is not so in time."""
        return until(lambda: self._came() and self._drained(), SETTLES_WITHIN + late)

    def _came(self) -> bool:
        came = {it.number for worker in (self.before, self.after) for it in list(worker.came)}
        return len(self.producer.confirmed - came) <= self.deleted

    def _drained(self) -> bool:
        """Whether nothing is on its way any more, second copies included."""
        last = max((it.due for it in list(self.producer.sent.values()) if it.due is not None), default=0.0)
        return time.time() > last + _OUT_OF_LADDER and self.idle()

    def idle(self) -> bool:
        """Whether nothing is in the queues and nothing in the daemon's hands; the ladder may hold some."""
        try:
            for url in (self.vhosts.old.amqp, self.vhosts.new.amqp):
                with RawAmqp(url) as amqp:
                    if amqp.depth(self.queue):
                        return False
            return bool(self.daemon.status()["totals"]["in_flight"] == 0)
        except (OSError, AssertionError, BridgeError):
            return False
