from __future__ import annotations

from bridge.core.old_holders import holders, worth_asking
from bridge.core.old_side import Holder, QueueSeen
from tests.unit.core.old_looks import BRIDGE, OTHER, WEB, WORKER, channel, consumer, look

WORKERS = {WORKER: "celery@w1", OTHER: "celery@w2"}


def shown(found):
    holding, left = found
    return sorted((one.queue, one.worker or one.connection, one.unacked, one.eta) for one in holding), left


def test_a_channel_with_one_queue_holds_what_it_holds_from_there():
    seen = look(
        [QueueSeen("q1", unacked=9), QueueSeen("q2", unacked=4), QueueSeen("ev", unacked=1, tasks=False)],
        [channel(WORKER, unacked=7), channel(OTHER, unacked=6), channel(WEB, unacked=0)],
        [
            consumer("q1", WORKER),
            consumer("q1", OTHER),
            consumer("q2", OTHER),
            consumer("q2", WEB),
            consumer("ev", WEB),
            consumer("unheard of", OTHER),
        ],
    )
    assert shown(holders(seen, WORKERS, "main", {})) == (
        [("q1", "celery@w1", 7, None), ("q1", "celery@w2", 2, None), ("q2", "celery@w2", 4, None)],
        {},
    )


def test_a_worker_that_was_told_to_stop_consuming_keeps_its_eta_tasks():
    seen = look(
        [QueueSeen("q1", unacked=7), QueueSeen("q2", unacked=5)],
        [channel(WORKER, unacked=7), channel(OTHER, unacked=5)],
        [consumer("q2", OTHER)],
    )
    assert shown(holders(seen, WORKERS, "main", {"celery@w1": {"q1": 6, "": 1}})) == (
        [("q1", "celery@w1", 7, 6), ("q2", "celery@w2", 5, None)],
        {},
    )


def test_what_workers_say_of_their_eta_tasks_comes_first():
    # Both consume both queues: their numbers alone do not tell who holds what.
    seen = look(
        [QueueSeen("q1", unacked=4), QueueSeen("q2", unacked=6)],
        [channel(WORKER, unacked=3), channel(WORKER, 2, unacked=2), channel(OTHER, unacked=5)],
        [consumer(queue, name) for queue in ("q1", "q2") for name in (WORKER, OTHER)],
    )
    said = {"celery@w1": {"q2": 5, "elsewhere": 2}, "celery@w2": {"q1": 3}, "celery@gone": {"q1": 9}}
    assert shown(holders(seen, WORKERS, "main", said)) == (
        [("q1", "celery@w2", 4, 3), ("q2", "celery@w1", 5, 5), ("q2", "celery@w2", 1, 0)],
        {},
    )


def test_ours_in_flight_are_left_out_and_what_nobody_explains_is_said():
    seen = look(
        [QueueSeen("q1", unacked=100), QueueSeen("q2", unacked=2)],
        [channel(BRIDGE, unacked=90)],
        [consumer("q1", BRIDGE)],
    )
    assert shown(holders(seen, WORKERS, "main", {})) == ([], {"q1": 10, "q2": 2})
    assert shown(holders(seen, WORKERS, "another", {}))[0] == [("q1", BRIDGE, 90, None)]


def test_who_is_asked():
    def holder(worker: str | None, unacked: int) -> Holder:
        return Holder("q1", "c", "h:1", "", "app", unacked, None, worker)

    held = [holder("a", 5), holder("a", 6), holder("b", 10), holder("c", 1), holder(None, 3)]
    assert worth_asking(held, 10) == ["b", "c"]
    assert worth_asking([], 10) == []
