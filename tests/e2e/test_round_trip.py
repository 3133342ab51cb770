"""The bridge's own message over the whole way, on real brokers: its time, its faults, and what it leaves untouched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.admin_client import fetch
from bridge.lab.deadline import until
from tests.e2e.test_health import told, with_http
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

PROBE = {"every": "2s"}


@pytest.fixture
def sides(vhosts: Vhosts) -> Iterator[tuple[Peer, Peer]]:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        yield old, new


def arrived(daemon: Daemon, after: str | None = None) -> str:
    """Wait until one arrived, later than this; when it did."""
    status = daemon.wait_until(lambda status: status["probe"]["at"] not in (None, after), 30)
    at: str = status["probe"]["at"]
    return at


def test_it_travels_beside_the_queues_and_is_none_of_them(
    vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path
) -> None:
    old, new = sides
    with running(takeover(vhosts, tmp_path, route="quorum", probe=PROBE), tmp_path) as daemon:
        first = arrived(daemon)
        old.publish("q1", range(20))
        arrived(daemon, first)
        status = daemon.wait_until(lambda status: status["totals"]["moved"] == 20)
        probe = status["probe"]
        assert (probe["every_s"], probe["fault"]) == (2, None)
        assert 0 < probe["p50_ms"] < 10_000
        assert 0 < probe["last_ms"] < 10_000
        # It is in no list, no sum, no book.
        assert [queue["name"] for queue in status["queues"]] == ["q1"]
        assert status["totals"]["taken"] == 20
        # Nor is it anybody's in the certificate.
        certificate = fetch(daemon.socket, "certify", patience=30)
        assert "bridge.probe" not in json.dumps(certificate)
        assert "in scope, 0 others may hold tasks" in json.dumps(certificate)
        for peer in (old, new):
            assert peer.ready("bridge.probe") <= 1


@pytest.mark.long
def test_a_target_that_is_away_is_a_fault_and_a_silent_one_too(
    vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path
) -> None:
    with Proxy(vhosts.new.amqp) as way:
        config, where = with_http(vhosts, tmp_path / "one", route="quorum", probe=PROBE)
        config["target"]["amqp"] = way.url
        with running(config, tmp_path / "one") as daemon:
            before = arrived(daemon)
            assert told(where, "/readyz")[0] == 200
            # It takes what is published, and says nothing: the daemon does not know yet.
            way.stall()
            status = daemon.wait_until(lambda status: status["probe"]["fault"] is not None, 40)
            assert status["probe"]["fault"] == "not arrived within 2 s"
            assert told(where, "/readyz") == (503, "the probe: not arrived within 2 s\n")
            # It is found out, and a reason.
            status = daemon.wait_until(lambda status: not status["target"]["connected"], 40)
            assert until(lambda: told(where, "/readyz")[0] == 200, 20)
            way.restore()
            daemon.wait_until(lambda status: status["probe"]["fault"] is None and status["state"] == "active", 40)
            arrived(daemon, before)
            assert told(where, "/readyz")[0] == 200


@pytest.mark.long
def test_a_standby_sends_none(vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (takeover(vhosts, tmp_path / name, probe=PROBE) for name in ("first", "second"))
    with running(first, tmp_path / "first") as active:
        arrived(active)
        with running(second, tmp_path / "second") as standby:
            nothing = {"every_s": 2, "last_ms": None, "p50_ms": None, "p99_ms": None, "at": None, "fault": None}
            assert standby.status()["probe"] == nothing
            assert active.stop() == 0
            arrived(standby)
