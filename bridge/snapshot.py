"""From the JSON of RabbitMQ's HTTP API, 3.10 to 4.3, to the values of `bridge/core/topology.py`.

What a version leaves out, or answers as null, has the value's default; what is of another shape altogether is a
KeyError, TypeError, ValueError or AttributeError, which is how the caller knows that no RabbitMQ answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from bridge.core.check.policies import applied, chosen
from bridge.core.topology import (
    Arguments,
    Binding,
    Connection,
    Consumer,
    Exchange,
    Node,
    Permissions,
    Policy,
    Queue,
    Vhost,
)

_Read = TypeVar("_Read")

# What is asked for: a whole answer is ten times as long, and thousands of queues would be held in memory for nothing.
QUEUE = (
    "name,type,durable,exclusive,auto_delete,arguments,policy,operator_policy,effective_policy_definition,"
    "messages,messages_ready,messages_unacknowledged,messages_dlx,message_bytes,message_stats.publish,consumers,"
    "members,online,leader,head_message_timestamp,state,single_active_consumer_tag"
)
#: What tells whether a queue is in scope: `core.scope.left_alone`.
SCOPE = "name,type,durable,exclusive,auto_delete,arguments,effective_policy_definition"
EXCHANGE = "name,type,durable,auto_delete,internal,arguments"
BINDING = "source,destination,destination_type,routing_key,arguments"
CONSUMER = (
    "queue.name,consumer_tag,prefetch_count,ack_required,exclusive,arguments,"
    "channel_details.connection_name,channel_details.user"
)
CHANNEL = "connection_details.name,message_stats.publish"
CONNECTION = "name,user,peer_host,client_properties.product,client_properties.version,client_properties.connection_name"
NODE = "name,running,mem_used,mem_limit,mem_alarm,disk_free,disk_free_limit,disk_free_alarm,partitions"
OVERVIEW = "rabbitmq_version,node,disable_stats"
VHOST = "name,default_queue_type,description,tags"


class Overview(NamedTuple):
    """What is asked first: version, the node that answered, and whether the broker collects statistics."""

    version: tuple[int, ...]
    node: str
    statistics: bool


def overview(answer: Mapping[str, Any]) -> Overview:
    """Read `/api/overview`."""
    return Overview(version(answer["rabbitmq_version"]), answer.get("node") or "", not answer.get("disable_stats"))


def version(text: str) -> tuple[int, ...]:
    """`4.3.0-rc.1` as (4, 3, 0)."""
    return tuple(int(part) for part in text.partition("-")[0].partition("+")[0].split(".")[:3])


def whoami(answer: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Read `/api/whoami`: name and tags."""
    return answer["name"], tags(answer)


