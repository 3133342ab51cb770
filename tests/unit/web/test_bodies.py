from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.route import Verb
from bridge.terms import Share
from bridge.web.bodies import VERBS, Asker, BadRequest, read_body, read_cancel, read_rate, read_request

NOW = datetime(2026, 11, 22, 17, 5, tzinfo=UTC)
HERE = Asker("alice@h1", "cli", trusted=True)
ELSEWHERE = Asker("token@10.0.0.5", "http", trusted=False)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "the body is empty"),
        (b"queues=mail", r"the body is not JSON \(line 1, column 1\)"),
        (b'{"all": true', r"the body is not JSON \(line 1, column 13\)"),
        (b'{"queues": ["\xff"]}', "the body is not UTF-8"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"when_backlog": ' + b"9" * 5000 + b"}", "the body is not JSON"),
        (b"[]", "the body is an empty list, not an object"),
        (b'"mail"', "the body is text, not an object"),
        (b"null", "the body is null, not an object"),
        (b"5", "the body is 5, not an object"),
    ],
)
def test_a_body_that_is_no_object_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as caught:
        read_body(raw)
    assert "JSON object" in caught.value.hint


def test_the_least_and_the_most_that_a_verb_is_asked_with() -> None:
    asked = read_request("pause", {"queues": ["mail"]}, HERE, NOW)
    assert (asked.verb, asked.queues, asked.by, asked.door) == (Verb.PAUSE, ("mail",), "alice@h1", "cli")
    assert (asked.reason, asked.dry_run, asked.force, asked.share) == ("", False, False, None)
    assert (asked.at, asked.when_backlog) == (None, None)
    body = {
        "all": True,
        "reason": "  the night\nof the move\t ",
        "by": "bob",
        "dry_run": True,
        "force": True,
        "at": "2026-11-23T02:30:00+01:00",
        "when_backlog": 0,
    }
    asked = read_request("cutover", body, HERE, NOW)
    assert (asked.verb, asked.queues, asked.by) == (Verb.CUTOVER, None, "bob (alice@h1)")
    assert (asked.reason, asked.dry_run, asked.force) == ("the night of the move", True, True)
    assert (asked.at, asked.when_backlog) == (datetime(2026, 11, 23, 1, 30, tzinfo=UTC), 0)


def test_a_queue_that_is_named_twice_is_asked_once() -> None:
    assert read_request("legacy", {"queues": ["b", "a", "b"]}, HERE, NOW).queues == ("b", "a")


def test_rollback_with_reverse_is_a_verb_of_its_own() -> None:
    assert read_request("rollback", {"all": True}, HERE, NOW).verb is Verb.ROLLBACK
    assert read_request("rollback", {"all": True, "reverse": False}, HERE, NOW).verb is Verb.ROLLBACK
    assert read_request("rollback", {"all": True, "reverse": True}, HERE, NOW).verb is Verb.REVERSE
    assert "reverse" not in VERBS


@pytest.mark.parametrize(
    ("share", "read"),
    [
        ({"rate": "300/m"}, Share(rate=5.0)),
        ({"first": 100}, Share(first=100)),
        ({"percent": "0.5%"}, Share(percent=0.5)),
        ({"tasks": ["app.mail.*", "app.pay"]}, Share(tasks=("app.mail.*", "app.pay"))),
    ],
)
def test_a_share_is_written_as_in_the_configuration(share: dict[str, Any], read: Share) -> None:
    assert read_request("canary", {"all": True, "canary": share}, HERE, NOW).share == read


