"""Tells statsd, plain or as Datadog's agent wants it, over UDP.

1. Counters carry what came since the last time, gauges how it stands, timings milliseconds.
2. A thousand queues of which few move should cost little: a queue in which nothing happened is read every ten times
   only, and a gauge that stays is told again every ten times, since agents forget what they do not hear.
3. What an earlier process counted is not new: `inherit` is told the numbers with which this one begins.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from bridge.config_sections import StatsdFormat
from bridge.metrics import TABLE, Metric, Status

if TYPE_CHECKING:
    from bridge.address import HostPort
    from bridge.config import Config

log = logging.getLogger("bridge.metrics")

#: Sends after which everything is told again, changed or not: agents flush every 10 s.
AGAIN: Final = 10
#: Queues that are looked at at a stretch: a few milliseconds.
STRETCH: Final = 25
#: Bytes of a datagram that fit into one frame of an ethernet.
_DATAGRAM: Final = 1432
#: What statsd reserves in a name, and what Datadog does in a tag.
_RESERVED: Final = re.compile(r"[^A-Za-z0-9_-]")
_RESERVED_IN_TAG: Final = re.compile(r"[\s,|#]")
#: What of a queue's status changes when something happens to it.
_SIGNS: Final = ("taken", "moved", "in_flight", "state", "route", "paused", "drained")
_OF_QUEUE: Final = tuple(metric for metric in TABLE if metric.of == "queue" and metric.statsd)
_OF_DAEMON: Final = tuple(metric for metric in TABLE if metric.of == "daemon" and metric.statsd)
_TOTALS: Final = tuple(metric for metric in _OF_QUEUE if metric.total)

#: A metric and the values of its labels.
_Key = tuple[Metric, tuple[str, ...]]


class _Sink(Protocol):
    """Where numbers go, in datagrams."""

    #: Whether it wants sums over all queues: who has tags sums up himself.
    wants_totals: bool

    def put(self, metric: Metric, labels: tuple[str, ...], queue: str | None, value: float, *, total: bool) -> None:
        """Take a number; None is the daemon's own."""

    def flush(self) -> None:
        """Send what was taken."""

    def close(self) -> None:
        """Let the socket go."""


class _Plain:
    """Names with dots, as Graphite has them."""

    wants_totals = True

    def __init__(self, to: HostPort, prefix: str) -> None:
        from statsd import StatsClient

        self._client = StatsClient(to.host, to.port, prefix=prefix, ipv6=":" in to.host)
        self._pipe = self._client.pipeline()

    def put(self, metric: Metric, labels: tuple[str, ...], queue: str | None, value: float, *, total: bool) -> None:
        owner = "total" if total else "daemon" if queue is None else f"queue.{_RESERVED.sub('_', queue)}"
        name = ".".join((owner, metric.name, *(_RESERVED.sub("_", label) for label in labels)))
        if metric.kind == "gauge":
            self._pipe.gauge(name, _written(value))
        elif metric.kind == "timing":
            self._pipe.timing(name, value)
        else:
            self._pipe.incr(name, int(value))

    def flush(self) -> None:
        self._pipe.send()

    def close(self) -> None:
        self._client.close()


class _Tagged:
    """DogStatsD: one name for all queues, and what tells them apart in tags, which plain statsd has not."""

    wants_totals = False
    _letters: Mapping[str, str] = {"counter": "c", "gauge": "g", "timing": "ms"}

    def __init__(self, to: HostPort, prefix: str, tags: Mapping[str, str]) -> None:
        family, kind, _, _, address = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)[0]
        self._to: tuple[Any, ...] = address
        self._socket = socket.socket(family, kind)
        self._prefix = prefix
        self._tags = [f"{name}:{_tag(value)}" for name, value in tags.items()]
        self._lines: list[str] = []
        self._size = 0

    def put(self, metric: Metric, labels: tuple[str, ...], queue: str | None, value: float, *, total: bool) -> None:
        tags = list(self._tags)
        if queue is not None:
            tags.append(f"queue:{_tag(queue)}")
        tags += [f"{name}:{_tag(label)}" for name, label in zip(metric.labels, labels, strict=True)]
        letter = self._letters[metric.kind]
        line = f"{self._prefix}.{metric.name}:{_written(value)}|{letter}|#{','.join(tags)}"
        size = len(line.encode()) + 1
        if self._size + size > _DATAGRAM:
            self.flush()
        self._lines.append(line)
        self._size += size

    def flush(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        if lines:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._to)
            except OSError:
                # As with plain statsd: a receiver that is not there stops nothing, and misses what was sent meanwhile.
                log.debug("metrics.statsd: nothing was sent", exc_info=True)

    def close(self) -> None:
        self._socket.close()


