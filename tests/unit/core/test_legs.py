"""Two live sides, as a trace: deliver in, publish to either or both, confirmed where it went, ack out."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import frames
from bridge.core import properties as p
from bridge.core.books import balanced, books
from bridge.core.copies import Backup
from bridge.core.envelope import fingerprint
from bridge.core.legs import Leg
from bridge.core.relay import Destination, Held, Outbox
from bridge.core.split import ByTask, Everything, FirstOnes, Percent, To
from tests.support import wire
from tests.support.playbook import Playbook
from tests.unit.core.test_relay import at

LEGACY = Destination("mail", b"old", straight=True, side="legacy")


def tasks(count: int, first: int = 0) -> list[bytes]:
    return [wire.task(id=f"{number}") for number in range(first, first + count)]


# -- both
# ----------------------------------------------------------------------------------------------------------------------


def test_the_source_is_acked_when_both_have_confirmed() -> None:
    book = Playbook(split=Everything())
    sent = tasks(3)
    assert [out.wire for out in book.deliver(*sent)] == sent
    assert [(out.exchange, out.routing_key, out.wire) for out in book.beside()] == [("", "mail", one) for one in sent]
    assert book.confirm(2, multiple=True) == []
    assert book.confirm_beside(1) == [(1, True)]
    assert book.confirm_beside(3) == []
    assert book.confirm(3) == []
    assert book.confirm_beside(2) == [(3, True)]
    counts = book.counts
    assert (counts.taken, counts.confirmed, counts.moved, counts.to_legacy) == (3, 3, 3, 3)
    assert balanced(books(counts, book.relay.waiting))
    assert book.relay.lag == 0.0


def test_with_a_backup_all_three_must_have_confirmed() -> None:
    book = Playbook(split=Everything(), backup=Backup())
    book.deliver(*tasks(1))
    assert book.confirm(1) == []
    assert book.confirm_beside(1) == []
    assert book.confirm_copy(1) == [(1, True)]


def test_copies_are_made_of_what_goes_to_the_target() -> None:
    book = Playbook(split=Percent(50), backup=Backup())
    book.deliver(*tasks(2))
    assert len(book.copied()) == 1
    assert book.confirm_beside(1) == []
    assert book.confirm(1) == []
    assert book.confirm_copy(1) == [(2, True)]


def test_an_eta_goes_into_the_ladder_on_one_side_and_straight_to_the_other() -> None:
    book = Playbook(split=Everything())
    [out] = book.deliver(sent := wire.task(eta=at(seconds=100)))
    assert out.exchange.startswith("celery_delayed_")
    [beside] = book.beside()
    assert (beside.exchange, beside.routing_key, beside.wire) == ("", "mail", sent)


def test_what_the_second_side_is_given_is_cut_as_for_a_direct_publish() -> None:
    book = Playbook(split=Everything(), legacy=LEGACY)
    book.deliver(
        wire.task(properties={p.USER_ID: wire.shortstr(b"app"), p.EXPIRATION: wire.shortstr(b"5000")}, CC=["other"])
    )
    book.deliver(same := wire.task(x="x-ray"))
    book.deliver(wire.task(properties={p.EXPIRATION: wire.shortstr(b"5000")}, expires=at(seconds=3)))
    cut, whole, left = book.beside()
    assert cut.wire == wire.task(properties={p.EXPIRATION: wire.shortstr(b"5000")})
    assert whole.wire == same
    assert wire.shortstr(b"3000") in left.wire


def test_bodies_are_cut_again_for_the_second_sides_frames() -> None:
    book = Playbook(split=Everything(), legacy=Destination("mail", frame_max=4096, straight=True))
    body = bytes(10_000)
    book.deliver(wire.task(body))
    [out] = book.beside()
    assert out.body == body
    cutter = frames.Cutter()
    cutter.feed(out.wire)
    assert max(stop - start for _, _, start, stop in cutter.frames()) <= 4096


@pytest.mark.parametrize("where", ["target", "legacy"])
@pytest.mark.parametrize("what", ["nack", "return"])
def test_a_surprise_on_either_side_ends_both(where: str, what: str) -> None:
    book = Playbook(split=Everything())
    target = book.deliver(*tasks(2))
    beside = book.beside()
    if what == "nack":
        (book.nack if where == "target" else book.nack_beside)(1)
    else:
        (book.give_back if where == "target" else book.give_back_beside)((target if where == "target" else beside)[0])
    surprise = book.relay.surprise
    assert surprise is not None
    assert surprise.side == where
    assert surprise.text.startswith(where)
    assert book.deliver(*tasks(1, 2)) == []
    assert book.beside() == []
    for confirm in (book.confirm, book.confirm_beside):
        confirm(2, multiple=what == "return")
    book.relay.last_turn()
    assert book.acks() == [(2, False)]
    assert len(book.relay.doubtful(False)) == 1
    book.relay.close()
    assert balanced(books(book.counts, 0))


def test_a_return_that_nobody_knows_ends_all_acks() -> None:
    book = Playbook(split=Everything())
    [out] = book.deliver(*tasks(1))
    book.give_back_beside(dataclasses.replace(out, wire=wire.task(b"other")))
    book.confirm_beside(1)
    assert book.confirm(1) == []


@pytest.mark.parametrize("answer", ["confirm_beside", "nack_beside"])
def test_an_answer_to_what_was_not_sent_ends_it(answer: str) -> None:
    book = Playbook(split=Everything())
    getattr(book, answer)(1)
    assert book.surprise == "out of step"


def test_what_one_side_confirmed_is_at_risk_once() -> None:
    book = Playbook(split=Everything())
    sent = tasks(3)
    book.deliver(*sent)
    book.confirm(2, multiple=True)
    book.confirm_beside(1)
    assert book.relay.doubtful(False) == sent[1:]


# -- what came again
# ----------------------------------------------------------------------------------------------------------------------


def again(book: Playbook, *wires: bytes) -> tuple[list[bytes], list[bytes]]:
    """Deliver messages for the second time; what the target and the second side got of them."""
    book.receive(b"".join(book.delivery(wire, redelivered=True) for wire in wires))
    return [out.wire for out in book.published()], [out.wire for out in book.beside()]


def test_what_one_side_has_goes_only_to_the_other_however_often_that_refuses() -> None:
    split, sent = Everything(), tasks(3)
    book = Playbook(split=split)
    book.deliver(*sent)
    book.confirm(2, multiple=True)
    book.nack_beside(1)
    book.confirm_beside(3)
    book.relay.close()
    counts = book.counts
    for _ in range(3):
        book = Playbook(split=split)
        assert again(book, *sent) == ([sent[2]], sent[:2])
        book.nack_beside(1)
        book.relay.close()
        assert balanced(books(book.counts, 0))
    book = Playbook(split=split)
    assert again(book, *sent) == ([sent[2]], sent[:2])
    assert book.confirm_beside(2, multiple=True) == [(2, True)]
    assert book.confirm(1) == [(3, True)]
    assert balanced(books(book.counts, 0))
    assert not split.had
    assert (counts.confirmed, counts.given_back) == (2, 1)


@pytest.mark.parametrize("backup", [None, Backup()])
def test_what_both_have_is_acked_without_a_publish(backup: Backup | None) -> None:
    split, sent = Everything(), tasks(2)
    book = Playbook(split=split, backup=backup)
    book.deliver(*sent)
    book.confirm(2, multiple=True)
    book.confirm_beside(2)
    book.relay.close()
    for _ in range(2):
        book = Playbook(split=split, backup=backup)
        assert again(book, *sent[::-1]) == ([], [sent[0]])
        book.relay.turn(1.0)
        assert book.acks() == [(1, True)]
        book.relay.close()
        split.had.target[fingerprint(sent[1])] += 1
        split.had.legacy[fingerprint(sent[1])] += 1
    assert book.copied() == []


def test_a_message_that_did_not_come_before_goes_to_both() -> None:
    split, sent = Everything(), tasks(2)
    book = Playbook(split=split)
    book.deliver(*sent)
    book.confirm_beside(1)
    book.relay.close()
    book = Playbook(split=split)
    assert again(book, sent[1]) == ([sent[1]], [sent[1]])
    assert [out.wire for out in book.deliver(sent[0])] == [sent[0]], "the same bytes once more, and not redelivered"
    assert [out.wire for out in book.beside()] == [sent[0]]


def test_of_messages_that_are_the_same_it_is_known_how_many_a_side_has() -> None:
    split, [same] = Everything(), tasks(1)
    book = Playbook(split=split)
    book.deliver(same, same, same)
    book.confirm(2, multiple=True)
    book.relay.close()
    book = Playbook(split=split)
    target, beside = again(book, same, same, same)
    assert (len(target), len(beside)) == (1, 3)


def test_a_canary_remembers_nothing() -> None:
    split = Percent(100)
    book = Playbook(split=split)
    book.deliver(*tasks(2))
    book.confirm(2)
    book.relay.close()
    assert not split.had


# -- one side or the other
# -----------------------------------------------------------------------------------------------------


def test_each_message_waits_for_the_side_that_has_it() -> None:
    book = Playbook(split=Percent(50))
    sent = tasks(4)
    assert [out.wire for out in book.deliver(*sent)] == sent[0::2]
    assert [out.wire for out in book.beside()] == sent[1::2]
    assert book.confirm(1) == [(1, True)]
    assert book.confirm(2) == []
    assert balanced(books(book.counts, book.relay.waiting))
    assert book.confirm_beside(1) == [(3, True)]
    assert book.confirm_beside(2) == [(4, True)]
    counts = book.counts
    assert (counts.confirmed, counts.moved, counts.to_legacy) == (4, 2, 2)


def test_what_went_back_is_told_by_side() -> None:
    which = Percent(50)
    book = Playbook(split=which)
    book.deliver(*tasks(6))
    book.confirm(1)
    assert book.leg is not None
    assert book.leg.undone == (2, 3)
    which.undone(*book.leg.undone)
    assert which.taken == 1


def test_the_first_so_many_end_the_subscription() -> None:
    book = Playbook(split=FirstOnes(2, 0))
    assert len(book.deliver(*tasks(1))) == 1
    assert not book.relay.finished
    assert len(book.deliver(*tasks(3, 1))) == 1
    assert len(book.beside()) == 2
    assert book.relay.finished
    book.confirm(1)
    assert book.out.alerts == {5}


def test_names_that_cannot_be_read_go_to_the_legacy_side_and_are_counted() -> None:
    book = Playbook(split=ByTask(["*"]))
    assert book.deliver(wire.task(task=5)) == []
    assert len(book.beside()) == 1
    assert book.counts.task_unreadable == 1


# -- what no publish can carry
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "legacy", "reason"),
    [
        (wire.task(bytes(3000)), Destination("mail", max_message=2000, straight=True), "too-large"),
        (wire.task(x="x-" + "y" * 5000), Destination("mail", frame_max=4096, straight=True), "header-too-large"),
    ],
)
def test_what_only_the_second_side_cannot_take_goes_to_the_target(
    message: bytes, legacy: Destination, reason: str
) -> None:
    book = Playbook(split=Everything(), legacy=legacy)
    assert len(book.deliver(message)) == 1
    assert book.beside() == []
    [held] = book.relay.held
    assert held == Held(1, message, reason, leg=True)
    assert held.moves
    assert book.confirm(1) == []
    book.relay.set_apart(held)
    book.relay.turn(1.0)
    assert book.acks() == [(1, True)]


def test_what_the_target_cannot_take_goes_to_the_second_side() -> None:
    book = Playbook(Destination("mail", max_message=200_000), split=Everything())
    assert book.deliver(large := wire.task(bytes(300_000))) == []
    assert [out.wire for out in book.beside()] == [large]
    [held] = book.relay.held
    assert not held.moves
    assert book.confirm_beside(1) == []
    book.relay.set_apart(held)
    book.relay.turn(1.0)
    assert book.acks() == [(1, True)]


def test_what_is_only_for_a_side_that_cannot_take_it_is_set_apart() -> None:
    broken = frames.header_frame(5, wire.header({p.HEADERS: b"\x00\x00\x00\x09\x02x-"}, 0))
    book = Playbook(split=FirstOnes(0, 0))
    assert book.deliver(broken) == []
    assert book.beside() == []
    [held] = book.relay.held
    assert held == Held(1, broken, "malformed")
    book.relay.set_apart(held)
    book.relay.turn(1.0)
    assert book.acks() == [(1, True)]


def test_a_message_that_closes_a_channel_goes_to_neither() -> None:
    poison = wire.task(id="2")
    book = Playbook(split=Everything(), poison=frozenset((fingerprint(poison),)))
    assert book.deliver(poison) == []
    assert book.beside() == []
    [held] = book.relay.held
    book.relay.set_apart(held)
    book.relay.turn(1.0)
    assert book.acks() == [(1, True)]


# -- degraded, and alone
# -----------------------------------------------------------------------------------------------------


def test_while_a_side_is_away_each_message_is_counted() -> None:
    book = Playbook(Destination("mail", straight=True, degraded=True))
    book.deliver(*tasks(2))
    book.confirm(2, multiple=True)
    assert (book.counts.degraded, book.counts.to_legacy) == (2, 2)


def test_where_workers_hold_their_etas_themselves_they_go_straight() -> None:
    book = Playbook(Destination("mail", straight=True))
    [out] = book.deliver(sent := wire.task(eta=at(seconds=100)))
    assert (out.exchange, out.routing_key, out.wire) == ("", "mail", sent)


def test_a_leg_without_a_relay_ends_nothing() -> None:
    leg = Leg(5, LEGACY, Everything(), Outbox().to_leg)
    assert leg.choose(1, 0, b"", 0, 0.0) is To.BOTH
    leg.nacked(1, multiple=False)
    leg.turn(0.0)
    assert not leg.finished


# -- any order
# -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.booleans(), st.data())
def test_what_is_acked_is_safe_wherever_it_went(count: int, dual: bool, data: st.DataObject) -> None:
    book = Playbook(split=Everything() if dual else Percent(data.draw(st.integers(1, 99))))
    sent = tasks(count)
    target = {out.wire: seq for seq, out in enumerate(book.deliver(*sent), 1)}
    beside = {out.wire: seq for seq, out in enumerate(book.beside(), 1)}
    waiting = {"target": set(target.values()), "legacy": set(beside.values())}
    safe: dict[str, set[int]] = {"target": set(), "legacy": set()}
    acked: set[int] = set()

    def check(acks: list[tuple[int, bool]]) -> None:
        for tag, multiple in acks:
            acked.update(range(1, tag + 1) if multiple else [tag])
        for tag in acked:
            one = sent[tag - 1]
            assert one in target or one in beside
            assert one not in target or target[one] in safe["target"]
            assert one not in beside or beside[one] in safe["legacy"]

    for _ in range(data.draw(st.integers(0, 2 * count))):
        sides = [side for side in waiting if waiting[side]]
        if not sides:
            break
        side = data.draw(st.sampled_from(sides))
        seq = data.draw(st.sampled_from(sorted(waiting[side])))
        waiting[side].discard(seq)
        if data.draw(st.sampled_from((True, True, True, False))):
            safe[side].add(seq)
            check((book.confirm if side == "target" else book.confirm_beside)(seq))
        else:
            check((book.nack if side == "target" else book.nack_beside)(seq))
        assert balanced(books(book.counts, book.relay.waiting))
    book.relay.last_turn()
    check([(tag, multiple) for tag, multiple in book.acks()])
    fully = {
        tag
        for tag, one in enumerate(sent, 1)
        if (one not in target or target[one] in safe["target"]) and (one not in beside or beside[one] in safe["legacy"])
    }
    assert acked == fully
    book.relay.close()
    assert balanced(books(book.counts, 0))
