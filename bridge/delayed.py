"""The ladder, our entries and our exits on the target (design, 4.2, 4.3 and 5): the ladder is declared by kombu's own
functions, the rest by us; all of it is verified.

The entries are a shorter way in, all 28 or none: where they cannot be had, Celery's exchanges are used, and a warning
says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gevent.lock import RLock

from bridge.address import AmqpAddress
from bridge.amqp import Channel, ChannelClosed, Connection
from bridge.core import ladder
from bridge.errors import BridgeError, Refused, Unreachable, redact
from bridge.ladder_whole import whole

log = logging.getLogger("bridge.delayed")

#: Seconds for kombu's connection.
CONNECT = 10.0
#: Queues by our exchanges before them.
_QUEUES = {ladder.entry_name(level): ladder.level_name(level) for level in range(ladder.LEVELS)}
#: Their names, for RabbitMQ's permissions.
_EVERY = r"bridge\.delayed\..*"
#: The channel on which the target's queues and exits are looked at; queues have the numbers above it.
CHANNEL = 1


def declare(address: AmqpAddress, tls: dict[str, Any] | None) -> str | None:
    """Declare kombu's 28 levels as quorum queues; a warning when a ladder of another kind is there already.

    Args:
        address: of the target.
        tls: what kombu's `ssl` takes; None: plain AMQP.

    Raises:
        Refused: the user may not declare them.
        Unreachable: the broker does not answer.
    """
    # Where the ladder is whole this is not needed; it takes 30 ms to import, all of which the first message waits for.
    from amqp.exceptions import AccessRefused as AmqpAccessRefused
    from amqp.exceptions import AMQPError, PreconditionFailed
    from kombu.connection import Connection as KombuConnection
    from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues

    options: dict[str, Any] = {"ssl": tls} if tls else {}
    connection = KombuConnection(
        **address.for_kombu(),
        connect_timeout=CONNECT,
        **options,
    )
    try:
        with connection:
            declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
    except PreconditionFailed as fault:
        return f"the ladder on the target was declared otherwise and is used as it is: {fault.reply_text}"
    except AmqpAccessRefused as fault:
        raise Refused(
            f'target: user "{address.user}" may not declare the ladder: {fault.reply_text}',
            hint="grant configure, write and read on celery_delayed_.*, or start a worker of Celery 5.5 or later with "
            "quorum queues, which declares it",
        ) from None
    except (AMQPError, OSError) as fault:
        raise Unreachable(f"target: the ladder could not be declared: {redact(str(fault))}") from None
    return None


class Exits:
    """Looks at the target's queues, and binds and verifies our exits, over a channel of its own.

    Args:
        connection: the target.
        declare_ladder: declares what is missing; returns a warning or None.
    """

    def __init__(self, connection: Connection, declare_ladder: Callable[[], str | None]) -> None:
        self._connection = connection
        self._declare = declare_ladder
        self._channel: Channel | None = None
        # One question at a time: the channel is shared by all queues.
        self._lock = RLock()
        #: Why there is no ladder; None when all its levels are there.
        self.fault: str | None = "not verified yet"
        self.warning: str | None = None
        #: Exchanges by which what goes into the ladder has to go.
        self.entries = ladder.BY_CELERY

    def _open(self) -> Channel:
        if self._channel is None or self._channel.closed.is_set():
            self._channel = self._connection.channel(CHANNEL)
        return self._channel

    def doubt(self, text: str) -> None:
        """Something that should be there was not: nothing goes into the ladder until it was looked at again."""
        if self.fault is None:
            self.fault = f"something is missing on the target: {text}"

    def ensure_ladder(self) -> None:
        """Declare the ladder and our entries where the user may, and see that every level is there; the outcome is in
        `fault`, `warning` and `entries`.
        """
        refused: BridgeError | None = None
        warning: str | None = None
        try:
            with self._lock:
                there = whole(self._open())
            # Where it says nothing each part was declared, and the broker said so each time: that is as good as asking.
            warning = None if there else self._declare()
        except BridgeError as fault:
            refused = fault
        try:
            with self._lock:
                missing = self._missing() if refused or warning else None
                if not missing:
                    self.warning = "; ".join(text for text in (warning, self._enter(declare=True)) if text) or None
        except BridgeError as fault:
            self.fault = str(fault)
            return
        self.fault = None
        if missing:
            self.fault = f"the ladder on the target is not complete, {missing} is missing" + (
                f": {refused}" if refused else ""
            )
        elif self.warning:
            log.warning("%s", self.warning)

    def _enter(self, *, declare: bool) -> str | None:
        """Have our entries before the levels' queues, or go by Celery's exchanges; why, when it is these."""
        try:
            self._open().fan_out(_QUEUES, declare=declare)
        except ChannelClosed as fault:
            self.entries = ladder.BY_CELERY
            if declare and fault.code == 403 and self._enter(declare=False) is None:
                # Somebody else declared them.
                return None
            todo = rf"; grant configure, write and read on {_EVERY} and restart" if fault.code == 403 else ""
            return f"tasks with an ETA enter the ladder by Celery's exchanges, which is slower: {fault.text}{todo}"
        self.entries = ladder.BY_BRIDGE
        return None

    def watch(self) -> None:
        """See whether the ladder is still whole; what is missing is declared again."""
        if self.fault is None and not self._connection.closed.is_set():
            with self._lock:
                missing = self._missing()
                if not missing and self.entries is ladder.BY_BRIDGE and self._enter(declare=False) is not None:
                    missing = "one of our exchanges before it"
            if missing:
                log.warning("the ladder on the target lost %s; it is declared again", missing)
                self.ensure_ladder()

    def _missing(self) -> str | None:
        """The first part of the ladder that is not there."""
        for level in range(ladder.LEVELS):
            name = ladder.level_name(level)
            try:
                channel = self._open()
                channel.exchange_passive(name)
                channel.declare_passive(name)
            except ChannelClosed as fault:
                if fault.code == 404:
                    return name
                raise
        try:
            self._open().exchange_passive(ladder.DELIVERY_EXCHANGE)
        except ChannelClosed as fault:
            if fault.code == 404:
                return ladder.DELIVERY_EXCHANGE
            raise
        return None

    def consumers(self, queue: str) -> int | None:
        """How many consumers a queue of the target has; None when there is no such queue."""
        counted = self._counted(queue)
        return None if counted is None else counted[1]

    def ready(self, queue: str) -> int | None:
        """How many messages are ready in a queue of the target; None when there is no such queue."""
        counted = self._counted(queue)
        return None if counted is None else counted[0]

    def _counted(self, queue: str) -> tuple[int, int] | None:
        """Messages and consumers of a queue (AMQP 0-9-1, 1.7.2.1, passive)."""
        try:
            with self._lock:
                return self._open().declare_passive(queue)
        except ChannelClosed as fault:
            if fault.code == 404:
                return None
            raise

    def bind(self, queue: str) -> None:
        """Bind our exit for `queue`; the broker's answer is the proof that it is bound, also when it was before.

        Raises:
            Refused: no such queue or exchange, or no permission.
            Unreachable: the broker does not answer.
        """
        try:
            with self._lock:
                self._open().bind(queue, ladder.DELIVERY_EXCHANGE, ladder.exit_pattern(queue))
        except ChannelClosed as fault:
            raise Refused(
                f'target queue "{queue}": its exit from the ladder cannot be bound: {fault.text} ({fault.code})',
                hint=f'the user needs write on "{queue}" and read on "{ladder.DELIVERY_EXCHANGE}"',
            ) from None
