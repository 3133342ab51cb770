"""Every fault on one stage, one after the other: nothing lost, changed or early, few twice and all of them counted."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

import pytest

from bridge.lab.brokers import Lab
from tests.faults import fault as faults
from tests.faults import kills
from tests.faults.fault import CLUSTER, Fault
from tests.faults.theatre import Theatre
from tests.support.brokers import need_brokers

pytestmark = pytest.mark.faults
#: Seconds for a fault after which tasks may come late.
IN_TIME = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Brokers of its own: they are stopped and killed. Short ETAs and heartbeats, since all faults wait for them."""
    need_brokers()
    lab = Lab.up(f"faults-{os.getpid()}", "3.10", "4.3", owner_pid=os.getpid())
    try:
        with Theatre(lab, tmp_path_factory.mktemp("faults"), ahead=(2.0, 3.0), heartbeat=4) as made:
            yield made
    finally:
        lab.down()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.name, marks=[pytest.mark.long, IN_TIME] if fault.long else ())
        for fault in faults.ALL
        if CLUSTER not in fault.needs
    ],
)
def test_the_promise_holds_under(fault: Fault, theatre: Theatre):
    theatre.play(fault).check()


@pytest.mark.parametrize(("count", "tasks"), [(3, 10_000), pytest.param(20, 50_000, marks=[pytest.mark.long, IN_TIME])])
def test_kills_in_a_row_at_full_speed(count: int, tasks: int, theatre: Theatre):
    """A restart begins with nothing but the configuration; the brokers hold all that counts."""
    row = theatre.on_stage(lambda stage: kills.at_full_speed(stage, count, tasks))
    assert row.judged(row.book.window) == ()


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=[pytest.mark.long, IN_TIME])])
def test_kills_in_a_row_of_a_live_queue(count: int, theatre: Theatre):
    row = theatre.on_stage(lambda stage: kills.live(stage, count))
    assert row.judged(row.book.window) == ()
    # Not of each: a machine that is busy with something else now and then lets the daemon wait.
    assert statistics.median(row.each) <= kills.LIVE_AT_MOST
