"""Whether this daemon is the active one, and what follows from it (design, section 8).

1. A standby has a connection to the target and nothing else: no queue of the source is looked at.
2. Who becomes the active one takes the saved state over before any queue is taken up. Who is not the active one any
   more moves nothing from that moment on, and takes up all queues anew if somebody else was active meanwhile.
3. Inline, what goes to the legacy side alone goes on while the target cannot be reached: it needs no target. Should
   another daemon have become the active one meanwhile, each message is still given to one of the two only; and as soon
   as it is known that there is one, this goes over to it as well.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime

import gevent

from bridge.config import Config
from bridge.control import Control
from bridge.core.state import Document, Holder, Identity
from bridge.delayed import Exits
from bridge.discovery import Discovery
from bridge.errors import BridgeError, Refused
from bridge.links import Links
from bridge.management import Management
from bridge.state import PROOF, ControlQueue

log = logging.getLogger("bridge.standing")


def identity(config: Config) -> Identity:
    """What a configuration moves."""
    source = config.source.amqp
    hosts = tuple(f"{address.host}:{address.port}" for address in source)
    return Identity(source[0].vhost, hosts, config.legacy is not None)


class Standing:
    """Competes for the state, and makes the daemon active or not.

    Args:
        config: of the daemon.
        links: its connections; only the target's is opened by `compete`.
        discovery: its queues.
        control: its verbs.
        exits: its ladder.
        target: the target's HTTP API, if there is one.
        attempt: does what is done again later, and says its failure.
    """

    def __init__(
        self,
        config: Config,
        links: Links,
        discovery: Discovery,
        control: Control,
        exits: Exits,
        target: Management | None,
        attempt: Callable[[Callable[[], object]], None],
    ) -> None:
        #: Called in the hub when `look` has something to do, or `refusal` was set.
        self.on_change: Callable[[], None] = lambda: None
        #: Called when this daemon became the active one.
        self.on_active: Callable[[], None] = lambda: None
        #: Why this daemon must not run at all.
        self.refusal: Refused | None = None
        self._links = links
        self._discovery = discovery
        self._control = control
        self._exits = exits
        self._attempt = attempt
        self._inherited: Document | None = None
        #: The term in which the queues were taken up; 0 before.
        self._term = 0
        self._stopped = False
        mine = Holder(socket.gethostname(), os.getpid(), _now(), secrets.token_hex(8))
        vhost = config.target.amqp[0].vhost
        self.queue = ControlQueue(
            links.forward.target, config.instance, mine, identity(config), control.dump, target, vhost
        )
        self.queue.on_held = self._held
        self.queue.on_lost = self._lost
        self.queue.on_refused = self._refused
        control.on_change.append(self.queue.changed)
        control.more.append(lambda: {"control": self.queue.status()})
        control.standby = self.queue.sentence

    @property
    def active(self) -> bool:
        """Whether the queues are this daemon's."""
        return not self._control.standby

    # -- in the hub
    # ----------------------------------------------------------------------------------------------------

    def _held(self, inherited: Document | None) -> None:
        self._inherited = inherited
        self.on_change()

    def _lost(self, reason: str) -> None:
        if not self._stopped:
            self._stand_by(f"no state: {reason}")

    def _stand_by(self, why: str) -> None:
        self._control.standby = why
        if self._control.state == "active":
            self._control.state = "standby"
        self._discovery.suspend(why, legacy_too=self.queue.another)

    def _refused(self, fault: Refused) -> None:
        self.refusal = fault
        self.on_change()

    # -- start and stop
    # ------------------------------------------------------------------------------------------------

    def compete(self) -> None:
        """Open the target, wait at the control queue, and take over if nobody else is active.

        Raises:
            BridgeError: the target or its control queue cannot be used, or nobody else is active and something that the
                active one needs cannot be opened.
        """
        forward = self._links.forward
        self.queue.open()
        forward.start(forward.target)
        gevent.spawn(self.queue.keep)
        self.queue.told.wait(PROOF)
        if self.refusal is not None:
            raise self.refusal
        if self.queue.held:
            self._take_over(first=True)
        else:
            self.look()
            # What takes long is done before it is needed; the active one has done it as well.
            gevent.spawn(self._attempt, self._exits.ensure_ladder)

    def leave(self) -> None:
        """Save for the last time and let go."""
        self._stopped = True
        self.queue.leave()

    # -- from time to time, and when `on_change` says so
    # --------------------------------------------------------------

    def look(self) -> None:
        """Take over if it is our turn; else say who is active.

        Raises:
            Refused: this daemon must not run.
        """
        if self.refusal is not None:
            raise self.refusal
        if not self.queue.held:
            if not self._stopped:
                self._stand_by(self.queue.sentence)
        elif not self.active or self.queue.term != self._term:
            self._take_over()

    def _take_over(self, *, first: bool = False) -> None:
        term, inherited = self.queue.term, self._inherited
        if inherited is not None:
            if self._term:
                log.info("somebody else was active meanwhile: all queues are taken up anew")
                self._discovery.drop()
            if inherited.content is not None:
                self._control.load(inherited.content)
            log.info("the state of %s is taken over, saved at %s", inherited.holder, inherited.saved_at)
        try:
            self._links.open()
        except BridgeError as fault:
            if first:
                raise
            log.warning("%s", fault)
        if not self._term:
            self._links.start()
        if self._exits.fault is not None:
            self._exits.ensure_ladder()
        if self._exits.fault is not None:
            log.warning("%s", self._exits.fault)
        if self.queue.held and self.queue.term == term:
            self._discovery.suspend("")
        if first:
            self._discovery.refresh()
        else:
            self._attempt(self._discovery.refresh)
        if self.queue.held and self.queue.term == term:
            self._term, self._inherited = term, None
            self._control.standby = ""
            self._control.state = "active"
            self.queue.taken_over()
            log.info("active: %d queues in scope", len(self._discovery.all()))
            self.on_active()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