@pytest.mark.parametrize(
    ("verb", "body", "why"),
    [
        ("cutover", {}, "found neither queues nor all; allowed: one of them"),
        ("cutover", {"queues": ["a"], "all": True}, "found both queues and all"),
        ("cutover", {"all": False}, "all: found false; allowed: true"),
        ("cutover", {"all": "yes"}, "all: found 'yes'; allowed: true"),
        ("cutover", {"queues": []}, "queues: found an empty list; allowed: a list of names"),
        ("cutover", {"queues": "mail"}, "queues: found text; allowed: a list of names"),
        ("cutover", {"queues": ["a", 5]}, r"queues\[1\]: found 5; allowed: the name of a queue"),
        ("cutover", {"queues": [""]}, r"queues\[0\]: found ''; allowed"),
        ("cutover", {"queues": ["\ud800"]}, r"queues\[0\]: found '\\ud800'; allowed"),
        ("cutover", {"all": True, "when": 1, "queue": 2}, "'when', 'queue': unknown to cutover"),
        ("legacy", {"all": True, "force": True}, "'force': unknown to legacy"),
        ("pause", {"all": True, "at": "02:30"}, "'at': unknown to pause"),
        ("cutover", {"all": True, "reverse": True}, "'reverse': unknown to cutover"),
        ("cutover", {"all": True, "dry_run": "true"}, "dry_run: found 'true'; allowed: true or false"),
        ("cutover", {"all": True, "force": 1}, "force: found 1; allowed: true or false"),
        ("rollback", {"all": True, "reverse": None}, "reverse: found nothing; allowed: true or false"),
        ("cutover", {"all": True, "reason": 5}, "reason: found 5; allowed: text"),
        ("cutover", {"all": True, "reason": "\udfff"}, "reason: found text; allowed: text"),
        ("cutover", {"all": True, "reason": "x" * 501}, "reason: found 501 characters; allowed: 500"),
        ("cutover", {"all": True, "by": ["x"]}, "by: found a list; allowed: text"),
        ("cutover", {"all": True, "when_backlog": -1}, "when_backlog: found -1; allowed: a number of messages"),
        ("cutover", {"all": True, "when_backlog": True}, "when_backlog: found true"),
        ("cutover", {"all": True, "when_backlog": "9"}, "when_backlog: found '9'"),
        ("cutover", {"all": True, "at": 5}, "at: found 5; allowed: a time of the day such as 02:30"),
        ("cutover", {"all": True, "at": "2025-01-01T00:00Z"}, r"at: found '2025-01-01T00:00Z' \(past, it is"),
        ("cutover", {"all": True, "at": "soon"}, r"at: found 'soon' \(not a time\)"),
        ("canary", {"all": True, "canary": 5}, "canary: found 5; allowed: a mapping with the keys rate, first"),
        ("canary", {"all": True, "canary": {}}, r"canary: found a mapping \(none of them\); allowed: exactly one"),
        ("canary", {"all": True, "canary": {"rate": "x"}}, r"canary\.rate: found 'x'"),
        ("canary", {"all": True, "canary": {"percent": 101}}, r"canary\.percent: found 101 \(outside of 0 to 100\)"),
        ("canary", {"all": True, "canary": {"share": 1}}, r"canary\.share: unknown key; allowed: the keys rate"),
        ("canary", {"all": True, "rate": "20/s"}, "'rate': unknown to canary"),
    ],
)
def test_what_is_unknown_or_of_the_wrong_kind_is_named(verb: str, body: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why) as caught:
        read_request(verb, body, HERE, NOW)
    assert caught.value.exit_code == 2


def test_over_tcp_nobody_says_who_he_is() -> None:
    assert read_request("pause", {"all": True}, ELSEWHERE, NOW).by == "token@10.0.0.5"
    with pytest.raises(BadRequest, match="by: only over the unix socket"):
        read_request("pause", {"all": True, "by": "the boss"}, ELSEWHERE, NOW)


def test_a_limit() -> None:
    asked = read_rate({"queues": ["mail"], "rate": "500/s", "reason": "lunch"}, HERE)
    assert (asked.queues, asked.rate, asked.by, asked.reason) == (("mail",), 500.0, "alice@h1", "lunch")
    assert read_rate({"all": True, "rate": None, "dry_run": True}, HERE).rate is None
    for body, why in (
        ({"all": True}, "rate: missing"),
        ({"all": True, "rate": 500}, "rate: found 500; allowed: a rate such as"),
        ({"all": True, "rate": "500"}, r"rate: found '500' \(not a number per s, m or h\)"),
        ({"all": True, "rate": "1/h"}, r"rate: found '1/h' \(outside of 2/m to 1000000/s\)"),
        ({"rate": "1/s"}, "found neither queues nor all"),
        ({"all": True, "rate": "1/s", "limit": 2}, "'limit': unknown to rate"),
    ):
        with pytest.raises(BadRequest, match=why):
            read_rate(body, HERE)


def test_a_cancel() -> None:
    asked = read_cancel({"queues": ["mail"], "dry_run": True}, HERE)
    assert (asked.queues, asked.dry_run, asked.door) == (("mail",), True, "cli")
    with pytest.raises(BadRequest, match="'at': unknown to cancel"):
        read_cancel({"all": True, "at": "02:30"}, HERE)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["02:30", "5/s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["queues", "all", "reason", "by", "dry_run", "force", "at", "when_backlog", "canary", "reverse", "rate"]
) | st.text(max_size=8)


@given(st.sampled_from([*VERBS, "rate", "cancel"]), st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_any_object_is_read_or_refused(verb: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest):
        if verb == "rate":
            read_rate(body, HERE)
        elif verb == "cancel":
            read_cancel(body, HERE)
        else:
            read_request(verb, body, HERE, NOW)
