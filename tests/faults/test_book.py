"""The book sees what it is there to see: a harness that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.book import Book, balance, doubled
from tests.faults.traffic import Came, Sent
from tests.support.peers import message

pytestmark = pytest.mark.faults


def properties(number: int) -> bytes:
    return b"".join(message(number)[1].encode())


#: Three tasks, the last one due at 1000.
SENT = {number: Sent(properties(number), b"body", due) for number, due in ((1, None), (2, None), (3, 1000.0))}


def came(number: int, *, redelivered: bool = False, wall: float = 1000.0, body: bytes = b"body") -> Came:
    return Came(number, SENT[number].properties, body, redelivered, wall, at=float(number))


def book(before: list[Came], after: list[Came], *, deleted: int = 0, counted: int = 0, listed: str = "") -> Book:
    names = set(listed.split())
    return balance(
        SENT,
        SENT.keys(),
        before,
        after,
        deleted=deleted,
        counted=counted,
        listed=names,
        held=9.0,
        window=1,
        capped=False,
    )


def test_a_clean_one():
    clean = book([came(1)], [came(2), came(3)])
    assert clean.judged() == ()
    assert (clean.sent, clean.lost, clean.twice, clean.gap) == (3, 0, 0, 1.0)


def test_what_did_not_come_is_lost_unless_it_was_deleted():
    lost = book([], [came(1), came(3)])
    assert lost.lost == 1
    assert lost.judged() == ("lost: 1 tasks, among [2]",)
    assert book([], [came(1), came(3)], deleted=1).judged() == ()
    assert "only 0 tasks are missing" in book([came(1)], [came(2), came(3)], deleted=1).judged()[0]


def test_what_comes_otherwise_than_it_was_sent_is_changed():
    assert book([came(1, body=b"other")], [came(2), came(3)]).changed == 1
    other = replace(came(2), properties=properties(7))
    seen = book([came(1)], [other, came(3)])
    assert seen.changed == 1
    assert "correlation_id" in seen.judged()[0]


def test_a_task_is_early_a_second_before_it_is_due_on_the_new_side_alone():
    assert book([came(1)], [came(2), came(3, wall=999.0)]).early == 0
    assert book([came(1)], [came(2), came(3, wall=998.9)]).judged() == ("early: 1 tasks, [3]",)
    assert book([came(1), came(3, wall=990.0)], [came(2)]).early == 0


def test_second_copies_must_be_few_counted_and_listed():
    rest = [came(2), came(3)]
    both = book([came(1)], [came(1), *rest])
    assert both.twice == both.unlisted == 1
    assert len(both.judged()) == 2
    assert book([came(1)], [came(1), *rest], counted=1, listed="1").judged() == ()
    assert book([came(1, redelivered=True)], [came(1), *rest]).judged() == ()
    many = book([came(1)], [came(1), came(1), *rest], counted=2, listed="1")
    assert many.judged() == ("2 tasks came twice, at most 1 were in flight",)


def test_what_a_broker_hands_out_again_is_no_second_copy():
    again = [came(1), came(1, redelivered=True)]
    assert doubled(again, [came(2), came(2, redelivered=True), came(3, redelivered=True)]) == []
    assert doubled([], [came(1), came(1)]) == [1]


def test_the_old_workers_must_have_new_tasks_in_time():
    clean = book([came(1)], [came(2), came(3)])
    assert "got new tasks never" in replace(clean, wants_given_back=True).judged()[0]
    assert "after 5.1 s" in replace(clean, wants_given_back=True, given_back=5.1).judged()[0]
    replace(clean, wants_given_back=True, given_back=4.9).check()
