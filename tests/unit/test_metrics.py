"""The table: what it reads off a status, and that the page and the walls know all of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from bridge.core.counts import Counts
from bridge.metrics import TABLE, Metric
from tests.support.statuses import queue, status

BY_NAME = {metric.name: metric for metric in TABLE}


def read(name: str, told: Any) -> dict[tuple[str, ...], float]:
    return dict(BY_NAME[name].read(told))


def test_the_table_counts_what_the_relay_counts() -> None:
    counters = {metric.name for metric in TABLE if metric.kind == "counter" and metric.of == "queue"}
    # What waited for how long is one metric with a label.
    counted = {field.name for field in fields(Counts) if field.type == "int" and not field.name.startswith("due_")}
    assert counters == counted | {"due", "brought_back", "brought_back_from_ladder"}


def test_names_are_there_once_and_fit_for_every_receiver() -> None:
    assert len(BY_NAME) == len(TABLE)
    assert all(metric.name.replace("_", "").isalnum() and metric.name.islower() for metric in TABLE)
    assert all(metric.meaning and metric.unit for metric in TABLE)
    assert BY_NAME["moved"].prometheus == "bridge_moved_total"
    assert BY_NAME["in_flight"].prometheus == "bridge_in_flight"
    assert BY_NAME["confirm"].prometheus == ""


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_every_metric_has_a_number_in_a_whole_status_and_the_labels_it_says(metric: Metric) -> None:
    told = status(queue("mail"))
    found = list(metric.read(told["queues"][0] if metric.of == "queue" else told))
    assert found
    assert all(len(labels) == len(metric.labels) for labels, _ in found)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_what_is_not_known_is_not_told(metric: Metric) -> None:
    bare = {"name": "mail", "route": "legacy", "state": "idle", "version": "1", "layout": "takeover", "queues": []}
    nothing = dict.fromkeys(status(queue("mail")) | queue("mail"))
    for told in (bare, {**nothing, **bare}):
        assert all(isinstance(value, float) for _, value in metric.read(told))


def test_what_stands_still_and_should_not() -> None:
    for state, expected in (
        ("moving", 0),
        ("waiting", 1),
        ("throttled", 1),
        ("faulted", 1),
        ("paused", 0),
        ("idle", 0),
    ):
        assert read("stalled", queue("mail", state=state)) == {(): expected}


def test_parts_of_the_status_are_told_by_label() -> None:
    told = queue("mail")
    assert read("depth_ready", told) == {("old",): 70.0, ("new",): 3.0}
    assert read("rate_out", told) == {("10s",): 200.0, ("1m",): 190.0, ("10m",): 150.0}
    assert read("due", told)[("minute",)] == 4.0
    assert read("confirm_seconds", told) == {("0.5",): 0.0015, ("0.99",): 0.009}
    whole = status()
    assert read("ladder_level_messages", whole) == {("3",): 12.0, ("10",): 30.0}
    assert read("connected", whole) == {("source",): 1.0, ("target",): 1.0}
    assert read("info", whole) == {("0.1.0", "takeover"): 1.0}


def test_how_old_the_saved_state_is() -> None:
    assert read("state_age_seconds", status()) == {(): 2.5}


def test_a_gate_with_one_check_that_fails_is_not_open() -> None:
    checks = [{"check": "queue", "ok": True}, {"check": "workers", "ok": False}]
    assert read("gate_ok", queue("mail", gate=checks)) == {(): 0.0}
    assert read("gate_ok", queue("mail", gate=None)) == {}
