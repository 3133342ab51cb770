"""Whether a broker that does not answer is slow or silent."""

from __future__ import annotations

from bridge.amqp import Connection

#: Seconds without a confirm after which the old workers get their queue back (the subscription ends; what is in
#: flight may still be confirmed).
STALL = 3.0


class Outflow:
    """What a connection carries away: a broker whose host still takes bytes is slow rather than silent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        #: Bytes that the host had taken at the last look, and when they were last found to have grown.
        self._taken = connection.carried()[0]
        self._taken_at = 0.0

    @property
    def name(self) -> str:
        """What the broker is called in sentences."""
        return self.connection.name

    def going_on(self, now: float) -> bool:
        """Whether what was written for it was taken a moment ago (`now` in monotonic seconds)."""
        taken, waiting = self.connection.carried()
        if waiting and taken != self._taken:
            self._taken_at = now
        self._taken = taken
        return now - self._taken_at <= STALL
