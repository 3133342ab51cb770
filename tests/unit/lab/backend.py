"""A backend whose nodes are names, and an HTTP API that is ready when they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bridge.lab.cluster import Ended
from bridge.progress import Progress


@dataclass
class FakeBackend:
    """Keeps what it was asked in `asked`; nodes named in `failing` end while they start."""

    asked: list[str] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    ended: Ended = field(default_factory=lambda: Ended(0, "", ""))

    def prepare(self, progress: Progress) -> None:
        progress("everything", "preparing")
        self.asked.append("prepare")

    def start(self, name: str) -> None:
        self.asked.append(f"start {name}")
        if name not in self.failing:
            self.alive.add(name)

    def stop(self, name: str) -> None:
        self.asked.append(f"stop {name}")
        self.alive.discard(name)

    def kill(self, name: str) -> None:
        self.asked.append(f"kill {name}")
        self.alive.discard(name)

    def running(self, name: str) -> bool:
        return name in self.alive

    def ctl(self, name: str, arguments: Sequence[str]) -> Ended:
        self.asked.append(f"ctl {name} {' '.join(arguments)}")
        return self.ended

    def last_lines(self, name: str) -> str:
        return f"the end of {name}"

    def remove(self) -> None:
        self.asked.append("remove")
        self.alive.clear()


class FakeApi:
    """Stands in for `bridge.lab.api.Api`; `calls` is shared by all."""

    calls: ClassVar[list[tuple[str, ...]]] = []
    is_ready = True

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url

    def ready(self, amqp: int, members: int) -> bool:
        return self.is_ready

    def version(self) -> str:
        return "3.10.8"

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((self.url, name, *arguments))
