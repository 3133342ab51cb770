"""SIGHUP: what changed in the file is carried out, and a file with faults changes nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Peer, Worker
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


def reload(daemon: Daemon, **changed: object) -> None:
    """Write another configuration and wait until the daemon has read it."""
    before = daemon.stderr.count(READ[0]) + daemon.stderr.count(READ[1])
    daemon.configure(changed)
    daemon.signal(signal.SIGHUP)
    daemon.wait_until(lambda _: daemon.stderr.count(READ[0]) + daemon.stderr.count(READ[1]) > before)


READ = ("info bridge.daemon: reloaded ", "error bridge.daemon: reload refused")


def test_a_changed_route_is_a_verb_in_both_directions(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2", "reports")
        new.quorum("q1", "q2", "reports")
        config = takeover(vhosts, tmp_path)
        with running(config, tmp_path) as daemon:

            def moving() -> dict[str, int]:
                return {queue: old.consumers(queue) for queue in ("q1", "q2", "reports")}

            reports = {"settings": [{"match": "reports*", "route": "quorum"}]}
            reload(daemon, **{**config, "queues": reports})
            daemon.wait_until(lambda status: queue_of(status, "reports")["state"] == "moving")
            assert moving() == {"q1": 0, "q2": 0, "reports": 1}

            # What the file does not change, it does not touch.
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"moving"})
            reload(daemon, **{**config, "queues": reports, "relay": {"window": 100}})
            assert {queue["route"] for queue in daemon.status()["queues"]} == {"quorum"}
            assert until(lambda: moving() == {"q1": 1, "q2": 1, "reports": 1}, 10), "each with its new window"

            reload(daemon, **config)
            daemon.wait_until(lambda status: queue_of(status, "reports")["state"] == "idle")
            assert until(lambda: moving() == {"q1": 1, "q2": 1, "reports": 0}, 10)
            assert 'queue "reports": quorum -> legacy (legacy by reload)' in daemon.stderr


def test_a_changed_share_of_a_canary_is_taken_anew(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(1000))
        config = takeover(vhosts, tmp_path, route="canary", canary={"first": 5})
        with running(config, tmp_path) as daemon, Worker(vhosts.new.amqp, "q1") as share:
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "done")
            assert share.wait_for(5) == list(range(5))
            # The same file again changes nothing.
            reload(daemon, **config)
            assert daemon.queue("q1")["state"] == "done"

            reload(daemon, **{**config, "canary": {"first": 20}})
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "done")
            assert share.wait_for(25) == list(range(25))

            reload(daemon, **{**config, "canary": {"rate": "20/s"}})
            share.wait_for(40)
            slow = share.times[-10:]
            reload(daemon, **{**config, "canary": {"rate": "200/s"}})
            seen = len(share.wait_for(45))
            share.wait_for(seen + 200)
            fast = share.times[seen + 20 : seen + 200]
            assert 10 < (len(slow) - 1) / (slow[-1] - slow[0]) < 30
            assert 120 < (len(fast) - 1) / (fast[-1] - fast[0]) < 250
            assert share.got == list(range(len(share.got)))


def test_a_file_with_faults_changes_nothing_and_every_fault_is_said(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
            reload(daemon, **{**config, "route": "quorun", "gate": {"consumers": -1}})
            fault = str(daemon.status()["reload_fault"])
            assert "route: found" in fault
            assert "gate.consumers: found" in fault
            (line,) = [line for line in daemon.stderr.splitlines() if READ[1] in line]
            assert "the old configuration stays in force" in line
            assert "quorun" in line
            assert "-1" in line
            old.publish("q1", range(10))
            daemon.wait_until(lambda status: status["totals"]["moved"] == 10)

            daemon.file.write_text("source: [\n")
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(lambda status: status["reload_fault"] not in (None, fault))
            daemon.file.unlink()
            daemon.signal(signal.SIGHUP)
            daemon.wait_until(lambda status: "no such file" in str(status["reload_fault"]))

            reload(daemon, **config)
            daemon.wait_until(lambda status: status["reload_fault"] is None)
            assert daemon.queue("q1")["state"] == "moving"
    assert vhosts.old.amqp.split("@")[0].rpartition(":")[2] not in daemon.stderr


def test_what_needs_a_restart_is_refused(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path)
        with running(config, tmp_path) as daemon:
            changed = {**config, "route": "quorum", "instance": "other", "admin": {"socket": str(tmp_path / "b.sock")}}
            reload(daemon, **changed)
            fault = str(daemon.status()["reload_fault"])
            assert "instance: changed; allowed: the value that the daemon was started with; restart it" in fault
            assert "admin: changed" in fault
            assert daemon.queue("q1")["route"] == "legacy"
            assert old.consumers("q1") == 0


def test_a_reload_while_an_api_does_not_answer_keeps_the_daemon(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new, Proxy(vhosts.old.api) as api:
        old.classic("q1")
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum")
        config["source"]["api"] = api.url
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving")
            api.cut(refuse=True)
            reload(daemon, **{**config, "relay": {"window": 100}})
            assert "source: the HTTP API at " in daemon.stderr
            old.publish("q1", range(10))
            daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
            api.restore()


def test_log_settings_are_taken_over(vhosts: Vhosts, tmp_path: Path):
    config = takeover(vhosts, tmp_path)
    with running(config, tmp_path) as daemon:
        daemon.configure({**config, "log": {"level": "info", "format": "json"}})
        daemon.signal(signal.SIGHUP)
        daemon.wait_until(lambda _: daemon.stderr.endswith('bridge.yaml"}\n'))
        last = json.loads(daemon.stderr.splitlines()[-1])
        assert (last["level"], last["logger"]) == ("info", "bridge.daemon")
        assert last["message"].startswith("reloaded ")
