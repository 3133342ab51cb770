"""Somebody sets the clock of the machine while tasks with an ETA move: it is noticed, and no task is changed by it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.functional.cases import iso, task
from tests.support.brokers import Vhosts
from tests.support.daemon import running, takeover
from tests.support.raw_amqp import RawAmqp

pytestmark = pytest.mark.e2e

#: Python imports this at its start, in the daemon's process: its clock is the machine's and the seconds in a file.
CLOCK = """
import pathlib, time
_real, _file = time.time, pathlib.Path({file!r})
time.time = lambda: _real() + float(_file.read_text())
"""


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_the_clock_is_set_forward_and_back(vhosts: Vhosts, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(CLOCK.format(file=str(offset)))
    config = takeover(vhosts, tmp_path, route="quorum", log={"level": "info", "format": "text"})
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        old.declare("q1")
        new.declare("q1", **{"x-queue-type": "quorum"})
        new.consume("q1")
        with running(config, tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as daemon:
            daemon.wait_until(lambda status: status["queues"][0]["state"] == "moving")
            assert daemon.status()["clock"] == {"jumps": 0, "last": None}

            # Forward: a task that is due in an hour seems due. It comes at once with its ETA, and the worker waits.
            offset.write_text("7200")
            status = daemon.wait_until(lambda status: status["clock"]["jumps"] == 1)
            assert 7199 < status["clock"]["last"]["seconds"] < 7201
            assert "the clock was set forward by 720" in daemon.stderr
            hour = task(b"in an hour", eta=iso(time.time() + 3600)).raw()
            old.publish("", "q1", hour)
            arrived = new.receive(time.monotonic() + 10)
            assert arrived is not None
            assert (arrived.body, iso_in(arrived.properties)) == (hour.body, iso_in(hour.properties))

            # Back, to the right time: what is due soon waits in the ladder as before.
            offset.write_text("0")
            daemon.wait_until(lambda status: status["clock"]["jumps"] == 2)
            due = time.time() + 3.9
            old.publish("", "q1", task(b"soon", eta=iso(due)).raw())
            arrived = new.receive(time.monotonic() + 15)
            assert arrived is not None
            assert arrived.body == b"soon"
            assert arrived.at > due - 1
            assert daemon.status()["totals"]["converted"] == 1


def iso_in(properties: bytes) -> bytes:
    """The ETA as it stands in a content header."""
    at = properties.index(b"\x03eta") + 5
    size = int.from_bytes(properties[at : at + 4], "big")
    return properties[at + 4 : at + 4 + size]
