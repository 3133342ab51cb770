"""What a long command is doing, told while it does it, on standard error: never among its answer.

1. Where steps have names and no number, `reporter`: a table that moves on a terminal, plain lines elsewhere.
2. Where there is a number, `counted`: a bar on a terminal. Elsewhere a line every quarter of a minute, so that a short
   command says nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

#: Seconds between two plain lines of one subject while its step stays the same.
LINE_EVERY = 15.0
#: Is told how far it is and what it is at.
Tell = Callable[[float, str], None]


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
    """A table on the terminal: subject, step, seconds; gone when the work is done.

    Args:
        title: of the table.
    """

    def __init__(self, title: str = "lab") -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._title = title
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
            yield Spinner("dots", Text(f"{self._title}, {time.monotonic() - self._begun:.0f} s"))
            for subject, step in rows:
                yield Text(f"  {subject}: {step}", overflow="ellipsis", no_wrap=True)

        return Group(*parts())


def reporter() -> Lines | Live:
    """Return what suits stderr: the moving table on a terminal, lines elsewhere."""
    return Live() if sys.stderr.isatty() else Lines()


@contextmanager
def counted(total: float, *, quiet: bool = False) -> Iterator[Tell]:
    """Tell how far something is that has an end.

    Args:
        total: what the number is at the end.
        quiet: nothing is told: the answer is for programs.
    """
    if quiet:
        yield lambda _done, _words: None
        return
    if not sys.stderr.isatty():
        yield _seldom(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=total)
        yield lambda done, words: shown.update(task, completed=done, description=words)


def _seldom(total: float) -> Tell:
    """Prints a line when the last one, or the beginning, is long ago."""
    begun = printed = time.monotonic()

    def tell(done: float, words: str) -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= LINE_EVERY:
            printed = now
            share = min(1.0, done / total) if total else 1.0
            print(f"{now - begun:5.0f} s  {share:4.0%}  {words}", file=sys.stderr, flush=True)  # noqa: T201

    return tell
