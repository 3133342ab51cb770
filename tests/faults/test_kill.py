"""kill -9 of the daemon under load, ten times in a row: nothing is lost, and no more is doubled than was in flight."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, takeover
from tests.support.peers import Peer

pytestmark = pytest.mark.faults

#: Messages of one queue in flight: what one kill can double.
WINDOW = 300
QUEUES = ("a.q1", "q1")
#: Messages in each old queue at each kill, at least: it falls under full flow.
BACKLOG = 4000


@pytest.mark.parametrize(("world", "kills"), [("3.10->4.3", 10), ("3.10->3.10", 3)], indirect=["world"])
def test_kills_in_a_row_lose_nothing(vhosts: Vhosts, kills: int, tmp_path: Path):
    """A restart begins with nothing but the configuration; the brokers hold all that counts."""
    config = takeover(
        vhosts, tmp_path, route="quorum", relay={"window": WINDOW}, log={"level": "info", "format": "text"}
    )
    published = redelivered = 0
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic(*QUEUES)
        new.quorum(*QUEUES)
        hits = rounds = 0
        while hits < kills:
            rounds += 1
            assert rounds <= 2 * kills, "too many kills came when all was moved"
            missing = BACKLOG - min(old.ready(queue) for queue in QUEUES)
            for queue in QUEUES:
                old.publish(queue, range(published, published + missing))
            published += missing
            daemon = Daemon.start(config, tmp_path)
            try:
                status = daemon.wait_until(lambda status: all(queue["moved"] > 0 for queue in status["queues"]))
            finally:
                daemon.kill()
            redelivered += status["totals"]["redelivered"]
            hits += min(old.ready(queue) for queue in QUEUES) > 0

        daemon = Daemon.start(config, tmp_path)
        try:
            status = daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0 and empty(old), 60)
            redelivered += status["totals"]["redelivered"]
        finally:
            assert daemon.stop() == 0
        assert "Traceback" not in daemon.stderr
        for queue in QUEUES:
            numbers = Counter(number for number, _ in new.take_all(queue))
            assert set(numbers) == set(range(published)), f"{queue}: {published - len(numbers)} lost"
            assert sum(numbers.values()) - published <= WINDOW * rounds, f"{queue}: more were doubled than in flight"
        assert redelivered <= WINDOW * rounds * len(QUEUES)


def empty(old: Peer) -> bool:
    return all(old.ready(queue) == 0 for queue in QUEUES)
