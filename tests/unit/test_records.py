"""What is saved of a queue, and that it is what the queue is now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.counts import NUMBERS
from bridge.core.route import Route, State, Verb
from bridge.records import Configured, Plan, Record, Records, entry
from bridge.terms import Share
from tests.support.standing import FakeExits, Standing, standing

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Change = Callable[[Standing, Record], None]


def _plan(record: Record) -> Plan:
    assert record.plan is not None
    return record.plan


def _set(name: str, value: object) -> Change:
    return lambda _queue, record: setattr(record, name, value)


def _waits(queue: Standing, _record: Record) -> None:
    queue.counts.waits.update([3600, 3600])


CHANGES: dict[str, Change] = {
    "route": lambda queue, _: queue.set_state(State(Route.QUORUM, paused=False)),
    "paused": lambda queue, _: queue.set_state(State(Route.QUORUM, paused=True)),
    "wanted": lambda queue, _: setattr(queue, "wanted", Route.CANARY),
    "share": lambda queue, _: queue.set_share(Share(percent=10)),
    "limit": lambda queue, _: queue.set_limit(5.0),
    "canary_taken": lambda queue, _: setattr(queue, "canary_taken", 3),
    "by": _set("by", "anna"),
    "reason": _set("reason", "carefully"),
    "since": _set("changed_at", AT),
    "configured": _set("configured", Configured(Route.QUORUM, None)),
    "planned": lambda _, record: setattr(
        record, "plan", Plan(Verb.CUTOVER, Plan.from_json(PLANNED).when, "bert", "", AT)
    ),
    "the plan is refused": lambda _, record: setattr(_plan(record), "refused", "no worker is there"),
    "planned no more": _set("plan", None),
    "converted": _waits,
    **{f"counts.{name}": lambda queue, _, name=name: setattr(queue.counts, name, 7) for name in NUMBERS},
    **{f"back.{name}": lambda queue, _, name=name: setattr(queue.back_counts, name, 8) for name in NUMBERS},
}
PLANNED = {
    "verb": "cutover",
    "at": (AT + timedelta(hours=1)).isoformat(),
    "when_backlog": None,
    "by": "bert",
    "reason": "",
    "since": AT.isoformat(),
    "share": None,
    "force": False,
    "tried": None,
    "refused": "",
}


@pytest.fixture
def queues() -> list[Standing]:
    return standing(("a.q1", "q1"), FakeExits())


def test_every_change_is_in_the_next_save(queues: list[Standing]) -> None:
    records = Records()
    saved = records.dump(queues)
    for what, change in CHANGES.items():
        change(queues[1], records.of(queues[1]))
        before, saved = saved, records.dump(queues)
        assert saved["q1"] == entry(queues[1], records.of(queues[1])), what
        assert saved["q1"] != before["q1"], what
        assert saved["a.q1"] == before["a.q1"], what


def test_what_stands_still_is_not_made_anew(queues: list[Standing]) -> None:
    records = Records()
    saved = records.dump(queues)
    assert all(again is saved[name] for name, again in records.dump(queues).items())


def test_a_queue_that_left_and_came_back_is_saved_as_it_is_then(queues: list[Standing]) -> None:
    records = Records()
    queues[1].counts.taken = 5
    saved = records.dump(queues)
    records.put_away(queues[1])
    _, other = standing(("a.q1", "q1"), FakeExits())
    assert records.take_up(other)
    other.counts.taken = 9
    assert records.dump([queues[0], other])["q1"]["counts"] == {"taken": 9}
    assert saved["q1"]["counts"] == {"taken": 5}
