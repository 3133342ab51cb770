"""What is asked of the daemon, and what it answers: the same through every door."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.core.route import Verb
from bridge.core.schedule import When, stamp
from bridge.errors import Refused
from bridge.terms import Share

#: The doors through which the configuration speaks: its own share counts then, not one that a verb gave.
CONFIGURATION = ("config", "reload")
#: The door of a verb that was postponed.
SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        verb: the verb.
        queues: the queues it is for; None is all that are in scope.
        by: who asks.
        door: cli, http, signal, reload, config or schedule.
        reason: why, in his words.
        dry_run: only say what would happen.
        force: go without workers on the target; only for queues that are named.
        share: with `canary`, how much.
        at: not before this time, which has a zone.
        when_backlog: not before at most so many messages are ready in the old queue.
    """

    verb: Verb
    queues: tuple[str, ...] | None
    by: str
    door: str
    reason: str = ""
    dry_run: bool = False
    force: bool = False
    share: Share | None = None
    at: datetime | None = None
    when_backlog: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it for one queue.

    Attributes:
        queue: its name; `*` is all queues together.
        outcome: done, unchanged, refused, planned, or would (a dry run).
        before: its route before, with `, paused` where it was.
        route: its route now; in a dry run what it would be.
        paused: whether it is paused, likewise.
        text: what happens now, or why nothing was changed.
        hint: what to do about a refusal.
        next: what can be asked next, as it is typed.
    """

    queue: str
    outcome: str
    before: str
    route: str
    paused: bool
    text: str
    hint: str
    next: tuple[str, ...]


def postponed(request: Request) -> When:
    """What a request is to wait for.

    Raises:
        Refused: it cannot be waited for.
    """
    at, backlog = request.at, request.when_backlog
    if at is not None and at.tzinfo is None:
        raise Refused(f"{at.isoformat()}: a time without its zone", hint="add the zone, such as +00:00")
    if at is not None and at <= datetime.now(UTC):
        raise Refused(f"{stamp(at)} is past", hint="name a time to come, or leave it out to do it now")
    if backlog is not None and backlog < 0:
        raise Refused(f"a backlog of {backlog} messages; allowed: 0 or more")
    return When(at, backlog)
