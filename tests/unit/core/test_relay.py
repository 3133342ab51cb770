"""One queue, as a trace of the wire: deliver in, publish out, confirm in, ack out."""

from __future__ import annotations

import collections
import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import frames, ladder
from bridge.core import properties as p
from bridge.core.copies import Backup
from bridge.core.envelope import fingerprint
from bridge.core.identity import task_id
from bridge.core.pace import Budget, First, Free, Rate
from bridge.core.relay import Destination, Held, Relay, Surprise
from tests.support import wire
from tests.support.playbook import WALL, Playbook

NOW = datetime.fromtimestamp(WALL, UTC)


def at(**ahead: float) -> str:
    return (NOW + timedelta(**ahead)).isoformat()


def key(seconds: int, queue: str = "mail") -> str:
    return ladder.entry(seconds, ladder.exit_word(queue)).routing_key


# -- due messages
# ---------------------------------------------------------------------------------------------------------


def test_a_due_task_leaves_as_the_bytes_it_came_in() -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task())
    assert (out.exchange, out.routing_key) == ("", "mail")
    assert out.wire == task
    assert book.acks() == []
    assert book.confirm(1) == [(1, True)]
    assert (book.counts.taken, book.counts.moved, book.counts.converted, len(book.relay.ledger)) == (1, 1, 0, 0)


def test_many_in_one_chunk_are_acked_at_once() -> None:
    book = Playbook()
    assert len(book.deliver(*[wire.task(id=f"{n}") for n in range(50)])) == 50
    assert book.confirm(50, multiple=True) == [(50, True)]


def test_acks_wait_for_the_gap() -> None:
    book = Playbook()
    book.deliver(wire.task(), wire.task(), wire.task())
    assert book.confirm(2) == []
    assert book.confirm(1) == [(2, True)]
    assert book.confirm(3) == [(3, True)]


@pytest.mark.parametrize("size", [0, 1, 131064, 131065, 400_000])
def test_bodies_of_any_length(size: int) -> None:
    book = Playbook()
    body = bytes(size)
    [out] = book.deliver(wire.task(body))
    assert out.body == body
    assert out.wire == wire.task(body)


@given(st.data())
def test_a_stream_cut_anywhere_is_the_same_stream(data: st.DataObject) -> None:
    book = Playbook()
    tasks = [
        wire.task(id="1"),
        wire.task(b"", id="2"),
        wire.task(bytes(50), frame_max=28, id="3"),
        wire.task(eta=at(seconds=9)),
    ]
    heartbeat = frames.frame(frames.HEARTBEAT, 0, b"")
    stream = b"".join(heartbeat + book.delivery(task) for task in tasks)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    others = b"".join(book.receive(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))
    assert [out.wire for out in book.published()] == tasks
    assert others == heartbeat * 4


def test_byte_by_byte() -> None:
    book = Playbook()
    task = wire.task(bytes(30), frame_max=20)
    for byte in book.delivery(task):
        book.receive(bytes((byte,)))
    [out] = book.published()
    assert out.wire == task


def test_messages_of_two_queues_interleaved_on_the_wire() -> None:
    book = Playbook()
    task = wire.task(bytes(30), frame_max=20)
    parts = frames.Cutter()
    stream = book.delivery(task)
    parts.feed(stream)
    pieces = [stream[start:stop] for _, _, start, stop in parts.frames()]
    foreign = frames.frame(frames.BODY, 9, b"not ours")
    assert book.receive(foreign.join(pieces)) == foreign * (len(pieces) - 1)
    assert [out.wire for out in book.published()] == [task]


def test_the_bodys_frames_are_cut_again_for_a_smaller_target() -> None:
    book = Playbook(Destination("mail", frame_max=4096))
    task = wire.task(body := bytes(range(256)) * 64)
    [out] = book.deliver(task)
    assert out.body == body
    cutter = frames.Cutter()
    cutter.feed(out.wire)
    assert all(stop - start <= 4096 for _, _, start, stop in cutter.frames())


def test_a_larger_frame_of_the_target_changes_nothing() -> None:
    book = Playbook(Destination("mail", frame_max=1000))
    [out] = book.deliver(task := wire.task(bytes(1800), frame_max=900))
    assert out.wire == task
    task = wire.task(b"", argsrepr="x" * 1200)
    [out] = Playbook(Destination("mail", frame_max=len(task))).deliver(task)
    assert out.wire == task


# -- ETA
# --------------------------------------------------------------------------------------------------------------------


def test_an_eta_enters_the_ladder_at_its_highest_bit() -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task(eta=at(seconds=90.9)))
    assert (out.exchange, out.routing_key) == ("celery_delayed_6", key(90))
    assert out.wire == task
    assert book.confirm(1) == [(1, True)]
    assert (book.counts.moved, book.counts.converted) == (1, 1)


def test_how_long_tasks_wait_in_the_ladder_is_written_down_when_they_are_there() -> None:
    book = Playbook()
    book.deliver(wire.task(), *[wire.task(eta=at(seconds=90.9))] * 2, wire.task(eta=at(days=2)), wire.task())
    assert not book.counts.waits
    book.confirm(3, multiple=True)
    assert book.counts.waits == {90: 2}
    book.confirm(5, multiple=True)
    assert book.counts.waits == {90: 2, 172_800: 1}
    assert (book.counts.moved, book.counts.converted) == (5, 3)


