"""Every check of both gates."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.core.gate import CHECKS, Facts, Gate, checked, gate

GOOD = Facts("mail", "mail-v2", consumers=2, type="quorum", exit_fault="", consumers_wanted=1)


def test_good_facts_pass_every_gate() -> None:
    assert [gate(GOOD, which) for which in Gate] == [None] * 3
    assert set(CHECKS) == set(Gate)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"alarm": "memory"}, "takes no publishes now: memory"),
        ({"consumers": None}, "does not exist"),
        ({"type": "classic"}, "is a classic queue"),
        ({"exit_fault": "celery_delayed_3 is missing"}, "has no exit from the ladder: celery_delayed_3 is missing"),
        ({"consumers": 0}, "has 0 consumers, 1 are wanted"),
    ],
)
def test_each_check_of_the_target_says_what_failed_and_what_to_do(changed: dict[str, object], text: str) -> None:
    facts = dataclasses.replace(GOOD, **changed)  # type: ignore[arg-type]
    refused = gate(facts)
    assert refused is not None
    assert 'queue "mail": target queue "mail-v2"' in refused.text
    assert text in refused.text
    assert refused.hint
    assert gate(facts, Gate.BACK) is None


def test_the_way_back_says_so_too() -> None:
    facts = dataclasses.replace(GOOD, back_fault="disk alarm")
    refused = gate(facts, Gate.BACK)
    assert refused is not None
    assert refused.text == 'queue "mail": nothing can be brought back now: disk alarm'
    assert refused.hint
    assert gate(facts) is None


def test_an_unknown_type_passes() -> None:
    assert gate(dataclasses.replace(GOOD, type=None)) is None


def test_every_check_is_told_with_what_is_so() -> None:
    assert [(one.check, one.ok, one.text) for one in checked(GOOD)] == [
        ("publishes", True, "the target takes publishes"),
        ("queue", True, 'target queue "mail-v2" is there'),
        ("type", True, "it is a quorum queue"),
        ("exit", True, "the ladder is there"),
        ("workers", True, "2 consumers, 1 are wanted"),
    ]
    (back,) = checked(GOOD, Gate.BACK)
    assert back == ("way back", True, 'queue "mail" is there on the old side, and its broker takes publishes', "")
    assert checked(GOOD, Gate.NONE) == []
    unknown = dataclasses.replace(GOOD, type=None)
    assert checked(unknown)[2].text == "its type is not known: target.api is not set"


def test_all_that_fail_are_told_with_their_hints() -> None:
    found = checked(dataclasses.replace(GOOD, type="classic", consumers=0, fault="nacked"))
    assert [one.check for one in found if not one.ok] == ["not faulted", "type", "workers"]
    assert all(one.hint for one in found if not one.ok)
    assert found[0].text == "it is faulted: nacked"


@pytest.mark.parametrize(
    ("changed", "first", "why"),
    [
        ({"alarm": "memory"}, "publishes", "not looked at: the target takes no publishes now"),
        ({"consumers": None}, "queue", "not looked at: the target queue does not exist"),
    ],
)
def test_what_could_not_be_looked_at_has_not_passed(changed: dict[str, object], first: str, why: str) -> None:
    found = checked(dataclasses.replace(GOOD, **changed))  # type: ignore[arg-type]
    number = [one.check for one in found].index(first)
    assert all(one.ok for one in found[:number])
    assert not found[number].ok
    assert {one.text for one in found[number + 1 :]} == {why}
    assert not any(one.ok for one in found[number + 1 :])
