"""The ladder as the broker's API shows it, and as kombu's own functions make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from bridge.core.ladder import DELIVERY_EXCHANGE, ENTRY_PREFIX, PREFIX

if TYPE_CHECKING:
    from bridge.lab.brokers import Side

#: Queues, exchanges and bindings, each as what was declared of it.
Ladder = dict[str, list[dict[str, Any]]]

#: What is declared, of all that the API shows.
_DECLARED = ("name", "type", "durable", "auto_delete", "internal", "exclusive", "arguments")


def declare_ladder(side: Side, kind: str) -> None:
    """Declare it by kombu's own function, with queues of this kind; a 406 is an exception."""
    with Connection(side.amqp) as connection:
        declare_native_delayed_delivery_exchanges_and_queues(connection, kind)


def ask(side: Side, what: str) -> list[dict[str, Any]]:
    """What the API lists of a vhost: queues, exchanges or bindings."""
    login, _, base = side.api.removeprefix("http://").rpartition("@")
    user, _, password = login.partition(":")
    answer = requests.get(f"http://{base}/api/{what}/{quote(side.vhost, safe='')}", auth=(user, password), timeout=10)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def ladder_of(side: Side) -> Ladder:
    """All of the ladder that the API shows, but for ways out of it and for ours into it."""
    declared = {
        kind: [
            {name: one[name] for name in _DECLARED if name in one}
            for one in ask(side, kind)
            if one["name"].startswith(PREFIX)
        ]
        for kind in ("queues", "exchanges")
    }
    declared["bindings"] = [
        {name: value for name, value in one.items() if name != "vhost"}
        for one in ask(side, "bindings")
        if one["destination"].startswith(PREFIX) and not one["source"].startswith(ENTRY_PREFIX)
    ]
    return {kind: sorted(found, key=str) for kind, found in declared.items()}


def exits_of(side: Side) -> list[tuple[str, str]]:
    """The queues that are bound to the end of the ladder themselves, as only ours are, with their keys."""
    return [
        (one["destination"], one["routing_key"])
        for one in ask(side, "bindings")
        if one["source"] == DELIVERY_EXCHANGE and one["destination_type"] == "queue"
    ]


def bind_as_celery(side: Side, queue: str, exchange: str) -> None:
    """Bind a queue to the end of the ladder by kombu's own function, as its worker does."""
    with Connection(side.amqp) as connection:
        bind_queue_to_native_delayed_delivery_exchange(
            connection, Queue(queue, Exchange(exchange, type="topic"), routing_key=queue)
        )