@pytest.mark.parametrize("ahead", [-3600.0, 0.0, 0.4, 0.999])
def test_what_is_due_goes_directly_with_its_eta_kept(ahead: float) -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task(eta=at(seconds=ahead)))
    assert (out.exchange, out.routing_key) == ("", "mail")
    assert out.wire == task


def test_an_eta_too_far_ahead_is_clamped() -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(eta=at(days=365 * 9)))
    assert (out.exchange, out.routing_key) == ("celery_delayed_27", key(2**28 - 1))


def test_an_eta_enters_by_the_exchanges_that_it_is_given() -> None:
    book = Playbook(Destination("mail", entries=ladder.BY_BRIDGE))
    [out] = book.deliver(task := wire.task(eta=at(seconds=90)))
    assert (out.exchange, out.routing_key, out.wire) == ("bridge.delayed.6", key(90), task)


@pytest.mark.parametrize("eta", ["", "tomorrow", 5, 5.0, False, []])
def test_an_eta_that_no_worker_reads_moves_unchanged_and_is_counted(eta: object) -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task(eta=eta))
    assert (out.exchange, out.wire) == ("", task)
    assert book.counts.eta_unreadable == 1


def test_a_timestamp_is_an_eta_as_the_worker_reads_it() -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(eta=b"T" + struct.pack(">Q", int(WALL) + 100)))
    assert out.routing_key == key(100)


@pytest.mark.parametrize(
    "headers",
    [
        {"stamps": {"eta": "2031-01-01T00:00:00"}},
        {"argsrepr": "\x03etaS\x00\x00\x00\x132031-01-01T00:00:00"},
        {"kwargsrepr": "{'eta': '2031-01-01T00:00:00'}"},
    ],
)
def test_an_eta_that_is_not_the_tasks_is_none(headers: dict[str, object]) -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task(**headers))
    assert (out.exchange, out.wire) == ("", task)
    [out] = book.deliver(wire.task(**headers, eta=at(seconds=4)))
    assert (out.exchange, out.routing_key) == ("celery_delayed_2", key(4))


def test_protocol_1_has_its_eta_in_the_body() -> None:
    book = Playbook()
    body = b'{"task": "t", "id": "1", "args": [], "kwargs": {}, "eta": "%s", "utc": true}' % at(seconds=70).encode()
    [out] = book.deliver(task := wire.task(body, headers={}))
    assert (out.exchange, out.routing_key, out.wire) == ("celery_delayed_6", key(70), task)
    [out] = book.deliver(wire.task(body, properties={p.HEADERS: None}))
    assert out.routing_key == key(70)


def test_protocol_1_compressed() -> None:
    import zlib

    body = zlib.compress(b'{"task": "t", "id": "1", "args": [], "eta": "%s"}' % at(seconds=5).encode())
    book = Playbook()
    [out] = book.deliver(task := wire.task(body, headers={"compression": "application/x-gzip"}))
    assert (out.routing_key, out.wire) == (key(5), task)


def test_protocol_1_that_cannot_be_read_moves_unchanged() -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task(b"\x80not json", headers={}))
    assert (out.exchange, out.wire) == ("", task)
    assert book.counts.eta_unreadable == 1


def test_a_mixture_of_both_protocols_is_read_from_its_body() -> None:
    book = Playbook()
    body = b'{"args": [], "kwargs": {}, "eta": "%s"}' % at(seconds=33).encode()
    [out] = book.deliver(wire.task(body, eta=...))
    assert out.routing_key == key(33)


def test_protocol_2_without_any_eta_header_is_due() -> None:
    book = Playbook()
    [out] = book.deliver(task := wire.task(eta=...))
    assert (out.exchange, out.wire) == ("", task)


# -- what is cut out
# --------------------------------------------------------------------------------------------------------

PAST = {
    "x-death": [{"count": 1, "queue": "celery_delayed_5"}],
    "x-first-death-queue": "celery_delayed_5",
    "x-delivery-count": 3,
}


def test_the_messages_past_is_cut_and_nothing_else() -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(**PAST, CC=["other"], BCC=["more"], mine="x-death stays in a value"))
    assert out.wire == wire.task(mine="x-death stays in a value")
    [out] = book.deliver(wire.task(**PAST, eta=at(seconds=2)))
    assert out.wire == wire.task(eta=at(seconds=2))


@pytest.mark.parametrize(
    "name",
    ["x-death", "x-first-death-reason", "x-last-death-queue", "x-delivery-count", "x-acquired-count", "CC", "BCC"],
)
def test_each_header_of_the_past_is_cut(name: str) -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(**{name: ["q"]}))
    assert out.wire == wire.task()


def test_what_only_looks_like_the_past_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Relay, "_deliver_slowly")
    book = Playbook()
    tasks = [
        wire.task(origin="gen7@box-3"),
        wire.task(argsrepr="('CC', 'x-ray')"),
        wire.task(eta=at(seconds=3), origin="nginx-CC"),
    ]
    assert [out.wire for out in book.deliver(*tasks)] == tasks
    assert book.relay.surprise is None


def test_a_foreign_user_is_cut_and_ours_is_kept() -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(properties={p.USER_ID: wire.shortstr(b"app")}))
    assert out.wire == wire.task()
    [out] = book.deliver(task := wire.task(properties={p.USER_ID: wire.shortstr(b"bridge")}))
    assert out.wire == task


def expiring(milliseconds: bytes, **headers: object) -> bytes:
    return wire.task(properties={p.EXPIRATION: wire.shortstr(milliseconds)}, **headers)


