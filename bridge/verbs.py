"""One verb on one queue: what the table and the gate say, what is taken back beside, and the doing."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from datetime import UTC, datetime

from bridge import wording
from bridge.asked import CONFIGURATION, SCHEDULE, Answer, Request
from bridge.changes import Journal
from bridge.core.gate import Facts
from bridge.core.route import VERB_OF, Layout, Moved, Refused, State, Unchanged, Verb, next_verbs, step
from bridge.errors import BridgeError
from bridge.records import Configured, Records
from bridge.subscription import Subscription

log = logging.getLogger("bridge.control")

_ROUTE_OF = {verb: route for route, verb in VERB_OF.items()}


class Verbs:
    """Carries verbs out, and writes down what came of them.

    Args:
        layout: where the bridge sits.
        records: what is known of the queues.
        changes: where it is written down.
    """

    def __init__(self, layout: Layout, records: Records, changes: Journal) -> None:
        self.layout = layout
        self.records = records
        self.changes = changes

    def ask(self, subscription: Subscription, request: Request) -> Answer:
        """Carry a verb out now, or say what it would do."""
        before = state_of(subscription)
        if not request.dry_run:
            self.records.of(subscription).asked += 1
        outcome = self.outcome(subscription, request)
        if isinstance(outcome, Refused):
            return self.refused(subscription, request, outcome)
        after = outcome.state
        withdrawn = self.withdrawn(subscription, request, moved=isinstance(outcome, Moved))
        if isinstance(outcome, Unchanged) and not withdrawn:
            self.seen_configured(subscription, request)
            return self.answer(subscription, "unchanged", before, wording.already(after, request.verb))
        text = "; ".join([*wording.told(before, after, request, self.layout), *withdrawn])
        if request.dry_run:
            return self.answer(subscription, "would", before, text, after)
        who = f"{request.by}, {request.reason}" if request.reason else request.by
        log.info('queue "%s": %s -> %s (%s by %s)', subscription.queue, before, after, request.verb.typed, who)
        self.carry_out(subscription, request, before, after, text)
        return self.answer(subscription, "done", before, text)

    def outcome(self, subscription: Subscription, request: Request) -> Moved | Unchanged | Refused:
        """What the table and the gate say. Asking may take seconds: what was asked meanwhile comes first."""
        verb, record = request.verb, self.records.of(subscription)
        asked, state = record.asked, state_of(subscription)
        shareless = self.shareless(subscription, request)
        if shareless is not None:
            return shareless

        def ask() -> Facts:
            target = subscription.terms.target
            if verb is Verb.REVERSE:
                return Facts(subscription.queue, target, 0, None, "", 0, back_fault=subscription.back_fault())
            facts = subscription.facts(bind=not request.dry_run)
            fault = subscription.why if subscription.state == "faulted" else ""
            return replace(facts, fault=fault, consumers_wanted=0 if request.force else facts.consumers_wanted)

        try:
            outcome = step(subscription.queue, state, verb, self.layout, ask)
        except BridgeError as fault:
            return Refused(str(fault), fault.hint)
        if record.asked != asked or state_of(subscription) != state:
            return Refused(
                f'queue "{subscription.queue}": while {verb.typed} was looked at, something else was asked; '
                f"the route is {state_of(subscription)}",
                "ask again if it is still what you want",
            )
        return outcome

    def shareless(self, subscription: Subscription, request: Request) -> Refused | None:
        """Why a canary cannot be: it has no share, or one that only the inline layout has."""
        if request.verb is not Verb.CANARY:
            return None
        given = None if request.door in CONFIGURATION else request.share or subscription.share
        share = given or subscription.terms.share
        if share is None:
            return Refused(
                f'queue "{subscription.queue}": no share is given for the canary, nor configured',
                "say how much, such as --rate 20/s or --first 100, or set canary: in the configuration",
            )
        if self.layout is Layout.TAKEOVER and (share.percent is not None or share.tasks is not None):
            return Refused(
                f'queue "{subscription.queue}": a canary of {share} is not possible in the takeover layout: the broker '
                "chooses which messages the bridge gets",
                "use --rate or --first; with a legacy: section (the inline layout) shares are exact",
            )
        return None

    def withdrawn(self, subscription: Subscription, request: Request, *, moved: bool) -> list[str]:
        """What a verb takes back beside what it does: whoever decides anew does not want what waited."""
        verb, plan, wanted = request.verb, self.records.of(subscription).plan, subscription.wanted
        if verb is Verb.PAUSE or (verb is Verb.RESUME and not moved):
            return []
        told = [] if plan is None or request.door == SCHEDULE else [wording.taken_back(plan)]
        if wanted is not None and verb is not Verb.RESUME and VERB_OF[wanted] is not verb:
            told.append(f"the configuration's route {wanted} is not waited for any more")
        return told

    def carry_out(self, subscription: Subscription, request: Request, before: State, after: State, text: str) -> None:
        """Do it, and write it down."""
        record, verb, wanted = self.records.of(subscription), request.verb, subscription.wanted
        if verb is Verb.CANARY:
            subscription.set_share(None if request.door in CONFIGURATION else request.share or subscription.share)
        subscription.set_state(after)
        if verb in (Verb.PAUSE, Verb.RESUME) and wanted is not None:
            subscription.hold(wanted, "not asked yet")
        if verb is not Verb.PAUSE:
            record.plan = None
        record.by, record.reason, record.changed_at = request.by, request.reason, datetime.now(UTC)
        self.seen_configured(subscription, request)
        self.note(subscription.queue, request, str(before), str(after), "done", text)

    def seen_configured(self, subscription: Subscription, request: Request) -> None:
        """What the configuration asked for is so: only another value is a verb again, also after a restart."""
        if request.door in CONFIGURATION:
            configured = Configured(_ROUTE_OF[request.verb], subscription.terms.share)
            self.records.of(subscription).configured = configured

    def refused(self, subscription: Subscription, request: Request, refused: Refused) -> Answer:
        """Say, and write down, that nothing was changed."""
        state = state_of(subscription)
        if not request.dry_run:
            log.warning(
                "%s by %s refused, the route stays %s: %s (%s)",
                request.verb.typed,
                request.by,
                state,
                refused.text,
                refused.hint,
            )
            self.note(subscription.queue, request, str(state), str(state), "refused", refused.text)
        return self.answer(subscription, "refused", state, refused.text, hint=refused.hint)

    def answer(
        self,
        subscription: Subscription,
        outcome: str,
        before: State,
        text: str,
        after: State | None = None,
        hint: str = "",
    ) -> Answer:
        """An answer for a queue; `after` is its state in a dry run."""
        state = after or state_of(subscription)
        offered = tuple(self.offered(subscription, state))
        return Answer(subscription.queue, outcome, str(before), state.route.value, state.paused, text, hint, offered)

    def offered(self, subscription: Subscription, state: State) -> list[str]:
        """What may be asked of a queue next, as it is typed."""
        verbs = list(_typed(state, self.layout))
        return verbs if self.records.of(subscription).plan is None else [*verbs, "cancel"]

    def note(self, queue: str, request: Request, before: str, after: str, outcome: str, text: str) -> None:
        """Write down what came of a request."""
        self.changes.add(
            queue=queue,
            verb=request.verb.value,
            before=before,
            after=after,
            by=request.by,
            door=request.door,
            reason=request.reason,
            outcome=outcome,
            text=text,
        )


@functools.cache
def _typed(state: State, layout: Layout) -> tuple[str, ...]:
    return tuple(verb.typed for verb in next_verbs(state, layout))


def state_of(subscription: Subscription) -> State:
    """Its route, and whether it is paused."""
    return State(subscription.route, subscription.paused)
