"""Whether the ladder on the target is there as kombu declares it, asked for in one go: declaring it once more is 139
questions, each with an answer to wait for, over a connection of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bridge.amqp import Channel, ChannelClosed
from bridge.core.wanted import kombu_ladder

if TYPE_CHECKING:
    from pika.channel import Channel as PikaChannel

log = logging.getLogger("bridge.ladder_whole")


def whole(channel: Channel) -> bool:
    """Whether every exchange and queue is there with the arguments that kombu gives them; a binding that is missing is
    made again, as kombu's own declaring does it.

    Where it is not, or cannot be told without the right to declare, the channel is closed, and nothing was made.

    Raises:
        Unreachable: the broker does not answer.
    """
    wanted = kombu_ladder("quorum")

    def ask(target: PikaChannel) -> None:
        # What is missing ends the questions here: from the next ones on nothing can come into being.
        for exchange in wanted.exchanges:
            target.exchange_declare(exchange.name, passive=True)
        for queue in wanted.queues:
            target.queue_declare(queue.name, passive=True)
        for exchange in wanted.exchanges:
            target.exchange_declare(exchange.name, exchange_type=exchange.type, durable=True)
        for queue in wanted.queues:
            target.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
        for binding in wanted.bindings:
            bind = target.queue_bind if binding.destination_type == "queue" else target.exchange_bind
            bind(binding.destination, binding.source, binding.routing_key)

    try:
        channel.in_one_go(ask, wanted.exchanges[-1].name)
    except ChannelClosed as fault:
        log.debug("the ladder is declared by kombu: %s", fault)
        return False
    return True
