from __future__ import annotations

import pytest

from bridge.lab import rehearsal
from bridge.lab.rehearsal import BULK, EATEN, LIVE, PREPARING, Plan


def test_the_queues_have_a_suffix_trap() -> None:
    assert {"q1", "a.q1"} <= set(BULK)
    assert not set(BULK) & set(LIVE)


@pytest.mark.parametrize("plan", [Plan(), Plan(tasks=1000, seconds=3.0), Plan(eta_share=0.0)])
def test_old_workers_leave_most_of_the_backlog_to_the_bridge(plan: Plan) -> None:
    due = plan.tasks * (1 - plan.eta_share)
    eaten = (plan.seconds + PREPARING) / plan.bulk_seconds
    assert eaten == pytest.approx(EATEN * due)


def test_a_backlog_of_eta_tasks_only() -> None:
    assert Plan(eta_share=1.0).bulk_seconds > 0


def test_shares_add_up() -> None:
    assert rehearsal._shares(7, 3) == [3, 2, 2]
    assert sum(rehearsal._shares(20_000, 2)) == 20_000


def test_seeds_differ_by_producer_and_not_by_process() -> None:
    assert rehearsal._seed(1, "live") == rehearsal._seed(1, "live") != rehearsal._seed(1, "filler-0")
    assert rehearsal._seed(1, "live") == int.from_bytes(b"1/live", "big")
