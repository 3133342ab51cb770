"""What the configuration says of one queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What a canary takes: messages a second, the first so many, and inline a share or the tasks of some names."""

    rate: float | None = None
    first: int | None = None
    #: Per cent.
    percent: float | None = None
    #: Names, or shell patterns.
    tasks: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.rate is not None:
            return f"at most {self.rate:g}/s"
        if self.first is not None:
            return f"the first {self.first}"
        if self.percent is not None:
            return f"{self.percent:g} %"
        return "the tasks " + ", ".join(self.tasks or ())


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of one queue."""

    target: str
    share: Share | None
    consumers: int
    window: int
    read_ahead: int
    priority: int
    cap_priority: bool
    #: Inline: `dual` goes on with the living side while the other takes nothing.
    degrade: bool = False