def test_expiration_is_what_is_left_by_the_expires_header() -> None:
    book = Playbook()
    [out] = book.deliver(expiring(b"60000", expires=at(seconds=20)))
    assert out.wire == expiring(b"20000", expires=at(seconds=20))
    [out] = book.deliver(expiring(b"60000", expires=at(seconds=-20)))
    assert out.wire == expiring(b"1", expires=at(seconds=-20))


@pytest.mark.parametrize("expires", [None, "soon", b"S\x00\x00\x00\x01\xff"])
def test_expiration_without_a_readable_header_stays(expires: object) -> None:
    book = Playbook()
    [out] = book.deliver(task := expiring(b"60000", expires=expires))
    assert out.wire == task


def test_expiration_never_goes_into_the_ladder() -> None:
    book = Playbook()
    [out] = book.deliver(expiring(b"60000", eta=at(seconds=120)))
    assert out.wire == wire.task(eta=at(seconds=120))


@pytest.mark.parametrize(
    ("priority", "cap", "sent"), [(9, True, 4), (5, True, 4), (4, True, 4), (0, True, 0), (9, False, 9)]
)
def test_priority_is_capped_in_the_ladder_only(priority: int, cap: bool, sent: int) -> None:
    book = Playbook(Destination("mail", cap_priority=cap))
    given = {p.PRIORITY: bytes((priority,))}
    [out] = book.deliver(wire.task(properties=given, eta=at(seconds=8)))
    assert out.wire == wire.task(properties={p.PRIORITY: bytes((sent,))}, eta=at(seconds=8))
    [out] = book.deliver(task := wire.task(properties=given))
    assert out.wire == task
    assert book.counts.priority_capped == (sent != priority)


def test_a_missing_priority_stays_missing() -> None:
    book = Playbook(Destination("mail", cap_priority=True))
    [out] = book.deliver(task := wire.task(properties={p.PRIORITY: None}, eta=at(seconds=8)))
    assert out.wire == task


def test_a_message_without_any_property() -> None:
    book = Playbook()
    task = frames.header_frame(5, wire.header({}, 2)) + frames.body_frames(5, b"hi", 4096)
    [out] = book.deliver(task)
    assert (out.exchange, out.wire) == ("", task)


# -- surprises
# --------------------------------------------------------------------------------------------------------------


def test_what_comes_back_on_its_way_into_the_ladder_says_so() -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(eta=at(seconds=90)))
    book.give_back(out)
    assert book.relay.surprise is not None
    assert book.relay.surprise.reason == "ladder"
    assert 'returned a message for queue "mail"' in book.relay.surprise.text


def test_a_return_stops_the_queue_and_is_never_acked() -> None:
    book = Playbook()
    _first, second, _third = book.deliver(wire.task(id="1"), wire.task(id="2"), wire.task(id="3"))
    book.give_back(second)
    assert book.out.alerts == {5}
    assert book.relay.surprise is not None
    assert book.relay.surprise.reason == "unroutable"
    assert book.confirm(3, multiple=True) == [(1, True)]
    book.relay.last_turn()
    assert book.acks() == [(3, False)]
    assert (book.counts.returned, book.counts.moved, book.relay.doubtful(False)) == (1, 2, [])
    assert book.deliver(wire.task(id="4")) == []


def test_a_return_that_cannot_be_matched_ends_all_acks() -> None:
    book = Playbook()
    [_one] = book.deliver(wire.task(id="1"))
    head = frames.return_head(5, 312, b"NO_ROUTE", b"", b"mail")
    book.answer(head + wire.task(b"another body", id="other"))
    assert book.confirm(1) == []
    book.relay.last_turn()
    assert book.acks() == []
    assert len(book.relay.doubtful(False)) == 1


def test_a_queue_that_is_deleted_gives_back_all_its_look_alikes() -> None:
    """A target from 3.13 on writes their headers anew, and Celery's bodies are often equal."""
    book = Playbook()
    first, *others = book.deliver(*[wire.task(id=f"{n}") for n in range(5)])
    assert book.confirm(1) == [(1, True)]
    for number in range(4):
        head = frames.return_head(5, 312, b"NO_ROUTE", b"", b"mail")
        book.answer(head + wire.task(id=f"{4 - number}", headers={"sorted": "anew"}))
    assert (first.wire, len(others)) == (wire.task(id="0"), 4)
    assert book.confirm(0, multiple=True) == []
    book.relay.last_turn()
    assert book.acks() == []
    assert (book.counts.returned, book.counts.moved) == (4, 1)


def test_a_return_in_pieces_with_a_long_body() -> None:
    book = Playbook()
    [out] = book.deliver(wire.task(bytes(500), frame_max=100))
    head = frames.return_head(5, 312, b"NO_ROUTE", b"", b"mail")
    for byte in head + out.wire:
        book.answer(bytes((byte,)))
    assert book.confirm(1) == []
    assert book.counts.returned == 1


def test_a_nack_stops_the_queue() -> None:
    book = Playbook()
    book.deliver(wire.task(id="1"), wire.task(id="2"), wire.task(id="3"))
    assert book.nack(2) == []
    assert book.relay.surprise is not None
    assert book.relay.surprise.reason == "nacked"
    assert book.confirm(3, multiple=True) == [(1, True)]
    book.relay.last_turn()
    assert book.acks() == [(3, False)]
    assert (book.counts.nacked, book.counts.moved) == (1, 2)


