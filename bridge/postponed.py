"""Postponed verbs: planned now, looked at each second, carried out when they are due and their gate lets them pass."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from bridge import wording
from bridge.asked import SCHEDULE, Answer, Request
from bridge.core.route import Refused, Unchanged, Verb, cell
from bridge.core.schedule import When, waits_for
from bridge.records import Plan
from bridge.subscription import Subscription
from bridge.verbs import Verbs, state_of

log = logging.getLogger("bridge.control")


class Postponed:
    """Plans verbs and says when they are due.

    Args:
        verbs: carries them out.
        depth: messages that are ready in an old queue; None where that is not known.
    """

    def __init__(self, verbs: Verbs, depth: Callable[[str], int | None]) -> None:
        self._verbs = verbs
        self._depth = depth

    def due(self, subscription: Subscription, now: datetime) -> Plan | None:
        """The verb that is due on a queue now."""
        plan = self._verbs.records.of(subscription).plan
        return None if plan is None or self.waits_for(subscription, plan, now) else plan

    def waits_for(self, subscription: Subscription, plan: Plan, now: datetime) -> str:
        """What a postponed verb waits for now; empty: it is due."""
        return waits_for(plan.when, now, self._depth(subscription.queue), plan.tried)

    def plan(self, subscription: Subscription, request: Request, when: When) -> Answer:
        """Postpone a verb; what can never be is refused now."""
        state, verb, record = state_of(subscription), request.verb, self._verbs.records.of(subscription)
        shareless = self._verbs.shareless(subscription, request)
        if shareless is not None:
            return self._verbs.refused(subscription, request, shareless)
        wanted = cell(state, verb, self._verbs.layout)
        if isinstance(wanted, Refused):
            refused = Refused(f'queue "{subscription.queue}": {wanted.text}', wanted.hint)
            return self._verbs.refused(subscription, request, refused)
        if when.backlog is not None and self._depth(subscription.queue) is None:
            refused = Refused(
                f'queue "{subscription.queue}": how many messages are ready in the old queue is not known',
                "it comes from the old side's HTTP API (api: in the configuration); or name a time with --at",
            )
            return self._verbs.refused(subscription, request, refused)
        if wanted.state == state and verb is not Verb.CANARY:
            return self._verbs.answer(subscription, "unchanged", state, wording.already(state, verb))
        text = f"{verb.typed} {when}, if its gate lets it through then"
        if record.plan is not None:
            text += f"; {wording.taken_back(record.plan)}"
        if request.dry_run:
            return self._verbs.answer(subscription, "would", state, text)
        since = datetime.now(UTC)
        record.plan = Plan(verb, when, request.by, request.reason, since, request.share, request.force)
        log.info('queue "%s": planned by %s: %s', subscription.queue, request.by, text)
        self._verbs.note(subscription.queue, request, str(state), str(state), "planned", text)
        return self._verbs.answer(subscription, "planned", state, text)

    def carry_out(self, subscription: Subscription, plan: Plan, now: datetime) -> None:
        """Try a verb that is due; refused, it stays planned, with the reason."""
        request = Request(
            plan.verb, (subscription.queue,), plan.by, SCHEDULE, plan.reason, force=plan.force, share=plan.share
        )
        record, before = self._verbs.records.of(subscription), state_of(subscription)
        outcome = self._verbs.outcome(subscription, request)
        if record.plan is not plan:
            return  # taken back meanwhile
        if isinstance(outcome, Refused):
            known, plan.tried, plan.refused = plan.refused, now, outcome.text
            if outcome.text != known:
                self._verbs.refused(subscription, request, outcome)
            return
        text = "; ".join(wording.told(before, outcome.state, request, self._verbs.layout))
        verb = plan.verb.typed
        log.info('queue "%s": %s -> %s (%s planned by %s)', subscription.queue, before, outcome.state, verb, plan.by)
        if isinstance(outcome, Unchanged):
            record.plan = None
            self._verbs.note(
                subscription.queue, request, str(before), str(before), "unchanged", wording.already(before, plan.verb)
            )
        else:
            self._verbs.carry_out(subscription, request, before, outcome.state, text)
