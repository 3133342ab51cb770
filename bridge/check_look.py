"""What `bridge check` finds, for whoever looks at the running daemon: in a process of its own, beside the traffic.

1. It runs when somebody asks and what is known is older than `FRESH`; `again` asks for another look after `SOON`.
2. Whoever asks does not wait for it: the answer is what is known, how old that is, and whether a look is under way.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import gevent

from bridge.errors import redact
from bridge.spawned import Spawned

#: Seconds for which findings are good, and those after which they are looked for anew on request.
FRESH = 600.0
SOON = 30.0
#: Seconds that a look may take.
LIMIT = 180.0
#: Niceness of the process: messages come first.
_NICE = 10
#: Bytes of what it says that are read.
_MOST = 16 * 1024 * 1024

#: Runs a command: how it ended, what it said, what it complained about.
Runs = Callable[[list[str]], tuple[str, str, str]]


class CheckLook:
    """The findings of the last look.

    Args:
        file: the daemon's configuration.
        runs: runs the command.
        clock: seconds that only grow.
    """

    def __init__(self, file: str, runs: Runs | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._command = [sys.executable, "-m", "bridge", "-c", file, "check", "--json"]
        self._runs = runs or _run
        self._clock = clock
        self._running = False
        self._at: datetime | None = None
        self._began = float("-inf")
        self._found: dict[str, Any] = {"findings": [], "blockers": 0, "warnings": 0, "notes": 0}
        self._fault: str | None = None

    def look(self, again: str | None = None) -> dict[str, Any]:
        """What is known, with its age; begins a look where that is too old.

        Args:
            again: of the query: whoever gives it has no use for what is known.
        """
        age = self._clock() - self._began
        if not self._running and age >= (FRESH if again is None else SOON):
            self._running, self._began = True, self._clock()
            gevent.spawn(self._look)
        return {
            "running": self._running,
            "at": None if self._at is None else self._at.isoformat(timespec="seconds"),
            "age_s": None if self._at is None else round((datetime.now(UTC) - self._at).total_seconds(), 1),
            "fault": self._fault,
            **self._found,
        }

    def _look(self) -> None:
        try:
            ended, said, complaint = self._runs(self._command)
            try:
                self._found, self._fault = json.loads(said), None
            except ValueError:
                self._fault = redact(" ".join(complaint.split()) or f"bridge check: {ended}")[:500]
        except OSError as fault:
            self._fault = f"bridge check could not be started: {fault.strerror or fault}"
        finally:
            self._at, self._running = datetime.now(UTC), False


def _run(command: list[str]) -> tuple[str, str, str]:
    ends = [os.open(os.devnull, os.O_RDONLY), os.memfd_create("said"), os.memfd_create("complaint")]
    try:
        process = Spawned(command, dict(os.environ), (ends[0], ends[1], ends[2]))
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        except OSError:
            pass  # it has ended, or may not be made nicer: both are fine
        ended = process.wait(LIMIT)
        said, complaint = (os.pread(end, _MOST, 0).decode(errors="replace") for end in ends[1:])
        return ended, said, complaint
    finally:
        for end in ends:
            os.close(end)
