"""What the gate of each queue would say now: looked at in the background where a queue does not move, and when asked.

1. A look changes nothing: our exit is not bound for it.
2. In the background it is a few questions a second at most, whatever the number of queues: a handful of queues every
   few seconds, together, so that one listing of the target's queues tells the types of all of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from bridge.core.gate import Facts, Gate, checked
from bridge.core.route import VERB_OF, Cell, Layout, Route, Verb, cell
from bridge.errors import BridgeError, UnknownQueue, redact
from bridge.links import Links
from bridge.records import Records
from bridge.subscription import Subscription
from bridge.verbs import state_of

log = logging.getLogger("bridge.gate_looks")

#: Seconds between two looks in the background, and queues that are looked at then.
EVERY = 10.0
AT_ONCE = 30
_TO_TARGET = frozenset((Route.CANARY, Route.DUAL, Route.QUORUM))


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found, and when (monotonic seconds)."""

    verb: Verb
    rows: list[dict[str, Any]]
    at: float


class GateLooks:
    """The looks.

    Args:
        layout: where the bridge sits.
        links: the connections.
        records: what is planned.
        subscriptions: the queues in scope now.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        layout: Layout,
        links: Links,
        records: Records,
        subscriptions: Callable[[], Iterable[Subscription]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._links = links
        self._records = records
        self._subscriptions = subscriptions
        self._clock = clock
        self._looks: dict[str, _Look] = {}

    def of(self, subscription: Subscription) -> list[dict[str, Any]] | None:
        """What the last look found for the verb that would come next; None before the first one."""
        look = self._looks.get(subscription.queue)
        return None if look is None or look.verb is not self._next(subscription) else look.rows

    def look(self) -> None:
        """Look at some of the queues that do not move, those first that were not looked at for longest."""
        here = list(self._subscriptions())
        names = {one.queue for one in here}
        for name in self._looks.keys() - names:
            del self._looks[name]
        if self._links.forward.down() is not None:
            return
        still = [one for one in here if one.state != "moving" and not one.suspended]
        still.sort(key=self._looked)
        for subscription in still[:AT_ONCE]:
            try:
                self._look(subscription)
            except BridgeError as fault:
                log.debug('queue "%s": its gate could not be looked at: %s', subscription.queue, fault)
                return

    def ask(self, queue: str | None) -> dict[str, Any]:
        """Look at the gate of a queue now.

        Returns:
            `queue`, `verb` (as it is typed), `ok` and `checks`: `check`, `ok`, `text`, `hint` each.

        Raises:
            UnknownQueue: it is not in scope.
            BridgeError: the target does not answer.
        """
        for subscription in self._subscriptions():
            if subscription.queue == queue:
                look = self._look(subscription)
                return {
                    "queue": queue,
                    "verb": look.verb.typed,
                    "ok": all(row["ok"] for row in look.rows),
                    "checks": look.rows,
                }
        named = f'queue "{queue}": not in scope' if queue else "no queue was named"
        raise UnknownQueue(named, hint="name one of the status: /api/gate?queue=NAME")

    def _looked(self, subscription: Subscription) -> float:
        look = self._looks.get(subscription.queue)
        return float("-inf") if look is None else look.at

    def _look(self, subscription: Subscription) -> _Look:
        verb = self._next(subscription)
        found = checked(self._facts(subscription, verb), self._gate(subscription, verb))
        rows = [{**one._asdict(), "text": redact(one.text), "hint": redact(one.hint)} for one in found]
        look = self._looks[subscription.queue] = _Look(verb, rows, self._clock())
        return look

    def _facts(self, subscription: Subscription, verb: Verb) -> Facts:
        if verb is Verb.REVERSE:
            back = subscription.back_fault()
            return Facts(subscription.queue, subscription.terms.target, 0, None, "", 0, back_fault=back)
        facts = subscription.facts(bind=False)
        plan = self._records.of(subscription).plan
        if plan is not None and plan.force:
            facts = replace(facts, consumers_wanted=0)
        if subscription.state == "faulted" and subscription.route in _TO_TARGET:
            facts = replace(facts, fault=subscription.why)
        return facts

    def _next(self, subscription: Subscription) -> Verb:
        """The verb that would come next: what is planned, what the configuration waits for, else the cutover."""
        plan = self._records.of(subscription).plan
        if plan is not None:
            return plan.verb
        if subscription.wanted is not None:
            return VERB_OF[subscription.wanted]
        return Verb.CUTOVER

    def _gate(self, subscription: Subscription, verb: Verb) -> Gate:
        """Its gate. A queue that is on its way already asks the same whenever it begins to move again."""
        wanted = cell(state_of(subscription), verb, self._layout)
        which = wanted.gate if isinstance(wanted, Cell) else Gate.NONE
        return Gate.TARGET if which is Gate.NONE and subscription.route in _TO_TARGET else which
