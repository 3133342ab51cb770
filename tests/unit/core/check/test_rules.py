"""The list of rules: order, one finding for notes that say the same, what blocks."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.core.check.finding import Found
from bridge.core.check.rules import blocked, check
from bridge.core.check.world import World
from tests.unit.core.check.worlds import WORLD, old, queue, target, texts


def rule(world: World) -> Iterator[Found]:
    for name in "cba":
        yield Found("no-workers", "target queue", name, "0 consumers", "start some")
        yield Found("node-down", "target node", name, "not running", "start it")
        yield Found("node-down", "target node", name, "not running", "start it")
    yield Found("same-vhost", "vhost", "v", "one", "make two")


def test_the_gravest_come_first_then_by_subject_and_notes_that_say_the_same_are_one() -> None:
    assert [(finding.id, finding.subject) for finding in check(WORLD, [rule])] == [
        ("same-vhost", 'vhost "v"'),
        ("node-down", 'target node "a"'),
        ("node-down", 'target node "b"'),
        ("node-down", 'target node "c"'),
        ("no-workers", 'target queues "a", "b", "c"'),
    ]


def test_a_blocker_blocks_and_nothing_else_does() -> None:
    assert blocked(check(WORLD, [rule]))
    assert not blocked(check(target(default_queue_type="classic")))


def test_a_world_in_which_nothing_is_wrong_has_no_findings() -> None:
    assert check(WORLD) == []


def test_a_thousand_lazy_queues_are_one_line() -> None:
    world = old(*(queue(f"q{number:04}", arguments={"x-queue-mode": "lazy"}) for number in range(1000)))
    (text,) = texts(world, "classic-only")
    assert text.startswith('queues "q0000", "q0001", "q0002", "q0003", "q0004" and 995 more: queue-mode lazy')
