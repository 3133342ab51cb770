"""What the lab is doing, told while it does it: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import RenderableType

#: Seconds between two plain lines of one subject while its step stays the same.
LINE_EVERY = 15.0


class Progress(Protocol):
    """Told a subject ("RabbitMQ 4.3") and its present step ("unpacking packages"); called from several threads."""

    def __call__(self, subject: str, step: str) -> None:
        """Take note of a step, or of more work in the same step."""


def silent(subject: str, step: str) -> None:
    """Tell nobody."""


class Lines:
    """One line on stderr per new step, with the seconds since the start; for logs and pipes."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._last: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def __call__(self, subject: str, step: str) -> None:
        """Print the step when it is new, or again when it takes long."""
        now = time.monotonic()
        with self._lock:
            before, printed = self._last.get(subject, ("", 0.0))
            if step == before and now - printed < LINE_EVERY:
                return
            self._last[subject] = (step, now)
            print(f"{now - self._begun:5.0f} s  {subject}: {step}", file=sys.stderr, flush=True)  # noqa: T201


class Live:
    """A table on the terminal: subject, step, seconds; gone when the work is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._begun = time.monotonic()
        self._rows: dict[str, str] = {}
        self._lock = threading.Lock()
        self._live = RichLive(
            console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Live:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, subject: str, step: str) -> None:
        """Show the step in the subject's row."""
        with self._lock:
            self._rows[subject] = step

    def _table(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        def parts() -> Iterator[RenderableType]:
            with self._lock:
                rows = list(self._rows.items())
            yield Spinner("dots", Text(f"lab, {time.monotonic() - self._begun:.0f} s"))
            for subject, step in rows:
                yield Text(f"  {subject}: {step}", overflow="ellipsis", no_wrap=True)

        return Group(*parts())


def reporter() -> Lines | Live:
    """Return what suits stderr: the moving table on a terminal, lines elsewhere."""
    return Live() if sys.stderr.isatty() else Lines()
