from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.address import HostPort
from bridge.core.counts import Counts
from bridge.metrics import TABLE, Statsd, reference


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(5)
        yield end


@pytest.fixture
def statsd(collector: socket.socket) -> Iterator[Statsd]:
    made = Statsd(HostPort.parse(f"127.0.0.1:{collector.getsockname()[1]}"), "bridge")
    yield made
    made.close()


def queue(name: str, **changed: Any) -> dict[str, Any]:
    numbers = dict.fromkeys((metric.name for metric in TABLE if metric.kind == "counter"), 0)
    fixed = {"name": name, "route": "quorum", "state": "moving", "in_flight": 0, "confirm_ms": 1.5}
    return {**numbers, **fixed, **changed}


def heard(collector: socket.socket) -> dict[str, str]:
    """What was sent of one snapshot: datagrams until the last name of the table."""
    lines: list[str] = []
    while not any(line.startswith("bridge.total.moving:") for line in lines):
        packet = collector.recv(65536)
        assert len(packet) <= 1432, "it would not fit into one frame of an ethernet"
        lines += packet.decode().split("\n")
    assert [name for name, count in Counter(line.split(":")[0] for line in lines).items() if count > 1] == []
    return dict(line.split(":", 1) for line in lines)


def test_every_name_of_the_table_is_sent_for_each_queue_and_in_total(statsd: Statsd, collector: socket.socket):
    numbers = {metric.name: 5 for metric in TABLE if metric.kind == "counter"}
    statsd.send({"queues": [queue("q1", **numbers), queue("q2", **numbers)]})
    told = heard(collector)
    expected = {f"bridge.queue.{name}.{metric.name}" for metric in TABLE for name in ("q1", "q2")}
    expected |= {f"bridge.total.{metric.name}" for metric in TABLE if metric.name not in ("route", "confirm")}
    assert set(told) == expected


def test_counters_are_what_came_since_and_gauges_as_they_stand(statsd: Statsd, collector: socket.socket):
    statsd.send({"queues": [queue("q1", moved=10, in_flight=3), queue("q2", moved=1, in_flight=4)]})
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "10|c"
    assert told["bridge.total.moved"] == "11|c"
    assert told["bridge.total.in_flight"] == "7.0|g"
    assert told["bridge.queue.q1.confirm"] == "1.500000|ms"
    assert told["bridge.queue.q1.route"] == "2|g"

    idle = queue("q1", moved=25, state="idle", route="legacy", confirm_ms=None)
    statsd.send({"queues": [idle, queue("q2", moved=1)]})
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "15|c"
    assert told["bridge.total.moved"] == "15|c"
    assert told["bridge.total.moving"] == "1.0|g"
    assert told["bridge.queue.q1.route"] == "0|g"
    assert "bridge.queue.q2.moved" not in told
    assert "bridge.queue.q1.confirm" not in told


def test_a_queue_that_vanishes_takes_nothing_back_from_the_total(statsd: Statsd, collector: socket.socket):
    statsd.send({"queues": [queue("q1", moved=10), queue("q2", moved=10)]})
    heard(collector)
    statsd.send({"queues": [queue("q1", moved=12)]})
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "2|c"
    assert told["bridge.total.moved"] == "2|c"


@pytest.mark.parametrize("name", ["a.q1", "a:b|c@d", "ä b"])
def test_names_are_fit_for_statsd(name: str, statsd: Statsd, collector: socket.socket):
    statsd.send({"queues": [queue(name, moved=1)]})
    ours = [key for key in heard(collector) if ".queue." in key]
    assert all(key.split(".")[2].replace("_", "").isalnum() for key in ours)
    assert {key.count(".") for key in ours} == {3}


def test_many_queues_are_cut_into_datagrams(statsd: Statsd, collector: socket.socket):
    statsd.send({"queues": [queue(f"queue-{number}", moved=1) for number in range(50)]})
    assert heard(collector)["bridge.total.moved"] == "50|c"


def test_a_receiver_whose_name_is_not_known_stops_nothing(caplog: pytest.LogCaptureFixture):
    statsd = Statsd(HostPort.parse("nowhere.invalid:8125"), "bridge")
    for _ in range(2):
        statsd.send({"queues": [queue("q1", moved=1)]})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "metrics.statsd: no metrics are sent: nowhere.invalid: " in caplog.text


def test_a_collector_that_is_not_there_is_nobody_s_trouble():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        port = end.getsockname()[1]
    statsd = Statsd(HostPort.parse(f"127.0.0.1:{port}"), "bridge")
    for _ in range(3):
        statsd.send({"queues": [queue("q1", moved=1)]})
    statsd.close()


def test_the_table_counts_what_the_relay_counts():
    """`taken` is what is left out: it is moved plus in flight plus what went back."""
    counters = {metric.name for metric in TABLE if metric.kind == "counter"}
    assert counters == set(Counts.__dataclass_fields__) - {"taken"}
    assert all(metric.meaning and metric.unit for metric in TABLE)


def test_the_reference_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    command = (
        "python -c 'from bridge.metrics import reference; print(reference(), end=str())' > docs/reference/metrics.md"
    )
    assert page.read_text() == reference(), f"run: {command}"
