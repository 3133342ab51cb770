"""Findings about the legacy side of the inline layout."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.core.check.finding import Found
from bridge.core.check.world import World


def legacy_queues(world: World) -> Iterator[Found]:
    """Queues in scope that the old workers' side does not have."""
    if world.legacy is None:
        return
    for name in world.legacy.missing:
        seen = f'vhost "{world.legacy.vhost}" has no such queue'
        yield Found("legacy-queue-missing", "legacy queue", name, seen, f'start the old workers of "{name}" once')


def legacy_rights(world: World) -> Iterator[Found]:
    """Rights that are needed there and not there."""
    if world.legacy is None:
        return
    for trial in world.legacy.trials:
        if trial.granted is False:
            seen = f"no {trial.right} on {trial.name}, needed to send to the old workers ({trial.text})"
            todo = f"grant {trial.right} on {trial.name}"
            yield Found("permission", "legacy user", world.legacy.user, seen, todo)
        elif trial.granted is None:
            seen = f"whether there is {trial.right} on {trial.name} is not known: {trial.text}"
            yield Found("not-looked-at", "legacy vhost", world.legacy.vhost, seen, "check again")
