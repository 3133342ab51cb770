"""The daemon as a service: one configuration, and one process after the other that is started with it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from bridge.admin_client import fetch
from bridge.errors import Unreachable
from tests.support.daemon import DONE_WITHIN, Daemon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.daemon import Status


class Service:
    """The daemon over all its processes; their logs are one.

    Args:
        config: of every process that is started from now on; may be changed between two.
        folder: of its file and its log.
    """

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config = config
        self._folder = folder
        self._daemon: Daemon | None = None
        #: Possible duplicates as the processes before this one counted them, and as this one did when last asked.
        self._before = 0
        self._now = 0
        self._listed: set[str] = set()

    @property
    def process(self) -> Daemon:
        """The process that runs."""
        assert self._daemon is not None, "the daemon was not started"
        return self._daemon

    def start(self) -> None:
        """Start a process and wait until it is past its start."""
        self._before, self._now = self._before + self._now, 0
        self._daemon = Daemon.start(self.config, self._folder)

    def stop(self) -> None:
        """SIGTERM, and wait for its end, which must be a good one."""
        self.counted()
        code = self.process.stop()
        assert code == 0, f"the daemon ended with exit code {code}:\n{self.quote()}"

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.counted()
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and its sockets stay."""
        self.counted()
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.signal(signal.SIGCONT)

    def end(self) -> None:
        """Leave no process, whatever it does now."""
        if self._daemon is not None:
            self._daemon.kill()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._daemon is not None and self._daemon.process.poll() is None

    def status(self) -> Status:
        """What it says about itself."""
        return self.process.status()

    def wait_until(self, condition: Callable[[Status], bool], seconds: float = DONE_WITHIN) -> Status:
        """Ask for the status until the condition holds, and return the status in which it does.

        Raises:
            AssertionError: it did not hold within `seconds`, or the process ended.
        """
        return self.process.wait_until(condition, seconds)

    def counted(self) -> int:
        """How many messages all its processes have called possible duplicates so far."""
        if self.alive:
            try:
                duplicates = fetch(self.process.socket, "duplicates")
            except Unreachable:
                pass  # it starts, or it is paused: what it said last counts
            else:
                self._now = duplicates["total"]
                self._listed.update(entry["id"] for entry in duplicates["listed"])
        return self._before + self._now

    def listed(self) -> set[str]:
        """Ids of the tasks that they were, as far as they listed them when they were asked."""
        self.counted()
        return self._listed

    @property
    def log(self) -> str:
        """What its processes logged so far."""
        return self.process.stderr

    def quote(self) -> str:
        """The end of its log."""
        return self._daemon.quote() if self._daemon is not None else ""
