"""Streams of the status: one look for all, none for nobody, and nobody holds another up."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from bridge.web import events as room
from bridge.web.events import LATE, MOST, Crowded, Events, Stream


class Status:
    """A status whose number of moved messages is the number of looks."""

    def __init__(self) -> None:
        self.looks = 0
        self.fault: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        if self.fault is not None:
            raise self.fault
        self.looks += 1
        queue = {"name": "mail", "moved": self.looks}
        return {"now": str(self.looks), "state": "active", "totals": {"moved": self.looks}, "queues": [queue]}


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> Status:
    monkeypatch.setattr(room, "EVERY", 0.01)
    return Status()


@pytest.fixture
def events(status: Status) -> Iterator[Events]:
    made = Events(status)
    yield made
    made.close()


def read(stream: Stream) -> tuple[str, Any]:
    """The next event, without the `retry` before the first."""
    text = next(stream).decode()
    assert text.endswith("\n\n")
    name, data = text.removeprefix("retry: 2000\n\n").rstrip("\n").split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_stream_begins_with_everything_and_goes_on_with_what_changed(events: Events) -> None:
    stream = events.open()
    name, whole = read(stream)
    assert (name, whole["state"], whole["totals"]) == ("status", "active", {"moved": 1})
    assert read(stream) == (
        "change",
        {"now": "2", "top": {}, "totals": {"moved": 2}, "queues": [{"name": "mail", "moved": 2}], "gone": []},
    )
    assert read(stream)[1]["now"] == "3"


def test_one_look_serves_all_and_a_late_one_begins_where_the_others_are(events: Events, status: Status) -> None:
    first = events.open()
    read(first)
    read(first)
    second = events.open()
    seen = read(second)[1]["totals"]["moved"]
    assert seen == status.looks
    told = read(second)[1]
    assert told["totals"]["moved"] == seen + 1
    while read(first)[1]["now"] != told["now"]:
        pass


def test_nobody_looks_when_nobody_looks_on(events: Events, status: Status) -> None:
    stream = events.open()
    read(stream)
    stream.close()
    with gevent.Timeout(5):
        while events._last is not None:
            gevent.sleep(0.01)
    before = status.looks
    gevent.sleep(0.05)
    assert status.looks == before
    # It begins anew for the next one.
    assert read(events.open())[1]["totals"]["moved"] == before + 1


def test_so_many_and_no_more(events: Events) -> None:
    streams = [events.open() for _ in range(MOST)]
    with pytest.raises(Crowded, match="8 streams of events are open; allowed: 8"):
        events.open()
    streams[0].close()
    assert len(events) == MOST - 1
    events.open()


def test_who_reads_too_slowly_is_dropped_and_holds_nothing_in_memory(events: Events) -> None:
    slow, quick = events.open(), events.open()
    with gevent.Timeout(5):
        for _ in range(LATE + 3):
            read(quick)
    assert len(events) == 1
    assert list(slow) == []


def test_a_quiet_stream_has_a_heartbeat(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "EVERY", 60.0)
    monkeypatch.setattr(room, "HEARTBEAT", 0.01)
    events = Events(status)
    stream = events.open()
    read(stream)
    assert next(stream) == b": still here\n\n"
    events.close()
    assert list(stream) == []
    with pytest.raises(Crowded, match="the daemon is stopping"):
        events.open()


def test_a_look_that_fails_ends_the_streams(events: Events, status: Status, caplog: pytest.LogCaptureFixture) -> None:
    stream = events.open()
    read(stream)
    status.fault = ZeroDivisionError("no")
    with gevent.Timeout(5), caplog.at_level(logging.ERROR):
        list(stream)
        gevent.sleep(0)
    assert "live status: unexpected error: ZeroDivisionError: no" in caplog.text
    with pytest.raises(ZeroDivisionError):
        events.open()
    status.fault = None
    assert read(events.open())[0] == "status"


def test_a_page_is_told_rows_and_the_whole_of_the_queue_that_it_has_open(events: Events) -> None:
    page, program = events.open(rows=True, queue="mail"), events.open()
    first = next(page).decode().removeprefix("retry: 2000\n\n").split("\n\n")
    assert [event.partition("\n")[0] for event in first] == ["event: status", "event: queue", ""]
    told = json.loads(first[0].partition("data: ")[2])
    assert "moved" not in told["queues"][0]
    assert told["queues"][0]["depth"] == [None] * 5
    assert json.loads(first[1].partition("data: ")[2]) == {"name": "mail", "moved": 1}
    second = next(page).decode().split("\n\n")
    assert json.loads(second[0].partition("data: ")[2])["queues"] == []
    assert json.loads(second[1].partition("data: ")[2]) == {"name": "mail", "moved": 2}
    # One that is not in scope, or no more, is nothing.
    other = events.open(rows=True, queue="none")
    assert read(other)[0] == "status"
    assert read(other)[0] == "change"
    read(program)
    assert read(program)[1]["queues"] == [{"name": "mail", "moved": 2}]
