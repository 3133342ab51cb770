"""What a scrape answers, read by Prometheus' own parser."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bridge.metrics import TABLE
from bridge.metrics_prometheus import STRETCH, Scrapes
from tests.support.statuses import queue, status


def scraped(told: dict[str, Any]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    code, kind, text = Scrapes(lambda: told, lambda: None)()
    assert code == 200
    assert kind.startswith("text/plain; version=")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_every_name_of_the_table_is_there_with_its_labels() -> None:
    found = scraped(status(queue("mail"), queue('a "q"\n')))
    for metric in TABLE:
        if metric.prometheus:
            labels = {"bridge", *metric.labels, *(["queue"] if metric.of == "queue" else [])}
            assert all({name for name, _ in key} == labels for key in found[metric.prometheus])
    assert found["bridge_moved_total"] == {
        (("bridge", "main"), ("queue", "mail")): 1200,
        (("bridge", "main"), ("queue", 'a "q"\n')): 1200,
    }
    assert found["bridge_ladder_level_due"][("bridge", "main"), ("level", "3")] == 12
    assert found["bridge_confirm_seconds"][("bridge", "main"), ("quantile", "0.99"), ("queue", "mail")] == 0.009


def test_the_process_tells_about_itself() -> None:
    found = scraped(status())
    assert found["process_resident_memory_bytes"][()] > 0
    assert "python_gc_collections_total" in found


def test_each_scrape_looks_anew_and_lets_others_in_between() -> None:
    looks, pauses = [], []

    def look() -> dict[str, Any]:
        looks.append(1)
        return status(*(queue(f"q{number}", moved=len(looks)) for number in range(STRETCH)))

    scrapes = Scrapes(look, lambda: pauses.append(1))
    for number in (1, 2):
        assert f'bridge_moved_total{{bridge="main",queue="q7"}} {number}.0' in scrapes()[2]
        # While each name is read, and while it is written.
        assert len(pauses) >= 2 * number * sum(metric.of == "queue" for metric in TABLE if metric.prometheus)