@pytest.mark.parametrize("answer", [frames.ack(5, 9, multiple=False), frames.nack(5, 9, multiple=True, requeue=False)])
def test_an_answer_to_what_was_not_sent_stops_the_queue(answer: bytes) -> None:
    book = Playbook()
    book.deliver(wire.task())
    book.answer(answer)
    assert book.relay.surprise is not None
    assert book.relay.surprise.reason == "out of step"
    assert book.acks() == []


#: Header payloads that are none: lengths that pass the end.
BROKEN_HEADERS = {
    "table": struct.pack(">HHQH", 60, 0, 0, p.HEADERS) + b"\x00\x00\x00\x09\x03eta",
    "nothing behind the flags": struct.pack(">HHQH", 60, 0, 0, p.CONTENT_TYPE | p.CONTENT_ENCODING),
    "content type": struct.pack(">HHQH", 60, 0, 0, p.CONTENT_TYPE | p.CONTENT_ENCODING) + b"\xffutf-8",
    "content encoding": struct.pack(">HHQH", 60, 0, 0, p.CONTENT_ENCODING) + b"\xff",
    "priority of an eta": struct.pack(">HHQH", 60, 0, 0, p.HEADERS | p.PRIORITY)
    + b"\x00\x00\xff\xff"
    + wire.entry("eta", at(seconds=9))
    + wire.entry("task", "t"),
}


@pytest.mark.parametrize("name", BROKEN_HEADERS)
@pytest.mark.parametrize("pieces", [False, True])
def test_a_header_that_is_not_amqp_is_held_and_stops_nobody(name: str, pieces: bool) -> None:
    book = Playbook(Destination("mail", cap_priority=True))
    broken = frames.header_frame(5, BROKEN_HEADERS[name])
    stream = book.delivery(wire.task()) + book.delivery(broken) + book.delivery(wire.task())
    for chunk in [bytes((byte,)) for byte in stream] if pieces else [stream]:
        book.receive(chunk)
    assert len(book.published()) == 2
    assert book.surprise == ""
    assert book.relay.held == [Held(2, broken, "malformed")]
    assert book.out.alerts == {5}
    assert book.confirm(2, multiple=True) == [(1, True)]
    book.relay.set_apart(book.relay.held.pop())
    book.relay.turn(book.now)
    assert book.acks() == [(3, True)]


@pytest.mark.parametrize(
    "content",
    [
        frames.frame(frames.BODY, 5, b"body before header"),
        frames.header_frame(5, wire.header({}, 2)) * 2,
        frames.header_frame(5, b"short"),
        frames.header_frame(5, wire.header({}, 2)) + frames.frame(frames.BODY, 5, b"three"),
    ],
)
def test_content_out_of_order_ends_the_connection(content: bytes) -> None:
    book = Playbook()
    stream = book.delivery(content)
    with pytest.raises(frames.FrameError):
        collections.deque((book.receive(bytes((byte,))) for byte in stream), maxlen=0)


def test_content_without_a_delivery_ends_the_connection() -> None:
    with pytest.raises(frames.FrameError, match="without a delivery"):
        Playbook().receive(wire.task())
    with pytest.raises(frames.FrameError, match="without a return"):
        Playbook().answer(wire.task())


def test_nothing_is_acked_on_a_channel_that_closes() -> None:
    book = Playbook()
    book.deliver(wire.task(id="1"), wire.task(id="2"))
    assert book.confirm(1) == [(1, True)]
    book.relay.leave()
    assert book.confirm(2) == []
    book.relay.close()
    assert (book.counts.moved, len(book.relay.doubtful(False))) == (2, 1)


def test_the_first_reason_stays() -> None:
    book = Playbook()
    book.relay.stop("first", "why")
    book.relay.stop("second", "not this")
    assert book.relay.surprise == Surprise("first", "why")


# -- too large
# --------------------------------------------------------------------------------------------------------------


def test_what_is_too_large_is_held_until_it_is_set_apart() -> None:
    book = Playbook(Destination("mail", max_message=200_000))
    outs = book.deliver(wire.task(id="1"), large := wire.task(bytes(200_001)), wire.task(bytes(200_000)))
    assert len(outs) == 2
    assert book.relay.held == [Held(2, large, "too-large")]
    assert 5 in book.out.alerts
    assert book.confirm(2, multiple=True) == [(1, True)]
    assert book.relay.doubtful(False) == [wire.task(bytes(200_000))]
    book.relay.set_apart(book.relay.held.pop())
    book.relay.turn(book.now)
    assert book.acks() == [(3, True)]
    assert book.counts.moved == 2


def test_header_beyond_the_targets_frames_is_held_as_well() -> None:
    book = Playbook(Destination("mail", frame_max=4096))
    assert len(book.deliver(wire.task(), large := wire.task(blob="x" * 4000), wire.task(bytes(9000)))) == 2
    assert book.relay.held == [Held(2, large, "header-too-large")]
    # What is cut out of a header does not count.
    assert len(book.deliver(wire.task(**{"x-death": "x" * 4000}))) == 1


def test_a_message_that_closes_a_channel_is_held() -> None:
    poison = wire.task(id="2", **{"x-delivery-count": 3})
    # It was found as it was published.
    book = Playbook(poison=frozenset((fingerprint(wire.task(id="2")),)))
    assert len(book.deliver(wire.task(id="1"), poison, wire.task(id="3"))) == 2
    assert book.relay.held == [Held(2, poison, "closes-channel")]
    assert book.confirm(2, multiple=True) == [(1, True)]
    book.relay.set_apart(book.relay.held.pop())
    book.relay.last_turn()
    assert book.acks() == [(3, True)]


