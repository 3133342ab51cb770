"""Looks at queues by name: those that are brought back into, before anything is taken for them, and the ladder's levels
(design, sections 3 and 7).
"""

from __future__ import annotations

from gevent.lock import RLock

from bridge.amqp import Channel, ChannelClosed, Connection

#: The channel on which they are looked at; queues have the numbers above it.
CHANNEL = 2


class QueueLook:
    """Looks at the queues of one vhost over a channel of its own.

    Args:
        connection: to it.
        number: of the channel.
    """

    def __init__(self, connection: Connection, number: int = CHANNEL) -> None:
        self.connection = connection
        self._number = number
        self._channel: Channel | None = None
        # One question at a time: the channel is shared by all who ask.
        self._lock = RLock()

    def ready(self, queue: str) -> int | None:
        """How many messages are ready in a queue; None when it does not exist.

        Raises:
            BridgeError: the broker does not answer, or does not let us look.
        """
        with self._lock:
            if self._channel is None or self._channel.closed.is_set():
                self._channel = self.connection.channel(self._number)
            try:
                return self._channel.declare_passive(queue)[0]
            except ChannelClosed as fault:
                if fault.code == 404:
                    return None
                raise