def tags(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Tags of a user, a list or, from some versions, one text with commas."""
    found = answer["tags"]
    return tuple(tag.strip() for tag in found.split(",") if tag) if isinstance(found, str) else tuple(found)


def page(read: Callable[[Any], _Read]) -> Callable[[Mapping[str, Any]], tuple[list[_Read], int]]:
    """A reader of one page: its items, and how many pages there are."""
    return lambda answer: ([read(item) for item in answer["items"]], int(answer["page_count"]))


def listed(read: Callable[[Any], _Read]) -> Callable[[list[Any]], tuple[_Read, ...]]:
    """A reader of a list that does not come in pages."""
    return lambda answer: tuple(read(item) for item in _list(answer))


def queue(item: Mapping[str, Any]) -> Queue:
    """Read a queue."""
    arguments = _arguments(item)
    return Queue(
        name=item["name"],
        # A busy broker may leave out what it has to ask the queue for; with what it was declared is always there.
        type=str(item.get("type") or arguments.get("x-queue-type") or "classic"),
        durable=item["durable"],
        exclusive=bool(item.get("exclusive")),
        auto_delete=item["auto_delete"],
        arguments=arguments,
        # An empty one comes as [] from some versions.
        policy=dict(item.get("effective_policy_definition") or {}),
        ready=item.get("messages_ready") or 0,
        unacked=item.get("messages_unacknowledged") or 0,
        consumers=item.get("consumers") or 0,
        policy_name=item.get("policy") or None,
        operator_policy_name=item.get("operator_policy") or None,
        message_bytes=item.get("message_bytes") or 0,
        members=tuple(item.get("members") or ()),
        online=tuple(item.get("online") or ()),
        leader=item.get("leader") or None,
        head_timestamp=item.get("head_message_timestamp") or None,
        state=item.get("state") or "running",
        single_active_consumer=bool(
            item.get("single_active_consumer_tag") or arguments.get("x-single-active-consumer")
        ),
        dead_letters=item.get("messages_dlx") or 0,
        published=(item.get("message_stats") or {}).get("publish"),
    )


def in_vhost(vhost: Vhost) -> Callable[[Mapping[str, Any]], Queue]:
    """A reader of a queue that knows the policies of its vhost.

    The broker reports which policies are in force with its statistics, seconds after they took effect, and until then
    what was before. So what `vhost.policies` come to counts; the report only where they come to nothing and it names
    one that is there: then Python reads a pattern otherwise than the broker.
    """
    names = [{policy.name for policy in vhost.policies if policy.operator is kind} for kind in (False, True)]

    def read(item: Mapping[str, Any]) -> Queue:
        found = queue(item)
        if found.type not in ("classic", "quorum"):
            return found
        in_force = [chosen(vhost.policies, found.name, found.type, operator=kind) for kind in (False, True)]
        reported = (found.policy_name, found.operator_policy_name)
        if any(ours is None and name in known for ours, name, known in zip(in_force, reported, names, strict=True)):
            return found
        return replace(
            found,
            policy=applied(vhost, found.name, found.type).keys,
            policy_name=in_force[0].name if in_force[0] else None,
            operator_policy_name=in_force[1].name if in_force[1] else None,
        )

    return read


def exchange(item: Mapping[str, Any]) -> Exchange:
    """Read an exchange; the default exchange's name is empty."""
    return Exchange(
        item["name"], item["type"], item["durable"], item["auto_delete"], bool(item.get("internal")), _arguments(item)
    )


def bindings(answer: list[Mapping[str, Any]]) -> tuple[Binding, ...]:
    """Read the bindings of a vhost without the default exchange's, of which every queue has one."""
    return tuple(
        Binding(item["source"], item["destination"], item["destination_type"], item["routing_key"], _arguments(item))
        for item in _list(answer)
        if item["source"]
    )


def policy(item: Mapping[str, Any]) -> Policy:
    """Read a policy."""
    return Policy(
        item["name"], item["pattern"], item["apply-to"], dict(item["definition"] or {}), item.get("priority") or 0
    )


def operator_policy(item: Mapping[str, Any]) -> Policy:
    """Read an operator policy."""
    return Policy(
        item["name"], item["pattern"], item["apply-to"], dict(item["definition"] or {}), item.get("priority") or 0, True
    )


def consumer(item: Mapping[str, Any]) -> Consumer:
    """Read a consumer; one of which the channel is not known yet belongs to nobody."""
    channel = item.get("channel_details") or {}
    return Consumer(
        queue=item["queue"]["name"],
        tag=item["consumer_tag"],
        prefetch=item.get("prefetch_count") or 0,
        ack_required=bool(item.get("ack_required", True)),
        exclusive=bool(item.get("exclusive")),
        arguments=_arguments(item),
        connection=channel.get("connection_name") or "",
        user=channel.get("user") or "",
    )


def published(answer: list[Mapping[str, Any]]) -> dict[str, int]:
    """Read the channels of a vhost: connection to messages published on its channels, where they are counted."""
    counts: dict[str, int] = {}
    for item in _list(answer):
        name = (item.get("connection_details") or {}).get("name")
        count = (item.get("message_stats") or {}).get("publish")
        if name and count is not None:
            counts[name] = counts.get(name, 0) + count
    return counts


def connections(counts: Mapping[str, int] | None) -> Callable[[list[Mapping[str, Any]]], tuple[Connection, ...]]:
    """A reader of the connections of a vhost.

    Args:
        counts: of `published`; None when the channels are not known.
    """

    def read(item: Mapping[str, Any]) -> Connection:
        properties = item.get("client_properties") or {}
        return Connection(
            name=item["name"],
            user=item.get("user") or "",
            host=str(item.get("peer_host") or ""),
            product=str(properties.get("product") or ""),
            version=str(properties.get("version") or ""),
            given_name=str(properties.get("connection_name") or ""),
            published=None if counts is None else counts.get(item["name"], 0),
        )

    return listed(read)


def nodes(answer: list[Mapping[str, Any]]) -> tuple[Node, ...]:
    """Read the nodes of the cluster; one that is down has only its name."""
    return tuple(
        Node(
            name=item["name"],
            running=bool(item.get("running")),
            memory_used=_number(item.get("mem_used")),
            memory_limit=_number(item.get("mem_limit")),
            memory_alarm=bool(item.get("mem_alarm")),
            disk_free=_number(item.get("disk_free")),
            disk_limit=_number(item.get("disk_free_limit")),
            disk_alarm=bool(item.get("disk_free_alarm")),
            partitions=tuple(item.get("partitions") or ()),
        )
        for item in _list(answer)
    )


def alarmed(asked: str) -> Callable[[Mapping[str, Any]], tuple[Node, ...]]:
    """A reader of the alarms that everyone may see: the nodes that have some, and the one that was asked."""

    def read(answer: Mapping[str, Any]) -> tuple[Node, ...]:
        resources: dict[str, set[str]] = {asked: set()} if asked else {}
        if answer["status"] != "ok":
            for alarm in answer["alarms"]:
                resources.setdefault(alarm["node"], set()).add(alarm["resource"])
        return tuple(
            Node(name, memory_alarm="memory" in found, disk_alarm="disk" in found) for name, found in resources.items()
        )

    return read


def feature_flags(answer: list[Mapping[str, Any]]) -> frozenset[str]:
    """Read the feature flags that are on."""
    return frozenset(item["name"] for item in _list(answer) if item["state"] == "enabled")


class About(NamedTuple):
    """What a vhost says of itself: default queue type if one is set, description, tags."""

    default_queue_type: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()


def about(vhost: str) -> Callable[[list[Mapping[str, Any]]], About]:
    """A reader of the vhosts that the user may see, for one of them."""

    def read(answer: list[Mapping[str, Any]]) -> About:
        item = next((item for item in _list(answer) if item["name"] == vhost), {})
        kind = item.get("default_queue_type")
        return About(
            kind if kind and kind != "undefined" else None, item.get("description") or "", tuple(item.get("tags") or ())
        )

    return read


def limits(answer: list[Mapping[str, Any]]) -> dict[str, int]:
    """Read the limits of one vhost; no entry is no limit."""
    return {name: value for item in _list(answer) for name, value in dict(item["value"]).items()}


def permissions(tagged: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Permissions]:
    """A reader of one user's permissions in a vhost.

    Args:
        tagged: the user's tags, which come from another call.
    """
    return lambda answer: Permissions(answer["user"], answer["configure"], answer["write"], answer["read"], tagged)


def _arguments(item: Mapping[str, Any]) -> Arguments:
    # [] is how some versions say that there are none.
    return dict(item.get("arguments") or {})


def _number(value: object) -> int | None:
    # A limit that a platform cannot measure is a word.
    return value if isinstance(value, int) else None


def _list(answer: object) -> list[Mapping[str, Any]]:
    if not isinstance(answer, list):
        raise TypeError(f"a list was expected, not {type(answer).__name__}")
    return answer
