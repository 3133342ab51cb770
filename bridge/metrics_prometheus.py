"""`GET /metrics`: the table as Prometheus reads it, and the process' own numbers.

Prometheus itself adds a label `instance`, the address that it asks; the bridge's instance is in the label `bridge`, so
that neither has to be renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from bridge.metrics import TABLE, Metric, Status

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family
    from prometheus_client.samples import Sample

#: Label of every sample: `instance` of the configuration.
BRIDGE = "bridge"
#: Samples that are made, and written, at a stretch: a millisecond or two.
STRETCH = 200


class Scrapes:
    """Answers scrapes; what writes the text is imported at the first.

    Args:
        snapshot: gives the status.
        pause: called again and again on the way: with a thousand queues the whole takes half a second, and messages do
            not wait for it.
    """

    def __init__(self, snapshot: Callable[[], Status], pause: Callable[[], None]) -> None:
        self._snapshot = snapshot
        self._pause = pause
        self._registry: CollectorRegistry | None = None

    def __call__(self) -> tuple[int, str, str]:
        """Code, content type and text of an answer."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        if self._registry is None:
            self._registry = self._made()
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry).decode()

    def _made(self) -> CollectorRegistry:
        from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        return registry

    def describe(self) -> Iterator[Family]:
        """No names before the first scrape: registering needs no snapshot."""
        yield from ()

    def collect(self) -> Iterator[Family]:
        """The table, filled from one snapshot."""
        status = self._snapshot()
        for metric in TABLE:
            if metric.prometheus:
                family = _family(metric, status, self._pause)
                family.samples = _Unhurried(family.samples, self._pause)
                yield family


class _Unhurried(list["Sample"]):
    """Samples that are written with pauses."""

    def __init__(self, samples: list[Sample], pause: Callable[[], None]) -> None:
        super().__init__(samples)
        self._pause = pause

    def __iter__(self) -> Iterator[Sample]:
        for number, sample in enumerate(super().__iter__()):
            if number % STRETCH == 0:
                self._pause()
            yield sample


def _family(metric: Metric, status: Status, pause: Callable[[], None]) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    owner = ("queue",) if metric.of == "queue" else ()
    text = f"{metric.meaning} ({metric.unit})"
    # prometheus_client adds `_total` itself.
    family = made(metric.prometheus.removesuffix("_total"), text, labels=(BRIDGE, *owner, *metric.labels))
    instance = str(status.get("instance", ""))
    if metric.of == "daemon":
        for labels, value in metric.read(status):
            family.add_metric((instance, *labels), value)
    else:
        for number, queue in enumerate(status["queues"]):
            if number % STRETCH == STRETCH - 1:
                pause()
            name = queue["name"]
            for labels, value in metric.read(queue):
                family.add_metric((instance, name, *labels), value)
    return family
