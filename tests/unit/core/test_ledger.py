"""The ledger under any order of confirm, nack and return: what may be acked is exactly what the target has for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.core.ledger import Ledger, LedgerError


def wire(number: int) -> bytes:
    return b"\x02header%06d" % number + b"\x03body%06d" % number


def header(number: int) -> bytes:
    return wire(number)[:13]


def body(number: int) -> bytes:
    return wire(number)[13:]


def filled(count: int, first_tag: int = 1) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        ledger.send(first_tag + number, wire(number), float(number), ladder=False)
    return ledger


class AnyOrder(RuleBasedStateMachine):
    """A broker that answers in any order, and a model of what it did."""

    @initialize(first=st.integers(1, 2**40))
    def start(self, first: int) -> None:
        self.ledger = Ledger()
        self.first = self.tag = first
        self.sent: dict[int, int] = {}  # sequence number to tag
        self.open: set[int] = set()
        self.safe: set[int] = set()  # tags
        self.back: set[int] = set()
        self.acked: set[int] = set()
        self.returned: set[int] = set()  # sequence numbers
        self.held: set[int] = set()

    @rule(gap=st.integers(0, 3), ladder=st.booleans())
    def publish(self, gap: int, ladder: bool) -> None:
        self.tag += gap
        seq = len(self.sent) + 1
        self.ledger.send(self.tag, wire(seq), float(seq), ladder)
        self.sent[seq] = self.tag
        self.open.add(seq)
        self.tag += 1

    @rule()
    def hold(self) -> None:
        self.ledger.hold(self.tag, b"large", 0.0)
        self.held.add(self.tag)
        self.tag += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.held)))
        self.held.remove(tag)
        self.ledger.release(tag)
        self.safe.add(tag)

    def answered(self, data: st.DataObject, multiple: bool) -> tuple[int, set[int]]:
        seq = data.draw(st.sampled_from(sorted(self.open)))
        which = {one for one in self.open if one <= seq} if multiple else {seq}
        self.open -= which
        return seq, which

    @precondition(lambda self: self.open)
    @rule(data=st.data(), multiple=st.booleans())
    def confirm(self, data: st.DataObject, multiple: bool) -> None:
        seq, which = self.answered(data, multiple)
        good = {self.sent[one] for one in which - self.returned}
        assert {entry[0] for entry in self.ledger.confirm(seq, multiple, 1e6)} == good
        self.safe |= good

    @precondition(lambda self: self.open)
    @rule(data=st.data(), multiple=st.booleans())
    def nack(self, data: st.DataObject, multiple: bool) -> None:
        seq, which = self.answered(data, multiple)
        assert self.ledger.nack(seq, multiple) == len(which)
        self.back |= {self.sent[one] for one in which}

    @precondition(lambda self: self.open - self.returned)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(sorted(self.open - self.returned)))
        assert self.ledger.returned(header(seq), body(seq))
        self.returned.add(seq)
        self.back.add(self.sent[seq])

    @rule(most=st.integers(-1, 4))
    def ack(self, most: int) -> None:
        before = len(self.ledger)
        tag = self.ledger.ackable(most)
        if tag:
            run = {one for one in set(self.sent.values()) | self.safe if one <= tag} - self.acked
            assert run <= self.safe, "acked what the target does not have"
            assert len(run) == before - len(self.ledger)
            assert most < 0 or len(run) <= most
            self.acked |= run

    @rule()
    def drop(self) -> None:
        tags = self.ledger.scattered()
        assert set(tags) == self.safe - self.acked
        assert tags == sorted(tags)
        self.acked |= set(tags)

    @invariant()
    def numbers_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.unconfirmed == len(self.open)
        taken = set(self.sent.values()) | self.safe | self.held
        assert len(self.ledger) == len(taken - self.acked)
        assert self.ledger.at_risk == len(taken - self.acked - self.back)
        assert not self.acked & self.back
        oldest = self.ledger.oldest()
        assert oldest == (float(min(self.open)) if self.open else None)
        held = len(b"large")
        of_sent = sum(len(wire(seq)) for seq, tag in self.sent.items() if tag not in self.acked)
        of_held = sum(held for tag in (self.safe | self.held) - set(self.sent.values()) - self.acked)
        assert self.ledger.bytes == of_sent + of_held


TestAnyOrder = AnyOrder.TestCase


def test_the_run_stops_at_what_is_not_confirmed() -> None:
    ledger = filled(5, first_tag=11)
    ledger.confirm(1, False, 10.0)
    ledger.confirm(3, False, 12.5)
    assert ledger.lag == 10.5
    assert (ledger.ackable(), ledger.ackable()) == (11, 0)
    ledger.confirm(2, False, 13.0)
    assert ledger.ackable() == 13


def test_zero_with_multiple_is_all() -> None:
    ledger = filled(3)
    assert len(ledger.confirm(0, True, 5.0)) == 3
    assert ledger.ackable() == 3


def test_a_multiple_confirm_over_what_was_answered_already_is_empty() -> None:
    ledger = filled(2)
    ledger.confirm(2, True, 5.0)
    assert ledger.confirm(2, True, 6.0) == []


@pytest.mark.parametrize(("seq", "multiple"), [(4, True), (4, False), (0, False)])
def test_a_confirm_of_what_was_not_sent_is_refused(seq: int, multiple: bool) -> None:
    with pytest.raises(LedgerError):
        filled(3).confirm(seq, multiple, 5.0)
    with pytest.raises(LedgerError):
        filled(3).nack(seq, multiple)


def test_of_equal_messages_the_oldest_comes_back() -> None:
    ledger = Ledger()
    for tag in (1, 2):
        ledger.send(tag, wire(0), 0.0, ladder=False)
    assert ledger.returned(header(0), body(0))
    assert [entry[0] for entry in ledger.confirm(2, True, 1.0)] == [2]
    assert ledger.ackable() == 0
    assert ledger.scattered() == [2]


def test_a_return_with_a_header_written_anew_is_known_by_its_body() -> None:
    ledger = filled(3)
    assert ledger.returned(b"another header", body(1))
    assert [entry[0] for entry in ledger.confirm(3, True, 9.0)] == [1, 3]


@pytest.mark.parametrize("bodies", [b"", b"no such body"])
def test_a_return_of_an_unknown_message_is_not_ours(bodies: bytes) -> None:
    assert not filled(1).returned(b"another header", bodies)


@given(st.integers(0, 20))
def test_what_went_into_the_ladder_is_known_at_its_confirm(count: int) -> None:
    ledger = Ledger()
    for number in range(count):
        ledger.send(number + 1, wire(number), 0.0, ladder=number % 2 == 0)
    safe = ledger.confirm(0, True, 1.0)
    assert sum(entry[3] for entry in safe) == (count + 1) // 2
