"""The verbs once, and the one status snapshot that everything shows.

Signals, reload and the admin socket all come here. A verb answers for each queue by itself: one refusal changes
nothing for the others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from bridge import __version__
from bridge.clock import ClockWatch
from bridge.core.counts import Counts
from bridge.core.route import Layout, Moved, Refused, State, Unchanged, Verb, step
from bridge.errors import BridgeError
from bridge.links import Links
from bridge.shared import Shared
from bridge.subscription import Subscription

log = logging.getLogger("bridge.control")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb did to one queue."""

    queue: str
    route: str
    refused: str = ""
    hint: str = ""


class Control:
    """Looks at all subscriptions and changes their routes.

    Args:
        instance: name of this bridge.
        links: the connections.
        shared: what all queues use.
        addresses: redacted URLs of source and target.
        subscriptions: the queues in scope now.
        clock: notices when wall time jumps.
    """

    def __init__(
        self,
        instance: str,
        links: Links,
        shared: Shared,
        addresses: tuple[str, str],
        subscriptions: Callable[[], Iterable[Subscription]],
        clock: ClockWatch,
    ) -> None:
        self.instance = instance
        self.state = "starting"
        self.since = datetime.now(UTC)
        #: What is missing because an HTTP API is not configured.
        self.lost_features: list[str] = []
        #: The last reload that was refused, if the configuration in force is not the one in the file.
        self.reload_fault: str | None = None
        self._links = links
        self._layout = Layout.TAKEOVER if links.legacy is None else Layout.INLINE
        self._shared = shared
        self._clock = clock
        self._addresses = addresses
        self._subscriptions = subscriptions

    def apply(self, verb: Verb, subscriptions: Iterable[Subscription], by: str) -> list[Answer]:
        """Carry out a verb on some queues; each answer says what the queue's route is now and, where it was refused,
        why.
        """
        return [self._apply(verb, subscription, by) for subscription in subscriptions]

    def _apply(self, verb: Verb, subscription: Subscription, by: str) -> Answer:
        queue, before = subscription.queue, subscription.route
        try:
            outcome = step(queue, State(before, subscription.paused), verb, self._layout, subscription.facts)
        except BridgeError as fault:
            return self._refused(verb, subscription, by, str(fault), fault.hint)
        if isinstance(outcome, Moved | Unchanged):
            subscription.set_state(outcome.state)
            log.info('queue "%s": %s -> %s (%s by %s)', queue, before, outcome.state.route, verb, by)
            return Answer(queue, outcome.state.route)
        return self._refused(verb, subscription, by, outcome.text, outcome.hint)

    def try_wanted(self, subscription: Subscription, verb: Verb) -> None:
        """Try the route that the configuration wants; where the gate refuses it, the reason is in the status and it
        is tried again.
        """
        try:
            outcome = step(
                subscription.queue,
                State(subscription.route, subscription.paused),
                verb,
                self._layout,
                subscription.facts,
            )
        except BridgeError as fault:
            outcome = Refused(str(fault), fault.hint)
        wanted = subscription.wanted
        if isinstance(outcome, Moved | Unchanged):
            subscription.set_state(outcome.state)
            log.info('queue "%s": -> %s (configuration)', subscription.queue, outcome.state.route)
        elif wanted is not None and subscription.hold(wanted, outcome.text):
            log.warning("%s: route %s waits for this (%s)", outcome.text, wanted, outcome.hint)

    def _refused(self, verb: Verb, subscription: Subscription, by: str, text: str, hint: str) -> Answer:
        log.warning("%s by %s refused, the route stays %s: %s (%s)", verb, by, subscription.route, text, hint)
        return Answer(subscription.queue, subscription.route, text, hint)

    def snapshot(self) -> dict[str, Any]:
        """All numbers at one moment."""
        queues = [_queue(subscription) for subscription in self._subscriptions()]
        summed = ("in_flight", "rate", *(field.name for field in fields(Counts)))
        forward, shared = self._links.forward, self._shared
        source, target = forward.source, forward.target
        stream, jump = shared.stream, self._clock.last
        return {
            "version": __version__,
            "instance": self.instance,
            "state": self.state,
            "since": self.since.isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "source": _side(self._addresses[0], source.closed.is_set(), source.reason, None),
            "target": _side(self._addresses[1], target.closed.is_set(), target.reason, target.blocked),
            "ladder": {"fault": shared.exits.fault, "warning": shared.exits.warning},
            "backup": None if stream is None else {"required": stream.required, "fault": stream.fault},
            "clock": {
                "jumps": self._clock.jumps,
                "last": None if jump is None else {"seconds": round(jump.seconds, 3), "at": _stamp(jump.at)},
            },
            "lost_features": self.lost_features,
            "reload_fault": self.reload_fault,
            "totals": {name: sum(queue[name] for queue in queues) for name in summed},
            "queues": queues,
        }

    def duplicates(self) -> dict[str, Any]:
        """The list of possible duplicates: the newest ones, for as many as it holds, and how many there were in all."""
        listed = [
            {"queue": one.queue, "id": one.id, "why": one.why, "at": _stamp(one.at)}
            for one in self._shared.doubles.listed
        ]
        return {"total": self._shared.doubles.total, "listed": listed}


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _side(address: str, closed: bool, reason: str, blocked: str | None) -> dict[str, Any]:
    return {"url": address, "connected": not closed, "reason": reason if closed else blocked}


def _queue(subscription: Subscription) -> dict[str, Any]:
    relay = subscription.relay
    return {
        "name": subscription.queue,
        "target": subscription.terms.target,
        "route": subscription.route.value,
        "state": subscription.state,
        "why": subscription.why,
        "since": subscription.since.isoformat(timespec="seconds"),
        "in_flight": subscription.in_flight,
        "rate": round(subscription.rate(), 1),
        "window": relay.pace.prefetch if relay else None,
        "confirm_ms": round(relay.ledger.lag * 1000, 3) if relay else None,
        **asdict(subscription.counts),
    }
