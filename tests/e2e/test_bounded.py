"""Memory is bounded whatever comes, and nothing waits unacked for long."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.functional.cases import task
from tests.functional.cases_content import LARGEST
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.proxy import Proxy, Way
from tests.support.raw_amqp import RawAmqp

pytestmark = pytest.mark.e2e
in_one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)

#: Bytes that the daemon may have in memory at any time.
MOST = 200 * 1000**2


def peak(daemon: Daemon) -> int:
    """The most memory that the process had so far, in bytes (VmHWM of proc(5))."""
    [line] = [one for one in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@in_one_world
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.long)], ids=["full-speed", "slow-target"])
def test_messages_of_ten_bytes_to_sixteen_mebibytes(slow: bool, vhosts: Vhosts, tmp_path: Path) -> None:
    """Sizes are not known before they come: prefetch alone would let in 500 of the largest for each queue."""
    chance = random.Random(4)
    queues = ("q1", "q2", "q3")
    sizes = [LARGEST] * 12 + [chance.randrange(10, 1 << chance.randrange(4, 24)) for _ in range(50)] + [10] * 300
    chance.shuffle(sizes)
    if slow:
        sizes = [LARGEST // 2, *[size for size in sizes if size < LARGEST // 64]]
    bodies = os.urandom(LARGEST)
    with Proxy(vhosts.new.amqp) as proxy, RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        for queue in queues:
            old.declare(queue)
            new.declare(queue, **{"x-queue-type": "quorum"})
            for size in sizes:
                old.publish("", queue, task(bodies[:size]).raw())
        config = takeover(vhosts, tmp_path, route="quorum", log={"level": "info", "format": "text"})
        config["target"]["amqp"] = proxy.url
        with running(config, tmp_path) as daemon:
            if slow:
                # A message takes ten times as long as a silent target is waited for.
                proxy.trickle(1_000_000, Way.TO_SERVER)
            daemon.wait_until(lambda _: sum(map(old.depth, queues)) == 0 and sum(map(new.depth, queues)) > 0, 120)
            status = daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0, 60)
            assert peak(daemon) < MOST, f"{peak(daemon) / 1e6:.0f} MB\n{daemon.quote()}"
            # Nobody was cut off: heartbeats went on meanwhile.
            assert "connection closed" not in daemon.stderr
            assert status["totals"]["returned"] == status["totals"]["nacked"] == 0
        for queue in queues:
            assert new.depth(queue) == len(sizes)


@pytest.mark.long
@in_one_world
def test_a_slow_canary_holds_nothing_for_a_minute(vhosts: Vhosts, tmp_path: Path) -> None:
    """The first of ten come, the others do not: what was moved is acked all the same."""
    config = takeover(
        vhosts,
        tmp_path,
        queues={"settings": [{"match": "q1", "route": "canary", "canary": {"first": 10}}]},
        log={"level": "info", "format": "text"},
    )
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        old.declare("q1")
        new.declare("q1", **{"x-queue-type": "quorum"})
        for _ in range(4):
            old.publish("", "q1", task(b"few").raw())
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 4, 20)
            began = time.monotonic()
            daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0, 50)
            assert time.monotonic() - began < 45
            for _ in range(8):
                old.publish("", "q1", task(b"more").raw())
            daemon.wait_until(lambda status: status["queues"][0]["state"] == "done", 20)
        assert (new.depth("q1"), old.depth("q1")) == (10, 2)
