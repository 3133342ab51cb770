"""The control queue: who of several bridges of one name is the active one, and the state it goes on with (design,
section 8).

1. Its message is held on a channel of the connection over which tasks are published: when the one is gone, so is the
   other, and a bridge that was stopped or cut off can publish nothing any more when another one has taken over.
2. What has to be at once is done in the hub, as messages arrive (`core.lease`); what waits is done in `keep`.
3. The message is renewed even when nothing changed: its return proves that we are still the active one, and RabbitMQ
   ends a channel that holds a message for longer than its `consumer_timeout` (30 minutes by default).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import gevent
from gevent.event import Event

from bridge.amqp import Channel, ChannelClosed, Connection, back_off
from bridge.core import lease as taking
from bridge.core.lease import Lease, Phase
from bridge.core.state import Document, Holder, Identity, Seen, encode, seen, tag
from bridge.core.wanted import DELIVERY_LIMIT_ARGUMENT, own
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.management import Management, path

log = logging.getLogger("bridge.state")

#: The channel of the target connection on which the message is held; queues have the numbers above it.
CHANNEL = 3
#: Seconds between two saves when nothing else asks for one: at least, and at most; between them one for so many bytes.
#: Bytes a second that saves take while one change follows another: a verb for all queues is a change of each.
SOONEST, RENEW, RENEW_BYTES, BUSY_BYTES = 1.0, 10.0, 16384, 1 << 19
#: Seconds in which what we publish into the queue has to come back to us; after them we are not the active one.
PROOF = 15.0
#: Seconds to a new try after the broker refused a save; in which the first of several bridges finds out that it is the
#: active one; and for the last save.
AGAIN, FIRST, FAREWELL = 2.0, 2.0, 5.0
#: Seconds between two questions for who is active, while it is not us.
ASK = 10.0
#: Seconds after which it is not a lost connection of our own any more that the target still holds to be active.
NOT_OURS = 45.0
#: Codes of a user without the right, and of a broker that failed (AMQP 0-9-1, section 1.2).
ACCESS_REFUSED, INTERNAL_ERROR = 403, 541
#: Tries to join that end with it.
TRIES = 4
#: Seconds between two looks when nothing woke us.
LOOK = 1.0


class ControlQueue:
    """Waits for the state, holds it while this bridge is the active one, and saves it.

    Args:
        connection: over which tasks are published.
        instance: name of the bridge.
        mine: this process.
        identity: what it moves.
        dump: what is to be kept, as JSON has it.
        api: of the target, if there is one.
        vhost: of the target.
    """

    def __init__(
        self,
        connection: Connection,
        instance: str,
        mine: Holder,
        identity: Identity,
        dump: Callable[[], Mapping[str, Any]],
        api: Management | None,
        vhost: str,
    ) -> None:
        #: Called in the hub when we became the active bridge, with the state to go on with: None where there is none,
        #: or where it is our own. When it is taken over, `taken_over` has to be called.
        self.on_held: Callable[[Document | None], None] = lambda _inherited: None
        #: Called in the hub when we are not the active one any more, with the reason.
        self.on_lost: Callable[[str], None] = lambda _reason: None
        #: Called in the hub when we must not become the active one at all.
        self.on_refused: Callable[[Refused], None] = lambda _fault: None
        self.held = False
        #: Since when we are the active one, and when the state was saved last.
        self.since: datetime | None = None
        self.saved_at: str | None = None
        self.fault: str | None = None  # why the state cannot be saved
        #: Set when it is known whether we are the active one.
        self.told = Event()
        self.connection = connection
        self._instance = instance
        self._mine = mine
        self._identity = identity
        self._dump = dump
        self._api = api
        self._vhost = vhost
        self._channel: Channel | None = None
        self._lease: Lease | None = None
        self._stays = 0
        #: What we published last as the active one, and whether what it kept was taken over by now.
        self._own: Document | None = None
        self._loaded = False
        self._changed = False
        #: When a save went out that has not come back; when one came back; when to try again (monotonic seconds).
        self._asked: float | None = None
        self._saved = self._again = self._joined = 0.0
        self._renew = RENEW
        #: Who is active, as far as the API told, and when it was asked.
        self._active: Seen | None = None
        #: Whether it is a connection that we lost and the target did not notice.
        self._zombie = False
        self._asked_who = float("-inf")
        #: Whether somebody took over from us.
        self._superseded = False
        self._ending = False
        self._wake = Event()

    @property
    def queue(self) -> str:
        """Name of the control queue."""
        return own(self._instance, ())[0].name

    @property
    def sentence(self) -> str:
        """Who is the active bridge, while it is not us."""
        if self.connection.closed.is_set():
            return f"no state: {self.connection.name} is not connected: {self.connection.reason}"
        if self._channel is None:
            return f"no state: control queue {self.queue} cannot be reached: {self.fault or 'not asked yet'}"
        if self._zombie:
            return "the target still holds this bridge's lost connection: it gives it up when its heartbeats fail"
        if self._active is not None:
            return f'another bridge of instance "{self._instance}" is the active one: {self._active.who}'
        return f'another bridge of instance "{self._instance}" is the active one'

    @property
    def another(self) -> bool:
        """Whether another bridge is the active one, as far as can be told."""
        if self.held or self._superseded:
            return self._superseded
        if self._channel is None or self._zombie:
            return False
        return self._active is not None or time.monotonic() - self._joined > NOT_OURS

    @property
    def term(self) -> int:
        """Of the state that we published last; 0 when there is none."""
        return 0 if self._own is None else self._own.term

    def status(self) -> dict[str, Any]:
        """Its part of the status."""
        return {
            "queue": self.queue,
            "held": self.held,
            "since": None if self.since is None else self.since.isoformat(timespec="seconds"),
            "saved_at": self.saved_at,
            "term": self.term,
            "fault": self.fault,
        }

    def wake(self) -> None:
        """Something happened to the connection."""
        self._wake.set()

    def changed(self, *_change: object) -> None:
        """Something changed that has to be saved at once."""
        self._changed = True
        self._wake.set()

    def taken_over(self) -> None:
        """What was inherited is in force: from now on our own state is saved."""
        self._loaded = True
        self.changed()

    # -- its life
    # -------------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Stay at the queue until `leave`: runs in a greenlet of its own."""
        waits = back_off(0.2, LOOK * 5)
        while not self._ending:
            self._wake.clear()
            try:
                if self._channel is not None:
                    self._tend(self._channel, time.monotonic())
                elif not self.connection.closed.is_set():
                    self.join()
                    waits = back_off(0.2, LOOK * 5)
            except BridgeError as fault:
                self._say(str(fault))
                if not self._ending:
                    self._wake.wait(next(waits))
                continue
            due = self._again - time.monotonic() if self._changed and self._asked is None else LOOK
            self._wake.wait(min(LOOK, max(0.01, due)))

    def open(self) -> None:
        """Open the connection, and wait at the queue from now on.

        Raises:
            BridgeError: the target cannot be reached, or as `join`.
        """
        for tried, wait in enumerate(back_off(0.2, LOOK), 1):
            self.connection.open()
            try:
                self.join()
                return
            except Unreachable:
                # RabbitMQ 3.10.8 fails in one of two connections that declare a quorum queue at the same moment.
                if self.connection.close_code != INTERNAL_ERROR or tried == TRIES:
                    raise
            self._wake.wait(wait)

    def join(self) -> None:
        """Wait at the queue from now on.

        Raises:
            Refused: it cannot be used, or belongs to another bridge.
            Unreachable: the target does not answer.
        """
        if not self._stays:
            # Before anything is declared; later on an API that does not answer holds nothing up.
            self._ask_who()
            another = self._another()
            if another is not None:
                raise another
        channel = self._opened()
        self._stays += 1
        last = self._own
        if last is not None:
            last = replace(last, saved_at=_now(), content=self._content())
        self._lease = Lease(self.queue, self._mine, self._identity, self._stays, last)
        self._joined = time.monotonic()
        self._asked = None
        self._channel = channel
        channel.on_end = lambda: self._ended(channel)
        try:
            channel.confirm_select(self._answered)
            channel.on_return(self._returned)
            channel.consume(self.queue, tag(self._mine, self._identity), None, self._delivered)
            channel.publish(self.queue, encode(self._lease.knock(_now())))
        except ChannelClosed as fault:
            raise self._unusable(fault) from None

    def leave(self) -> None:
        """Save for the last time, and let go: another bridge may take over."""
        until = time.monotonic() + FAREWELL
        lease, channel = self._lease, self._channel
        if self.held and lease is not None and channel is not None and not channel.closed.is_set():
            self._save(channel, lease, left=True)
            while (saving := lease.saving) and (rest := until - time.monotonic()) > 0:
                self._wake.clear()
                self._wake.wait(rest)
            if saving:
                log.warning("the state was not saved at the end: %s", self.fault or "the target does not answer")
        self._ending = True
        self._channel = None
        self._wake.set()
        self.held = False
        if channel is not None and not channel.closed.is_set():
            channel.on_end = lambda: None
            channel.close()

    def _tend(self, channel: Channel, now: float) -> None:
        """What there is to do from time to time while we are at the queue."""
        lease = self._lease
        if lease is None or channel.closed.is_set():
            return
        if lease.phase is Phase.OVER:
            self._channel = None
            channel.on_end = lambda: None
            channel.close()
            return
        if lease.phase is Phase.WAITING:
            if now - self._joined > FIRST:
                self.told.set()
            if now - self._asked_who > ASK or (self._active is None and now - self._asked_who > FIRST):
                self._asked_who = now
                gevent.spawn(self._see_who)
            return
        blocked = self.connection.blocked
        if blocked is not None:
            # Neither publishes nor acks are read: what is held stays held, and nothing can prove it.
            self._say(f"the target takes no publishes now: {blocked}")
            self._asked = self._joined = now
            return
        if lease.phase is not Phase.HOLDING:
            if now - self._joined > PROOF:
                self._rejoin(channel, f"control queue {self.queue} does not answer within {PROOF:.0f} s")
            return
        if self._asked is not None and now - self._asked > PROOF:
            self._rejoin(channel, f"control queue {self.queue} did not bring a save back within {PROOF:.0f} s")
            return
        due = self._changed or now - self._saved >= self._renew
        if due and self._asked is None and now >= self._again:
            self._save(channel, lease)

    def _rejoin(self, channel: Channel, why: str) -> None:
        self._lost(why)
        self._channel = None
        channel.on_end = lambda: None
        channel.close()

    def _save(self, channel: Channel, lease: Lease, *, left: bool = False) -> None:
        self._changed = False
        self._own = lease.save(self._content() or {}, _now(), left=left)
        self._asked = time.monotonic()
        lease.saved = (body := encode(self._own)), self._own
        self._renew = max(SOONEST, min(RENEW, len(body) / RENEW_BYTES))
        self._again = self._asked + len(body) / BUSY_BYTES
        channel.publish(self.queue, body)

    def _content(self) -> Mapping[str, Any] | None:
        """Our own state, or what was inherited while it is not in force yet."""
        if self._loaded:
            return self._dump()
        return None if self._own is None else self._own.content

    # -- in the hub
    # ----------------------------------------------------------------------------------------------------

    def _delivered(self, delivery: int, body: bytes) -> None:
        lease, channel = self._lease, self._channel
        if lease is None or channel is None:
            return
        before = lease.phase
        for effect in lease.delivered(delivery, body, _now()):
            self._do(effect, channel)
        if lease.phase is not before and before is Phase.WAITING:
            self._joined = time.monotonic()

    def _do(self, effect: taking.Effect, channel: Channel) -> None:
        """Carry out what the lease wants done."""
        if isinstance(effect, taking.Publish):
            # A channel that is closed is told by `on_end`.
            with contextlib.suppress(BridgeError):
                channel.publish(self.queue, encode(effect.document))
        elif isinstance(effect, taking.Ack):
            channel.ack(effect.tag)
        elif isinstance(effect, taking.Held):
            self._hold(effect)
        elif isinstance(effect, taking.Saved):
            self.saved_at, self._saved = effect.document.saved_at, time.monotonic()
            if self._lease is not None and not self._lease.saving:
                self._asked = None
            self._say(None)
            self._wake.set()
        elif isinstance(effect, taking.Met):
            if effect.stray:
                log.warning('control queue "%s": %s', self.queue, effect.stray)
            else:
                log.info('control queue "%s": another bridge is waiting: %s', self.queue, effect.holder)
        else:
            self._over(effect)

    def _hold(self, effect: taking.Held) -> None:
        inherited = effect.inherited
        ours = inherited is not None and inherited.holder.id == self._mine.id
        known = ours and self._loaded
        self._loaded = known
        self._own = effect.document
        self.held, self._superseded = True, False
        self.since = datetime.now(UTC)
        self.saved_at, self._saved = effect.document.saved_at, time.monotonic()
        self._say(None)
        log.info("this is the active bridge: it holds control queue %s, term %d", self.queue, self._own.term)
        self.told.set()
        self._wake.set()
        self.on_held(None if known else inherited)

    def _over(self, effect: taking.Over) -> None:
        # What came is later than what we have.
        self._superseded = True
        self._lost(effect.text)
        self._own, self._loaded = None, False
        if effect.hint:
            self.on_refused(Refused(f"target: {effect.text}", hint=effect.hint))
        self._wake.set()

    def _ended(self, channel: Channel) -> None:
        """The channel is closed, or the queue was deleted under its consumer."""
        if self._channel is channel:
            if channel.cancelled and channel.error is None:
                why = f"control queue {self.queue} was deleted, or has no leader"
            else:
                why = f"control queue {self.queue} was lost: {channel.error}"
            if channel.closed.is_set():
                self._channel = None
            elif self._lease is not None:
                self._lease.phase = Phase.OVER
            self._lost(why)
            self._wake.set()
            error = channel.error
            if isinstance(error, ChannelClosed) and error.code == ACCESS_REFUSED and self._own is None:
                self.on_refused(self._unusable(error))

    def _lost(self, why: str) -> None:
        self._active = None
        self._asked_who = float("-inf")
        self.fault = why
        if self.held:
            self.held = False
            log.warning("this is not the active bridge any more: %s", why)
            self.on_lost(why)

    def _answered(self, _number: int, _multiple: bool, taken: bool) -> None:
        if not taken:
            self._refused_save("the target refused a save (basic.nack)")

    def _returned(self, why: str) -> None:
        self._refused_save(f"the target returned a save: {why}")

    def _refused_save(self, why: str) -> None:
        """What is held stays held; tried again soon."""
        self._say(why)
        self._changed = True
        self._asked = None
        self._again = time.monotonic() + AGAIN

    def _say(self, fault: str | None) -> None:
        if fault is not None and fault != self.fault:
            log.warning("%s", fault)
        self.fault = fault

    # -- the queue
    # ----------------------------------------------------------------------------------------------------

    def _opened(self) -> Channel:
        """A channel, and the queue declared on it."""
        declared = own(self._instance, self.connection.server_version)[0]
        arguments = dict(declared.arguments)
        channel = self.connection.channel(CHANNEL)
        try:
            try:
                channel.declare_queue(self.queue, arguments)
            except ChannelClosed as fault:
                channel = self.connection.channel(CHANNEL)
                if fault.code == ACCESS_REFUSED:
                    # Who may not declare it can use what `bridge apply` made.
                    channel.declare_passive(self.queue)
                elif fault.code == 406 and arguments.pop(DELIVERY_LIMIT_ARGUMENT, None) is not None:
                    channel.declare_queue(self.queue, arguments)
                else:
                    raise
        except ChannelClosed as fault:
            raise self._unusable(fault) from None
        return channel

    def _unusable(self, fault: ChannelClosed) -> Refused:
        return Refused(
            f'target: control queue "{self.queue}" cannot be used: {fault.text} ({fault.code})',
            hint=f'the user needs configure and read on queue "{self.queue}" and write on the default exchange '
            "(`bridge permissions`); a queue of this name that is declared otherwise is in the way",
        )

    def _another(self) -> Refused | None:
        """Why we must not wait here; None when the active one moves what we move, or is not known."""
        active, mine = self._active, seen(tag(self._mine, self._identity))
        if active is None or mine is None or not active.is_another(mine):
            return None
        return Refused(
            f'target: instance "{self._instance}" is a bridge with another source or layout: {active.who} '
            f'is active at control queue "{self.queue}"',
            hint="give this one another `instance`, or the same source and layout as the other one",
        )

    def _see_who(self) -> None:
        """Who is active, and whether that is another bridge altogether; in a greenlet of its own."""
        self._ask_who()
        another = self._another()
        if another is not None and not self.held:
            self.on_refused(another)

    def _ask_who(self) -> None:
        """Ask the API who is active; without an answer it stays unknown."""
        self._asked_who = time.monotonic()
        if self._api is None:
            return
        try:
            found = self._api.get(path("consumers", self._vhost), self._read_active)
        except BridgeError as fault:
            log.debug("who is active at %s is not known: %s", self.queue, fault)
            found = None
        mine = tag(self._mine, self._identity)
        self._zombie = found == mine
        self._active = None if found is None or self._zombie else seen(found)

    def _read_active(self, consumers: Any) -> str | None:
        """The tag of the active consumer of our queue."""
        for one in consumers:
            if one["queue"]["name"] == self.queue and one["activity_status"] == "single_active":
                return str(one["consumer_tag"])
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
