"""Commands started beside the traffic: in a process group of their own, with a time limit, never in its way."""

from __future__ import annotations

import os
import signal

import gevent
from gevent.event import AsyncResult

#: Seconds between SIGTERM and SIGKILL.
GRACE = 1.0


class Spawned:
    """A command that was started, in a process group of its own.

    Not forked: the kernel would copy the tables of all our memory while nothing moves (measured with 165 MB: 10 ms, and
    1 ms this way).

    Args:
        command: the program, looked for in PATH, and its arguments.
        environment: all of its environment.
        ends: file descriptors of its standard input, output and error.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], environment: dict[str, str], ends: tuple[int, int, int]) -> None:
        loop = gevent.get_hub().loop
        loop.install_sigchld()
        self._status: AsyncResult[int] = AsyncResult()
        self.pid = os.posix_spawnp(
            command[0],
            command,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)],
            setsid=True,
            setsigmask=(),
            # Python ignores these, and what is ignored stays so (execve(2)).
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        # Its end is noticed in the next turn of the loop at the earliest, and by then this is there.
        self._watcher = loop.child(self.pid)
        self._watcher.start(self._ended)

    def _ended(self) -> None:
        self._status.set(self._watcher.rstatus)
        self._watcher.close()

    def wait(self, limit: float) -> str:
        """Wait for its end, and bring that about after its time; how it ended."""
        if not self._status.wait(limit) and not self._status.ready():
            kill(self.pid, signal.SIGTERM)
            self._status.wait(GRACE)
            # Its children may have stayed.
            kill(self.pid, signal.SIGKILL)
            self._status.wait()
            return f"ended after {limit:g} s, its time limit"
        code = os.waitstatus_to_exitcode(self._status.get() or 0)
        return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"


def kill(group: int, number: signal.Signals) -> None:
    """Signal all processes of a group, if there are any."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass
