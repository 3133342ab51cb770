"""Which way the messages of a queue go now: read where, written where, over which connections."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from bridge.core.route import Route
from bridge.link import Link
from bridge.terms import Share, Terms


class Kind(enum.StrEnum):
    """The directions there are."""

    #: From the source to the target, ETA tasks into its ladder.
    FORWARD = "forward"
    #: Inline: from the source to the legacy side, as it is.
    LEGACY = "legacy"
    #: From the target to the old side, as plain ETA tasks.
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Way:
    """A subscription's terms: when one of them changes, it ends and another begins."""

    kind: Kind
    route: Route
    link: Link
    #: Name of the queue that is read, and of the one that is written.
    reads: str
    writes: str
    terms: Terms
    share: Share | None = None
    #: Messages a second at most; None is no limit.
    limit: float | None = None
    #: The legacy side gets messages beside the target: all, or those that are not the target's.
    leg: bool = False
    #: Both sides should get every message, and the other takes none now.
    degraded: bool = False
    #: Changed when a canary begins to count anew.
    anew: int = 0
    #: What the status says beside `moving`.
    note: str = field(default="", compare=False)

    @property
    def others_wait(self) -> bool:
        """Whether there is nowhere else to go while one side is silent; else it is not waited for longer than needed:
        in the inline layout nobody has the messages meanwhile.
        """
        return not self.leg or (self.route is Route.DUAL and not self.terms.degrade)

    @property
    def meanwhile(self) -> str:
        """Who has the messages of a queue that does not move."""
        if self.kind is Kind.BACK:
            return "the messages stay on the target meanwhile"
        if self.link.leg is None and self.kind is Kind.FORWARD:
            return "the old workers have the queue meanwhile"
        return "the messages wait in the source queue meanwhile"


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing goes any way now: the state of the queue and why."""

    state: str
    why: str
