"""What a replay wants, and the times that people give it; the walk itself is in tests/functional/test_replay.py."""

from __future__ import annotations

import math
import pickle
import zlib

import pytest

from bridge.core import envelope
from bridge.core import properties as p
from bridge.replay import Book, Wanted, moment, task_id, task_name
from tests.support import wire

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2h", NOW - 7200),
        ("2h ago", NOW - 7200),
        (" 30m  ago ", NOW - 1800),
        ("7d", NOW - 7 * 86400),
        ("2027-01-15T08:00", NOW),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15 10:00:00.5+02:00", NOW + 0.5),
        ("2027-01-15", NOW - 8 * 3600),
    ],
)
def test_times_as_people_give_them(text: str, found: float) -> None:
    assert moment(text, NOW) == found


@pytest.mark.parametrize("text", ["", "ago", "2", "2 hours", "yesterday", "-2h", "2026-13-01", "12:00", "2h ago ago"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        moment(text, NOW)


def message(queue: str = "mail", at: float = NOW, body: bytes = b"[[], {}, {}]", **headers: object) -> envelope.Message:
    table = wire.table(wire.task_headers(**headers))
    header = wire.header({p.CONTENT_TYPE: wire.shortstr(b"application/json"), p.HEADERS: table}, len(body))
    return envelope.Message(queue, at, "", header, body)


def old_message(kind: bytes, body: bytes, **headers: object) -> envelope.Message:
    present = {p.CONTENT_TYPE: wire.shortstr(kind), p.CORRELATION_ID: wire.shortstr(b"an-id")}
    if headers:
        present[p.HEADERS] = wire.table(headers)
    return envelope.Message("mail", NOW, "", wire.header(present, len(body)), body)


JSON = b'{"task": "shop.old", "id": "an-id", "args": []}'


def test_what_a_task_is_called_in_either_protocol() -> None:
    assert task_name(message(task="shop.new")) == "shop.new"
    assert task_name(old_message(b"application/json", JSON)) == "shop.old"
    assert task_name(old_message(b"application/x-python-serialize", pickle.dumps({"task": "shop.old"}))) == "shop.old"
    assert task_name(old_message(b"application/json", zlib.compress(JSON), compression="application/x-gzip")) == (
        "shop.old"
    )
    for odd in (b"{", b"[]", b'{"task": 1}', b'{"task": "a\\u0000b"}'):
        assert task_name(old_message(b"application/json", odd)) == ""
    assert task_name(old_message(b"application/x-unheard-of", JSON)) == ""
    assert task_name(envelope.Message("mail", NOW, "", b"short", b"")) == ""
    assert task_id(message(id="some-id")) == "some-id"
    assert task_id(old_message(b"application/json", JSON)) == "an-id"


def test_all_that_is_given_must_fit() -> None:
    assert Wanted().fits(message())
    assert Wanted(queues=("other", "ma*")).fits(message())
    assert not Wanted(queues=("other",)).fits(message())
    assert Wanted(tasks=("shop.tasks.*",)).fits(message())
    assert not Wanted(tasks=("shop.tasks.*",)).fits(message(task="other"))
    assert Wanted(ids=frozenset({"a", "b"})).fits(message(id="b"))
    assert not Wanted(ids=frozenset({"a", "b"})).fits(message(id="c"))
    assert not Wanted(queues=("mail",), ids=frozenset({"a"})).fits(message(id="c"))
    assert Wanted(since=NOW).fits(message())
    assert not Wanted(since=NOW + 0.1).fits(message())
    assert Wanted(until=NOW + 0.1).fits(message())
    assert not Wanted(until=NOW).fits(message())


@pytest.mark.parametrize(
    ("wanted", "everything"),
    [
        (Wanted(), True),
        (Wanted(limit=3), True),
        (Wanted(queues=("a",)), False),
        (Wanted(tasks=("a",)), False),
        (Wanted(ids=frozenset("a")), False),
        (Wanted(since=0.0), False),
        (Wanted(until=math.inf - 1), True),
        (Wanted(until=NOW), False),
    ],
)
def test_whether_nothing_is_left_out(wanted: Wanted, everything: bool) -> None:
    assert wanted.everything is everything


def test_failures_are_counted_by_reason_and_the_reasons_are_bounded() -> None:
    book = Book(dry_run=False)
    book.end(None)
    for number in range(500):
        book.end(f"reason {number % 300}")
    assert book.published == 1
    assert book.failed["reason 5"] == 2
    assert len(book.failed) == 101
    assert sum(book.failed.values()) == 500
    assert book.as_json()["failed"] == dict(book.failed)
