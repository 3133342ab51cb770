"""The legacy side of the inline layout: its queues, and the one right that is needed there."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.core.check.world import LegacySide, World
from bridge.core.topology import Trial
from tests.unit.core.check.worlds import WORLD, Case, holds, texts


def beside(*missing: str, granted: bool | None = True, text: str = "") -> World:
    trial = Trial("legacy", "write", "exchange", "amq.default", granted, text)
    return dataclasses.replace(WORLD, legacy=LegacySide("chost", "bridge", missing, (trial,)))


CASES = [
    Case(
        "legacy-queue-missing",
        beside("mail"),
        'legacy queue "mail": vhost "chost" has no such queue',
        beside(),
    ),
    Case("permission", beside(granted=False, text="ACCESS_REFUSED"), "no write on amq.default, needed to send to the"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)


def test_what_could_not_be_tried_is_told() -> None:
    found = texts(beside(granted=None, text="not tried: an alarm"), "not-looked-at")
    assert any('legacy vhost "chost": whether there is write on amq.default is not known' in text for text in found)
