"""What leaves the daemon beside messages: numbers for statsd, Datadog, Prometheus; log lines; the status for people."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.lab.deadline import until
from bridge.lab.ports import free
from bridge.metrics import TABLE
from tests.support.brokers import Vhosts
from tests.support.daemon import running, takeover
from tests.support.peers import Peer

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


class Collector:
    """A statsd: counters summed up, gauges and timings as they came last; with tags, those are a part of the name."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = defaultdict(int)
        self.gauges: dict[str, float] = {}
        self.timings: dict[str, float] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while packet := self._socket.recv(65536):
            for line in packet.decode().split("\n"):
                name, _, rest = line.partition(":")
                value, kind, *tags = rest.split("|")
                name += "".join(tags)
                if kind == "c":
                    self.counters[name] += int(value)
                else:
                    (self.gauges if kind == "g" else self.timings)[name] = float(value)

    def close(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def scraped(port: int) -> dict[tuple[str, str], float]:
    """What Prometheus' parser reads: by name, and the queue or what else tells samples apart."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("queue") or sample.labels.get("side", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_statsd_and_prometheus_get_the_names_of_the_table_with_the_right_sums(
    collector: Collector, vhosts: Vhosts, tmp_path: Path
):
    [port] = free(1, ())
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("a.q1", "q1")
        new.quorum("a.q1", "q1")
        old.publish("a.q1", range(30))
        old.publish("q1", range(12))
        changed = {
            "metrics": {"statsd": f"127.0.0.1:{collector.port}", "prefix": "shop"},
            "admin": {"socket": str(tmp_path / "admin.sock"), "listen": f"127.0.0.1:{port}"},
            "instance": "shop-1",
        }
        with running(takeover(vhosts, tmp_path, route="quorum", **changed), tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 42)
            old.publish("q1", range(12, 20))
            assert until(lambda: collector.counters["shop.total.moved"] == 50, 10), collector.counters
            assert until(lambda: collector.gauges.get("shop.total.in_flight") == 0, 10)
            found = scraped(port)
            assert until(lambda: "shop.queue.q1.depth_ready.new" in collector.gauges, 15), collector.gauges
        assert collector.counters["shop.total.confirmed"] == 50
        assert collector.counters["shop.queue.a_q1.moved"] == 30
        assert collector.counters["shop.queue.q1.moved"] == 20
        assert collector.gauges["shop.queue.q1.route"] == 2
        assert collector.gauges["shop.total.moving"] == 2
        assert collector.gauges["shop.daemon.connected.source"] == 1
        assert 0 < collector.timings["shop.queue.q1.confirm"] < 10_000
        known = {metric.name for metric in TABLE}
        seen = {name for table in (collector.counters, collector.gauges, collector.timings) for name in table}
        names = {"queue": 3, "total": 2, "daemon": 2}
        assert {name.split(".")[names[name.split(".")[1]]] for name in seen} <= known

        assert found["bridge_moved_total", "a.q1"] == 30
        assert found["bridge_moved_total", "q1"] == 20
        assert found["bridge_route", "q1"] == 2
        assert found["bridge_connected", "target"] == 1
        assert found["bridge_active", ""] == 1
        assert found["process_resident_memory_bytes", ""] > 1e6
        prometheus = {metric.prometheus for metric in TABLE}
        assert {name for name, _ in found if name.startswith("bridge_")} <= prometheus

        # The books outlive the process: Prometheus sees no counter fall, and statsd is told nothing twice.
        with running(takeover(vhosts, tmp_path, route="quorum", **changed), tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 50)
            old.publish("q1", range(20, 25))
            assert until(lambda: collector.counters["shop.queue.q1.moved"] >= 25, 10), collector.counters
            assert scraped(port)["bridge_moved_total", "q1"] == 25
        assert collector.counters["shop.total.moved"] == 55


def bridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_log_lines_and_the_status_show_no_password_and_datadog_gets_tags(
    collector: Collector, vhosts: Vhosts, tmp_path: Path
):
    password = vhosts.old.amqp.split("@")[0].rpartition(":")[2]
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1")
        told = {"statsd": f"127.0.0.1:{collector.port}", "format": "dogstatsd", "tags": {"env": "test"}}
        config = takeover(vhosts, tmp_path, route="quorum", log={"level": "debug", "format": "json"}, metrics=told)
        old.publish("q1", range(10))
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
            shown = bridge("-c", str(daemon.file), "status")
            asked = bridge("-c", str(daemon.file), "status", "--json")
            status = daemon.status()
            moved = "bridge.moved#instance:main,env:test,queue:q1"
            assert until(lambda: collector.counters[moved] == 10, 10), collector.counters
            stalled = "bridge.stalled#instance:main,env:test,queue:q2"
            assert until(lambda: collector.gauges.get(stalled) == 1, 10), collector.gauges
        assert shown.returncode == asked.returncode == 0
        assert json.loads(asked.stdout)["queues"][0]["name"] == "q1"
        assert 'target queue "q2" does not exist' in shown.stdout
        assert status["source"]["url"].startswith("amqp://bridge:***@")

        lines = [json.loads(line) for line in daemon.stderr.splitlines()]
        assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
        assert any(line["logger"].startswith("pika") for line in lines), "libraries are heard at level debug"
        assert {line["level"] for line in lines if line["logger"].startswith("pika")} == {"debug"}
        for text in (daemon.stderr, shown.stdout, asked.stdout, json.dumps(status)):
            assert password not in text


def test_a_status_without_a_daemon_is_one_line(vhosts: Vhosts, tmp_path: Path):
    asked = bridge("status", "--socket", str(tmp_path / "admin.sock"))
    assert asked.returncode == 3
    assert asked.stderr.startswith("error: no daemon answers on ")
    assert "Traceback" not in asked.stderr


def test_an_empty_daemon_has_a_status_too(vhosts: Vhosts, tmp_path: Path):
    with running(takeover(vhosts, tmp_path), tmp_path) as daemon:
        shown = bridge("-c", str(daemon.file), "status")
    assert (shown.returncode, shown.stderr) == (0, "")
