"""What the daemon tells statsd: one table of names, read off the status snapshot.

Counters are sent as what came since the last time, gauges as they stand, timings in milliseconds. Each name comes
once for the whole daemon
(`<prefix>.total.<name>`) and once for each queue (`<prefix>.queue.<queue>.<name>`), where dots and what statsd
reserves in a queue's name are
underscores.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from statsd import StatsClient

from bridge.address import HostPort

log = logging.getLogger("bridge.metrics")

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
    Metric(
        "quarantined", "counter", "messages", "set apart in the quarantine queue: the target closes a channel on them"
    ),
    Metric("copied", "counter", "messages", "copied to the backup stream"),
    Metric("backup_missed", "counter", "messages", "moved without a copy, because `backup.required` is false"),
    Metric("to_legacy", "counter", "messages", "confirmed by the old side: inline, or brought back"),
    Metric(
        "task_unreadable", "counter", "messages", "left to the legacy side: a canary by tasks could not read a name"
    ),
    Metric("degraded", "counter", "messages", "went to one side only, because the other took nothing (`dual`)"),
    Metric("given_back", "counter", "messages", "taken, and back with the source without having arrived"),
    Metric("redelivered", "counter", "messages", "came from the source for a second time"),
    Metric(
        "possible_duplicates",
        "counter",
        "messages",
        "in flight when a connection was lost or the process killed: the target may have them twice",
    ),
    Metric("in_flight", "gauge", "messages", "taken from the source and not yet acked"),
    Metric("route", "gauge", "0 to 4", "route: 0 legacy, 1 canary, 2 quorum, 3 dual, 4 reverse"),
    Metric("moving", "gauge", "0, 1", "1 while the bridge is subscribed to the queue"),
    Metric("confirm", "timing", "milliseconds", "from publish to confirm"),
)

_ROUTES = {"legacy": 0, "canary": 1, "quorum": 2, "dual": 3, "reverse": 4}
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
    """Sends the table over UDP; a receiver that is not there, or has no address yet, stops nothing."""

    def __init__(self, to: HostPort, prefix: str) -> None:
        self._to = to
        self._prefix = prefix
        self._client: StatsClient | None = None
        self._unknown = ""
        self._before: dict[tuple[str, str], float] = {}

    def _resolved(self) -> StatsClient | None:
        """The client, which looks its receiver's name up when it is made; None while the name is not known."""
        if self._client is None:
            host, port = self._to.host, self._to.port
            try:
                self._client = StatsClient(host, port, prefix=self._prefix, ipv6=":" in host)
            except OSError as fault:
                if self._unknown != str(fault):
                    self._unknown = str(fault)
                    log.warning("metrics.statsd: no metrics are sent: %s: %s", host, (fault.strerror or "").lower())
        return self._client

    def close(self) -> None:
        """Let the socket go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def send(self, status: dict[str, Any]) -> None:
        """Send one snapshot."""
        client = self._resolved()
        if client is None:
            return
        with client.pipeline() as packet:
            for metric in TABLE:
                total = 0.0
                for queue in status["queues"]:
                    value = _value(metric, queue)
                    if value is None:
                        continue
                    if metric.kind == "counter":
                        value = self._grown(queue["name"], metric.name, value)
                    total += value
                    _put(packet, f"queue.{_RESERVED.sub('_', queue['name'])}.{metric.name}", metric, value)
                if metric.kind != "timing" and metric.name != "route":
                    _put(packet, f"total.{metric.name}", metric, total)

    def _grown(self, queue: str, name: str, value: float) -> float:
        """What came since the last time; a queue that was gone meanwhile counts from zero again."""
        before = self._before.get((queue, name), 0.0)
        self._before[queue, name] = value
        return value - before if value >= before else value


def _put(packet: Any, name: str, metric: Metric, value: float) -> None:
    if metric.kind == "gauge":
        packet.gauge(name, value)
    elif metric.kind == "timing":
        packet.timing(name, value)
    elif value:
        packet.incr(name, int(value))


def reference() -> str:
    """The table as a page of the documentation."""
    rows = "".join(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {metric.meaning} |\n" for metric in TABLE)
    return f"""# Metrics

Sent to statsd over UDP every second when `metrics.statsd` is set: each name as `<prefix>.total.<name>` for the whole
daemon (not `route` and `confirm`) and as `<prefix>.queue.<queue>.<name>` for each queue, with every character of the
queue's name that is not a letter, digit, `_` or `-` as `_`. Counters carry what came since the last time.

| name | kind | unit | meaning |
|---|---|---|---|
{rows}"""
