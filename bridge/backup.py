"""The backup stream: made, looked at, and why copies cannot go there now (design, section 6).

1. Copies go to the topic exchange `bridge.backup`; its one stream of the same name is bound with `#`.
2. A stream drops what is too old or too much by whole segment files, and looks only when it begins another one. So the
   segments are small parts of what is kept, else one of RabbitMQ's default of 500 MB could outlive a short retention
   by weeks.
3. A stream that is there already is used as it is: its arguments cannot change, but a policy wins over them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from gevent.lock import RLock

from bridge.amqp import Channel, ChannelClosed, Connection
from bridge.config_sections import Backup
from bridge.core.copies import EXCHANGE
from bridge.errors import BridgeError, Refused, Unreachable

log = logging.getLogger("bridge.backup")

#: Name of the stream.
STREAM = EXCHANGE
#: The channel on which exchange and stream are looked at; copies go over those above it.
CHANNEL = 1
#: Seconds between two looks at a stream that took no copies.
LOOK_EVERY = 3.0
#: Segments that make up what is kept: retention is that fine.
SEGMENTS = 256
#: Bytes of the smallest and the largest segment.
LEAST_SEGMENT, LARGEST_SEGMENT = 1024**2, 500_000_000


def arguments(settings: Backup) -> dict[str, Any]:
    """Arguments of the stream, as RabbitMQ names them."""
    return {
        "x-queue-type": "stream",
        "x-max-age": f"{settings.max_age}s",
        "x-max-length-bytes": settings.max_bytes,
        "x-stream-max-segment-size-bytes": min(LARGEST_SEGMENT, max(LEAST_SEGMENT, settings.max_bytes // SEGMENTS)),
    }


class Stream:
    """Where the copies go.

    Args:
        connection: to the broker that keeps them, of their own.
        settings: how long and how much of them.
    """

    def __init__(self, connection: Connection, settings: Backup) -> None:
        self.connection = connection
        self.settings = settings
        #: Bytes of the largest body that the broker takes, once it has said so.
        self.max_message: int | None = None
        #: What is to be known of a stream that was there already.
        self.warning: str | None = None
        self._fault: str | None = "the backup stream was not looked at yet"
        #: Open since the stream was found: when it closes, nothing is known any more.
        self._channel: Channel | None = None
        #: When it was found, and when `again` looked last (monotonic seconds).
        self._found = self._looked = 0.0
        #: For what `again` said that messages go on without copies.
        self._said = ""
        self._lock = RLock()

    @property
    def required(self) -> bool:
        """Whether a message stays where it is while its copy cannot be kept."""
        return self.settings.required

    @property
    def fault(self) -> str | None:
        """Why copies cannot be published now; None when they can."""
        connection = self.connection
        if connection.closed.is_set():
            return f"{connection.name} is not connected: {connection.reason}"
        if connection.blocked is not None:
            return f"{connection.name} takes no publishes now: {connection.blocked}"
        if self._fault is None and (self._channel is None or self._channel.closed.is_set()):
            return "the backup stream was not looked at since the connection was opened"
        return self._fault

    def doubt(self, text: str) -> None:
        """Something is not as it was found: `ensure` looks again."""
        self._fault = f"the backup stream is in doubt: {text}"

    def ensure(self) -> None:
        """Make what is missing, and see that exchange, stream and binding are there; nothing when that is known.

        Raises:
            Refused: something is missing or of another kind, and cannot be made.
            Unreachable: the broker does not answer.
        """
        with self._lock:
            if self._fault is None and self._channel is not None and not self._channel.closed.is_set():
                return
            if self.connection.blocked is not None:
                # It would not answer a declaration either.
                raise Unreachable(f"{self.connection.name} takes no publishes now: {self.connection.blocked}")
            try:
                self._exchange()
                self._stream()
                self._bind()
            except BridgeError as fault:
                self._fault = str(fault)
                raise
            self._fault = None
            self._found = time.monotonic()
            self._said = ""

    def again(self, why: str, since: float, now: float) -> bool:
        """Whether copies that stopped can be made again, which takes a new subscription; looks at the stream for it.

        Args:
            why: for what they stopped.
            since: when the subscription that makes none any more had found the stream, in monotonic seconds.
            now: monotonic seconds.
        """
        if why != self._said:
            log.warning("messages move without copies: %s", why)
            self._said = why
        if now - since < LOOK_EVERY:
            return False
        if self._found > since and self.fault is None:
            # Another queue looked.
            return True
        if now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        self.doubt(why)
        try:
            self.ensure()
        except BridgeError:
            return False
        return True

    def _open(self) -> Channel:
        if self._channel is None or self._channel.closed.is_set():
            self._channel = self.connection.channel(CHANNEL)
        return self._channel

    def _exchange(self) -> None:
        try:
            self._open().declare_exchange(EXCHANGE, "topic")
        except ChannelClosed as fault:
            if fault.code == 403:
                # Somebody else may have made it for us.
                self._there("exchange", fault)
                return
            raise self._refused(
                f'exchange "{EXCHANGE}" cannot be declared: {fault.text} ({fault.code})',
                f'delete the exchange "{EXCHANGE}", which is of another type than topic',
            ) from None

    def _stream(self) -> None:
        given = arguments(self.settings)
        try:
            self._open().declare_queue(STREAM, given)
            self.warning = None
        except ChannelClosed as fault:
            if fault.code == 403:
                self._there("queue", fault)
            elif fault.code == 406 and self._is_a_stream():
                self._used_as_it_is(fault.text, given)
            else:
                raise self._refused(
                    f'stream "{STREAM}" cannot be declared: {fault.text} ({fault.code})',
                    f'delete or rename the queue "{STREAM}", which is no stream; '
                    'before RabbitMQ 3.9, and without the feature flag "stream_queue", there are no streams',
                ) from None

    def _is_a_stream(self) -> bool:
        """Whether the queue of that name is a stream: RabbitMQ names only one of the arguments that differ, and that
        need not be the type. A stream alone refuses consumers without prefetch.
        """
        try:
            self._open().consume(STREAM, "", None)
        except ChannelClosed as fault:
            return "prefetch" in fault.text or fault.code == 403
        self._open().close()
        return False

    def _used_as_it_is(self, text: str, given: Mapping[str, Any]) -> None:
        definition = {"max-age": given["x-max-age"], "max-length-bytes": given["x-max-length-bytes"]}
        warning = (
            f'stream "{STREAM}" was declared otherwise and is used as it is: {text}; what the configuration says comes '
            f"into force by a policy: rabbitmqctl set_policy -p VHOST bridge-backup "
            f"'^bridge\\.backup$' '{json.dumps(definition)}' --apply-to queues"
        )
        if warning != self.warning:
            log.warning("%s", warning)
        self.warning = warning

    def _there(self, kind: str, refused: ChannelClosed) -> None:
        """What may not be declared is used if it is there."""
        try:
            if kind == "exchange":
                self._open().exchange_passive(EXCHANGE)
            else:
                self._open().declare_passive(STREAM)
        except ChannelClosed:
            raise self._refused(
                f'{kind} "{EXCHANGE}" may not be declared: {refused.text} ({refused.code})',
                f'grant the user configure, write and read on "{EXCHANGE}" (`bridge permissions`)',
            ) from None

    def _bind(self) -> None:
        try:
            self._open().bind(STREAM, EXCHANGE, "#")
        except ChannelClosed as fault:
            raise self._refused(
                f'stream "{STREAM}" cannot be bound to its exchange: {fault.text} ({fault.code})',
                f'grant the user write and read on "{EXCHANGE}" (`bridge permissions`)',
            ) from None

    def _refused(self, text: str, hint: str) -> Refused:
        return Refused(f"{self.connection.name}: {text}", hint=hint)
