"""Findings as people read them: the gravest first, a table for each severity, and one line that sums them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.core.check.finding import Finding, Severity

_STYLE = {Severity.BLOCKER: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def counts(findings: Sequence[Finding]) -> dict[Severity, int]:
    """How many findings of each severity there are, gravest first, zeros included."""
    found = Counter(finding.severity for finding in findings)
    return {severity: found[severity] for severity in Severity}


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The stable form for programs: `findings`, and how many `blockers`, `warnings` and `notes` are among them."""
    numbers = {f"{severity.value}s": number for severity, number in counts(findings).items()}
    return {"findings": [finding.as_json() for finding in findings], **numbers}


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print `findings` on `console`."""
    for severity, number in counts(findings).items():
        if number:
            console.print(Text(_many(severity, number), style=_STYLE[severity]))
            console.print(_table(finding for finding in findings if finding.severity is severity))
            console.print()
    console.print(", ".join(_many(severity, number) for severity, number in counts(findings).items()))


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, ratio in (("about", 2), ("seen", 4), ("to do", 4), ("id", 2)):
        table.add_column(heading, ratio=ratio, overflow="fold")
    for finding in findings:
        table.add_row(*(Text(text) for text in (finding.subject, finding.seen, finding.todo, finding.id)))
    return table


def _many(severity: Severity, number: int) -> str:
    return f"{number} {severity.value}{'' if number == 1 else 's'}"
