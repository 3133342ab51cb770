"""What the HTTP API tells of the old side: four calls whatever its size, and one for each exchange that tasks pass.

The calls are made with the columns that are read: a whole answer about 500 connections is ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from bridge import snapshot
from bridge.core.old_side import ChannelSeen, ConnectionSeen, ConsumerSeen, Crossing, Look, QueueSeen
from bridge.core.scope import left_alone
from bridge.errors import AccessRefused
from bridge.management import Management, NotTold, path

_Read = TypeVar("_Read")

OVERVIEW = "rates_mode,disable_stats"
QUEUE = (
    "name,type,durable,exclusive,auto_delete,arguments,effective_policy_definition,"
    "messages_unacknowledged,message_stats.publish,message_stats.publish_details.rate"
)
CHANNEL = (
    "name,connection_details.name,messages_unacknowledged,message_stats.publish,message_stats.publish_details.rate"
)
CONSUMER = "queue.name,consumer_tag,arguments,channel_details.name,channel_details.connection_name,channel_details.user"
CONNECTION = (
    "name,user,peer_host,peer_port,client_properties.product,client_properties.version,"
    "client_properties.product_version,client_properties.connection_name"
)
EXCHANGE = "name,message_stats.publish_in"
#: What passes an exchange; its rates are the broker's over the last sample.
CROSSING = "incoming,outgoing"
#: Exchanges that are asked for what passed them; an application has a few.
MOST_EXCHANGES = 50
#: Exchanges that no task passes.
_NO_TASKS = ("amq.rabbitmq.",)
_NO_TASKS_END = (".pidbox",)
_EVENTS = "celeryev"


def look(api: Management, vhost: str) -> Look:
    """Everything that the API tells of who uses a vhost, at this moment; numbers are up to 5 s old.

    Raises:
        Unreachable: the API does not answer, or not as RabbitMQ does, or knows no such vhost.
        AccessRefused: it refuses the user.
    """
    return _Asked(api, vhost).look()


class _Asked:
    """One look, call by call; what may not be seen is noted on the way."""

    def __init__(self, api: Management, vhost: str) -> None:
        self._api = api
        self._vhost = vhost
        self._unknown: list[str] = []

    def look(self) -> Look:
        api, vhost = self._api, self._vhost
        mode, statistics = self._may("overview", "overview", _overview, OVERVIEW) or ("basic", True)
        if not statistics or mode == "none":
            self._unknown.append("who publishes: the broker collects no statistics")
        queues = {one.name: one for one in api.pages(path("queues", vhost), _queue, QUEUE, again=True)}
        _, tags = self._may("whoami", "whoami", snapshot.whoami) or ("", ())
        if not {"monitoring", "administrator"} & set(tags):
            # Such a user is shown its own connections and no others, which would look like none.
            self._unknown.append(
                f'other users\' connections: user "{api.user}" may not see them, that takes the tag "monitoring"'
            )
            return Look(datetime.now(UTC), queues, unknown=tuple(self._unknown))
        within = path("vhosts", vhost)
        consumers = self._may("consumers", path("consumers", vhost), snapshot.listed(_consumer), CONSUMER)
        channels = self._may("channels", f"{within}/channels", snapshot.listed(_channel), CHANNEL)
        connections = self._may("connections", f"{within}/connections", snapshot.listed(_connection), CONNECTION)
        return Look(
            at=datetime.now(UTC),
            queues=queues,
            consumers=consumers or (),
            channels={one.name: one for one in channels or ()},
            connections={one.name: one for one in connections or ()},
            crossings=self._crossings() if mode == "detailed" and statistics else None,
            unknown=tuple(self._unknown),
        )

    def _crossings(self) -> tuple[Crossing, ...]:
        where = path("exchanges", self._vhost)
        told = dict(self._may("exchanges", where, snapshot.listed(_exchange), EXCHANGE) or ())
        busy = sorted(name for name, count in told.items() if count and _for_tasks(name))
        if len(busy) > MOST_EXCHANGES:
            self._unknown.append(f"who publishes into {len(busy) - MOST_EXCHANGES} of {len(busy)} exchanges: too many")
        found = []
        for name in busy[:MOST_EXCHANGES]:
            # The API's own name of the default exchange.
            one = self._may(
                f'who publishes into exchange "{name}"', f"{where}/{path(name or 'amq.default')}", _crossing(name)
            )
            if one is not None:
                found.append(one)
        return tuple(found)

    def _may(self, what: str, path: str, read: Callable[[Any], _Read], columns: str = "") -> _Read | None:
        """What a look can be without: None, and a note of why."""
        try:
            answer = self._api.get(path, read, columns, again=True)
        except (AccessRefused, NotTold) as fault:
            self._unknown.append(f"{what}: {fault}")
            return None
        if answer is None:
            self._unknown.append(f"{what}: this version of RabbitMQ does not tell")
        return answer


def _for_tasks(exchange: str) -> bool:
    return not (exchange.startswith(_NO_TASKS) or exchange.endswith(_NO_TASKS_END) or exchange == _EVENTS)


def _overview(answer: Mapping[str, Any]) -> tuple[str, bool]:
    return str(answer.get("rates_mode") or "basic"), not answer.get("disable_stats")


def _queue(item: Mapping[str, Any]) -> QueueSeen:
    found = snapshot.queue(item)
    published, rate = _published(item)
    return QueueSeen(found.name, found.unacked, published, rate, left_alone(found, named=True) is None)


def _channel(item: Mapping[str, Any]) -> ChannelSeen:
    published, rate = _published(item)
    connection = (item.get("connection_details") or {}).get("name") or ""
    return ChannelSeen(item["name"], connection, item.get("messages_unacknowledged") or 0, published, rate)


def _published(item: Mapping[str, Any]) -> tuple[int | None, float | None]:
    # A channel without any comes with a list, empty, where others have a mapping.
    stats = item.get("message_stats") or {}
    return stats.get("publish"), (stats.get("publish_details") or {}).get("rate")


def _consumer(item: Mapping[str, Any]) -> ConsumerSeen:
    # One of which the channel is not known yet has a list, empty, there.
    channel = item.get("channel_details") or {}
    priority = (item.get("arguments") or {}).get("x-priority")
    return ConsumerSeen(
        queue=item["queue"]["name"],
        tag=item["consumer_tag"],
        priority=priority if isinstance(priority, int) else 0,
        channel=channel.get("name") or "",
        connection=channel.get("connection_name") or "",
        user=channel.get("user") or "",
    )


def _connection(item: Mapping[str, Any]) -> ConnectionSeen:
    properties = item.get("client_properties") or {}
    host, port = item.get("peer_host"), item.get("peer_port")
    return ConnectionSeen(
        name=item["name"],
        user=item.get("user") or "",
        host=f"{host}:{port}" if host and port else item["name"].partition(" -> ")[0],
        product=str(properties.get("product") or ""),
        # py-amqp, and with it Celery, says product_version.
        version=str(properties.get("product_version") or properties.get("version") or ""),
        given=str(properties.get("connection_name") or ""),
    )


def _exchange(item: Mapping[str, Any]) -> tuple[str, int]:
    return item["name"], (item.get("message_stats") or {}).get("publish_in") or 0


def _crossing(exchange: str) -> Callable[[Mapping[str, Any]], Crossing]:
    """A reader of one exchange with its statistics."""

    def counts(items: list[Mapping[str, Any]], whose: str) -> dict[str, tuple[int, float]]:
        found = {}
        for item in items:
            stats = item.get("stats") or {}
            name = (item.get(whose) or {}).get("name")
            if name and stats.get("publish"):
                found[name] = (stats["publish"], (stats.get("publish_details") or {}).get("rate") or 0.0)
        return found

    def read(answer: Mapping[str, Any]) -> Crossing:
        return Crossing(
            exchange,
            counts(answer.get("incoming") or [], "channel_details"),
            counts(answer.get("outgoing") or [], "queue"),
        )

    return read
