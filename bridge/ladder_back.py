"""Brings tasks that wait in the target's delay ladder back to the old side, while routes are `reverse`.

1. One for all queues that are brought back: the levels are shared.
2. It looks again at once while it finds something, then every 30 seconds, and more and more seldom while all it finds
   is others': each look costs every one of their messages a publish.
3. After a fault one message goes first, with back-off between the tries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from gevent.event import Event

from bridge import sides, snapshot
from bridge.amqp import back_off
from bridge.config import Config
from bridge.core.ladder_back import Ends
from bridge.core.route import Route
from bridge.doubles import Doubles
from bridge.errors import BridgeError
from bridge.ladder_look import LadderLook, Memory
from bridge.management import path
from bridge.subscription import Subscription

log = logging.getLogger("bridge.ladder_back")

#: Seconds between two looks, and between two that found nothing to bring back among others' messages, at most.
LOOK_AGAIN = 30.0
AT_MOST = 300.0
#: Seconds between two tries after a fault, at most.
TRY_AGAIN = 60.0
#: Seconds between two looks at the routes.
TICK = 1.0


class LadderBack:
    """Looks through the ladder while something is to be brought back.

    Args:
        config: of the bridge.
        subscriptions: the queues in scope now.
        doubles: where possible duplicates are listed.
    """

    def __init__(self, config: Config, subscriptions: Callable[[], Iterable[Subscription]], doubles: Doubles) -> None:
        old = ("source", config.source) if config.legacy is None else ("legacy", config.legacy)
        target = ("target", config.target)
        self._makes = sides.connection(*old, config.instance), sides.connection(*target, config.instance)
        self._api = sides.management(*target)
        self._vhost = config.target.amqp[0].vhost
        self._subscriptions = subscriptions
        self._doubles = doubles
        #: `idle`, `looking`, `waiting` (for the next look), `faulted`, `ended`; and why.
        self.state = "idle"
        self.why = ""
        self.since = datetime.now(UTC)
        self.memory = Memory()
        #: Looks that came to their end, and what the last one found.
        self.looks = 0
        self.last: dict[str, Any] | None = None
        self._wake = Event()
        self._ending = False
        self._ended = Event()
        self._ended.set()

    # -- what others ask
    # ------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Its part of the status."""
        return {
            "state": self.state,
            "why": self.why,
            "since": self.since.isoformat(timespec="seconds"),
            "looks": self.looks,
            "brought_back": self.memory.brought.total(),
            "others_sent_again": self.memory.others,
            "refused": self.memory.refused,
            "last": self.last,
        }

    def for_status(self) -> dict[str, Any]:
        """The same under its name."""
        return {"ladder_back": self.status()}

    def of_queue(self, subscription: Subscription) -> dict[str, Any]:
        """What was brought back of a queue, and how much of it from the ladder: its part of the queue's status."""
        counts = subscription.back_counts
        told = ("taken", "returned", "nacked", "redelivered", "quarantined", "exported", "possible_duplicates")
        back = {name: getattr(counts, name) for name in told}
        back |= {"brought_back": counts.to_legacy, "from_ladder": self.memory.brought[subscription.queue]}
        return {"back": back}

    def end(self) -> None:
        """Finish what is in flight and leave."""
        self._ending = True
        self._wake.set()
        self._ended.wait()

    # -- its life
    # -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Runs in a greenlet of its own until `end`."""
        self._ended.clear()
        faults = back_off(1.0, TRY_AGAIN)
        known: frozenset[str] = frozenset()
        rest, due = LOOK_AGAIN, 0.0
        while not self._ending:
            wanted = frozenset(self._wanted())
            if not wanted:
                self._say("idle")
            elif wanted - known or time.monotonic() >= due:
                if wanted - known:
                    rest, faults = LOOK_AGAIN, back_off(1.0, TRY_AGAIN)
                wait, rest = self._try(rest, faults)
                due = time.monotonic() + wait
            known = wanted
            self._wake.wait(min(TICK, max(0.0, due - time.monotonic())) if wanted else TICK)
            self._wake.clear()
        self._say("ended")
        self._ended.set()

    def _try(self, rest: float, faults: Iterable[float]) -> tuple[float, float]:
        """Look once: seconds until the next look, and until the one after it if that finds nothing."""
        before, others = self.memory.brought.total(), self.memory.others
        try:
            left_out = self._look()
        except BridgeError as fault:
            why = f"{fault} ({fault.hint})" if fault.hint else str(fault)
        except Exception as fault:
            log.debug("traceback", exc_info=True)
            why = f"{type(fault).__name__}: {fault}"
        else:
            self._say("faulted" if left_out else "waiting", left_out)
            if self.memory.brought.total() > before and not left_out:
                return 0.0, LOOK_AGAIN
            return rest, min(rest * 2, AT_MOST) if self.memory.others > others else LOOK_AGAIN
        self.memory.careful = self.memory.unsure = True
        self._say("faulted", why)
        return next(iter(faults)), rest

    def _wanted(self) -> dict[str, Subscription]:
        """The queues that are brought back, by target queue."""
        if self._ending:
            return {}
        return {
            one.terms.target: one
            for one in self._subscriptions()
            if one.route is Route.REVERSE and not one.paused and not one.suspended
        }

    def _look(self) -> str:
        """Look through all levels; why something is left out."""
        began, before, others = time.monotonic(), self.memory.brought.total(), self.memory.others
        self._say("looking")
        with LadderLook(self._makes, self._wanted, self._ends, self.memory, self._doubles) as look:
            look.through()
        self.memory.unsure = False
        self.looks += 1
        found, others, seconds = (
            self.memory.brought.total() - before,
            self.memory.others - others,
            time.monotonic() - began,
        )
        self.last = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "brought_back": found,
            "others_sent_again": others,
        }
        if found:
            log.info("ladder: %d tasks brought back in %.1f s, %d of others sent again", found, seconds, others)
        return "; ".join(look.left_out.values())

    def _ends(self) -> Ends | None:
        """Where suffixes lead, by the target's bindings; None without its HTTP API."""
        api = self._api
        if api is None:
            return None
        exchanges = api.pages(path("exchanges", self._vhost), snapshot.exchange, snapshot.EXCHANGE)
        types = {exchange.name: exchange.type for exchange in exchanges}
        return Ends(types, api.get(path("bindings", self._vhost), snapshot.bindings, snapshot.BINDING) or ())

    def _say(self, state: str, why: str = "") -> None:
        if (state, why) == (self.state, self.why):
            return
        if state != self.state:
            self.since = datetime.now(UTC)
        told = why and why != self.why
        self.state, self.why = state, why
        if told:
            log.warning("ladder: nothing, or not all, can be brought back: %s", why)