# -- bytes in flight
# --------------------------------------------------------------------------------------------------------


def large(size: int = 10_000, **changed: object) -> bytes:
    return wire.task(bytes(size), **changed)


SIZE = len(large())


def test_beyond_the_bytes_nothing_is_published() -> None:
    budget = Budget(4 * SIZE)
    book = Playbook(budget=budget)
    assert len(book.deliver(*[large()] * 9)) == 4
    assert book.surprise == "window"
    assert book.relay.fits == 3
    assert (book.counts.taken, budget.used) == (4, 4 * SIZE)
    assert book.confirm(2, multiple=True) == [(2, True)]
    assert budget.used == 2 * SIZE
    book.confirm(4)
    book.relay.last_turn()
    assert book.acks() == [(4, False)]
    assert budget.used == SIZE
    book.relay.close()
    book.relay.close()
    assert budget.used == 0


def test_queues_share_the_bytes() -> None:
    budget = Budget(4 * SIZE)
    book, other = Playbook(budget=budget), Playbook(budget=budget)
    assert len(book.deliver(*[large()] * 3)) == 3
    assert len(other.deliver(*[large()] * 3)) == 1
    assert (book.surprise, other.surprise) == ("", "window")
    assert not budget.room
    book.confirm(3, multiple=True)
    assert budget.used == SIZE
    assert budget.room
    other.relay.close()
    assert budget.used == 0


def test_one_message_larger_than_all_bytes_passes_alone() -> None:
    budget = Budget(SIZE // 2)
    book = Playbook(budget=budget)
    assert len(book.deliver(large())) == 1
    assert book.confirm(1) == [(1, True)]
    assert len(book.deliver(large(), large())) == 1
    assert (book.surprise, book.relay.fits) == ("window", 1)
    book.relay.close()
    assert budget.used == 0


def test_room_is_set_aside_as_soon_as_the_size_is_known() -> None:
    budget = Budget(3 * SIZE - 500)
    book, other = Playbook(budget=budget), Playbook(budget=budget)
    stream = book.delivery(task := large(frame_max=1000))
    book.receive(stream[:200])
    assert budget.used == 0, "the header is not whole"
    book.receive(stream[200:3000])
    assert SIZE - 100 < budget.used <= len(task)
    # While it comes, the others have that much less.
    assert len(other.deliver(*[large()] * 3)) == 1
    assert other.surprise == "window"
    book.receive(stream[3000:])
    assert [out.wire for out in book.published()] == [task]
    assert budget.used == len(task) + SIZE
    other.relay.close()
    assert book.confirm(1) == [(1, True)]
    assert budget.used == 0


def test_what_has_no_room_is_not_kept_while_it_comes() -> None:
    budget = Budget(SIZE)
    book = Playbook(budget=budget)
    book.deliver(wire.task())
    stream = book.delivery(large(frame_max=1000)) + book.delivery(wire.task())
    book.receive(stream[:3000])
    assert book.surprise == "window"
    gathered = book.relay._gathered
    assert gathered is not None
    assert gathered.parts == []
    assert budget.used == len(wire.task())
    book.receive(stream[3000:])
    assert book.published() == []
    assert book.relay._gathered is None
    assert book.confirm(1) == [(1, True)]
    assert budget.used == 0


def test_what_comes_when_the_relay_stops_is_dropped_on_the_way() -> None:
    budget = Budget(10 * SIZE)
    book = Playbook(budget=budget)
    stream = book.delivery(large(frame_max=1000))
    book.receive(stream[:3000])
    assert budget.used > 0
    book.relay.stop("unroutable", "why")
    book.receive(stream[3000:4500])
    gathered = book.relay._gathered
    assert gathered is not None
    assert (gathered.parts, budget.used) == ([], 0)
    book.receive(stream[4500:])
    # One whose header comes after that takes no room at all.
    stream = book.delivery(large(frame_max=1000))
    for chunk in (stream[:3000], stream[3000:]):
        book.receive(chunk)
        assert budget.used == 0
    assert book.published() == []


def test_an_end_in_the_middle_of_a_message_leaves_nothing_behind() -> None:
    budget = Budget(10 * SIZE)
    book = Playbook(budget=budget)
    book.deliver(wire.task(), wire.task())
    book.receive(book.delivery(large(frame_max=1000))[:3000])
    book.relay.close()
    assert (budget.used, book.relay._gathered, book.surprise) == (0, None, "ended")


@pytest.mark.parametrize("pieces", [False, True])
def test_a_fault_of_ours_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, pieces: bool) -> None:
    def fail(*_arguments: object) -> None:
        raise KeyError("no such thing")

    budget = Budget(10 * SIZE)
    book = Playbook(budget=budget)
    book.deliver(wire.task())
    monkeypatch.setattr("bridge.core.relay.delay_of", fail)
    stream = book.delivery(wire.task(eta=at(seconds=90)))
    for chunk in [stream[:-1], stream[-1:]] if pieces else [stream]:
        book.receive(chunk)
    assert book.surprise == "broken"
    assert book.confirm(1) == [(1, True)]
    book.relay.close()
    assert budget.used == 0