class Statsd:
    """Sends the table; a receiver that is not there, or has no address yet, stops nothing.

    Args:
        to: where statsd listens.
        prefix: first part of every name.
        tags: what stands in every tag of DogStatsD; None for plain statsd.
        pause: called again and again on the way: messages do not wait until a thousand queues are told.
    """

    def __init__(
        self,
        to: HostPort,
        prefix: str,
        tags: Mapping[str, str] | None = None,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self._to = to
        self._pause = pause
        self._prefix = prefix
        self._tags = tags
        self._sink: _Sink | None = None
        self._unknown = ""
        self._turn = 0
        #: The last numbers of each queue, of which counters are told what came since; None: the daemon.
        self._known: dict[str | None, dict[_Key, float]] = {}
        self._signs: dict[str, tuple[Any, ...]] = {}

    @classmethod
    def of(cls, config: Config, pause: Callable[[], None]) -> Statsd | None:
        """What a configuration asks for; None where it names no statsd."""
        wanted = config.metrics
        if wanted.statsd is None:
            return None
        tagged = wanted.format is StatsdFormat.DOGSTATSD
        tags = {"instance": config.instance, **(wanted.tags or {})} if tagged else None
        return cls(wanted.statsd, wanted.prefix, tags, pause)

    def close(self) -> None:
        """Let the socket go."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def inherit(self, status: Status) -> None:
        """What an earlier process counted stands in this status: it was told then."""
        for queue in status["queues"]:
            self._known[queue["name"]] = _read(_OF_QUEUE, queue, counters=True)
        self._known[None] = _read(_OF_DAEMON, status, counters=True)

    def send(self, status: Status) -> None:
        """Send one snapshot."""
        sink = self._resolved()
        if sink is None:
            return
        self._turn += 1
        grown: dict[_Key, float] = {}
        for number, queue in enumerate(status["queues"]):
            if number % STRETCH == STRETCH - 1:
                self._pause()
            name = queue["name"]
            again = (self._turn + number) % AGAIN == 0
            signs = tuple(queue.get(sign) for sign in _SIGNS)
            if again or self._signs.get(name) != signs:
                self._signs[name] = signs
                for key, more in self._tell(sink, name, _read(_OF_QUEUE, queue), again=again):
                    grown[key] = grown.get(key, 0.0) + more
        if sink.wants_totals:
            self._totals(sink, [queue["name"] for queue in status["queues"]], grown)
        self._tell(sink, None, _read(_OF_DAEMON, status), again=self._turn % AGAIN == 0)
        sink.flush()

    def _tell(
        self, sink: _Sink, queue: str | None, found: dict[_Key, float], *, again: bool
    ) -> list[tuple[_Key, float]]:
        """Tell what changed, or all; what counters grew by."""
        before, told = self._known.get(queue, {}), []
        for key, value in found.items():
            metric, labels = key
            if metric.kind == "counter":
                known = before.get(key, 0.0)
                # One that fell belongs to another daemon, which began anew.
                more = value - known if value >= known else value
                if more:
                    told.append((key, more))
                    sink.put(metric, labels, queue, more, total=False)
            elif again or metric.kind == "timing" or before.get(key) != value:
                sink.put(metric, labels, queue, value, total=False)
        self._known[queue] = found
        return told

    def _totals(self, sink: _Sink, queues: Iterable[str], grown: Mapping[_Key, float]) -> None:
        for (metric, labels), more in grown.items():
            sink.put(metric, labels, None, more, total=True)
        known = [self._known[queue] for queue in queues if queue in self._known]
        sums: dict[_Key, float] = {(metric, ()): 0.0 for metric in _TOTALS if _is_always(metric)}
        for values in known:
            for key, value in values.items():
                if key[0].kind == "gauge" and key[0].total:
                    sums[key] = max(sums.get(key, 0.0), value) if key[0].total == "max" else sums.get(key, 0.0) + value
        for (metric, labels), value in sums.items():
            sink.put(metric, labels, None, value, total=True)

    def _resolved(self) -> _Sink | None:
        """The way out, which looks its receiver's name up when it is made; None while the name is not known."""
        if self._sink is None:
            try:
                self._sink = (
                    _Plain(self._to, self._prefix)
                    if self._tags is None
                    else _Tagged(self._to, self._prefix, self._tags)
                )
            except OSError as fault:
                if self._unknown != str(fault):
                    self._unknown = str(fault)
                    why = (fault.strerror or "").lower()
                    log.warning("metrics.statsd: no metrics are sent: %s: %s", self._to.host, why)
        return self._sink


def _read(metrics: Iterable[Metric], status: Status, *, counters: bool = False) -> dict[_Key, float]:
    """All numbers of a status, or its counters only."""
    return {
        (metric, labels): value
        for metric in metrics
        if not counters or metric.kind == "counter"
        for labels, value in metric.read(status)
    }


def _is_always(metric: Metric) -> bool:
    """Whether its sum is known without any queue: 0."""
    return metric.kind == "gauge" and metric.total == "sum" and not metric.labels


def _written(value: float) -> str | int | float:
    return int(value) if value == int(value) else round(value, 6)


def _tag(value: str) -> str:
    return _RESERVED_IN_TAG.sub("_", value)
