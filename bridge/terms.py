"""What the configuration says of one queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What a canary takes: messages a second, or the first so many."""

    rate: float | None = None
    first: int | None = None

    def __str__(self) -> str:
        return f"at most {self.rate:g}/s" if self.rate is not None else f"the first {self.first}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of one queue."""

    target: str
    share: Share | None
    consumers: int
    window: int
    priority: int
    cap_priority: bool
