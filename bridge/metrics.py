"""What the daemon tells statsd: one table of names, read off the status snapshot.

Counters are sent as what came since the last time, gauges as they stand, timings in milliseconds. Each name comes
once for the whole daemon
(`<prefix>.total.<name>`) and once for each queue (`<prefix>.queue.<queue>.<name>`), where dots and what statsd
reserves in a queue's name are
underscores.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from statsd import StatsClient

from bridge.address import HostPort

Kind = Literal["counter", "gauge", "timing"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One name: where it stands in a queue's status, and what it means."""

    name: str
    kind: Kind
    unit: str
    meaning: str


TABLE: tuple[Metric, ...] = (
    Metric("moved", "counter", "messages", "confirmed by the target and acked at the source"),
    Metric("converted", "counter", "messages", "moved through the ladder, because their ETA was ahead"),
    Metric("confirmed", "counter", "messages", "confirmed by the target"),
    Metric("returned", "counter", "messages", "returned by the target: no queue took them; they stay with the source"),
    Metric("nacked", "counter", "messages", "refused by the target (basic.nack); they stay with the source"),
    Metric("eta_unreadable", "counter", "messages", "moved at once and unchanged, because their ETA could not be read"),
    Metric(
        "priority_capped", "counter", "messages", "converted with their priority lowered to 4 (RabbitMQ 4.0 to 4.2)"
    ),
    Metric("exported", "counter", "messages", "too large for the target, written to a file"),
    Metric("redelivered", "counter", "messages", "came from the source for a second time"),
    Metric(
        "possible_duplicates",
        "counter",
        "messages",
        "in flight when a connection was lost: the target may have them twice",
    ),
    Metric("in_flight", "gauge", "messages", "taken from the source and not yet acked"),
    Metric("route", "gauge", "0, 1, 2", "route: 0 legacy, 1 canary, 2 quorum"),
    Metric("moving", "gauge", "0, 1", "1 while the bridge is subscribed to the queue"),
    Metric("confirm", "timing", "milliseconds", "from publish to confirm"),
)

_ROUTES = {"legacy": 0, "canary": 1, "quorum": 2}
_RESERVED = re.compile(r"[^A-Za-z0-9_-]")


def _value(metric: Metric, queue: dict[str, Any]) -> float | None:
    """A metric's value in one queue's status; None when there is none now."""
    if metric.name == "route":
        return _ROUTES[queue["route"]]
    if metric.name == "moving":
        return int(queue["state"] == "moving")
    if metric.name == "confirm":
        return None if queue["confirm_ms"] is None else float(queue["confirm_ms"])
    return float(queue[metric.name])


class Statsd:
    """Sends the table over UDP; a receiver that is not there is nobody's trouble."""

    def __init__(self, to: HostPort, prefix: str) -> None:
        self._client = StatsClient(to.host, to.port, prefix=prefix)
        self._before: dict[tuple[str, str], float] = {}

    def send(self, status: dict[str, Any]) -> None:
        """Send one snapshot."""
        with self._client.pipeline() as packet:
            for metric in TABLE:
                total = 0.0
                for queue in status["queues"]:
                    value = _value(metric, queue)
                    if value is None:
                        continue
                    total += value
                    self._put(packet, f"queue.{_RESERVED.sub('_', queue['name'])}.{metric.name}", metric, value)
                if metric.kind != "timing" and metric.name != "route":
                    self._put(packet, f"total.{metric.name}", metric, total)

    def _put(self, packet: Any, name: str, metric: Metric, value: float) -> None:
        if metric.kind == "counter":
            key = (name, metric.name)
            grown = value - self._before.get(key, 0.0)
            self._before[key] = value
            if grown > 0:
                packet.incr(name, int(grown))
        elif metric.kind == "gauge":
            packet.gauge(name, value)
        else:
            packet.timing(name, value)
