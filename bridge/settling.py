"""Sees acks arrive at a quorum queue.

A channel in front of a quorum queue has no more than 32 of our acks under way; the others wait in it, and are lost when
it is closed (rabbitmq-server#10327: of 60 single acks 27, on 3.10.8 and 4.3.6). A consumer that comes and goes is
answered for by the queue, behind all acks.
"""

from __future__ import annotations

from bridge.amqp import Channel

#: Tag of that consumer.
TAG = "bridge-last"


def settle(channel: Channel, queue: str) -> None:
    """Return when the acks so far have arrived; one more message may have come on the channel thereby.

    Raises:
        BridgeError: the channel or its connection is gone, and maybe acks with it.
    """
    channel.qos(1)
    channel.consume(queue, TAG, None)
    channel.cancel(TAG)
