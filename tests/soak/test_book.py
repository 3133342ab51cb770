"""The book of a soak, on records that were made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
import pika.frame
import pytest

from bridge.doubles import Doubles
from bridge.lab.records import Journal, Sent, as_text, digest
from tests.soak.book import Book, Figures
from tests.soak.records import Got, Ran, unsure
from tests.soak.watch import listed

#: Property flags without a property: a message that has none.
BARE = as_text(b"\x00\x00")
SENT = Sent("1", 100.0, "web", None, live=True, shape="plain", body=digest(b"x"), properties=BARE)
GOT = Got("1", 100.1, "new", "new-1", "web", redelivered=False, retries=0, body=digest(b"x"), properties=BARE)
RAN = Ran("1", 100.2, "new", "new-1", 0)


class Writer:
    """Writes records as the processes of a soak do, and reads the book."""

    def __init__(self, folder: Path) -> None:
        self.journals = {kind: Journal(folder, kind) for kind in (Sent, Got, Ran)}
        self.doubtful = Journal(unsure(folder), Sent)
        self.book = Book(folder, capped=False)

    def write(self, *records: Any) -> None:
        for record in records:
            self.journals[type(record)].append(record)

    def figures(self, listed: frozenset[str] | None = None) -> Figures:
        self.book.refresh()
        return self.book.figures(listed)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def test_a_task_that_ran_as_it_was_sent(writer: Writer):
    writer.write(SENT, GOT, RAN)
    figures = writer.figures()
    assert (figures.sent, figures.run, figures.run_new) == (1, 1, 1)
    assert (figures.lost, figures.early, figures.changed, figures.twice, figures.doubled) == (0, 0, 0, 0, 0)
    assert not figures.examples
    assert writer.book.ran_after(99.0, "new") == RAN.at
    assert writer.book.ran_after(100.5, "new") is None
    assert writer.book.ran_after(99.0, "old") is None


def test_what_was_confirmed_and_never_ran_is_lost(writer: Writer):
    writer.write(SENT, GOT)
    assert writer.figures().lost == 1
    assert [sent.id for sent in writer.book.waiting()] == ["1"]
    writer.write(RAN)
    assert writer.figures().lost == 0


def test_what_was_not_confirmed_cannot_be_lost(writer: Writer):
    writer.doubtful.append(SENT)
    figures = writer.figures()
    assert (figures.sent, figures.unsure, figures.lost) == (0, 1, 0)


def test_a_run_before_its_eta_is_early(writer: Writer):
    writer.write(replace(SENT, eta=100.2001), GOT, RAN)
    assert writer.figures().early == 1


@pytest.mark.parametrize(
    "other", [{"body": digest(b"y")}, {"queue": "mail"}, {"properties": as_text(b"\x08\x00\x05")}], ids=str
)
@pytest.mark.parametrize("sent_first", [True, False])
def test_another_body_queue_or_property_is_a_change(other: dict[str, str], sent_first: bool, writer: Writer):
    got = replace(GOT, **other)
    for record in (SENT, got) if sent_first else (got, SENT):
        writer.write(record)
        writer.figures()
    assert writer.figures().changed == 1


@pytest.mark.parametrize(
    ("came", "doubled"),
    [
        ([("new", False), ("new", False)], True),
        ([("new", False), ("new", True)], False),  # its worker lost the connection
        ([("old", False), ("new", False)], False),  # the old worker did
        ([("old", True), ("new", False)], True),  # the bridge had it, and gave it back with its copy sent
        ([("new", False), ("old", True)], True),
        ([("new", True), ("old", True)], True),  # its first delivery on the new side was lost
        ([("old", True)], False),
        ([("old", False), ("old", True)], False),
    ],
)
def test_two_messages_are_told_from_one_that_came_again(came: list[tuple[str, bool]], doubled: bool, writer: Writer):
    writer.write(SENT, *(replace(GOT, side=side, redelivered=again) for side, again in came))
    figures = writer.figures(frozenset())
    assert (figures.doubled, figures.doubled_unlisted) == (doubled, doubled)
    assert figures.doubled_untold == (doubled and ("old", True) not in came)
    assert writer.figures(frozenset({"1"})).doubled_unlisted == 0
    assert writer.figures(None).doubled_unlisted is None


def test_what_the_ladder_doubled_is_told_apart(writer: Writer):
    writer.write(replace(SENT, eta=SENT.at + 5), GOT, GOT)
    figures = writer.figures(frozenset())
    assert (figures.doubled_unlisted, figures.doubled_in_ladder, figures.doubled_untold) == (1, 1, 0)
    assert writer.figures(frozenset({"1"})).doubled_in_ladder == 0


def test_a_second_try_is_no_second_run(writer: Writer):
    again = replace(GOT, retries=1, properties=as_text(b"\x08\x00\x05"))
    writer.write(SENT, GOT, RAN, again, replace(RAN, retries=1))
    figures = writer.figures()
    assert (figures.twice, figures.changed, figures.doubled) == (0, 0, 0)
    assert (figures.retries_came, figures.retries_run) == (1, 1)


def test_ids_are_read_from_the_daemons_log(caplog: pytest.LogCaptureFixture):
    """Written by the daemon's own code, so that a sentence that changes is noticed here."""
    doubles = Doubles()
    with caplog.at_level("INFO"):
        doubles.add("web", [header("one"), header("two")], "the target's connection was lost")
    lines = "\n".join(json.dumps({"message": record.getMessage()}) for record in caplog.records)
    assert listed(lines) == {"one", "two"}
    assert listed("") is None


def header(task_id: str) -> bytes:
    properties = pika.BasicProperties(headers={"task": "t", "id": task_id}, correlation_id=task_id)
    marshalled: bytes = pika.frame.Header(1, 0, properties).marshal()
    return marshalled
