"""Messages: sizes, TTL of their own, priorities of those with an ETA."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bridge.core.check.world import Sample, World
from bridge.core.topology import Probes
from tests.unit.core.check.worlds import WORLD, Case, holds, old, queue, target

MIB = 1024**2
TWO = target(version=(4, 2, 0))
UNCAPPED = dataclasses.replace(TWO, cap_priority=False)


def sampled(world: World = WORLD, **seen: Any) -> World:
    return dataclasses.replace(world, samples={"mail": Sample(50, **seen)})


CASES = [
    Case("message-size", TWO, "16.0 MiB at most, 128.0 MiB on the source"),
    Case(
        "message-size",
        dataclasses.replace(WORLD, probes=Probes(max_message_size=MIB)),
        "1.0 MiB at most",
        dataclasses.replace(TWO, probes=Probes(max_message_size=128 * MIB)),
    ),
    Case(
        "message-too-large",
        sampled(TWO, largest_body=17 * MIB),
        'queue "mail": a body of 17.0 MiB among 50 looked at; the target takes 16.0 MiB',
        sampled(largest_body=17 * MIB),
    ),
    Case(
        "message-too-large",
        sampled(dataclasses.replace(TWO, probes=None), largest_body=17 * MIB),
        "17.0 MiB",
        sampled(TWO, largest_body=16 * MIB),
    ),
    Case(
        "message-too-large",
        old(queue("mail", ready=2, message_bytes=34 * MIB), world=dataclasses.replace(TWO, samples=None)),
        'queue "mail": bodies of 17.0 MiB on average, 2 messages; the target takes 16.0 MiB',
        old(queue("mail", ready=2, message_bytes=32 * MIB), world=dataclasses.replace(TWO, samples=None)),
    ),
    Case(
        "message-too-large",
        old(queue("mail", ready=1, message_bytes=17 * MIB), world=TWO),
        "17.0 MiB",
        old(queue("mail", ready=1, message_bytes=17 * MIB), world=sampled(TWO, largest_body=16 * MIB)),
    ),
    Case(
        "headers-too-large",
        sampled(largest_headers=131072),
        "headers of 128.0 KiB among 50 looked at",
        sampled(largest_headers=131072 - 22),
    ),
    Case(
        "message-expiration",
        sampled(expiration=3, expiration_alone=2),
        "3 of 50 messages looked at have an expiration, 2 of them without",
        sampled(),
    ),
    Case("message-expiration", sampled(expiration=3), "0 of them without"),
    Case(
        "eta-priority-capped",
        sampled(TWO, eta_priority=5),
        "an ETA task with priority 5 among 50 messages",
        sampled(TWO, eta_priority=4),
    ),
    Case(
        "eta-priority-capped",
        old(queue("mail", arguments={"x-max-priority": 10}), world=dataclasses.replace(TWO, samples=None)),
        "x-max-priority 10: ETA tasks can have a priority over 4",
        sampled(target(version=(4, 3)), eta_priority=5),
    ),
    Case("eta-priority", sampled(UNCAPPED, eta_priority=9), "with priority 9", sampled(TWO, eta_priority=9)),
    Case(
        "eta-priority",
        sampled(UNCAPPED, eta_priority=9),
        "",
        old(queue("mail", arguments={"x-max-priority": 4}), world=UNCAPPED),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)
