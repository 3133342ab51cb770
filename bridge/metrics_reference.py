"""The table of metrics as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.metrics import TABLE, Metric

_HEAD = """# Metrics

One table, for statsd, for Datadog and for Prometheus. How to hook them up: [metrics](../run/metrics.md); what to wake
somebody for: [alerts](../run/alerts.md).

| where | a queue's number | the daemon's number |
|---|---|---|
| statsd | `<prefix>.queue.<queue>.<name>[.<label>]` | `<prefix>.daemon.<name>[.<label>]` |
| DogStatsD | `<prefix>.<name>` with the tag `queue:` | `<prefix>.<name>` |
| Prometheus | `bridge_<name>{bridge, queue, labels}` | `bridge_<name>{bridge, labels}` |

- All queues together: statsd gets `<prefix>.total.<name>[.<label>]` where a column below says how; elsewhere they are
  summed over `queue`.
- DogStatsD: every metric has the tag `instance:`, one for each label, and `metrics.tags`.
- Prometheus: `bridge` is the `instance` of the configuration, since a label `instance` is there already: the address
  that is asked. Counters end in `_total`.
- Plain statsd: what is not a letter, digit, `_` or `-` in a queue's name or a label becomes `_`.
- statsd is told every second: counters carry what came since the last time, gauges come when they change and every
  10 s.
- A number that is not known is not told; it is never 0 instead.
- A daemon that takes over goes on with the numbers of the one before: no counter falls, and statsd is told nothing
  twice.
- Prometheus gets the process' own numbers too: `process_cpu_seconds_total`, `process_resident_memory_bytes`,
  `process_open_fds`, `process_start_time_seconds`, `python_gc_collections_total` and the like.
"""


def reference() -> str:
    """The page, as Markdown."""
    return (
        f"{_HEAD}\n## Of each queue\n\n"
        + _table(metric for metric in TABLE if metric.of == "queue")
        + "\n## Of the daemon\n\n"
        + _table(metric for metric in TABLE if metric.of == "daemon")
    )


def _table(metrics: Iterable[Metric]) -> str:
    head = "| name | Prometheus | kind | labels | unit | all queues | meaning |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(_row(metric) for metric in metrics)


def _row(metric: Metric) -> str:
    name = f"`{metric.name}`" if metric.statsd else ""
    prometheus = f"`{metric.prometheus}`" if metric.prometheus else ""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    cells = (name, prometheus, metric.kind, labels, metric.unit, metric.total, metric.meaning)
    return f"| {' | '.join(cells)} |\n"
