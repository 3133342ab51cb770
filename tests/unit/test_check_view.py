"""Findings as people and programs get them."""

from __future__ import annotations

import io

from rich.console import Console

from bridge import check_view
from bridge.core.check.finding import Finding, Severity

FOUND = [
    Finding("target-alarm", Severity.BLOCKER, 'target node "n1"', "memory alarm", "give it memory"),
    Finding("max-priority", Severity.WARNING, 'queue "mail"', "x-max-priority 10 -> two classes", "know it"),
    Finding("dq2", Severity.WARNING, 'queue "w1.dq2"', "left alone", "name it"),
]


def printed(findings: list[Finding]) -> str:
    out = io.StringIO()
    check_view.show(findings, Console(file=out, width=200))
    return out.getvalue()


def test_the_gravest_come_first_each_severity_under_its_heading():
    lines = [line.rstrip() for line in printed(FOUND).splitlines()]
    assert lines[0] == "1 blocker"
    assert lines[1].split() == ["about", "seen", "to", "do", "id"]
    assert [part.strip() for part in lines[2].split("  ") if part.strip()] == [
        'target node "n1"',
        "memory alarm",
        "give it memory",
        "target-alarm",
    ]
    assert lines[4] == "2 warnings"
    assert lines[-1] == "1 blocker, 2 warnings, 0 notes"


def test_nothing_found_is_said():
    assert printed([]) == "0 blockers, 0 warnings, 0 notes\n"


def test_what_is_seen_is_never_read_as_markup():
    finding = Finding("x", Severity.NOTE, 'queue "[red]"', "[/]", "[bold]")
    assert 'queue "[red]"' in printed([finding])
    assert "[/]" in printed([finding])


def test_the_form_for_programs():
    said = check_view.as_json(FOUND)
    assert (said["blockers"], said["warnings"], said["notes"]) == (1, 2, 0)
    assert list(said) == ["findings", "blockers", "warnings", "notes"]
    assert said["findings"][0] == {
        "id": "target-alarm",
        "severity": "blocker",
        "subject": 'target node "n1"',
        "seen": "memory alarm",
        "todo": "give it memory",
    }
