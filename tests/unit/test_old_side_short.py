"""The old side in short: each connection once, no more than fits on a screen."""

from __future__ import annotations

from datetime import UTC, datetime

from bridge.core.old_side import Flow, Holder, OldSide, Publisher
from bridge.core.route import Layout
from bridge.old_side_short import MOST, MOST_QUEUES, NOT_SEEN, OldSideShort

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC)


class Watch:
    """A look that was made."""

    def __init__(self, last: OldSide | None) -> None:
        self.last = last


def publisher(number: int, rate: float, client: str = "web") -> Publisher:
    return Publisher("", f"10.0.0.{number}:1 -> b", f"10.0.0.{number}:1", client, "app", rate)


def holder(number: int, queue: str, unacked: int, eta: int | None, worker: str | None = None) -> Holder:
    return Holder(queue, f"c{number}", f"10.0.1.{number}:1", "kombu", "app", unacked, eta, worker)


def short(last: OldSide | None, layout: Layout = Layout.TAKEOVER) -> OldSideShort:
    return OldSideShort(Watch(last), layout, lambda: LATER)


def test_nothing_is_told_before_the_first_look() -> None:
    assert short(None).status() is NOT_SEEN


def test_each_connection_is_told_once_with_its_queues() -> None:
    flows = (
        Flow("a", {"mail": 3.0}, (publisher(1, 1.04), publisher(2, 9.0, ""))),
        Flow("b", {f"q{number}": 1.0 for number in range(MOST_QUEUES)}, (publisher(1, 2.0),)),
    )
    holders = (
        holder(1, "mail", 3, 2, "celery@w1"),
        holder(1, "sms", 2, 1, "celery@w1"),
        holder(2, "mail", 9, None),
    )
    looked = short(OldSide(AT, flows, holders=holders))
    told = looked.status()
    assert told["publishers"] == [
        {
            "name": "10.0.0.2:1 -> b",
            "user": "app",
            "host": "10.0.0.2:1",
            "queues": ["mail"],
            "rate": 9.0,
            "more_queues": 0,
        },
        {
            "name": "web",
            "user": "app",
            "host": "10.0.0.1:1",
            "queues": ["mail", "q0", "q1", "q2", "q3"],
            "rate": 3.0,
            "more_queues": 1,
        },
    ]
    assert [(one["name"], one["queues"], one["unacked"], one["eta"]) for one in told["holders"]] == [
        ("kombu", ["mail"], 9, None),
        ("celery@w1", ["mail", "sms"], 5, 3),
    ]
    assert told["more"] == {"publishers": 0, "holders": 0}
    assert told["age_s"] == 7.0
    assert looked.status()["publishers"] is told["publishers"]


def test_of_many_the_first_are_told_and_the_others_counted() -> None:
    flow = Flow(None, {"mail": 1.0}, tuple(publisher(number, float(number)) for number in range(MOST + 3)))
    holders = tuple(holder(number, "mail", 1, 0) for number in range(MOST + 1))
    told = short(OldSide(AT, (flow,), holders=holders)).status()
    assert (len(told["publishers"]), len(told["holders"])) == (MOST, MOST)
    assert told["more"] == {"publishers": 3, "holders": 1}
    assert told["publishers"][0]["rate"] == MOST + 2


def test_inline_those_who_publish_may_stay() -> None:
    told = short(OldSide(AT, (Flow("a", {"mail": 3.0}, (publisher(1, 1.0),)),)), Layout.INLINE).status()
    assert told["publishers"] == []
