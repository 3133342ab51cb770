"""A page walked as its reader walks it: files are saved, commands typed into one shell, what they print compared.

1. A fence whose language is followed by a name (`python tasks.py`) is a file that the reader saves.
2. In a fence `console`, a line that begins with `$ ` is typed, and the lines under it must be printed, in that order.
   `…` stands for anything, and white space for any white space. The exit code must be 0, unless they say why not.
3. What only looks is asked again until it prints what the page shows, as a reader would; everything else is typed once.
4. A fence `console by-hand` is for people: a terminal, another host, systemd. What stands for it here the test says.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.docs.markdown import fences

#: Commands that change nothing.
LOOKS = (
    "bridge status", "bridge check", "bridge certify", "bridge changes", "bridge duplicates", "bridge workers list",
    "bridge plan", "comm", "curl", "grep", "tail",
)  # fmt: skip
#: Seconds until what only looks has to show what the page shows.
PATIENCE = 40.0
#: What a page shows of a command that is meant to end with another code than 0.
NOT_ZERO = re.compile(r"^no: |refused|^error: |^[1-9]\d* blocker", re.MULTILINE)


def looks(command: str) -> bool:
    """Whether a command changes nothing, so that it may be typed again."""
    return command.startswith(LOOKS) or (command.startswith("bridge ") and "--dry-run" in command.split())


@dataclass(frozen=True)
class File:
    """What the reader saves."""

    name: str
    text: str


@dataclass(frozen=True)
class Typed:
    """What the reader types, and what the page says is printed."""

    command: str
    shown: tuple[str, ...]
    by_hand: bool = False


def steps(page: Path, before: str = "") -> Iterator[File | Typed]:
    """What a reader of the page does, in its order, as far as a heading."""
    for language, rest, text in fences(page, before):
        if language == "console":
            yield from _typed(text, rest == "by-hand")
        elif rest and language not in ("console", ""):
            yield File(rest, text)


def _typed(text: str, by_hand: bool) -> Iterator[Typed]:
    command, shown = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield Typed(command, tuple(shown), by_hand)
            command, shown = line[2:], []
        elif command.endswith("\\"):
            command = f"{command}\n{line}"
        else:
            shown.append(line)
    if command:
        yield Typed(command, tuple(shown), by_hand)


def missing(shown: tuple[str, ...], printed: str) -> str:
    """The first line of the page that was not printed after those above it; empty when all were."""
    lines = iter(printed.splitlines())
    for line in shown:
        wanted = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in re.split(r"\s*…\s*", line))
        # Whole words and numbers: 0 is not in 10.
        if line.strip(" .…") and not any(re.search(rf"(?<!\w){wanted}(?!\w)", said) for said in lines):
            return line
    return ""


class Shell:
    """One shell for a whole page, in its folder; what was started in it ends with it."""

    def __init__(self, folder: Path, environment: Mapping[str, str], adapt: Callable[[str], str] = str) -> None:
        self._folder = folder
        self._adapt = adapt
        self._mark = secrets.token_hex(8)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._bash = subprocess.Popen(
            [shutil.which("bash") or "bash", "--noprofile", "--norc"],
            cwd=folder,
            env={
                **os.environ,
                "C_FORCE_ROOT": "1",
                "PYTHONUNBUFFERED": "1",
                **environment,
                "PATH": path,
                "COLUMNS": "220",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._bash.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._bash.wait(timeout=5)
        for end in (self._bash.stdin, self._bash.stdout):
            if end is not None:
                end.close()

    def save(self, file: File) -> None:
        """Write a file of the page."""
        (self._folder / file.name).write_text(self._adapt(file.text))

    def type(self, command: str) -> tuple[int, str]:
        """Type a command and return its exit code and what it printed."""
        stdin, stdout = self._bash.stdin, self._bash.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{self._adapt(command)}\nprintf '\\n{self._mark} %s\\n' $?\n")
        stdin.flush()
        printed: list[str] = []
        for line in stdout:
            if line.startswith(self._mark):
                return int(line.split()[1]), "".join(printed)
            printed.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(printed)}")

    def do(self, step: Typed) -> None:
        """Type a command, again if it only looks, and compare."""
        until = time.monotonic() + PATIENCE
        while True:
            code, printed = self.type(step.command)
            left = missing(step.shown, printed)
            meant = bool(NOT_ZERO.search("\n".join(step.shown)))
            if not left and (code == 0 or meant):
                return
            if not looks(step.command) or time.monotonic() > until:
                break
            time.sleep(0.3)  # noqa: TID251 - a poll inside a wait with a deadline
        why = f"not shown: {left}" if left else f"exit code {code}"
        logs = "".join(f"\n--- {file.name}\n{file.read_text()[-1500:]}" for file in sorted(self._folder.glob("*.log")))
        raise AssertionError(f"$ {step.command}\n{printed}\n{why}{logs}")


def walk(page: Path, shell: Shell, instead: Mapping[str, str], before: str = "") -> None:
    """Do everything that a page says, in its order.

    Args:
        page: the page.
        shell: where.
        instead: what is typed for each command that people give by hand; empty for nothing.
        before: how the heading begins at which it ends; empty: at the end.
    """
    for step in steps(page, before):
        if os.environ.get("BRIDGE_DOCS_TIMES"):
            sys.stderr.write(f"{time.strftime('%X')} {step}\n")
        if isinstance(step, File):
            shell.save(step)
        elif not step.by_hand:
            shell.do(step)
        elif instead[step.command]:
            shell.do(Typed(instead[step.command], ()))
