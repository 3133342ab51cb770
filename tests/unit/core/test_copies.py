"""The second publish, as a trace: deliver in, publish and copy out, both confirmed, ack out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import envelope, frames
from bridge.core.copies import EXCHANGE, Backup
from bridge.core.relay import Destination
from tests.support import wire
from tests.support.playbook import WALL, Playbook, split

REQUIRED = Backup()
OPTIONAL = Backup(required=False)


def tasks(count: int) -> list[bytes]:
    return [wire.task(id=f"{number}") for number in range(count)]


def test_the_source_is_acked_when_both_have_confirmed() -> None:
    book = Playbook(backup=REQUIRED)
    book.deliver(*tasks(4))
    assert book.confirm(1) == []
    assert book.confirm_copy(1) == [(1, True)]
    assert book.confirm_copy(3, multiple=True) == []
    assert book.confirm(3) == []
    assert book.confirm(2) == [(3, True)]
    assert book.confirm_copy(4) == []
    assert book.confirm(4) == [(4, True)]
    book.relay.close()
    assert (book.counts.moved, book.counts.copied, book.counts.backup_missed) == (4, 4, 0)


def test_copies_are_counted_as_they_are_confirmed() -> None:
    book = Playbook(backup=REQUIRED)
    book.deliver(*tasks(3))
    book.confirm_copy(2, multiple=True)
    assert (book.counts.copied, book.counts.backup_missed) == (2, 0)
    book.relay.close()
    assert (book.counts.copied, book.counts.backup_missed) == (2, 0)


def test_a_copy_is_the_message_as_it_came() -> None:
    book = Playbook(backup=REQUIRED, queue="mail.50%")
    came = wire.task(body := bytes(range(256)), CC=["other"], **{"x-death": [{"count": 1}]})
    [out] = book.deliver(came)
    assert out.wire == wire.task(body)
    [copy] = split(b"".join(book.out.to_backup), 5)
    assert (copy.exchange, copy.routing_key) == (EXCHANGE, "mail.50%")
    assert copy.header == wire.header(
        {1 << 15: wire.shortstr(envelope.CONTENT_TYPE.encode()), 1 << 12: b"\x02"}, len(copy.body)
    )
    [read] = book.copied()
    assert read == envelope.Message("mail.50%", WALL, "", *envelope.parts_of(came))


def test_copies_are_cut_for_the_backups_frames() -> None:
    book = Playbook(backup=Backup(frame_max=4096))
    book.deliver(wire.task(body := bytes(20_000)))
    cutter = frames.Cutter()
    cutter.feed(b"".join(book.out.to_backup))
    assert max(stop - start for _, _, start, stop in cutter.frames()) == 4096
    assert [copy.body for copy in book.copied()] == [body]


def broken(book: Playbook, how: str) -> list[tuple[int, bool]]:
    """The backup fails; what was acked thereby."""
    assert book.copies is not None
    if how == "nack":
        return book.nack_copy(2)
    if how == "return":
        return book.give_back_copy()
    if how == "out of step":
        return book.confirm_copy(77)
    book.copies.lost("the backup's connection was lost")
    return book.acks()


HOW = ["nack", "return", "out of step", "lost"]


@pytest.mark.parametrize("how", HOW)
def test_a_required_backup_that_fails_stops_the_queue(how: str) -> None:
    book = Playbook(backup=REQUIRED)
    book.deliver(*tasks(3))
    assert broken(book, how) == []
    assert book.surprise == "backup"
    assert book.out.alerts == {5}
    assert book.confirm(3, multiple=True) == []
    assert book.deliver(*tasks(1)) == []
    book.relay.last_turn()
    assert book.acks() == []
    assert len(book.relay.doubtful(False)) == 3


@pytest.mark.parametrize("how", ["nack", "return", "out of step"])
def test_a_copy_that_arrived_counts_for_nothing_when_another_was_refused(how: str) -> None:
    book = Playbook(backup=REQUIRED)
    book.deliver(*tasks(3))
    book.confirm_copy(3)
    broken(book, how)
    for late in (1, 2):
        assert book.confirm_copy(late) == []
    assert book.confirm(3, multiple=True) == []
    book.relay.last_turn()
    assert book.acks() == []


def test_a_copy_that_arrived_before_the_connection_was_lost_is_safe() -> None:
    book = Playbook(backup=REQUIRED)
    book.deliver(*tasks(3))
    book.confirm_copy(1)
    book.confirm_copy(3)
    broken(book, "lost")
    assert book.confirm(3, multiple=True) == [(1, True)]
    book.relay.last_turn()
    assert book.acks() == [(3, False)]


@pytest.mark.parametrize("how", HOW)
def test_without_a_backup_that_is_not_required_the_queue_goes_on(how: str) -> None:
    book = Playbook(backup=OPTIONAL)
    book.deliver(*tasks(3))
    book.confirm(3)
    assert book.copies is not None
    assert not book.copies.over
    broken(book, how)
    assert book.copies.over
    assert book.surprise == ""
    assert book.confirm(2, multiple=True) == [(3, True)]
    # What comes late from the backup speaks of what was let go; it must neither stop the queue nor hold it.
    assert len(book.deliver(*tasks(2))) == 2
    book.out.to_backup.clear()
    for late in ("confirm", "nack", "out of step", "lost"):
        assert broken(book, late) == [] if late != "confirm" else book.confirm_copy(1) == []
    book.copies.returned(312, "NO_ROUTE", "mail", b"", b"")
    assert book.confirm(5, multiple=True) == [(5, True)]
    book.relay.close()
    assert (book.counts.moved, book.counts.copied, book.counts.backup_missed) == (5, 0, 5)
    assert book.copies is not None
    assert book.copies.why


def test_only_what_has_no_copy_is_counted_as_missed() -> None:
    book = Playbook(backup=OPTIONAL)
    book.deliver(*tasks(3))
    book.confirm_copy(1)
    book.confirm_copy(3)
    assert broken(book, "lost") == []
    assert book.confirm(3, multiple=True) == [(3, True)]
    book.relay.close()
    assert (book.counts.copied, book.counts.backup_missed) == (2, 1)


def test_a_backup_that_was_lost_before_the_first_message_costs_nothing() -> None:
    book = Playbook(backup=OPTIONAL)
    broken(book, "lost")
    for _ in range(100):
        [_out] = book.deliver(wire.task())
        assert len(book.confirm(0, multiple=True)) == 1
    assert book.out.to_backup == []
    assert book.copies is not None
    assert book.copies.missed == 100
    assert len(book.copies.ledger) == 0
    assert book.copies.ledger._held == set()


# -- what goes to a file
# ----------------------------------------------------------------------------------------------------


def test_a_copy_that_is_too_large_is_a_file() -> None:
    book = Playbook(backup=Backup(max_message=5000))
    outs = book.deliver(wire.task(id="1"), large := wire.task(bytes(5000)), wire.task(id="3"))
    assert len(outs) == 3, "the message itself moves"
    assert len(book.copied()) == 2
    assert [(held.tag, held.wire, held.reason) for held in book.relay.held] == [(2, large, "copy-too-large")]
    assert 5 in book.out.alerts
    assert book.confirm(3, multiple=True) == []
    assert book.confirm_copy(2, multiple=True) == [(1, True)]
    book.relay.set_apart(book.relay.held.pop())
    book.relay.turn(book.now)
    assert book.acks() == [(3, True)]
    assert book.copies is not None
    assert (book.copies.copied, book.counts.moved) == (3, 3)


def test_the_envelope_counts_not_the_body() -> None:
    message = wire.task(bytes(1000))
    size = len(envelope.seal(envelope.opening("mail"), WALL, *envelope.parts_of(message)))
    for most, held in ((size, 0), (size - 1, 1)):
        book = Playbook(backup=Backup(max_message=most))
        book.deliver(message)
        assert len(book.relay.held) == held


def test_too_large_for_both_sides() -> None:
    book = Playbook(Destination("mail", max_message=5000), backup=Backup(max_message=5000))
    assert book.deliver(wire.task(bytes(200_000))) == []
    assert [held.reason for held in book.relay.held] == ["copy-too-large", "too-large"]
    for held in book.relay.held:
        assert book.acks() == []
        book.relay.set_apart(held)
        book.relay.turn(book.now)
    assert book.acks() == [(1, True)]


def test_what_no_publish_can_carry_still_has_its_copy_confirmed() -> None:
    book = Playbook(Destination("mail", max_message=5000), backup=REQUIRED)
    assert book.deliver(large := wire.task(bytes(200_000))) == []
    assert [copy.body for copy in book.copied()] == [envelope.parts_of(large)[1]]
    book.relay.set_apart(book.relay.held.pop())
    book.relay.turn(book.now)
    assert book.acks() == []
    assert book.confirm_copy(1) == [(1, True)]


def test_a_file_that_comes_after_the_backup_was_given_up() -> None:
    book = Playbook(backup=Backup(max_message=5000, required=False))
    book.deliver(wire.task(bytes(9000)))
    broken(book, "lost")
    book.relay.set_apart(book.relay.held.pop())
    assert book.confirm(1) == [(1, True)]
    assert book.copies is not None
    assert (book.copies.copied, book.copies.missed) == (0, 1)


def test_a_copy_in_a_file_without_a_backup_is_nobodys() -> None:
    with_backup, without = Playbook(backup=Backup(max_message=5000)), Playbook()
    with_backup.deliver(wire.task(bytes(9000)))
    without.deliver(wire.task(bytes(9000)))
    without.relay.set_apart(with_backup.relay.held.pop())
    assert without.acks() == []
    assert without.confirm(1) == [(1, True)]


def test_a_message_that_closes_a_channel_needs_no_copy() -> None:
    poison = wire.task(id="2")
    book = Playbook(backup=REQUIRED, poison=frozenset((envelope.fingerprint(poison),)))
    assert len(book.deliver(wire.task(id="1"), poison, wire.task(id="3"))) == 2
    assert len(book.copied()) == 2
    book.confirm(2, multiple=True)
    assert book.confirm_copy(2, multiple=True) == [(1, True)]
    [held] = book.relay.held
    assert (held.tag, held.wire, held.reason) == (2, poison, "closes-channel")
    book.relay.set_apart(held)
    book.relay.turn(book.now)
    assert book.acks() == [(3, True)]


# -- any order
# --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.data())
def test_an_ack_goes_out_only_for_what_both_confirmed(count: int, data: st.DataObject) -> None:
    book = Playbook(backup=Backup(required=data.draw(st.booleans())))
    book.deliver(*tasks(count))
    confirmed: tuple[set[int], set[int]] = set(), set()
    acked: set[int] = set()
    wires = data.draw(st.permutations([(side, seq) for side in (0, 1) for seq in range(1, count + 1)]))
    fails = data.draw(st.integers(0, 4 * count))
    for step, (side, seq) in enumerate(wires):
        acks = book.confirm(seq) if side == 0 else book.confirm_copy(seq)
        confirmed[side].add(seq)
        if step == fails and book.copies is not None:
            book.copies.lost("gone")
            if not book.copies.to.required:
                confirmed[1].update(range(1, count + 1))
        acked.update(one for tag, _ in acks for one in range(1, tag + 1))
        assert acked <= confirmed[0] & confirmed[1]
    book.relay.last_turn()
    acked.update(one for tag, multiple in book.acks() for one in (range(1, tag + 1) if multiple else [tag]))
    assert acked <= confirmed[0] & confirmed[1]
    assert acked == set(range(1, count + 1)), "all was confirmed, and nothing was refused"
