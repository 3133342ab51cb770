"""Texts of findings: names, sizes, versions; the form for programs."""

from __future__ import annotations

import doctest

import pytest

from bridge.core.check import finding
from bridge.core.check.finding import Finding, Severity, size, subject


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(finding).failed == 0


def test_the_form_for_programs_is_stable() -> None:
    assert Finding("node-down", Severity.WARNING, "s", "seen", "todo").as_json() == {
        "id": "node-down",
        "severity": "warning",
        "subject": "s",
        "seen": "seen",
        "todo": "todo",
    }


@pytest.mark.parametrize(("number", "text"), [(0, "0 bytes"), (3 * 1024**3, "3.0 GiB"), (2 * 1024**4, "2.0 TiB")])
def test_sizes_are_for_people(number: int, text: str) -> None:
    assert size(number) == text


def test_one_name_is_singular() -> None:
    assert subject("target queue", ["a"]) == 'target queue "a"'
