"""Every check of both gates."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.core.gate import CHECKS, Facts, Gate, gate

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