@pytest.mark.parametrize("frame_max", [300, 4096])
def test_a_message_that_is_cut_again_takes_the_room_it_has_then(frame_max: int) -> None:
    budget = Budget(10 * SIZE)
    book = Playbook(Destination("mail", frame_max=frame_max), budget=budget)
    task = wire.task(bytes(10_000), headers={"task": "t"}, properties={p.USER_ID: wire.shortstr(b"app")})
    [out] = book.deliver(task)
    assert budget.used == len(out.wire) == book.relay.ledger.bytes
    assert book.confirm(1) == [(1, True)]
    assert budget.used == 0


# -- possible duplicates
# -----------------------------------------------------------------------------------------------------


def ids(messages: list[bytes]) -> list[str]:
    return [task_id(message) for message in messages]


def test_acks_may_be_lost_with_the_sources_connection() -> None:
    book = Playbook()
    book.deliver(*[wire.task(id=f"{n}") for n in range(1, 6)])
    book.confirm(2, multiple=True)
    book.now += 0.75
    book.confirm(3)
    assert ids(book.relay.doubtful(source_lost=False)) == ["4", "5"]
    assert sorted(ids(book.relay.doubtful(source_lost=True))) == ["1", "2", "3", "4", "5"]
    book.now += 0.5
    book.confirm(4)
    assert ids(book.relay.doubtful(source_lost=False)) == ["5"]
    assert len(book.relay.doubtful(source_lost=True)) == 5
    book.now += 29.0
    book.relay.turn(book.now)
    assert sorted(ids(book.relay.doubtful(source_lost=True))) == ["3", "4", "5"], "acks of 30 s ago have arrived"


def test_the_acks_of_the_last_turn_may_be_lost_too() -> None:
    book = Playbook()
    book.deliver(*[wire.task(id=f"{n}") for n in range(1, 4)])
    book.relay.leave()
    book.confirm(1)
    book.confirm(3)
    book.relay.last_turn()
    assert book.acks() == [(1, True), (3, False)]
    assert ids(book.relay.doubtful(source_lost=False)) == ["2"]
    assert sorted(ids(book.relay.doubtful(source_lost=True))) == ["1", "2", "3"]


def test_what_the_target_refused_is_doubled_nowhere() -> None:
    book = Playbook()
    outs = book.deliver(*[wire.task(id=f"{n}") for n in range(1, 4)])
    book.give_back(outs[0])
    book.nack(2)
    assert ids(book.relay.doubtful(source_lost=True)) == ["3"]


def test_no_more_than_the_source_can_have_unacked() -> None:
    book = Playbook(pace=Free(10))
    for batch in range(100):
        book.deliver(*[wire.task(id=f"{5 * batch + n}") for n in range(5)])
        book.confirm(0, multiple=True)
    assert sorted(ids(book.relay.doubtful(source_lost=True)), key=int) == [f"{n}" for n in range(490, 500)]


# -- more than there is room for
# ------------------------------------------------------------------------------------------------------------


def test_what_has_no_room_waits_and_goes_in_order() -> None:
    book = Playbook(pace=Free(3))
    tasks = [wire.task(id=f"{n}") for n in range(7)]
    assert [out.wire for out in book.deliver(*tasks)] == tasks[:3]
    assert (book.relay.taken, len(book.relay.ahead.waiting), book.relay.waiting) == (3, 4, 3), "the books know of three"
    assert book.confirm(2, multiple=True) == [(2, True)]
    assert [out.wire for out in book.published()] == tasks[3:5]
    # What comes now stands behind those that wait, though one more would fit.
    book.confirm(3)
    tasks.append(wire.task(id="last"))
    assert [out.wire for out in book.deliver(tasks[7])] == [tasks[5]]
    book.confirm(6, multiple=True)
    assert [out.wire for out in book.published()] == tasks[6:]
    assert book.confirm(8, multiple=True) == [(8, True)]
    assert (book.counts.taken, book.counts.moved, book.relay.ahead.waiting) == (8, 8, collections.deque())
    assert book.relay.ahead.since is None


def test_what_is_read_ahead_goes_when_the_source_has_heard_the_acks() -> None:
    book = Playbook(pace=Free(3))
    tasks = [wire.task(id=f"{n}") for n in range(15)]
    book.relay.read_ahead(20)
    book.hear()
    assert len(book.deliver(*tasks)) == 3
    assert book.confirm(3, multiple=True) == [(3, True)]
    assert [out.wire for out in book.published()] == tasks[3:6]
    assert book.confirm(5, multiple=True) == [(5, True)]
    assert book.published() == [], "one is in flight, and five acks are on their way"
    assert len(ids(book.relay.doubtful(source_lost=True))) == 6
    book.hear()
    assert [out.wire for out in book.published()] == tasks[6:8]
    # No more from now on: what waits is held to the same, then nothing is asked any more.
    book.relay.read_ahead(0)
    for last, then in [(8, tasks[8:11]), (11, [])]:
        book.confirm(last, multiple=True)
        assert [out.wire for out in book.published()] == then
    book.hear()
    assert [out.wire for out in book.published()] == tasks[11:14]
    book.confirm(14, multiple=True)
    assert [out.wire for out in book.published()] == tasks[14:]
    book.confirm(15)
    book.hear()
    assert len(book.deliver(*[wire.task()] * 3)) == 3
    book.confirm(18, multiple=True)
    assert book.questions == 0
    book.relay.heard(book.now)  # an answer that nobody waits for changes nothing
    assert (book.published(), book.counts.moved) == ([], 18)


