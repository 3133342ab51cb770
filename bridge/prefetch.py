"""How many messages the source may hand out before it has an ack: the window in force, and what is read ahead."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from bridge.core.ahead import ReadAhead
from bridge.core.pace import Free
from bridge.core.window import FULL
from bridge.shared import limit
from bridge.way import Kind

if TYPE_CHECKING:
    from bridge.amqp import Channel
    from bridge.core.relay import Relay
    from bridge.link import Link
    from bridge.shared import Learnt, Shared
    from bridge.way import Way

# A queue's messages are the session's affair.
log = logging.getLogger("bridge.session")

#: Our consumer's tag, a number behind it; each subscription has a channel of its own, so it need not be unique.
TAG = "bridge"
#: Seconds between looks at a subscription in which something moves (`Subscription.sample` wakes it), or may soon.
TICK = 1.0
#: Seconds from the beginning after which a backlog shows: what is read ahead of it need not wait for a whole tick.
EARLY = 0.1
#: Seconds after which a subscription ends and begins anew when acks are held back: nothing stays unacked for a minute.
HELD_BACK = 30.0


class Prefetch:
    """The prefetch count of one subscription, changed while it moves.

    Args:
        way: where it goes.
        relay: its messages; made with the pace.
        link: the connections.
        shared: what all queues use.
        learnt: what was learnt before, and is learnt now.
    """

    def __init__(self, way: Way, relay: Relay, link: Link, shared: Shared, learnt: Learnt) -> None:
        self.paced = not isinstance(relay.pace, Free)
        self._way = way
        self._relay = relay
        self._link = link
        self._shared = shared
        self._learnt = learnt
        self._tags = 0
        self._began = self._looked = time.monotonic()
        self._fits_since = self._began
        # What comes back to a quorum queue too often is lost to it, so as little as can be is taken from one.
        ahead = way.terms.read_ahead if way.kind is Kind.FORWARD and relay.leg is None else 0
        self._ahead = ReadAhead(ahead, self._began, relay.counts.confirmed)
        self._early = ahead > 0 and self._steady

    @property
    def tag(self) -> str:
        """Of our consumer."""
        return f"{TAG}-{self._tags}"

    @property
    def _steady(self) -> bool:
        """Whether how much is in flight is ours to try out."""
        return self._learnt.search.prefetch is None and not self._learnt.cautious and not self.paced

    @property
    def next_look(self) -> float | None:
        """Seconds within which `look` is wanted; None when the usual tick will do."""
        return EARLY if self._early else None

    def consume(self, source: Channel) -> None:
        """Have messages come, as many at once as the pace allows."""
        relay = self._relay
        source.qos(max(1, min(relay.pace.prefetch + relay.ahead.size, 65535)))
        self._tags += 1
        source.consume(self._way.reads, self.tag, self._way.terms.priority)

    def _resize(self, source: Channel, size: int, ahead: int = 0) -> None:
        """Another prefetch: a second consumer before the first one leaves, so that no message goes by us."""
        log.debug('queue "%s": %d messages in flight from now on, %d read ahead', self._way.reads, size, ahead)
        self._relay.pace.prefetch = size
        if ahead != self._relay.ahead.size:
            self._relay.read_ahead(ahead)
            self._link.flush()
        before = self.tag
        self.consume(source)
        source.cancel(before)

    def opened_up(self, source: Channel) -> bool:
        """Open the window after a subscription that failed, once a message is confirmed; whether that is now."""
        learnt = self._learnt
        if not learnt.cautious or self._relay.lag == 0:
            return False
        learnt.cautious = False
        if not self.paced:
            self._resize(source, learnt.window.begin(limit(self._way.terms, self._link.queues, learnt)))
        return True

    def look(self, source: Channel, now: float) -> None:
        """Let as much be in flight, and be read ahead, as full speed needs; called often (`now`: monotonic seconds)."""
        early = self._early and now - self._began >= EARLY
        whole = now - self._looked >= TICK
        self._early = self._early and not early
        if not self._steady or not (early or whole):
            return
        relay = self._relay
        size = relay.pace.prefetch
        full = relay.fullest >= size * FULL
        if whole:
            self._looked = now
            size = self._window(now)
        ahead = self._read_ahead(now) if full and len(relay.ledger) else relay.ahead.size
        if (size, ahead) != (relay.pace.prefetch, relay.ahead.size):
            self._resize(source, size, ahead)

    def _window(self, now: float) -> int:
        relay, learnt = self._relay, self._learnt
        if learnt.fits < learnt.window.most and now - self._fits_since > HELD_BACK:
            learnt.fits *= 2
            self._fits_since = now
        if self._link.budget.much(relay.ledger.bytes):
            learnt.fits = max(1, len(relay.ledger) * 3 // 4)
        # Shared with those that fill theirs: who will is not known when a subscription begins.
        most = limit(self._way.terms, max(1, self._shared.crowd.busy), learnt)
        size = learnt.window.look(now, relay.counts.confirmed, relay.fullest, most)
        relay.fullest = 0
        return size

    def _read_ahead(self, now: float) -> int:
        relay, crowd = self._relay, self._shared.crowd
        each = relay.ledger.bytes / len(relay.ledger)
        # Where `relay.window_bytes` is too small for the window it is too small for more.
        room = self._learnt.fits >= self._learnt.window.most
        return self._ahead.look(
            now, relay.counts.confirmed, each, self._link.queues, crowd.busy, alone=room and not crowd.beside
        )
