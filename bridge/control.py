"""The verbs once: every door comes here, and every change is written down with who asked for it and why.

1. A name that is not in scope changes nothing at all. Otherwise each queue answers for itself: one refusal changes
   nothing for the others.
2. Gates may take seconds. They are asked for many queues at once, and a route that changed meanwhile is not
   overwritten.
3. A postponed verb is planned, not done: its gate is asked when it is due, and again and again while it is refused,
   until it is carried out or taken back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from gevent.pool import Pool

from bridge import status, wording
from bridge.asked import Answer, Request, postponed
from bridge.changes import Change, Journal
from bridge.clock import ClockWatch
from bridge.core.gate import Gate
from bridge.core.route import VERB_OF, Cell, Layout, Refused, Route, Unchanged, Verb, cell, flows
from bridge.errors import Refused as RefusedError
from bridge.errors import Standby, UnknownQueue
from bridge.figures import Figures
from bridge.gate_looks import GateLooks
from bridge.links import Links
from bridge.old_side_short import NOT_SEEN as OLD_SIDE_NOT_SEEN
from bridge.postponed import Postponed
from bridge.records import Configured, Plan, Records
from bridge.shared import Shared
from bridge.subscription import Subscription
from bridge.verbs import Verbs, state_of

__all__ = ["Answer", "Change", "Control", "Request"]

log = logging.getLogger("bridge.control")

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Gates that are asked at the same time.
GATES = 16
#: Stands for all queues together.
ALL = "*"


class Control:
    """Looks at all subscriptions and changes their routes.

    Args:
        instance: name of this bridge.
        links: the connections.
        shared: what all queues use.
        addresses: redacted URLs of source, target and, inline, the legacy side.
        subscriptions: the queues in scope now.
        clock: notices when wall time jumps.
    """

    def __init__(
        self,
        instance: str,
        links: Links,
        shared: Shared,
        addresses: tuple[str, ...],
        subscriptions: Callable[[], Iterable[Subscription]],
        clock: ClockWatch,
    ) -> None:
        self.instance = instance
        self.layout = Layout.TAKEOVER if links.legacy is None else Layout.INLINE
        self.state = "starting"
        self.since = datetime.now(UTC)
        #: Who is the active one while this daemon is not; empty while it is. Verbs are refused with it.
        self.standby = ""
        #: What is missing because an HTTP API is not configured.
        self.lost_features: list[str] = []
        #: The last reload that was refused, if the configuration in force is not the one in the file.
        self.reload_fault: str | None = None
        #: Messages a second of all queues together; None is no limit.
        self.limit: float | None = None
        #: Messages that are ready in an old queue; None where that is not known.
        self.depth: Callable[[str], int | None] = lambda _queue: None
        #: What other rooms keep in the saved state, by name: what gives it, and what takes over what another process
        #: gave, None where it gave nothing.
        self.kept: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {}
        #: What other rooms add to the status: to the whole, and to each queue.
        self.more: list[Callable[[], Mapping[str, Any]]] = []
        self.more_of_queue: list[Callable[[Subscription], Mapping[str, Any]]] = []
        self.changes = Journal()
        self.on_change = self.changes.on_change
        self.links = links
        self.shared = shared
        self.clock = clock
        self.addresses = addresses
        self._subscriptions = subscriptions
        #: What is measured of the queues; told of every second.
        self.figures = Figures(self.layout, subscriptions)
        self.records = Records()
        self.verbs = Verbs(self.layout, self.records, self.changes)
        self.postponed = Postponed(self.verbs, self._ready)
        self.gates = GateLooks(self.layout, links, self.records, subscriptions)
        #: Who is on the old side, in short.
        self.old_side: Callable[[], Mapping[str, Any]] = lambda: OLD_SIDE_NOT_SEEN

    # -- the verbs
    # --------------------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> list[Answer]:
        """Carry out a verb, or plan it, or say what it would do; the answers are in the order of the queues.

        Raises:
            UnknownQueue: a queue is not in scope; nothing was changed.
            Standby: another daemon is the active one.
            Refused: the request contradicts itself.
        """
        if request.force and request.queues is None:
            raise RefusedError(
                f"{request.verb.typed}: --force for all queues; it is allowed for queues that are named one by one",
                hint="name the queues that may go to a target without workers",
            )
        chosen = self._chosen(request.queues)
        if request.at is None and request.when_backlog is None:
            return _each(lambda subscription: self.verbs.ask(subscription, request), chosen)
        when = postponed(request)
        return [self.postponed.plan(subscription, request, when) for subscription in chosen]

    def set_rate(
        self,
        queues: tuple[str, ...] | None,
        rate: float | None,
        *,
        by: str,
        door: str,
        reason: str = "",
        dry_run: bool = False,
    ) -> list[Answer]:
        """Limit each of these queues to `rate` messages a second; None takes the limit back.

        Without names it is one limit that all queues share. Who asks, and how: as in `Request`.

        Raises:
            UnknownQueue, Standby: as `ask`.
        """
        self._active()
        after = wording.limit(rate)
        answers = []
        for subscription in [None] if queues is None else self._chosen(queues):
            name = ALL if subscription is None else subscription.queue
            before = self.limit if subscription is None else subscription.limit
            outcome = "unchanged" if before == rate else "would" if dry_run else "done"
            text = f"all queues together: {after}" if subscription is None else after
            if outcome == "done":
                if subscription is None:
                    self._limit_all(rate)
                else:
                    subscription.set_limit(rate)
                self._write_down(name, "rate", wording.limit(before), after, by, door, reason, text)
            if subscription is None:
                answers.append(Answer(name, outcome, "", "", False, text, "", ("rate",)))
            else:
                answers.append(self.verbs.answer(subscription, outcome, state_of(subscription), text))
        return answers

    def cancel(
        self, queues: tuple[str, ...] | None, *, by: str, door: str, reason: str = "", dry_run: bool = False
    ) -> list[Answer]:
        """Take postponed verbs back; the arguments are those of `Request`.

        Raises:
            UnknownQueue, Standby: as `ask`.
        """
        answers = []
        for subscription in self._chosen(queues):
            record, state = self.records.of(subscription), state_of(subscription)
            outcome, text = "unchanged", "nothing is planned"
            if record.plan is not None:
                outcome, text = "would" if dry_run else "done", wording.taken_back(record.plan)
                if not dry_run:
                    record.plan = None
                    route = str(state)
                    self._write_down(subscription.queue, "cancel", route, route, by, door, reason, text)
            answers.append(self.verbs.answer(subscription, outcome, state, text))
        return answers

    def tick(self, now: datetime) -> None:
        """Carry out what is due; to be called about once a second, `now` is the time with its zone."""
        if self.standby:
            return
        due: list[tuple[Subscription, Plan]] = []
        for subscription in self._subscriptions() if self.records.planned else ():
            plan = self.postponed.due(subscription, now)
            if plan is not None:
                due.append((subscription, plan))
        _each(lambda pair: self.postponed.carry_out(*pair, now), due)

    def try_wanted(self, subscription: Subscription, verb: Verb) -> None:
        """Try the route that the configuration wants; where the gate refuses it, the reason is in the status and it
        is tried again.
        """
        request = Request(verb, (subscription.queue,), "configuration", "config")
        before = state_of(subscription)
        outcome = self.verbs.outcome(subscription, request)
        wanted = subscription.wanted
        if wanted is None or VERB_OF[wanted] is not verb:
            return  # somebody asked for another route meanwhile
        if isinstance(outcome, Refused):
            if subscription.hold(wanted, outcome.text):
                log.warning("%s: route %s waits for this (%s)", outcome.text, wanted, outcome.hint)
            return
        if isinstance(outcome, Unchanged):
            subscription.set_state(outcome.state)
            self.verbs.seen_configured(subscription, request)
            return
        log.info('queue "%s": -> %s (configuration)', subscription.queue, outcome.state)
        text = "; ".join(wording.told(before, outcome.state, request, self.layout))
        self.verbs.carry_out(subscription, request, before, outcome.state, text)

    # -- queues come and go
    # -----------------------------------------------------------------------------------------------

    def appeared(self, subscription: Subscription, route: Route) -> None:
        """A queue came into scope: it gets its saved state, unless the configuration wants another route than it did
        then; without one, the route of the configuration, which is a verb and waits for its gate.
        """
        configured = Configured(route, subscription.terms.share)
        known = self.records.take_up(subscription)
        record = self.records.of(subscription)
        if record.configured != configured and (known or route is not Route.LEGACY):
            verb = VERB_OF[route]
            subscription.hold(route, "not asked yet")
            wanted = cell(state_of(subscription), verb, self.layout)
            if isinstance(wanted, Cell) and wanted.gate is Gate.NONE:
                self.try_wanted(subscription, verb)
        elif not known:
            record.configured = configured
        if flows(state_of(subscription), self.layout) or subscription.wanted is not None:
            subscription.may_have_crashed()

    def gone(self, subscription: Subscription) -> None:
        """A queue left the scope; what is known of it is kept."""
        self.records.put_away(subscription)

    def dump(self) -> dict[str, Any]:
        """Everything that the daemon which takes over has to know, as JSON has it."""
        queues = self.records.dump(self._subscriptions())
        kept = {name: give() for name, (give, _) in self.kept.items()}
        return {"queues": queues, "limit": self.limit, "changes": self.changes.as_json(), **kept}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take over what `dump` gave: queues in scope at once, the others when they appear.

        Raises:
            Refused: it is not whole; nothing was taken over.
        """
        try:
            limit = None if saved["limit"] is None else float(saved["limit"])
            changes = Journal.read(saved["changes"])
            self.records.load(saved["queues"], self._subscriptions())
            for name, (_, take_over) in self.kept.items():
                take_over(saved.get(name))
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise RefusedError(
                f"the saved state cannot be read: {type(fault).__name__}: {fault}",
                hint="was it written by a newer version of the bridge?",
            ) from None
        self.changes.replace(changes)
        self._limit_all(limit)

    # -- what is shown
    # --------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All numbers at one moment."""
        return status.snapshot(self, self._subscriptions(), datetime.now(UTC))

    def sample(self) -> None:
        """Look at what happened since the last time; to be called every second."""
        if self.standby:
            self.figures.forget()
        else:
            self.figures.sample()

    def why_first(self) -> str:
        """Why it is not moving, or what waits, in one sentence; empty when all moves."""
        return status.why_first_of(self, self._subscriptions(), datetime.now(UTC))

    def duplicates(self) -> dict[str, Any]:
        """The list of possible duplicates: the newest ones, for as many as it holds, and how many there were in all."""
        listed = [
            {"queue": one.queue, "id": one.id, "why": one.why, "at": status.stamp(one.at)}
            for one in self.shared.doubles.listed
        ]
        return {"total": self.shared.doubles.total, "listed": listed}

    # -- the rest
    # --------------------------------------------------------------------------------------------------------------

    def _active(self) -> None:
        if self.standby:
            raise Standby(self.standby, hint="ask the daemon that is active")

    def _chosen(self, queues: tuple[str, ...] | None) -> list[Subscription]:
        """The queues of these names, each once.

        Raises:
            UnknownQueue, Standby: as `ask`.
        """
        self._active()
        known = {subscription.queue: subscription for subscription in self._subscriptions()}
        if queues is None:
            return list(known.values())
        if not queues:
            raise RefusedError("no queue was named", hint="name queues, or ask for all")
        unknown = [name for name in dict.fromkeys(queues) if name not in known]
        if unknown:
            import difflib

            near = dict.fromkeys(one for name in unknown for one in difflib.get_close_matches(name, known, cutoff=0.5))
            called = ", ".join(f'"{name}"' for name in unknown)
            meant = ", ".join(f'"{name}"' for name in near)
            raise UnknownQueue(
                f"{'queue' if len(unknown) == 1 else 'queues'} {called}: not in scope, nothing was changed",
                hint=f"did you mean {meant}?" if meant else f"in scope are {len(known)} queues: see the status",
            )
        return [known[name] for name in dict.fromkeys(queues)]

    def _ready(self, queue: str) -> int | None:
        return self.depth(queue)

    def _limit_all(self, rate: float | None) -> None:
        self.limit = rate
        self.shared.limit.change(rate, time.monotonic())
        for subscription in self._subscriptions():
            subscription.wake()

    def _write_down(
        self, queue: str, verb: str, before: str, after: str, by: str, door: str, reason: str, text: str
    ) -> None:
        log.info('%s of queue "%s" by %s: %s', verb, queue, f"{by}, {reason}" if reason else by, text)
        self.changes.add(
            queue=queue,
            verb=verb,
            before=before,
            after=after,
            by=by,
            door=door,
            reason=reason,
            outcome="done",
            text=text,
        )


def _each(act: Callable[[_T], _R], each: Sequence[_T]) -> list[_R]:
    """Do something for many at the same time; the answers are in their order."""
    if len(each) < 2:
        return [act(one) for one in each]
    return list(Pool(GATES).imap(act, each))
