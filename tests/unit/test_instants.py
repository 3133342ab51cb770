from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bridge.instants import parse_instant, show_instant


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """+01:00, in summer +02:00, changed at 01:00 UTC on the last Sundays of March and October (as a rule, so that
    no zone files are needed).
    """
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "now", "at"),
    [
        ("02:30", "2026-11-22 17:05", "2026-11-23 01:30"),
        ("18:06", "2026-11-22 17:05", "2026-11-22 17:06"),
        ("18:05", "2026-11-22 17:05", "2026-11-23 17:05"),
        ("2:30:15", "2026-11-22 17:05", "2026-11-23 01:30:15"),
        ("02:30", "2026-07-01 12:00", "2026-07-02 00:30"),
        # 23:30 UTC is the next day here.
        ("02:30", "2026-11-22 23:30", "2026-11-23 01:30"),
        ("00:15", "2026-11-22 23:30", "2026-11-23 23:15"),
        # The night in which 02:30 does not exist, and the one in which it comes twice.
        ("02:30", "2026-03-28 20:00", "2026-03-29 01:30"),
        ("02:30", "2026-10-24 20:00", "2026-10-25 00:30"),
        ("2026-11-23T02:30", "2026-11-22 17:05", "2026-11-23 01:30"),
        ("2026-11-23 02:30:00+05:30", "2026-11-22 17:05", "2026-11-22 21:00"),
        ("2026-11-23T02:30:00Z", "2026-11-22 17:05", "2026-11-23 02:30"),
    ],
)
def test_a_time_is_the_next_one_here_or_the_one_it_names(text: str, now: str, at: str) -> None:
    assert parse_instant(text, utc(now)) == utc(at)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("24:00", "not a time"),
        ("12:60", "not a time"),
        ("tonight", "not a time"),
        ("", "not a time"),
        ("9999-12-31T23:59:59-23:59", "not a time"),
        ("2026-11-22T18:05:00+01:00", r"past, it is 2026-11-22 18:05:00\+01:00"),
        ("2025-11-23T02:30", "past"),
        ("2027-12-01T02:30", "more than 366 days away"),
    ],
)
def test_what_is_no_time_to_come_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_instant(text, utc("2026-11-22 17:05"))


def test_an_instant_is_shown_with_its_zone_and_how_far_it_is() -> None:
    now = utc("2026-11-22 17:05")
    assert show_instant(utc("2026-11-23 01:30"), now) == "2026-11-23 02:30:00 CET (+01:00), in 8 h 25 min"
    assert show_instant(utc("2027-07-01 01:30"), now).startswith("2027-07-01 03:30:00 CEST (+02:00), in 220 d 8 h")
    assert show_instant(now + timedelta(seconds=30), now).endswith("in less than a minute")
    assert show_instant(now - timedelta(seconds=30), now).endswith("in less than a minute")
