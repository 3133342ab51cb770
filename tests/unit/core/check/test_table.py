"""The table of findings: each has its tests, its page, and an id that can be an anchor."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from bridge.core.check import table
from tests.unit.core.check import (
    test_delays,
    test_inline,
    test_messages,
    test_queues,
    test_routing,
    test_sides,
    test_sisters,
)

ROOT = Path(__file__).parents[4]
ROOMS = (test_sides, test_queues, test_sisters, test_delays, test_routing, test_messages, test_inline)


def test_each_kind_has_a_world_that_raises_it_and_one_that_does_not() -> None:
    tested = {case.id for room in ROOMS for case in room.CASES}
    assert tested == table.KINDS.keys()


def test_ids_are_anchors_and_each_is_there_once() -> None:
    assert [kind.id for kind in table.TABLE if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.id)] == []
    assert [name for name, count in Counter(kind.id for kind in table.TABLE).items() if count > 1] == []


def test_each_kind_says_what_it_means_and_how_to_cure_it() -> None:
    assert [kind.id for kind in table.TABLE if not (kind.title and kind.meaning and kind.cure.endswith("."))] == []


def test_the_page_of_the_documentation_is_current() -> None:
    assert (ROOT / "docs" / "plan" / "findings.md").read_text() == table.page(), (
        'run: .venv/bin/python -c "from bridge.core.check.table import page; print(page(), end=str())" '
        "> docs/plan/findings.md"
    )
