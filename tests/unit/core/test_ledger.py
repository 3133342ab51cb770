"""The ledger under any order of confirm, nack and return: what may be acked is exactly what the target has for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.core import frames
from bridge.core.ledger import Ledger, LedgerError


def header(number: int) -> bytes:
    return frames.header_frame(5, b"header%06d" % number)


def body(number: int) -> bytes:
    return frames.body_frames(5, b"body%06d" % number, 14)


def wire(number: int) -> bytes:
    return header(number) + body(number)


def tags(ledger: Ledger, most: int = -1, also: Ledger | None = None) -> list[int]:
    """Tags of what may be acked, taken."""
    return [entry[0] for entry in ledger.ackable(most, () if also is None else (also,))]


def filled(count: int, first_tag: int = 1) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        ledger.send(first_tag + number, wire(number), float(number), note=0)
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

    @rule(gap=st.integers(0, 3), note=st.integers(0, 2))
    def publish(self, gap: int, note: int) -> None:
        self.tag += gap
        seq = len(self.sent) + 1
        self.ledger.send(self.tag, wire(seq), float(seq), note)
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
        found = tags(self.ledger, most)
        if found:
            tag = found[-1]
            run = {one for one in set(self.sent.values()) | self.safe if one <= tag} - self.acked
            assert run <= self.safe, "acked what the target does not have"
            assert found == sorted(run)
            assert len(run) == before - len(self.ledger)
            assert most < 0 or len(run) <= most
            self.acked |= run

    @rule()
    def drop(self) -> None:
        found = self.ledger.scattered()
        assert set(found) == self.safe - self.acked
        assert found == sorted(found)
        self.acked |= set(found)

    @invariant()
    def numbers_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.unconfirmed == len(self.open)
        taken = set(self.sent.values()) | self.safe | self.held
        assert len(self.ledger) == len(taken - self.acked)
        at_risk = {tag: wire(seq) for seq, tag in self.sent.items() if tag not in self.acked | self.back}
        assert self.ledger.at_risk() == [at_risk[tag] for tag in sorted(at_risk)]
        assert self.ledger.waiting == len(taken - self.safe)
        assert self.ledger.unanswered() == [wire(seq) for seq in sorted(self.open)]
        assert self.ledger.safe == self.safe - self.acked
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
    assert (tags(ledger), tags(ledger)) == ([11], [])
    ledger.confirm(2, False, 13.0)
    assert tags(ledger) == [12, 13]


def test_zero_with_multiple_is_all() -> None:
    ledger = filled(3)
    assert len(ledger.confirm(0, True, 5.0)) == 3
    assert tags(ledger) == [1, 2, 3]


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


def test_of_equal_messages_none_is_acked_once_one_came_back() -> None:
    ledger = Ledger()
    for tag in (1, 2, 3):
        ledger.send(tag, wire(0), 0.0, note=0)
    # It was the third: its own confirm follows, and the others are refused later.
    assert ledger.returned(header(0), body(0))
    assert ledger.confirm(3, False, 1.0) == []
    assert ledger.nack(2, True) == 2
    assert (tags(ledger), ledger.scattered()) == ([], [])


def test_a_return_with_a_header_written_anew_is_known_by_its_body() -> None:
    ledger = filled(3)
    assert ledger.returned(b"another header", body(1))
    assert [entry[0] for entry in ledger.confirm(3, True, 9.0)] == [1, 3]


@pytest.mark.parametrize("bodies", [b"", b"no such body"])
def test_a_return_of_an_unknown_message_is_not_ours(bodies: bytes) -> None:
    assert not filled(1).returned(b"another header", bodies)


def test_of_look_alikes_with_a_header_written_anew_none_is_acked() -> None:
    ledger = Ledger()
    for tag in (1, 2, 3):
        ledger.send(tag, header(tag) + body(0), 0.0, note=0)
    ledger.send(4, wire(4), 0.0, note=0)
    assert ledger.returned(b"another header", body(0))
    assert len(ledger.at_risk()) == 4, "it has two of the three, and which is not known"
    # Whether the queue is gone or not: the next one that comes back is known too, and what arrived stays safe.
    assert ledger.returned(header(2), body(0))
    assert ledger.returned(b"another header", body(0))
    assert len(ledger.at_risk()) == 3
    assert [entry[0] for entry in ledger.confirm(4, True, 1.0)] == [4]
    assert (tags(ledger), ledger.scattered()) == ([], [4])


def test_the_last_of_the_look_alikes_is_known() -> None:
    ledger = Ledger()
    for tag in (1, 2):
        ledger.send(tag, header(tag) + body(0), 0.0, note=0)
    ledger.confirm(1, False, 1.0)
    assert ledger.returned(b"another header", body(0))
    assert ledger.at_risk() == [header(1) + body(0)]


def test_without_trust_nothing_is_safe_any_more() -> None:
    ledger = filled(3)
    ledger.confirm(1, False, 1.0)
    ledger.distrust()
    assert ledger.confirm(2, False, 2.0) == []
    assert tags(ledger) == []
    assert len(ledger.at_risk()) == 3
    assert ledger.waiting == 2, "one was confirmed, and counted, before"
    ledger.hold(4, b"held", 3.0)
    ledger.release(4)
    assert ledger.scattered() == [4], "what is safe in a file does not need the broker's word"


def test_how_long_the_oldest_is_here() -> None:
    ledger = filled(2)
    assert (ledger.oldest(), ledger.oldest_taken()) == (0.0, 0.0)
    ledger.confirm(1, False, 5.0)
    assert (ledger.oldest(), ledger.oldest_taken()) == (1.0, 0.0), "confirmed, and its ack is held back"
    ledger.confirm(2, False, 5.0)
    ledger.ackable()
    assert (ledger.oldest(), ledger.oldest_taken()) == (None, None)


def test_without_waiting_everything_may_be_acked() -> None:
    ledger = filled(3)
    ledger.confirm(1, False, 1.0)
    ledger.hold(4, b"held", 3.0)
    assert ledger.release_all() == 3
    assert (ledger.unconfirmed, ledger.oldest()) == (0, None)
    assert tags(ledger) == [1, 2, 3, 4]


def test_what_is_released_is_remembered_no_longer() -> None:
    # A queue may move for weeks without a backup that it could have: one number for each message would fill the memory.
    ledger, also = Ledger(), Ledger()
    for tag in range(1, 4):
        ledger.hold(tag, b"x", 0.0)
        ledger.release(tag)
        also.hold(tag, b"", 0.0)
        also.release(tag)
    assert tags(ledger, 1, also) == [1]
    assert ledger.scattered((also,)) == [2, 3]
    for one in (ledger, also):
        assert (len(one), one.bytes, one.safe, one._held) == (0, 0, frozenset(), set())


def test_only_the_oldest_is_taken_and_only_if_safe() -> None:
    ledger = filled(2)
    assert not ledger.first_is_safe
    ledger.confirm(2, False, 1.0)
    assert not ledger.first_is_safe
    ledger.confirm(1, False, 1.0)
    for _ in range(2):
        assert ledger.first_is_safe
        ledger.take_first()
    assert (ledger.first_is_safe, ledger.bytes) == (False, 0)


def test_of_several_beside_it_either_all_are_taken_or_none() -> None:
    ledger, copies, leg = filled(1), filled(1), filled(1)
    ledger.confirm(1, False, 1.0)
    copies.confirm(1, False, 1.0)
    assert ledger.ackable(-1, (copies, leg)) == []
    assert (len(ledger), len(copies), len(leg)) == (1, 1, 1)
    leg.confirm(1, False, 1.0)
    assert [entry[0] for entry in ledger.ackable(-1, (copies, leg))] == [1]
    assert (len(ledger), len(copies), len(leg)) == (0, 0, 0)


def test_what_any_of_them_may_have_is_at_risk() -> None:
    ledger, leg = Ledger(), Ledger()
    for tag in (1, 2, 3):
        ledger.send(tag, wire(tag), 0.0, note=0)
    for tag in (1, 2):
        leg.send(tag, b"as it was sent there", 0.0, note=0)
    leg.hold(3, b"", 0.0)
    assert (ledger.held, leg.held) == (0, 1)
    ledger.nack(3, True)
    assert ledger.at_risk() == []
    assert ledger.at_risk((leg,)) == [wire(1), wire(2)]


def both(count: int) -> tuple[Ledger, Ledger]:
    """A ledger, and that of the copies beside it."""
    ledger, also = filled(count), Ledger()
    for tag in range(1, count + 1):
        also.send(tag, b"", 0.0, note=0)
    return ledger, also


def test_after_the_scattered_both_still_have_the_same_messages() -> None:
    ledger, also = both(3)
    ledger.confirm(2, False, 1.0)
    for seq in (1, 2):
        also.confirm(seq, False, 1.0)
    assert ledger.scattered((also,)) == [2]
    ledger.confirm(3, True, 2.0)
    assert tags(ledger, also=also) == [1], "3 is not safe in both"


@given(st.integers(1, 12), st.data())
def test_what_goes_out_is_safe_in_both(count: int, data: st.DataObject) -> None:
    ledgers = ledger, also = both(count)
    # Sequence numbers, which are the tags here.
    waiting = set(range(1, count + 1)), set(range(1, count + 1))
    safe: tuple[set[int], set[int]] = set(), set()
    acked: list[int] = []
    for _ in range(data.draw(st.integers(0, 3 * count))):
        which = data.draw(st.sampled_from((0, 1)))
        what = data.draw(st.sampled_from(("confirm", "confirm", "nack", "ack", "drop")))
        found: list[int] = []
        if what == "ack":
            found = tags(ledger, data.draw(st.integers(-1, 3)), also)
        elif what == "drop":
            found = ledger.scattered((also,))
        elif waiting[which]:
            seq, multiple = data.draw(st.sampled_from(sorted(waiting[which]))), data.draw(st.booleans())
            answered = {one for one in waiting[which] if one <= seq} if multiple else {seq}
            waiting[which].difference_update(answered)
            if what == "confirm":
                ledgers[which].confirm(seq, multiple, 1.0)
                safe[which].update(answered)
            else:
                ledgers[which].nack(seq, multiple)
        assert set(found) <= safe[0] & safe[1], "acked what one of them does not have"
        acked += found
        assert len(ledger) == len(also) == count - len(acked)
    rest = tags(ledger, also=also) + ledger.scattered((also,))
    assert set(acked) | set(rest) == safe[0] & safe[1]
    assert len(acked) + len(rest) == len(safe[0] & safe[1]), "acked twice"


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=2, max_size=8),
    st.integers(0, 7),
    st.booleans(),
    st.data(),
)
def test_the_message_that_came_back_is_never_acked(
    messages: list[tuple[int, int]], which: int, anew: bool, data: st.DataObject
) -> None:
    """Of several with equal bodies and headers one is returned, its header as sent or written anew."""
    ledger = Ledger()
    for tag, (head, content) in enumerate(messages, 1):
        ledger.send(tag, header(head) + body(content), 0.0, note=0)
    back = which % len(messages) + 1
    # Answered before it came back, and after: a return comes before its own confirm.
    before = data.draw(st.sets(st.sampled_from(range(1, len(messages) + 1)))) - {back}
    for seq in before:
        ledger.confirm(seq, False, 1.0)
    head, content = messages[back - 1]
    assert ledger.returned(b"written anew" if anew else header(head), body(content))
    ledger.confirm(0, True, 2.0)
    acked = set(tags(ledger)) | set(ledger.scattered())
    alike = [tag for tag, message in enumerate(messages, 1) if message == messages[back - 1]]
    assert back not in acked
    assert before <= acked, "what was confirmed before is not in doubt"
    if not anew:
        assert acked == set(range(1, len(messages) + 1)) - (set(alike) - before)


@given(st.integers(0, 20))
def test_the_number_of_a_publish_is_given_back_at_its_confirm(count: int) -> None:
    ledger = Ledger()
    for number in range(count):
        ledger.send(number + 1, wire(number), 0.0, note=(number + 1) % 2)
    safe = ledger.confirm(0, True, 1.0)
    assert sum(entry[3] for entry in safe) == (count + 1) // 2
