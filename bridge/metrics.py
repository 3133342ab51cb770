"""What the daemon tells about itself to the outside: one table of names, read off the status snapshot.

1. statsd (`metrics_statsd.py`), Prometheus (`metrics_prometheus.py`) and the reference page
   (`metrics_reference.py`) render from this table and know no name of their own.
2. A number that is not known is not told; it is never 0 instead.
3. Times are in seconds, except `confirm`, which is a timing of statsd: those are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from bridge.standstill import stalled

Kind = Literal["counter", "gauge", "timing"]
Status = Mapping[str, Any]
#: Values of the metric's labels, and the number.
Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One name: where it stands in the status, and what it means."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    #: Reads it off a queue's status, or off the whole when it is the daemon's.
    read: Callable[[Status], Iterable[Sample]]
    of: Literal["queue", "daemon"] = "queue"
    #: What tells its samples apart, beside the queue.
    labels: tuple[str, ...] = ()
    #: What plain statsd gets for all queues together.
    total: Literal["sum", "max", ""] = ""
    #: Whether statsd is told: what only carries labels says nothing there.
    statsd: bool = True

    @property
    def prometheus(self) -> str:
        """Its name for Prometheus, as its conventions have it; empty for what Prometheus does not get."""
        if self.kind == "timing":
            return ""
        return f"bridge_{self.name}_total" if self.kind == "counter" else f"bridge_{self.name}"


# -- reading
# -----------------------------------------------------------------------------------------------------------------


def at(status: Status, *path: str) -> Any:
    """What stands at a path in a status; None where any part of it is not there."""
    found: Any = status
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def number(found: object) -> float | None:
    """A number, or yes and no as 1 and 0; None where it is neither."""
    return float(found) if isinstance(found, int | float) else None


def _one(*path: str, scale: float = 1.0) -> Callable[[Status], Iterator[Sample]]:
    """The number at a path."""

    def read(status: Status) -> Iterator[Sample]:
        found = number(at(status, *path))
        if found is not None:
            yield (), found * scale

    return read


def _flag(holds: Callable[[Status], bool | None]) -> Callable[[Status], Iterator[Sample]]:
    """1 or 0; nothing where that is not known."""

    def read(status: Status) -> Iterator[Sample]:
        found = holds(status)
        if found is not None:
            yield (), float(found)

    return read


def _fault(*path: str) -> Callable[[Status], Iterator[Sample]]:
    """1 where a text stands at a path; nothing where its part of the status is missing."""
    return _flag(lambda status: None if at(status, *path[:-1]) is None else bool(at(status, *path)))


def _each(values: tuple[str, ...], *path: str, scale: float = 1.0) -> Callable[[Status], Iterator[Sample]]:
    """A number for each value of a label; `{}` in the path stands for the value."""

    def read(status: Status) -> Iterator[Sample]:
        for value in values:
            found = number(at(status, *(value if key == "{}" else key for key in path)))
            if found is not None:
                yield (value,), found * scale

    return read


def _side(holds: Callable[[Status], bool]) -> Callable[[Status], Iterator[Sample]]:
    """1 or 0 for each side that there is."""

    def read(status: Status) -> Iterator[Sample]:
        for side in SIDES:
            found = status.get(side)
            if isinstance(found, Mapping):
                yield (side,), float(holds(found))

    return read


def _levels(key: str) -> Callable[[Status], Iterator[Sample]]:
    """A number of each level of the ladder that is not empty."""

    def read(status: Status) -> Iterator[Sample]:
        for level in at(status, "ladder", "levels") or ():
            found = number(level.get(key))
            if found is not None:
                yield (str(level["level"]),), found

    return read


def _quantiles(*path: str) -> Callable[[Status], Iterator[Sample]]:
    """Quantiles in seconds, from a part of the status that has them in milliseconds."""

    def read(status: Status) -> Iterator[Sample]:
        for quantile, key in (("0.5", "p50_ms"), ("0.99", "p99_ms")):
            found = number(at(status, *path, key))
            if found is not None:
                yield (quantile,), found / 1000

    return read


def _age(*path: str) -> Callable[[Status], Iterator[Sample]]:
    """Seconds from the time at a path to the time of the snapshot."""

    def read(status: Status) -> Iterator[Sample]:
        then, now = at(status, *path), status.get("now")
        if then and now:
            yield (), max(0.0, (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds())

    return read


def _count(*path: str) -> Callable[[Status], Iterator[Sample]]:
    """How many there are in a list."""

    def read(status: Status) -> Iterator[Sample]:
        found = at(status, *path)
        if isinstance(found, list):
            yield (), float(len(found))

    return read


def _gate(queue: Status) -> bool | None:
    found = queue.get("gate")
    return all(check["ok"] for check in found) if found else None


def _books(queue: Status) -> bool | None:
    ways = queue.get("books")
    return all(way["balanced"] for way in ways.values()) if ways else None


def _people(key: str) -> Callable[[Status], Iterator[Sample]]:
    """How many connections are named, and how many more there are."""

    def read(status: Status) -> Iterator[Sample]:
        found = at(status, "old_side", key)
        if isinstance(found, list):
            more = at(status, "old_side", "more")
            left = number(more.get(key) if isinstance(more, Mapping) else None)
            yield (), len(found) + (left or 0.0)

    return read


# -- the table
# ---------------------------------------------------------------------------------------------------------------

SIDES: Final = ("source", "target", "legacy")
ROUTES: Final = {"legacy": 0, "canary": 1, "quorum": 2, "dual": 3, "reverse": 4}
_ENDS: Final = ("old", "new")
_WINDOWS: Final = ("10s", "1m", "10m")
#: Bounds of how long a task had to wait when it was converted.
_DUE: Final = ("minute", "hour", "day", "week", "later")


def _counter(name: str, meaning: str, *path: str) -> Metric:
    return Metric(name, "counter", "messages", meaning, _one(*(path or (name,))), total="sum")


def _gauge(name: str, unit: str, meaning: str, read: Callable[[Status], Iterable[Sample]], **how: Any) -> Metric:
    return Metric(name, "gauge", unit, meaning, read, **how)


def _of_daemon(name: str, unit: str, meaning: str, read: Callable[[Status], Iterable[Sample]], **how: Any) -> Metric:
    return Metric(name, "gauge", unit, meaning, read, "daemon", **how)


def _state(name: str) -> Callable[[Status], Iterator[Sample]]:
    return _flag(lambda queue: queue.get("state") == name)


_QUEUE: Final = (
    _counter("taken", "delivered by the source"),
    _counter("moved", "confirmed by the target and acked at the source"),
    _counter("converted", "moved through the ladder, because their ETA was ahead"),
    _counter("confirmed", "confirmed by the target"),
    _counter("returned", "returned by the target: no queue took them; they stay with the source"),
    _counter("nacked", "refused by the target (basic.nack); they stay with the source"),
    _counter("eta_unreadable", "moved at once and unchanged, because their ETA could not be read"),
    _counter("priority_capped", "converted with their priority lowered to 4 (RabbitMQ 4.0 to 4.2)"),
    _counter("exported", "too large for the target, written to a file"),
    _counter("quarantined", "set apart in the quarantine queue: the target closes a channel on them"),
    _counter("copied", "copied to the backup stream"),
    _counter("backup_missed", "moved without a copy, because `backup.required` is false"),
    _counter("to_legacy", "confirmed by the old side: inline, or brought back"),
    _counter("task_unreadable", "left to the legacy side: a canary by tasks could not read a name"),
    _counter("degraded", "went to one side only, because the other took nothing (`dual`)"),
    _counter("given_back", "taken, and back with the source without having arrived"),
    _counter("redelivered", "came from the source for a second time"),
    _counter(
        "possible_duplicates",
        "in flight when a connection was lost or the process killed: the target may have them twice",
    ),
    _counter("brought_back", "brought back from the target to the old side", "back", "brought_back"),
    _counter("brought_back_from_ladder", "of those, taken out of the ladder", "back", "from_ladder"),
    Metric(
        "due",
        "counter",
        "messages",
        "converted, by how long they had to wait then: up to a minute, hour, day, week, later",
        _each(_DUE, "due", "{}"),
        labels=("within",),
        total="sum",
    ),
    _gauge("in_flight", "messages", "taken from the source and not yet acked", _one("in_flight"), total="sum"),
    _gauge(
        "route",
        "0 to 4",
        "route: 0 legacy, 1 canary, 2 quorum, 3 dual, 4 reverse",
        lambda queue: [((), float(ROUTES[queue["route"]]))],
    ),
    _gauge("moving", "0, 1", "1 while the bridge is subscribed to the queue", _state("moving"), total="sum"),
    _gauge(
        "stalled",
        "0, 1",
        "1 while the queue should move and does not: waiting, throttled or faulted",
        _flag(stalled),
        total="sum",
    ),
    _gauge("faulted", "0, 1", "1 while it is tried again after a fault", _state("faulted"), total="sum"),
    _gauge("throttled", "0, 1", "1 while the target is left alone", _state("throttled"), total="sum"),
    _gauge("paused", "0, 1", "1 from `pause` to `resume`", _flag(lambda queue: bool(queue.get("paused"))), total="sum"),
    _gauge(
        "planned", "0, 1", "1 while a verb is postponed", _flag(lambda queue: bool(queue.get("planned"))), total="sum"
    ),
    _gauge("drained", "0, 1", "1 when the old side is finished", _one("drained"), total="sum"),
    _gauge("gate_ok", "0, 1", "1 when the last look at the gate of the next verb found nothing", _flag(_gate)),
    _gauge("books_balanced", "0, 1", "1 while everything that was taken is somewhere", _flag(_books)),
    _gauge(
        "depth_ready",
        "messages",
        "ready in the old and the new queue",
        _each(_ENDS, "depth", "{}", "ready"),
        labels=("side",),
        total="sum",
    ),
    _gauge(
        "depth_unacked",
        "messages",
        "with consumers of the old and the new queue, the bridge among them",
        _each(_ENDS, "depth", "{}", "unacked"),
        labels=("side",),
        total="sum",
    ),
    _gauge(
        "consumers",
        "consumers",
        "of the old and the new queue, the bridge among them",
        _each(_ENDS, "depth", "{}", "consumers"),
        labels=("side",),
        total="sum",
    ),
    _gauge(
        "rate_in",
        "messages/s",
        "published into the old queue, over 10 s, a minute, ten minutes",
        _each(_WINDOWS, "rates", "in", "{}"),
        labels=("window",),
        total="sum",
    ),
    _gauge(
        "rate_out",
        "messages/s",
        "moved, over 10 s, a minute, ten minutes",
        _each(_WINDOWS, "rates", "out", "{}"),
        labels=("window",),
        total="sum",
    ),
    _gauge(
        "finish_seconds",
        "seconds",
        "until the backlog is moved, by the net rate; nothing while that is not known",
        _one("finish", "seconds"),
        total="max",
    ),
    _gauge(
        "ladder_waiting",
        "messages",
        "converted and not due yet, as estimated from what was converted",
        _one("ladder", "waiting"),
        total="sum",
    ),
    _gauge("limit", "messages/s", "the queue's limit; nothing without one", _one("limit")),
    _gauge("window", "messages", "that may be in flight now", _one("window")),
    _gauge(
        "confirm_seconds",
        "seconds",
        "from publish to confirm over the last minute: median and 99 %",
        _quantiles("confirm"),
        labels=("quantile",),
    ),
    Metric("confirm", "timing", "milliseconds", "from publish to confirm, of the last message", _one("confirm_ms")),
)

_DAEMON: Final = (
    _of_daemon(
        "info",
        "1",
        "its version and layout are in the labels",
        lambda status: [((str(status.get("version")), str(status.get("layout"))), 1.0)],
        labels=("version", "layout"),
        statsd=False,
    ),
    _of_daemon("active", "0, 1", "1 while this daemon is the active one", _state("active")),
    _of_daemon("standby", "0, 1", "1 while this daemon is on standby", _state("standby")),
    _of_daemon("queues", "queues", "in scope", _count("queues")),
    _of_daemon(
        "connected",
        "0, 1",
        "1 while this side's connections are open; a standby opens the target only",
        _side(lambda side: bool(side.get("connected"))),
        labels=("side",),
    ),
    _of_daemon(
        "blocked",
        "0, 1",
        "1 while this side's broker takes no publishes: an alarm",
        _side(lambda side: bool(side.get("connected") and side.get("reason"))),
        labels=("side",),
    ),
    _of_daemon("state_fault", "0, 1", "1 while the state cannot be saved", _fault("control", "fault")),
    _of_daemon(
        "state_age_seconds",
        "seconds",
        "since the state was saved",
        _age("control", "saved_at"),
    ),
    Metric("takeovers", "counter", "times", "a daemon became the active one", _one("control", "term"), "daemon"),
    _of_daemon("ladder_fault", "0, 1", "1 while ETA tasks cannot move", _fault("ladder", "fault")),
    _of_daemon("ladder_messages", "messages", "in all levels of the ladder", _one("ladder", "messages")),
    _of_daemon(
        "ladder_level_messages", "messages", "in a level that is not empty", _levels("messages"), labels=("level",)
    ),
    _of_daemon(
        "ladder_level_due",
        "messages",
        "in a level, that are due and did not leave it",
        _levels("due"),
        labels=("level",),
    ),
    _of_daemon("ladder_stuck", "levels", "from which nothing leaves any more", _count("ladder", "stuck")),
    _of_daemon("ladder_age_seconds", "seconds", "since the ladder was looked at", _one("ladder", "age_s")),
    _of_daemon(
        "ladder_back_fault",
        "0, 1",
        "1 while tasks cannot be brought back out of the ladder",
        _flag(
            lambda status: (
                None if at(status, "ladder_back") is None else at(status, "ladder_back", "state") == "faulted"
            )
        ),
    ),
    _of_daemon("backup_fault", "0, 1", "1 while no copies can be made", _fault("backup", "fault")),
    _of_daemon("reload_fault", "0, 1", "1 while the file is not what is in force", _fault("reload_fault")),
    _of_daemon("lost_features", "features", "that want an HTTP API", _count("lost_features")),
    _of_daemon("limit_all", "messages/s", "the limit of all queues together; nothing without one", _one("limit")),
    _of_daemon("books_gaps", "gaps", "times of which the books know nothing", _count("books", "gaps")),
    _of_daemon("old_publishers", "connections", "that still publish to the old side", _people("publishers")),
    _of_daemon("old_holders", "connections", "that hold messages of the old side", _people("holders")),
    Metric("clock_jumps", "counter", "times", "somebody set the clock", _one("clock", "jumps"), "daemon"),
    Metric("hooks_failed", "counter", "commands", "that failed", _one("hooks", "failed"), "daemon"),
    _of_daemon("hooks_waiting", "commands", "that wait to be run", _one("hooks", "waiting")),
    _of_daemon(
        "probe_last_seconds",
        "seconds",
        "that the last probe took through the real path",
        _one("probe", "last_ms", scale=0.001),
    ),
    _of_daemon(
        "probe_seconds",
        "seconds",
        "that probes took: median and 99 %",
        _quantiles("probe"),
        labels=("quantile",),
    ),
    _of_daemon("probe_age_seconds", "seconds", "since the last probe came through", _age("probe", "at")),
    _of_daemon("probe_fault", "0, 1", "1 while probes do not come through", _fault("probe", "fault")),
)

TABLE: Final[tuple[Metric, ...]] = (*_QUEUE, *_DAEMON)
