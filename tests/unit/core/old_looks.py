"""Looks at an old side, made up for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bridge.core.old_side import ChannelSeen, ConnectionSeen, ConsumerSeen, Look, QueueSeen

#: When the first look was.
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BRIDGE = "10.0.0.9:5000 -> 10.0.0.1:5672"
WEB = "10.0.0.2:4001 -> 10.0.0.1:5672"
OTHER = "10.0.0.3:4002 -> 10.0.0.1:5672"
WORKER = "10.0.0.4:4003 -> 10.0.0.1:5672"
#: The worker's own second connection, for its events.
EVENTS = "10.0.0.4:4004 -> 10.0.0.1:5672"


def connection(name: str, given: str = "") -> ConnectionSeen:
    return ConnectionSeen(name, "app", name.partition(" -> ")[0], "py-amqp", "5.4.2", given)


CONNECTIONS = {
    name: connection(name, "bridge main source" if name == BRIDGE else "")
    for name in (BRIDGE, WEB, OTHER, WORKER, EVENTS)
}


def channel(name: str, number: int = 1, unacked: int = 0, published: int | None = None, rate: float | None = None):
    return ChannelSeen(f"{name} ({number})", name, unacked, published, rate)


def consumer(queue: str, name: str, number: int = 1, tag: str = "None1", priority: int = 0) -> ConsumerSeen:
    return ConsumerSeen(queue, tag, priority, f"{name} ({number})", name, "app")


def look(
    queues: list[QueueSeen],
    channels: list[ChannelSeen] | None = None,
    consumers: list[ConsumerSeen] | None = None,
    *,
    after: float = 0.0,
    **more: object,
) -> Look:
    return Look(
        at=BEGAN + timedelta(seconds=after),
        queues={one.name: one for one in queues},
        consumers=tuple(consumers or ()),
        channels={one.name: one for one in channels or ()},
        connections=CONNECTIONS,
        **more,  # type: ignore[arg-type]
    )
