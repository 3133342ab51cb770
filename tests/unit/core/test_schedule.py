"""When a postponed verb is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.schedule import RETRY, When, waits_for

AT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_time_is_due_from_that_time_on() -> None:
    when = When(at=AT)
    assert waits_for(when, AT - SECOND, None, None) == "for 2026-03-01 02:30:00+00:00"
    assert waits_for(when, AT, None, None) == ""
    assert waits_for(when, AT + 86400 * SECOND, None, None) == ""


@pytest.mark.parametrize(
    ("ready", "waits"),
    [
        (1001, "until at most 1000 messages are ready in the old queue, 1001 are now"),
        (1000, ""),
        (0, ""),
        (None, "to know how many messages are ready in the old queue"),
    ],
)
def test_a_backlog_is_due_at_its_bound_and_below(ready: int | None, waits: str) -> None:
    assert waits_for(When(backlog=1000), AT, ready, None) == waits


def test_with_both_both_must_hold() -> None:
    when = When(AT, 0)
    assert waits_for(when, AT - SECOND, 0, None).startswith("for 2026")
    assert waits_for(when, AT, 1, None) == "until at most 0 messages are ready in the old queue, 1 are now"
    assert waits_for(when, AT, 0, None) == ""


def test_what_was_refused_is_tried_again_after_a_while() -> None:
    when = When(at=AT)
    assert waits_for(when, AT + RETRY - SECOND, None, AT) == "to be tried again, every 5 s"
    assert waits_for(when, AT + RETRY, None, AT) == ""
    # The clock was set back to before the last try.
    assert waits_for(when, AT, None, AT + SECOND) == ""


def test_it_is_told_as_an_operator_said_it() -> None:
    assert str(When(AT)) == "at 2026-03-01 02:30:00+00:00"
    assert str(When(backlog=5)) == "when at most 5 messages are ready in the old queue"
    assert str(When(AT, 5)) == f"{When(AT)} and {When(backlog=5)}"
