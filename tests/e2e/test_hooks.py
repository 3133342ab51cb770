"""Commands at transitions of a daemon at work: told of what happens, and never in the way of the messages."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.daemon import queue_of, running, takeover
from tests.support.peers import Peer, Worker

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: Appends what it is told to the file that it is given.
TELL = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def told(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def in_calls(file: Path, event: str) -> list[dict[str, Any]]:
    """The queues of all calls of an event."""
    return [queue for call in told(file) if call["event"] == event for queue in call["queues"]]


def test_each_transition_is_told_once(vhosts: Vhosts, tmp_path: Path):
    queues = [f"q{number}" for number in range(20)]
    file = tmp_path / "told"
    tell = [sys.executable, "-c", TELL, str(file)]
    hooks = {f"on_{event}": tell for event in ("active", "cutover", "legacy", "faulted", "throttled")}
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic(*queues)
        new.quorum(*queues)
        config = takeover(vhosts, tmp_path, hooks=hooks, throttle={"depth": 100})
        with running(config, tmp_path, environment={"BRIDGE_TOKEN": "not-for-commands"}) as daemon:
            assert until(lambda: [call["event"] for call in told(file)] == ["active"], 10)
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"moving"})
            assert until(lambda: len(in_calls(file, "cutover")) == len(queues), 10)
            assert {each["queue"] for each in in_calls(file, "cutover")} == set(queues)
            assert {(each["before"], each["route"]) for each in in_calls(file, "cutover")} == {("legacy", "quorum")}
            calls = told(file)[1:]
            # One, unless the machine is so busy that gates are seconds apart.
            assert len(calls) < len(queues) / 2
            assert {(call["by"], call["door"]) for call in calls} == {("SIGUSR1", "signal")}

            old.publish("q1", range(200))
            assert until(lambda: bool(in_calls(file, "throttled")), 10)
            (one,) = in_calls(file, "throttled")
            assert "messages ready, 100 are the bound" in one["why"]

            # Its target is gone: tried again and again, told once.
            new.channel.queue_delete("q2")
            old.publish("q2", range(10))
            assert until(lambda: bool(in_calls(file, "faulted")), 20)
            assert [each["queue"] for each in in_calls(file, "faulted")] == ["q2"]
            daemon.wait_until(lambda _: daemon.stderr.count('queue "q2": moving') >= 1)

            daemon.signal(signal.SIGUSR2)
            daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"idle"})
        # What happened right before the end is told too.
        events = [call["event"] for call in told(file)]
        assert list(dict.fromkeys(events)) == ["active", "cutover", "throttled", "faulted", "legacy"]
        assert {each["queue"] for each in in_calls(file, "legacy")} == set(queues)
        assert len(in_calls(file, "throttled")) == len(in_calls(file, "faulted")) == 1


@pytest.mark.long
def test_commands_that_hang_and_flood_hold_nothing_up(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        config = takeover(vhosts, tmp_path, hooks={"on_cutover": ["sh", "-c", "sleep 60 & yes"], "timeout": "3s"})
        with running(config, tmp_path) as daemon, Worker(vhosts.new.amqp, "q1") as worker:
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: status["hooks"]["running"] == 1)
            old.publish("q1", range(2000))
            assert worker.wait_for(2000, 20) == list(range(2000))
            status = daemon.wait_until(lambda status: status["hooks"]["failed"] == 1, 10)
            assert "ended after 3 s, its time limit" in status["hooks"]["last_failure"]["text"]
            assert queue_of(status, "q1")["moved"] == 2000