def test_a_message_that_waits_gets_the_delay_of_the_moment_in_which_it_goes() -> None:
    book = Playbook(pace=Free(1))
    book.deliver(wire.task(), wire.task(eta=at(seconds=100)), wire.task(eta=at(seconds=20)))
    book.now += 30
    book.confirm(1)
    [late] = book.published()
    assert late.routing_key == key(70)
    book.confirm(2)
    [due] = book.published()
    assert (due.exchange, due.routing_key) == ("", "mail"), "its time came while it waited"


@pytest.mark.parametrize("end", ["stop", "leave", "last turn"])
def test_what_waits_stays_with_the_source_whatever_ends_it(end: str) -> None:
    book = Playbook(pace=Free(2), budget=(budget := Budget(1 << 20)))
    book.deliver(*[wire.task(id=f"{n}") for n in range(5)])
    relay = book.relay
    {"stop": lambda: relay.stop("cut", "gone"), "leave": relay.leave, "last turn": relay.last_turn}[end]()
    book.confirm(2, multiple=True)
    assert book.published() == []
    relay.close()
    assert (book.counts.taken, book.counts.moved, book.counts.given_back) == (2, 2, 0)
    assert ids(relay.doubtful(source_lost=False)) == (["0", "1"] if end == "leave" else [])
    assert budget.used == 0


def test_a_redelivered_one_that_waits_is_noted_when_it_is_taken() -> None:
    book = Playbook(pace=Free(1), unsure=2)
    book.receive(b"".join(book.delivery(wire.task(id=f"{n}"), redelivered=True) for n in range(3)))
    assert (book.counts.redelivered, ids(book.relay.came_again)) == (1, ["0"])
    book.confirm(1)
    book.confirm(2)
    assert (book.counts.redelivered, ids(book.relay.came_again)) == (3, ["0", "1"])


def test_one_that_no_publish_can_carry_waits_for_those_before_it() -> None:
    book = Playbook(Destination("mail", b"bridge", max_message=150_000), pace=Free(2))
    book.deliver(wire.task(id="0"), wire.task(id="1"), wire.task(bytes(200_000), id="2"))
    assert book.relay.held == []
    book.confirm(2, multiple=True)
    [held] = book.relay.held
    assert (held.tag, held.reason) == (3, "too-large")
    book.relay.set_apart(held)
    book.relay.turn(book.now)
    assert book.acks() == [(3, True)]


def test_what_waits_has_its_share_of_the_bytes() -> None:
    task = wire.task()
    book = Playbook(pace=Free(1), budget=Budget(3 * len(task)))
    book.deliver(task, task, task)
    assert (book.surprise, len(book.relay.ahead.waiting)) == ("", 2)
    book.deliver(task)
    assert book.surprise == "window"


def test_a_fault_of_ours_with_one_that_waited_ends_this_queue_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Playbook(pace=Free(1))
    book.deliver(wire.task(id="0"), wire.task(id="1"), wire.task(id="2"))
    monkeypatch.setattr(book.relay, "_pass", {}.__getitem__)
    # It comes to light when the target confirms, whose connection is all queues'.
    assert book.confirm(1) == [(1, True)]
    assert (book.surprise, book.published(), book.out.alerts) == ("broken", [], {5})
    assert len(book.relay.ahead.waiting) == 1


def test_a_surprise_among_those_that_wait_keeps_the_rest() -> None:
    book = Playbook(pace=Free(2), backup=Backup(required=True))
    book.deliver(*[wire.task(id=f"{n}") for n in range(5)])
    assert len(book.copied()) == 2
    book.relay.stop("cut", "gone")
    book.relay.turn(book.now)
    assert (len(book.relay.ahead.waiting), book.published(), book.copied()) == (3, [], [])


@given(
    st.lists(st.tuples(st.sampled_from(["deliver", "confirm", "hear", "resize"]), st.integers(1, 9)), max_size=60),
    st.integers(1, 6),
)
def test_never_more_at_risk_than_the_window_and_all_in_order(steps: list[tuple[str, int]], window: int) -> None:
    book = Playbook(pace=Free(window))
    came: list[bytes] = []
    went: list[bytes] = []
    acked = heard = 0
    for step, count in [*steps, *[("confirm", 9), ("hear", 0)] * 600]:
        if step == "deliver":
            # The source hands out no more than it may, for all that it has heard.
            may = min(count, window + book.relay.ahead.size - (len(came) - heard))
            tasks = [wire.task(id=f"{len(came) + n}") for n in range(may)]
            came += tasks
            book.receive(b"".join(map(book.delivery, tasks)))
        elif step == "resize":
            book.relay.read_ahead(count - 1)
        elif step == "hear":
            book.hear()
            heard = acked
        elif acked < len(went):
            acked = min(acked + count, len(went))
            assert book.confirm(acked, multiple=True) == [(acked, True)]
        published = [out.wire for out in book.published()]
        went += published
        assert len(book.relay.ledger) == len(went) - acked <= window
        assert len(book.relay.ahead.waiting) == len(came) - len(went)
        if published:
            assert len(went) - heard <= 2 * window, "published, and for all that is known not acked"
    assert went == came
    assert book.counts.moved == acked == len(came)


def test_of_a_large_message_only_the_header_is_kept() -> None:
    book = Playbook()
    small, bulky = wire.task(id="small"), wire.task(bytes(50_000), id="bulky")
    book.deliver(small, bulky)
    book.confirm(2, multiple=True)
    kept = book.relay.doubtful(source_lost=True)
    assert ids(kept) == ["small", "bulky"]
    assert kept[0] == small
    assert len(kept[1]) < 1000
    assert bulky.startswith(kept[1])


