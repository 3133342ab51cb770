"""The books: everything that was taken is somewhere, through restarts as well."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.books import MOST_GAPS, Books, Gap, balanced, books, carry_over, dump, gap, total, with_gap
from bridge.core.counts import Counts
from bridge.core.relay import Held
from tests.support import wire
from tests.support.playbook import Playbook


def test_everything_taken_is_somewhere() -> None:
    found = books(Counts(taken=15, confirmed=5, quarantined=1, exported=2, given_back=3, moved=4), 4)
    assert found == Books(15, 5, 1, 2, 3, 4)
    assert balanced(found)
    assert found.as_json == {**found._asdict(), "balanced": True}


def test_what_is_missing_or_too_much_is_told() -> None:
    assert Books(taken=3, confirmed=1).difference == 2
    assert Books(taken=1, confirmed=3).difference == -2
    assert not balanced(Books(taken=3, confirmed=1))
    assert not balanced(Books(taken=3, confirmed=4, in_flight=-1)), "a number below zero is wrong though the sum is not"


def test_the_sum_of_several() -> None:
    assert total([Books(3, 1, in_flight=2), Books(2, 0, 1, 1)]) == Books(5, 1, 1, 1, 0, 2)
    assert total([]) == Books()


def test_what_was_in_flight_is_given_back_by_the_end_of_the_process() -> None:
    before = Counts(taken=10, confirmed=6, moved=6, converted=2)
    after = Counts(taken=1, confirmed=1)
    carry_over(after, dump(before, 4))
    assert after == Counts(taken=11, confirmed=7, moved=6, converted=2, given_back=4)
    assert balanced(books(after, 0))


def test_books_of_another_version_are_read_as_far_as_they_go() -> None:
    counts = Counts()
    carry_over(counts, {"taken": 3, "confirmed": 3, "invented_later": 9, "moved": None})
    assert counts == Counts(taken=3, confirmed=3)


def test_a_process_that_ended_by_itself_leaves_no_gap() -> None:
    assert gap(10.0, 20.0, orderly=True) is None
    assert gap(10.0, 20.0, orderly=False) == Gap(10.0, 20.0)
    assert gap(10.0, 9.0, orderly=False) == Gap(10.0, 10.0), "the next one's clock is slow"


def test_the_newest_gaps_are_kept() -> None:
    gaps: tuple[Gap, ...] = ()
    for number in range(MOST_GAPS + 5):
        gaps = with_gap(gaps, Gap(float(number), number + 1.0))
    assert with_gap(gaps, None) == gaps
    assert (len(gaps), gaps[0].since) == (MOST_GAPS, 5.0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_any_number_of_restarts_keeps_the_balance(lives: list[tuple[int, int]]) -> None:
    saved: dict[str, int] = {}
    for confirmed, in_flight in lives:
        counts = Counts()
        carry_over(counts, saved)
        assert balanced(books(counts, 0))
        counts.taken += confirmed + in_flight
        counts.confirmed += confirmed
        saved = dump(counts, in_flight)


class AnyLife(RuleBasedStateMachine):
    """A relay with a broker that answers in any order, and restarts in between: the books balance after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Playbook()
        self.earlier = Counts()
        self.open: list[int] = []
        self.sent = 0

    @rule()
    def deliver(self) -> None:
        before = self.book.counts.taken
        self.book.deliver(wire.task(id=f"{self.sent}"))
        if self.book.counts.taken > before:
            self.sent += 1
            self.open.append(self.sent)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(self.open))
        self.open.remove(seq)
        self.book.confirm(seq)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def nack(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(self.open))
        self.open.remove(seq)
        self.book.nack(seq)

    @rule()
    def a_message_that_no_publish_carries(self) -> None:
        held = Held(10**6 + self.book.counts.taken, wire.task(), "malformed")
        self.book.relay.ledger.hold(held.tag, held.wire, 0.0)
        self.book.counts.taken += 1
        self.book.relay.set_apart(held)
        self.book.counts.exported += 1

    @rule()
    def a_return_that_nobody_knows(self) -> None:
        self.book.relay.ledger.distrust()

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        if not killed:
            self.book.relay.last_turn()
            self.book.relay.close()
        saved = dump(self.book.counts, self.book.relay.waiting)
        self.book, self.open, self.sent = Playbook(), [], 0
        carry_over(self.book.counts, saved)

    @invariant()
    def nothing_is_missing(self) -> None:
        found = books(self.book.counts, self.book.relay.waiting)
        assert balanced(found), found


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=30, stateful_step_count=30)
