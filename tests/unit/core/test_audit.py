"""Whether the old side of a queue is finished: each reason to wait alone, and none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bridge.core.audit import Counted, Quiet, Seen, by_queue, drained, listed, who
from bridge.core.old_side import Consumer, Flow, Holder, OldSide, Publisher
from bridge.core.route import Route

AT = datetime(2030, 1, 1, tzinfo=UTC)
NOBODY = OldSide(AT)
OURS = Consumer("mail", "c0", "10.0.0.9:1", "bridge main source", "bridge", "bridge-1", ours=True, priority=1000)
FINISHED = Seen(
    "mail",
    Route.QUORUM,
    ours=1,
    counted=Counted(0, 0, 1, 2.0),
    quiet=Quiet(300.0, seen=True),
    old=replace(NOBODY, consumers=(OURS,)),
)
WORKER = Consumer("mail", "c1", "10.0.0.1:4", "", "shop", "None4", ours=False, priority=0, worker="celery@h1")
HOLDER = Holder("mail", "c1", "10.0.0.1:4", "py-amqp 5.2", "shop", 3, 2, "celery@h1")
NAMED = 'worker celery@h1 (py-amqp 5.2, from 10.0.0.1:4, user "shop")'
PUBLISHER = Publisher("", "c2", "10.0.0.2:5", "web (py-amqp 5.2)", "shop", 4.25)
FLOW = Flow(None, {"mail": 4.25}, (PUBLISHER,))


def test_a_queue_is_finished_when_nothing_is_left() -> None:
    assert drained(FINISHED, 300.0) == drained(FINISHED, 299.0)
    found = drained(FINISHED, 300.0)
    assert (found.queue, found.yes, found.waits_for) == ("mail", True, ())


@pytest.mark.parametrize("route", [route for route in Route if route is not Route.QUORUM])
def test_on_every_other_route_it_is_not(route: Route) -> None:
    assert drained(replace(FINISHED, route=route), 300.0).waits_for == (f"the route quorum: it is {route}",)


@pytest.mark.parametrize(
    ("changed", "waits_for"),
    [
        ({"paused": True}, "the bridge, which is paused"),
        ({"counted": Counted(7, 0, 1, 2.0)}, "messages that are ready in the old queue: 7 (2 s ago)"),
        (
            {"counted": Counted(0, 4, 1, 2.0)},
            "messages that are unacked in the old queue: 4 (2 s ago), nobody who is seen holds them",
        ),
        (
            {"counted": Counted(0, 4, 1, 2.0), "old": None},
            "messages that are unacked in the old queue: 4 (2 s ago), who holds them cannot be seen",
        ),
        ({"counted": Counted(0, 5, 1, 2.0), "in_flight": 5}, "messages in flight here: 5"),
        ({"in_flight": 5}, "messages in flight here: 5"),
        (
            {"counted": Counted(0, 3, 1, 2.0), "old": replace(NOBODY, holders=(HOLDER,))},
            f"{NAMED} to finish or give back what it holds unacked: 3 (2 of them wait for an ETA)",
        ),
        (
            {"counted": Counted(0, 3, 1, 2.0), "old": replace(NOBODY, holders=(replace(HOLDER, eta=None),))},
            f"{NAMED} to finish or give back what it holds unacked: 3 (how many of them wait for an ETA is not known)",
        ),
        (
            {"counted": Counted(0, 0, 2, 2.0), "old": replace(NOBODY, consumers=(OURS, WORKER))},
            'worker celery@h1 (from 10.0.0.1:4, user "shop") to stop consuming (consumer "None4", priority 0)',
        ),
        ({"counted": Counted(0, 0, 3, 2.0)}, "consumers of the old queue that are not ours: 2 (2 s ago)"),
        ({"counted": Counted(0, 0, 2, 2.0), "old": None}, "consumers of the old queue that are not ours: 1 (2 s ago)"),
        (
            {"old": replace(NOBODY, flows=(FLOW, FLOW)), "quiet": None},
            'connection "c2" (web (py-amqp 5.2), user "shop") to stop publishing (4.2 messages a second)',
        ),
        (
            {"old": replace(NOBODY, flows=(Flow(None, {"mail": 2.0}, (), 2.0),)), "quiet": None},
            "somebody who cannot be named to stop publishing (2.0 messages a second)",
        ),
        (
            {"quiet": Quiet(35.0, seen=True)},
            "quiet: the last message came 35 s ago, 300 s are wanted",
        ),
        (
            {"quiet": Quiet(35.0, seen=False)},
            "quiet: it was first looked at, and nothing came, 35 s ago, 300 s are wanted",
        ),
        (
            {"quiet": Quiet(900.0, seen=False, known=False)},
            "the count of publishes, which the broker does not keep: who publishes cannot be seen",
        ),
        ({"counted": None}, "numbers of the old queue, which cannot be seen: not looked at yet"),
        (
            {"counted": None, "fault": "source.api is not set"},
            "numbers of the old queue, which cannot be seen: source.api is not set",
        ),
    ],
)
def test_each_reason_is_said_by_itself(changed: dict[str, object], waits_for: str) -> None:
    found = drained(replace(FINISHED, **changed), 300.0)  # type: ignore[arg-type]
    assert found.waits_for == (waits_for,)
    assert not found.yes


def test_what_concerns_each_queue_is_what_it_says_of_itself() -> None:
    both = Flow("x", {"mail": 4.25, "other": 1.0}, (PUBLISHER,), 3.0)
    old = OldSide(
        AT,
        (FLOW, both),
        (OURS, WORKER, replace(WORKER, queue="other")),
        (HOLDER, replace(HOLDER, queue="third")),
        {"celery@h1": "c1"},
        {"fourth": 2},
        ("channels",),
    )
    found = by_queue(old)
    assert set(found) == {"mail", "other", "third", "fourth"}
    assert found == {queue: old.of(queue) for queue in found}


def test_a_connection_that_publishes_twice_is_named_once() -> None:
    flows = (FLOW, Flow("x", {"mail": 9.0}, (replace(PUBLISHER, rate=9.0),)))
    waits_for, _ = drained(replace(FINISHED, old=replace(NOBODY, flows=flows)), 301.0).waits_for
    assert "9.0 messages a second" in waits_for


def test_names_that_newer_numbers_deny_are_no_reason() -> None:
    others = replace(NOBODY, flows=(FLOW,), consumers=(OURS, WORKER), holders=(HOLDER,))
    assert drained(replace(FINISHED, old=others, old_age=30.0), 300.0).yes
    assert len(drained(replace(FINISHED, old=others, old_age=6.0), 300.0).waits_for) == 2, "the numbers are no newer"
    there = replace(FINISHED, old=others, old_age=30.0, counted=Counted(0, 3, 2, 2.0), quiet=Quiet(1.0, seen=True))
    assert len(drained(there, 300.0).waits_for) == 4


def test_all_reasons_are_said_at_once() -> None:
    seen = Seen("mail", Route.LEGACY, counted=Counted(1, 0, 1, 0.0), quiet=Quiet(0.0, seen=True), old=NOBODY)
    assert len(drained(seen, 300.0).waits_for) == 4


def test_names_as_far_as_they_are_known() -> None:
    assert who(replace(HOLDER, worker=None, client="", user="")) == 'connection "c1"'
    assert who(replace(HOLDER, worker=None, connection="", client="", user="")) == "a connection"


def test_of_many_names_the_first_few_are_shown() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