def test_what_may_have_been_in_flight_before_a_crash_is_listed() -> None:
    book = Playbook(unsure=2)
    for number, redelivered in enumerate([True, False, True, True]):
        book.receive(book.delivery(wire.task(bytes(9000), id=f"{number}"), redelivered=redelivered))
    assert ids(book.relay.came_again) == ["0", "2"]
    assert max(len(head) for head in book.relay.came_again) < 1000
    assert (book.counts.redelivered, book.relay.unsure) == (3, 0)
    assert len(book.published()) == 4, "they move like all others"


def test_how_full_it_was_is_seen() -> None:
    book = Playbook()
    book.deliver(*[wire.task()] * 3)
    book.now += 0.5
    book.confirm(1)
    book.now += 0.25
    book.confirm(3, multiple=True)
    assert (book.relay.fullest, book.relay.ledger.lag) == (3, 0.75)
    book.deliver(wire.task())
    book.confirm(4)
    assert (book.relay.fullest, book.relay.ledger.lag) == (3, 0.0)
    # One of each turn in which something was acked.
    assert book.counts.lags == [0.5, 0.75, 0.0]


# -- canary
# -----------------------------------------------------------------------------------------------------------------


def test_a_rate_holds_acks_back() -> None:
    book = Playbook(pace=Rate(20.0, 500, 100.0))
    assert book.relay.pace.prefetch == 2
    book.deliver(wire.task(), wire.task())
    assert book.confirm(2, multiple=True) == []
    assert book.out.alerts == {5}, "that acks are held back is said"
    book.out.alerts.clear()
    book.relay.turn(book.now)
    assert book.out.alerts == set(), "once"
    book.now += 0.0625
    book.relay.turn(book.now)
    assert book.acks() == [(1, True)]
    book.now += 10.0
    book.relay.turn(book.now)
    assert book.acks() == [(2, True)]
    assert not book.relay.finished


def test_the_first_so_many_and_no_more() -> None:
    book = Playbook(pace=First(3, 2))
    assert book.relay.pace.prefetch == 2
    book.deliver(wire.task(), wire.task())
    assert book.confirm(2, multiple=True) == [(1, True)]
    assert not book.relay.finished
    book.deliver(wire.task())
    assert book.relay.finished
    assert book.confirm(3) == []
    assert book.out.alerts == {5}
    book.relay.last_turn()
    assert book.acks() == [(3, True)]


def test_a_queue_without_limit_never_finishes() -> None:
    book = Playbook()
    book.deliver(wire.task())
    assert not book.relay.finished


def test_redelivered_messages_are_counted() -> None:
    book = Playbook()
    book.receive(book.delivery(wire.task(), redelivered=True))
    assert book.counts.redelivered == 1
    assert len(book.published()) == 1


def test_forgotten_channels_are_pikas_again() -> None:
    book = Playbook()
    book.source.forget(5)
    book.target.forget(5)
    stream = book.delivery(wire.task())
    assert book.receive(stream) == stream
    answer = frames.ack(5, 1, multiple=False)
    assert book.answer(answer) == answer


# -- the books
# ----------------------------------------------------------------------------------------------------------------


def test_what_did_not_arrive_is_given_back_once() -> None:
    book = Playbook()
    book.deliver(*[wire.task(id=f"{n}") for n in range(5)])
    book.confirm(2)
    book.nack(3)
    assert (book.counts.taken, book.counts.confirmed, book.relay.waiting) == (5, 1, 4)
    book.relay.close()
    book.relay.close()
    assert (book.counts.given_back, book.relay.waiting) == (4, 0)


# -- the way back
# ---------------------------------------------------------------------------------------------------------------


def test_on_the_way_back_a_task_is_plain_again() -> None:
    book = Playbook(Destination("mail", b"bridge", straight=True, side="source"))
    ladder_s = {"x-death": [], "x-first-death-queue": "celery_delayed_6", "x-last-death-reason": "expired"}
    counts = {"x-delivery-count": b"l" + (2).to_bytes(8, "big"), "x-acquired-count": b"l" + (2).to_bytes(8, "big")}
    [out] = book.deliver(wire.task(eta=at(seconds=90), **ladder_s, **counts))
    assert (out.exchange, out.routing_key) == ("", "mail")
    assert out.wire == wire.task(eta=at(seconds=90))
    assert book.confirm(1) == [(1, True)]
    assert (book.counts.to_legacy, book.counts.moved) == (1, 0)


@pytest.mark.parametrize(("times", "again", "apart"), [(9, True, False), (10, True, True), (10, False, False)])
def test_what_came_back_too_often_is_set_apart(times: int, again: bool, apart: bool) -> None:
    book = Playbook(Destination("mail", b"bridge", straight=True, most_returns=10))
    task = wire.task(**{"x-delivery-count": b"l" + times.to_bytes(8, "big")})
    book.receive(book.delivery(task, redelivered=again))
    assert [(held.tag, held.reason) for held in book.relay.held] == ([(1, "delivery-limit")] if apart else [])
    assert len(book.published()) == (0 if apart else 1)


def test_to_a_target_a_message_may_have_come_back_as_often_as_it_likes() -> None:
    book = Playbook()
    book.receive(book.delivery(wire.task(**{"x-delivery-count": b"l" + (99).to_bytes(8, "big")}), redelivered=True))
    assert book.relay.held == []
    assert len(book.published()) == 1
