"""Old queues in scope and the quorum queues that take over from them, as pairs."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from bridge.core.scope import left_alone
from bridge.core.topology import Queue, Vhost


@dataclass(frozen=True, slots=True)
class Pair:
    """An old queue as the source's API shows it, and the name of its sister queue on the target."""

    source: Queue
    target: str


def pairs(
    source: Vhost, wants: Callable[[str], bool], named: Container[str], target_of: Callable[[str], str]
) -> list[Pair]:
    """Every queue in scope with its sister's name, by the old name.

    Args:
        source: the old side.
        wants: whether a name is in scope, of `queues.include` and `queues.exclude`.
        named: names that stand in `queues.include` in full.
        target_of: the sister's name of a queue.
    """
    return [
        Pair(queue, target_of(name))
        for name, queue in sorted(source.queues.items())
        if wants(name) and left_alone(queue, named=name in named) is None
    ]
