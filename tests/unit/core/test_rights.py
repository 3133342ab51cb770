"""The rights that the bridge needs, and whether it has them."""

from __future__ import annotations

import pytest

from bridge.core import rights
from bridge.core.rights import Right, allows, judge, needed, to_try
from bridge.core.topology import Permissions, Trial

PAIRS = [("a", "a"), ("b", "b-v2"), ("c", "c")]
ALL = Permissions("bridge", ".*", ".*", ".*")


def trial(right: Right, granted: bool | None, text: str = "") -> Trial:
    return Trial(right.side, right.right, right.kind, right.name, granted, text)


def test_what_is_needed_of_the_source_is_to_read_its_queues():
    found = [right for right in needed(PAIRS, "main") if right.side == "source"]
    assert found == [Right("source", "read", "queue", name, rights.TAKE) for name in "abc"]


def test_what_is_needed_of_the_target():
    found = needed(PAIRS, "main")
    assert Right("target", "write", "exchange", "amq.default", rights.SEND) in found
    assert [r.name for r in found if r.purpose == rights.DELAY] == [f"celery_delayed_{n}" for n in range(28)]
    assert [(r.right, r.kind, r.name) for r in found if r.purpose == rights.EXIT] == [
        ("read", "exchange", "celery_delayed_delivery"),
        ("write", "queue", "a"),
        ("write", "queue", "b-v2"),
        ("write", "queue", "c"),
    ]
    assert {r.name for r in found if r.purpose == rights.OWN} == {"bridge.control.main", "bridge.quarantine"}
    assert [(r.right, r.kind) for r in found if r.purpose == rights.OWN and r.name == rights.QUARANTINE] == [
        ("configure", "queue"),
        ("read", "queue"),
        ("write", "queue"),
        ("configure", "exchange"),
        ("write", "exchange"),
        ("read", "exchange"),
    ]
    assert len([r for r in found if r.purpose == rights.LADDER]) == 28 * 5 + 2
    assert [(r.right, r.kind, r.name) for r in found if r.purpose == rights.ENTER] == [
        (right, "exchange", f"bridge.delayed.{n}") for n in range(28) for right in ("configure", "write", "read")
    ]


@pytest.mark.parametrize("side", ["source", "target"])
def test_what_a_backup_needs_on_its_side(side: str):
    without, found = set(needed(PAIRS, "main")), set(needed(PAIRS, "main", side))
    assert {(r.side, r.right, r.kind, r.name, r.purpose) for r in found - without} == {
        (side, "configure", "exchange", "bridge.backup", rights.BACKUP),
        (side, "configure", "queue", "bridge.backup", rights.BACKUP),
        (side, "write", "exchange", "bridge.backup", rights.COPY),
        (side, "write", "queue", "bridge.backup", rights.COPY),
        (side, "read", "exchange", "bridge.backup", rights.COPY),
        (side, "read", "queue", "bridge.backup", rights.REPLAY),
    }
    assert without < found


def test_what_a_probe_needs_on_both_sides():
    without, found = set(needed(PAIRS, "main")), set(needed(PAIRS, "main", probe="bridge.probe.b"))
    assert {(r.side, r.right, r.kind, r.name, r.purpose) for r in found - without} == {
        (side, right, kind, "bridge.probe.b", rights.MEASURE)
        for side, kind in (("source", "exchange"), ("source", "queue"), ("target", "queue"))
        for right in ("configure", "write", "read")
    }
    assert without < found


def test_two_queues_with_one_target_need_it_once():
    found = needed([("a", "all"), ("b", "all")], "main")
    assert len(found) == len(set(found))


def test_where_the_expressions_are_known_only_ends_are_tried():
    chosen = to_try(needed(PAIRS, "main"), {"source": ALL, "target": ALL})
    assert [r.name for r in chosen if r.purpose == rights.TAKE] == ["a", "c"]
    assert [r.name for r in chosen if r.purpose == rights.DELAY] == ["celery_delayed_0", "celery_delayed_27"]
    assert [r.name for r in chosen if r.purpose == rights.SEND] == ["amq.default"]


def test_where_they_are_not_everything_is_but_the_inside_of_the_ladder():
    chosen = to_try(needed(PAIRS, "main"), {"source": None})
    assert [r.name for r in chosen if r.purpose == rights.TAKE] == ["a", "b", "c"]
    assert [r.name for r in chosen if r.purpose == rights.EXIT and r.kind == "queue"] == ["a", "b-v2", "c"]
    assert {r.name for r in chosen if r.purpose == rights.ENTER} == {"bridge.delayed.0", "bridge.delayed.27"}
    assert [r.name for r in chosen if r.purpose == rights.DELAY] == ["celery_delayed_0", "celery_delayed_27"]


def test_a_trial_wins_over_the_expressions():
    right = Right("source", "read", "queue", "a", rights.TAKE)
    (verdict,) = judge([right], {"source": ALL}, [trial(right, False, "read access refused")])
    assert (verdict.granted, verdict.text) == (False, "read access refused")
    (verdict,) = judge([right], {"source": ALL}, [trial(right, True)])
    assert (verdict.granted, verdict.text) == (True, "tried")


def test_the_expressions_tell_of_what_was_not_tried():
    known = {"target": Permissions("bridge", "^celery_delayed_", "", None)}
    asked = [
        Right("target", "configure", "queue", "celery_delayed_3", rights.LADDER),
        Right("target", "write", "exchange", "celery_delayed_3", rights.DELAY),
        Right("target", "read", "queue", "bridge.quarantine", rights.OWN),
    ]
    verdicts = judge(asked, known, [trial(asked[0], None, "odd answer")])
    assert [verdict.granted for verdict in verdicts] == [True, False, False]


@pytest.mark.parametrize(("first", "last", "between"), [(True, True, True), (False, False, False), (True, False, None)])
def test_the_ends_of_the_ladder_tell_of_what_is_between(first: bool, last: bool, between: bool | None):
    levels = [r for r in needed([], "main") if r.purpose == rights.DELAY]
    verdicts = judge(levels, {}, [trial(levels[0], first), trial(levels[-1], last)])
    assert [verdict.granted for verdict in verdicts] == [first, *[between] * 26, last]


def test_what_nothing_tells_of_is_not_guessed():
    asked = [
        Right("source", "read", "queue", "a", rights.TAKE),
        Right("target", "write", "exchange", "celery_delayed_3", rights.DELAY),
    ]
    assert [(v.granted, v.text.split(",")[0]) for v in judge(asked, {}, [])] == [(None, "not tried")] * 2


@pytest.mark.parametrize(
    ("expression", "name", "allowed"),
    [
        (".*", "q", True),
        ("", "q", False),
        ("^$", "q", False),
        ("elery", "celery", True),
        ("^elery", "celery", False),
        ("^(celery|mail)$", "mail", True),
        (None, "q", False),
        ("(?C1)q", "q", None),
    ],
)
def test_an_expression_is_searched_as_rabbitmq_searches(expression: str | None, name: str, allowed: bool | None):
    assert allows(expression, name) is allowed
