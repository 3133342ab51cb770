"""What statsd hears, plain and as DogStatsD: over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.address import HostPort
from bridge.config import parse
from bridge.metrics import TABLE
from bridge.metrics_statsd import AGAIN, STRETCH, Statsd
from tests.support.statuses import queue, status

QUEUES = [metric for metric in TABLE if metric.of == "queue"]


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        end.bind(("127.0.0.1", 0))
        yield end


def to(collector: socket.socket) -> HostPort:
    return HostPort.parse(f"127.0.0.1:{collector.getsockname()[1]}")


@pytest.fixture
def statsd(collector: socket.socket) -> Iterator[Statsd]:
    made = Statsd(to(collector), "bridge")
    yield made
    made.close()


@pytest.fixture
def dogstatsd(collector: socket.socket) -> Iterator[Statsd]:
    made = Statsd(to(collector), "bridge", {"instance": "main", "env": "prod"})
    yield made
    made.close()


def lines(collector: socket.socket) -> list[str]:
    """What was sent so far: on the loopback a datagram is there when `sendto` returns."""
    collector.setblocking(False)
    found: list[str] = []
    try:
        while True:
            packet = collector.recv(65536)
            assert len(packet) <= 1432, "it would not fit into one frame of an ethernet"
            found += packet.decode().split("\n")
    except BlockingIOError:
        return found


def heard(collector: socket.socket) -> dict[str, str]:
    told = lines(collector)
    assert len({line.rpartition(":")[0] for line in told}) == len(told)
    return dict(line.rsplit(":", 1) for line in told)


def test_every_name_of_the_table_is_sent_for_each_queue_and_in_total(statsd: Statsd, collector: socket.socket) -> None:
    counts = {metric.name: 5 for metric in QUEUES if metric.kind == "counter" and not metric.labels}
    back = {"brought_back": 5, "from_ladder": 5}
    statsd.send(status(queue("q1", **counts, back=back), queue("q2", **counts, back=back), clock={"jumps": 1}))
    told = heard(collector)
    for metric in QUEUES:
        for owner in ("queue.q1", "queue.q2", *(["total"] if metric.total else [])):
            assert any(name == f"bridge.{owner}.{metric.name}" or f".{owner}.{metric.name}." in name for name in told)
    assert told["bridge.daemon.active"] == "1|g"
    assert told["bridge.daemon.clock_jumps"] == "1|c"
    assert told["bridge.daemon.ladder_level_messages.3"] == "12|g"
    assert not any("info" in name for name in told), "what only has labels says nothing to plain statsd"


def test_counters_are_what_came_since_and_gauges_as_they_stand(statsd: Statsd, collector: socket.socket) -> None:
    statsd.send(status(queue("q1", moved=10, in_flight=3), queue("q2", moved=1, in_flight=4)))
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "10|c"
    assert told["bridge.total.moved"] == "11|c"
    assert told["bridge.total.in_flight"] == "7|g"
    assert told["bridge.queue.q1.confirm"] == "1.500000|ms"
    assert told["bridge.queue.q1.route"] == "2|g"
    assert told["bridge.queue.q1.rate_in.1m"] == "52|g"
    assert told["bridge.total.finish_seconds"] == "90|g", "the last to finish, not the sum"

    idle = queue("q1", moved=25, in_flight=3, state="idle", route="legacy", confirm_ms=None)
    statsd.send(status(idle, queue("q2", moved=1, in_flight=4)))
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "15|c"
    assert told["bridge.total.moved"] == "15|c"
    assert told["bridge.total.moving"] == "1|g"
    assert told["bridge.queue.q1.route"] == "0|g"
    assert "bridge.queue.q1.confirm" not in told
    assert "bridge.queue.q1.in_flight" not in told, "it stays"
    assert not any(name.startswith("bridge.queue.q2.") for name in told), "nothing happened to it"


def test_what_stays_is_told_again_after_a_while(statsd: Statsd, collector: socket.socket) -> None:
    told = []
    for _ in range(AGAIN + 1):
        statsd.send(status(queue("q1"), queue("q2")))
        told.append(heard(collector))
    for name in ("bridge.queue.q1.window", "bridge.queue.q2.window", "bridge.daemon.active"):
        assert sum(name in one for one in told) == 2


def test_a_queue_that_vanishes_takes_nothing_back_from_the_total(statsd: Statsd, collector: socket.socket) -> None:
    statsd.send(status(queue("q1", moved=10), queue("q2", moved=10)))
    heard(collector)
    statsd.send(status(queue("q1", moved=12)))
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "2|c"
    assert told["bridge.total.moved"] == "2|c"
    assert told["bridge.total.moving"] == "1|g"


def test_what_an_earlier_process_counted_is_not_told_again(statsd: Statsd, collector: socket.socket) -> None:
    statsd.inherit(status(queue("q1", moved=1000)))
    statsd.send(status(queue("q1", moved=1003)))
    told = heard(collector)
    assert told["bridge.queue.q1.moved"] == "3|c"
    assert told["bridge.queue.q1.in_flight"] == "3|g", "what stands is told"
    assert "bridge.queue.q1.converted" not in told


@pytest.mark.parametrize("name", ["a.q1", "a:b|c@d", "ä b"])
def test_names_are_fit_for_statsd(name: str, statsd: Statsd, collector: socket.socket) -> None:
    statsd.send(status(queue(name, moved=1)))
    ours = [key for key in heard(collector) if ".queue." in key]
    assert all(key.split(".")[2].replace("_", "").isalnum() for key in ours)


def test_many_queues_are_cut_into_datagrams(statsd: Statsd, dogstatsd: Statsd, collector: socket.socket) -> None:
    many = status(*(queue(f"queue-{number}", moved=1) for number in range(50)))
    statsd.send(many)
    assert heard(collector)["bridge.total.moved"] == "50|c"
    dogstatsd.send(many)
    assert sum(line.startswith("bridge.moved:1|c|") for line in lines(collector)) == 50


def test_others_are_let_in_between_where_there_are_many_queues(collector: socket.socket) -> None:
    pauses: list[int] = []
    statsd = Statsd(to(collector), "bridge", pause=lambda: pauses.append(1))
    statsd.send(status(*(queue(f"queue-{number}") for number in range(2 * STRETCH))))
    statsd.close()
    assert len(pauses) == 2


def test_datadog_has_the_queue_and_what_else_tells_numbers_apart_in_tags(
    dogstatsd: Statsd, collector: socket.socket
) -> None:
    dogstatsd.send(
        status(queue("a.b, c#d", moved=2, depth={"old": {"ready": 7}, "new": None}), source={"connected": False})
    )
    told = lines(collector)
    always = "#instance:main,env:prod"
    assert f"bridge.moved:2|c|{always},queue:a.b__c_d" in told
    assert f"bridge.depth_ready:7|g|{always},queue:a.b__c_d,side:old" in told
    assert f"bridge.confirm:1.5|ms|{always},queue:a.b__c_d" in told
    assert f"bridge.connected:0|g|{always},side:source" in told
    assert not any("total" in line for line in told)


def test_a_receiver_whose_name_is_not_known_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for tags in (None, {"instance": "main"}):
        caplog.clear()
        statsd = Statsd(HostPort.parse("nowhere.invalid:8125"), "bridge", tags)
        for _ in range(2):
            statsd.send(status(queue("q1")))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "metrics.statsd: no metrics are sent: nowhere.invalid: " in caplog.text


@pytest.mark.parametrize("tags", [None, {"instance": "main"}])
def test_a_collector_that_is_not_there_is_nobody_s_trouble(tags: dict[str, str] | None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        port = end.getsockname()[1]
    statsd = Statsd(HostPort.parse(f"127.0.0.1:{port}"), "bridge", tags)
    for number in range(3):
        statsd.send(status(queue("q1", moved=number)))
    statsd.close()


def test_the_configuration_says_which_kind(collector: socket.socket) -> None:
    sides = 'source: {amqp: "amqp://u:p@old/c", api: "http://old"}\ntarget: {amqp: "amqp://u:p@new/q"}\n'

    def sent(metrics: str) -> list[str]:
        statsd = Statsd.of(parse(f"{sides}instance: shop\nmetrics: {metrics}", {}), lambda: None)
        if statsd is None:
            return []
        statsd.send(status(queue("q1")))
        statsd.close()
        return lines(collector)

    where: Any = f'statsd: "{to(collector)}"'
    assert sent("{prefix: x}") == []
    assert "bridge.daemon.active:1|g" in sent(f"{{{where}}}")
    tagged = sent(f"{{{where}, prefix: x, format: dogstatsd, tags: {{env: prod}}}}")
    assert "x.active:1|g|#instance:shop,env:prod" in tagged
