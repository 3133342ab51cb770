"""Looks at the targets of all queues every second: which are left alone, `core/throttle.py` decides.

1. A depth is asked of the broker over AMQP: a passive `queue.declare` (0-9-1, section 1.7.2.1) counts the messages that
   are ready, now. The HTTP API's numbers are up to 10 s old, which at full speed is 100 000 messages.
2. It is asked only when what was sent since may have brought the queue to the bound, and every few seconds anyway.
3. Queues that send nothing to the target are not throttled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bridge import config_sections
from bridge.core.route import Route
from bridge.core.throttle import DEPTH_EVERY, TRIAL_RATE, Bounds, Decision, Seen, Throttle, look_again
from bridge.errors import BridgeError
from bridge.subscription import Subscription

#: Depths asked a second at most, only to look again at queues that nothing of ours was sent to.
_ASKED = 50
#: Seconds for which a queue must have gone on until it is said again that it is left alone: a connection that is opened
#: anew knows of an alarm only after its first publish.
_ANEW = 10.0
_TO_TARGET = frozenset((Route.CANARY, Route.DUAL, Route.QUORUM))


@dataclass(slots=True)
class _Target:
    """What is remembered of the target of one queue."""

    throttle: Throttle = field(default_factory=Throttle)
    decision: Decision = field(default_factory=Decision)
    depth: int | None = None
    seen_at: float | None = None
    #: What had been sent there when its depth was seen.
    sent: int = 0
    #: When it was left alone last.
    closed_at: float = -math.inf


class Throttles:
    """All target queues.

    Args:
        section: the bounds.
        depth: asks how many messages are ready in a queue of the target; None when there is no such queue.
        blocked: why the target's broker takes no publishes; None when it does.
        subscriptions: the queues in scope now.
    """

    def __init__(
        self,
        section: config_sections.Throttle,
        depth: Callable[[str], int | None],
        blocked: Callable[[], str | None],
        subscriptions: Callable[[], Iterable[Subscription]],
    ) -> None:
        #: Called when a queue begins to be left alone; not again for what goes on being so.
        self.on_throttled: Callable[[Subscription, str], None] = lambda _subscription, _why: None
        self._bounds = _bounds(section)
        self._depth = depth
        self._blocked = blocked
        self._subscriptions = subscriptions
        self._targets: dict[str, _Target] = {}
        #: Whether a queue is left alone, or was a moment ago.
        self._closed = False

    def reload(self, section: config_sections.Throttle) -> None:
        """Other bounds: in force with the next look."""
        self._bounds = _bounds(section)

    def look(self) -> None:
        """Look at all, and say to each queue whether it goes on."""
        alarm = self._blocked() or ""
        if not (alarm or self._closed or self._bounds.depth or self._bounds.confirm):
            return
        subscriptions = list(self._subscriptions())
        every = max(DEPTH_EVERY, len(subscriptions) / _ASKED)
        targets: dict[str, _Target] = {}
        # A broker with an alarm reads nothing more from a connection that publishes: it would not answer.
        answers = not alarm
        for subscription in subscriptions:
            queue = subscription.queue
            if subscription.route not in _TO_TARGET or subscription.paused:
                subscription.throttle("")
                continue
            target = targets[queue] = self._targets.get(queue) or _Target()
            if subscription.suspended:
                continue
            # One that does not answer is not asked for each queue: that is as many time limits to wait out.
            answers = answers and self._measure(subscription, target, every)
            self._decide(subscription, target, alarm)
        self._targets = targets
        anew = time.monotonic() - _ANEW
        self._closed = any(target.closed_at >= anew or target.decision.why for target in targets.values())

    def _measure(self, subscription: Subscription, target: _Target, every: float) -> bool:
        """Ask for the depth, if it may matter; whether the target answers."""
        now, counts = time.monotonic(), subscription.counts
        # What went into the ladder is not in the queue yet.
        sent = counts.moved - counts.converted
        if not look_again(now, target.seen_at, target.depth, sent - target.sent, every, self._bounds):
            return True
        try:
            target.depth = self._depth(subscription.terms.target)
        except BridgeError:
            # That is said where messages move; what is not known changes nothing here.
            target.depth = None
            return False
        target.seen_at, target.sent = now, sent
        return True

    def _decide(self, subscription: Subscription, target: _Target, alarm: str) -> None:
        now, relay = time.monotonic(), subscription.to_target
        confirm, waiting = None, 0.0
        if relay is not None:
            confirm, oldest = relay.ledger.lag or None, relay.ledger.oldest()
            waiting = 0.0 if oldest is None else now - oldest
        seen = Seen(subscription.terms.target, alarm, target.depth, confirm, waiting)
        before, target.decision = target.decision, target.throttle.look(now, seen, self._bounds)
        decision = target.decision
        subscription.throttle(decision.why, TRIAL_RATE if decision.trial else None)
        if decision.why or decision.trial:
            if not before.why and not before.trial and now - target.closed_at > _ANEW:
                self.on_throttled(subscription, decision.why)
            target.closed_at = now


def _bounds(section: config_sections.Throttle) -> Bounds:
    return Bounds(section.depth, section.confirm, section.resume)
