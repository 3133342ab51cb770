"""How long a message takes from end to end: one of our own, again and again, over the way that all others take.

1. **The real way.** It is published into a queue of our own on the source, moved by a subscription like every other one
   (`bridge.subscription`) over the same connections, and taken from its sister on the target. A daemon that moves
   nothing cannot show its time.
2. **It leaves nothing behind.** Both queues hold one message at most and end by themselves a day after the last daemon
   used them. They are outside of the scope, the books, the backup and the certificate, and are published to by an
   exchange of their own, so that the old vhost's exchanges stay quiet.
3. A standby publishes none.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import secrets
import statistics
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gevent.event import Event

from bridge.amqp import Channel
from bridge.config import Config
from bridge.core.pace import Limit
from bridge.core.route import Route, State
from bridge.core.window import Crowd
from bridge.delayed import CHANNEL
from bridge.discovery import Discovery
from bridge.doubles import Doubles
from bridge.errors import BridgeError
from bridge.links import Links
from bridge.shared import Shared
from bridge.subscription import Subscription
from bridge.terms import Terms

log = logging.getLogger("bridge.round_trip")

#: Channel of the subscription on both sides; and that of what is published and taken here.
_MOVED, _OWN = CHANNEL + 3, CHANNEL + 4
#: Seconds until a message that has not arrived is a fault; less where they come more often.
ARRIVES = 10.0
#: Seconds between two looks while one is on its way.
_LOOK = 1.0
#: Times that the quantiles are of.
_TIMES = 100
#: Messages on their way that are waited for; with a target that is away, the older ones will not come.
_AWAITED = 16
#: Milliseconds after which a queue that nobody used ends.
_EXPIRES = 24 * 3600 * 1000
_ONE = {"x-max-length": 1, "x-expires": _EXPIRES}
_TAG = "bridge-probe"


class RoundTrip:
    """Measures at an interval. What it knows is from the last message that arrived.

    Args:
        config: of the daemon.
        every: seconds between two messages.
        links: its connections.
        discovery: has the subscription beside those of the queues.
        shared: what these use.
        active: whether this daemon is the active one.
    """

    def __init__(
        self,
        config: Config,
        every: float,
        links: Links,
        discovery: Discovery,
        shared: Shared,
        active: Callable[[], bool],
    ) -> None:
        self.every = every
        self.queue = config.probe_queue
        #: Why the last message did not arrive; empty when it did.
        self.fault = ""
        #: Whether something that the daemon knows of explains the fault.
        self._explained = True
        self._active = active
        self._links = links
        self._discovery = discovery
        # No copy in the backup, no entry in the list of duplicates, no turn in anybody's limit.
        self._shared = dataclasses.replace(
            shared, stream=None, doubles=Doubles(), limit=Limit(None, 0.0), crowd=Crowd()
        )
        relay = config.relay
        self._terms = Terms(self.queue, None, 0, relay.window, 0, relay.priority, cap_priority=True)
        self._subscription: Subscription | None = None
        self._out: Channel | None = None
        self._back: Channel | None = None
        #: What tells ours from those of a daemon before.
        self._word = secrets.token_hex(8)
        self._count = 0
        #: When each was published, in monotonic seconds.
        self._sent: dict[bytes, float] = {}
        self._times: deque[float] = deque(maxlen=_TIMES)
        self._at: datetime | None = None
        self._arrived = Event()

    def status(self) -> dict[str, Any]:
        """For the status: the last one's milliseconds, quantiles of the last ones, when it arrived, and the fault."""
        times = sorted(self._times)
        return {
            "every_s": self.every,
            "last_ms": round(self._times[-1], 3) if self._times else None,
            "p50_ms": round(statistics.median(times), 3) if times else None,
            "p99_ms": round(times[math.ceil(len(times) * 0.99) - 1], 3) if times else None,
            "at": None if self._at is None else self._at.isoformat(timespec="seconds"),
            "fault": self.fault or None,
        }

    def contradiction(self) -> str:
        """The fault, where by all that the daemon knows messages move."""
        return "" if self._explained else f"the probe: {self.fault}"

    def look(self) -> None:
        """Send one and wait for it, unless this daemon is a standby; to be called every `every` seconds."""
        if not self._active():
            self.fault, self._explained = "", True
            return
        patience = min(ARRIVES, self.every)
        try:
            self._send(self._ready())
        except BridgeError as fault:
            self._failed(str(fault), explained=True)
            return
        until = time.monotonic() + patience
        while not self._arrived.wait(_LOOK) and time.monotonic() < until:
            if self._subscription is not None:
                self._subscription.sample()
        if self._arrived.is_set():
            self._well()
            return
        why = self._why()
        text = f"not arrived within {patience:g} s"
        self._failed(f"{text}: {why}" if why else text, explained=bool(why))

    # -- both ends
    # -----------------------------------------------------------------------------------------------------

    def _ready(self) -> Channel:
        """Queues, consumer and subscription are there; what is published on.

        Raises:
            BridgeError: they are not, and cannot be had now.
        """
        forward = self._links.forward
        if (down := forward.down()) is not None:
            raise BridgeError(down)
        if self._back is None or self._back.error is not None or self._back.cancelled:
            self._close(self._back)
            self._back = None
            back = forward.target.channel(_OWN)
            self._back = back
            back.declare_queue(self.queue, {"x-queue-type": "quorum", **_ONE})
            back.consume(self.queue, _TAG, None, self._came)
        out = self._out
        if out is None or out.error is not None or self.fault:
            self._close(out)
            self._out = None
            self._out = out = forward.source.channel(_OWN)
            out.declare_exchange(self.queue, "fanout")
            out.declare_queue(self.queue, {"x-queue-type": "classic", **_ONE})
            out.bind(self.queue, self.queue, "")
        if self._subscription is None or self._subscription.ended.is_set():
            self._subscription = subscription = Subscription(self.queue, _MOVED, self._terms, self._links, self._shared)
            subscription.set_state(State(Route.QUORUM))
            self._discovery.beside(subscription)
        return out

    def _close(self, channel: Channel | None) -> None:
        if channel is not None:
            channel.close()

    def _send(self, out: Channel) -> None:
        self._count += 1
        body = f"{self._word}-{self._count}".encode()
        while len(self._sent) >= _AWAITED:
            del self._sent[next(iter(self._sent))]
        self._arrived.clear()
        self._sent[body] = time.monotonic()
        out.publish(self.queue, body, exchange=self.queue)

    def _came(self, tag: int, body: bytes) -> None:
        """One arrived, told from the hub."""
        if self._back is not None:
            self._back.ack(tag)
        sent = self._sent.pop(body, None)
        if sent is None:
            return  # of a daemon before this one
        self._times.append((time.monotonic() - sent) * 1000)
        self._at = datetime.now(UTC)
        self._arrived.set()

    # -- what comes of it
    # ----------------------------------------------------------------------------------------------

    def _why(self) -> str:
        """Why it may not have arrived, by what the daemon knows; empty where it knows nothing."""
        forward, subscription = self._links.forward, self._subscription
        if (down := forward.down()) is not None:
            return down
        if forward.source.blocked is not None:
            return f"{forward.source.name} takes no publishes now: {forward.source.blocked}"
        return "" if subscription is None or subscription.state == "moving" else subscription.why

    def _well(self) -> None:
        if self.fault:
            log.info("the probe arrives again, after %.1f ms", self._times[-1])
        self.fault, self._explained = "", True

    def _failed(self, text: str, *, explained: bool) -> None:
        if text != self.fault:
            log.warning("the probe: %s", text)
        self.fault, self._explained = text, explained
