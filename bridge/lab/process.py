"""Processes that outlive the one that started them, and that are never mistaken for another.

A process is its pid together with its start time, since a pid alone may have passed to a stranger. Signals go through a
pidfd that was opened before the start time was compared, so what is compared is what is signalled.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Names the lab in the environment of everything it starts, so that also what was never written down is found.
MARK = "BRIDGE_LAB_ID"


class Process(BaseModel):
    """A process of this machine: pid and start time (clock ticks since boot)."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this pid now.

        Raises:
            ProcessLookupError: there is none.
        """
        fields = _stat(pid)
        if fields is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid=pid, started=int(fields[19]))

    def alive(self) -> bool:
        """Whether it runs (one that ended and was not collected yet does not)."""
        return self._state() not in ("", "Z", "X")

    def _state(self) -> str:
        """Its letter in proc(5), empty when there is no entry of it (any more)."""
        fields = _stat(self.pid)
        return fields[0] if fields is not None and int(fields[19]) == self.started else ""

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to it and to nobody else; return whether it was there."""
        with self._opened() as fd:
            if fd is None or not self.alive():
                return False
            try:
                signal.pidfd_send_signal(fd, number)
            except ProcessLookupError:
                return False
            return True

    def wait(self, seconds: float | None) -> bool:
        """Wait until it has ended, at most `seconds`; return whether it has."""
        with self._opened() as fd:
            if fd is None:
                return True
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            ended = bool(poll.poll(None if seconds is None else seconds * 1000))
        if ended:
            _collect(self.pid)
        return ended

    def kill(self) -> None:
        """End it at once and wait until it is gone (the kernel takes its time over a broker's memory)."""
        if self.signal(signal.SIGKILL):
            self.wait(30)

    def child(self) -> Process | None:
        """Return its first child, if it has one."""
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return Process.of(int(pids[0])) if pids else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Yield a pidfd of exactly this process, also of one that ended and is not collected; None when it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield fd if self._state() else None
        finally:
            os.close(fd)


def spawn(arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> Process:
    """Start a program in a session of its own, so that neither our end nor a Ctrl-C here reaches it.

    Args:
        arguments: the program, found by PATH, and its arguments.
        environment: all of its environment.
        output: file that its stdout and stderr are appended to.
    """
    pid = os.posix_spawnp(
        arguments[0],
        list(arguments),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process.of(pid)


def marked(mark: str) -> list[Process]:
    """Return every process, except this one, that carries the lab's mark in its environment."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            process = Process.of(pid)
            if wanted in (folder / "environ").read_bytes().split(b"\0") and pid != os.getpid():
                found.append(process)
        except (OSError, ProcessLookupError):
            continue  # ended while we looked, or another user's: not ours either way
    return found


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state (field 3 in proc(5)) on, or None when there is no such pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()


def _collect(pid: int) -> None:
    """Take the exit status of a child of ours, so that no dead entry of it stays."""
    try:
        # It has ended, so this does not wait; asked without waiting, the kernel may not have it ready yet.
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # another process started it
