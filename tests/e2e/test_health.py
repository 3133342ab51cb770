"""What probes are told of a running daemon, and what becomes of one whose loop is stuck."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bridge.errors import Exit
from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_http(vhosts: Vhosts, folder: Path, **changed: Any) -> tuple[dict[str, Any], str]:
    """A configuration that answers over TCP, and where."""
    folder.mkdir(exist_ok=True)
    where = f"127.0.0.1:{free_port()}"
    return takeover(vhosts, folder, admin={"socket": str(folder / "admin.sock"), "listen": where}, **changed), where


def told(where: str, path: str) -> tuple[int, str]:
    answer = requests.get(f"http://{where}{path}", timeout=10)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return answer.status_code, answer.text


@pytest.fixture
def sides(vhosts: Vhosts) -> Iterator[tuple[Peer, Peer]]:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        yield old, new


def test_an_active_one_and_a_standby_are_ready_and_a_target_that_is_away_is_a_reason(
    vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path
) -> None:
    with Proxy(vhosts.new.amqp) as way:
        first, here = with_http(vhosts, tmp_path / "first", route="quorum")
        first["target"]["amqp"] = way.url
        with running(first, tmp_path / "first") as active:
            active.wait_until(lambda status: status["totals"]["in_flight"] == 0 and status["state"] == "active")
            code, text = told(here, "/livez")
            assert (code, text.splitlines()[0]) == (200, "ok")
            assert {line.partition(":")[0] for line in text.splitlines()[1:]} >= {"gates", "report", "commands"}
            assert until(lambda: told(here, "/readyz") == (200, "ok\nactive: 1 of 1 queues moving, 0 faulted\n"), 10)

            second, there = with_http(vhosts, tmp_path / "second", route="quorum")
            with running(second, tmp_path / "second"):
                code, text = told(there, "/readyz")
                assert (code, text.splitlines()[1].partition(":")[0]) == (200, "standby")
                assert told(there, "/livez")[0] == 200

            way.stall()
            way.cut()
            active.wait_until(lambda status: not status["target"]["connected"], 30)
            code, text = told(here, "/readyz")
            assert (code, text.startswith("ok\nstandby: ")) == (200, True), text
            assert told(here, "/livez")[0] == 200
            way.restore()
            active.wait_until(lambda status: status["state"] == "active", 30)


def test_a_stuck_loop_ends_the_daemon_and_another_one_goes_on(
    vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path
) -> None:
    old, new = sides
    config = takeover(vhosts, tmp_path, route="quorum", watchdog="5s")
    stuck = Daemon.start(config, tmp_path, module="tests.support.stuck")
    try:
        stuck.wait_until(lambda status: status["queues"][0]["state"] == "moving")
        (tmp_path / "bridge.yaml.stuck").touch()
        old.publish("q1", range(50))
        assert stuck.ended(20) == Exit.STUCK
    finally:
        stuck.kill()
    last = stuck.stderr.splitlines()[-1]
    assert " error bridge.watchdog: the loop has stood still for 5 s, in __main__:" in last
    assert " stick: ending with exit code 4, to be started anew" in last
    assert "Traceback" not in stuck.stderr
    with running(config, tmp_path) as daemon:
        # What was published and not acked when it ended comes twice.
        daemon.wait_until(lambda _status: new.ready("q1") >= 50 and old.ready("q1") == 0, 30)
