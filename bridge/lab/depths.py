"""How many messages wait in queues, asked by passive AMQP declares: the HTTP API's numbers are seconds old."""

from __future__ import annotations

from collections.abc import Sequence

import pika
import pika.adapters.blocking_connection
import pika.exceptions

from bridge.errors import LabError


class Depths:
    """Looks at the queues of one vhost; the connection is opened when it is first needed."""

    def __init__(self, url: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._parameters.heartbeat = 0  # it is idle for minutes between two looks
        self._connection: pika.BlockingConnection | None = None

    def waiting(self, queues: Sequence[str]) -> int:
        """Return how many messages are ready in these queues; a queue that is not there has none.

        Raises:
            LabError: the broker does not answer.
        """
        ready = 0
        channel = self._channel()
        for queue in queues:
            try:
                ready += channel.queue_declare(queue, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker:
                channel = self._channel()
        channel.close()
        return ready

    def delete(self, queues: Sequence[str]) -> None:
        """Delete these queues with what they hold; one that is not there is fine.

        Raises:
            LabError: the broker does not answer.
        """
        channel = self._channel()
        for queue in queues:
            channel.queue_delete(queue)
        channel.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _channel(self) -> pika.adapters.blocking_connection.BlockingChannel:
        try:
            if self._connection is None or not self._connection.is_open:
                self._connection = pika.BlockingConnection(self._parameters)
            return self._connection.channel()
        except pika.exceptions.AMQPError as error:
            text = str(error) or type(error).__name__
            raise LabError(f"broker {self._parameters.host}:{self._parameters.port} does not answer: {text}") from None
