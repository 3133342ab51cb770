"""Routes that change under live traffic of real Celery: nothing is lost, early, changed or doubled."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bridge.lab.fingerprint import caps_priority
from tests.support.brokers import Vhosts
from tests.support.celery_traffic import CeleryTraffic
from tests.support.daemon import queue_of, running, takeover

pytestmark = [pytest.mark.e2e]

#: Tasks that must have started on a side before the next flip.
_SOME = 40


def assert_sound(traffic: CeleryTraffic) -> None:
    report = traffic.settle()
    assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0), report.faults
    assert report.started_old
    assert report.started_new


@pytest.mark.parametrize(
    ("world", "flips"),
    [
        ("3.10->4.3", 4),
        pytest.param("3.10->4.3", 20, marks=pytest.mark.long),
        pytest.param("3.10->4.0", 20, marks=pytest.mark.long),
        pytest.param("3.10->3.10", 20, marks=pytest.mark.long),
    ],
    indirect=["world"],
)
def test_there_and_back_again_and_again(flips: int, vhosts: Vhosts, tmp_path: Path):
    old, new = vhosts.old.amqp, vhosts.new.amqp
    capped = caps_priority(vhosts.new.version)
    with (
        CeleryTraffic(
            tmp_path / "traffic", into=old, sides={"old": old, "new": new}, queues=("q1",), capped=capped
        ) as traffic,
        running(takeover(vhosts, tmp_path), tmp_path) as daemon,
    ):
        traffic.starts_on("old", _SOME)
        for flip in range(flips):
            there = flip % 2 == 0
            daemon.signal(signal.SIGUSR1 if there else signal.SIGUSR2)
            traffic.starts_on("new" if there else "old", _SOME)
        daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)
        assert daemon.status()["totals"]["possible_duplicates"] == 0
        assert_sound(traffic)
