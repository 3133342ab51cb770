"""The processes of a rehearsal: producers, workers, the daemon; each in a session of its own, all ended with it.

1. What a process prints goes to `<name>.log` in the rehearsal's folder.
2. When the rehearsal dies without a word (SIGKILL), the kernel sends SIGTERM to each of them.
3. `end` leaves nothing running, pool processes of workers included.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.errors import LabError
from bridge.lab.deadline import until

#: Seconds that a process gets to end by SIGTERM when the rehearsal is broken off; then it is killed.
GRACE = 5.0

#: Nice value of what runs in the background.
BACKGROUND = 10

#: Last lines of a process's output that an error quotes.
QUOTED = 8


class Member:
    """One running process of the rehearsal.

    Attributes:
        ending: it was asked to end, so its end is no surprise.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.ending = False
        self._process = process
        self._output = output

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process, not to its children."""
        self.ending = self.ending or number in (signal.SIGTERM, signal.SIGKILL)
        self._process.send_signal(number)

    def ended(self) -> bool:
        """Whether it has ended; its exit code is not collected yet, so its process group is still its own."""
        if self._process.returncode is not None:
            return True
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None

    def finish(self, seconds: float) -> int:
        """Wait for the end, take what it left running with it, and return the exit code.

        Raises:
            LabError: it did not end in time.
        """
        self.ending = True
        if not until(self.ended, seconds):
            raise LabError(f"{self.name} did not end within {seconds:.0f} s", hint=self.quote())
        return self._reap()

    def end(self) -> None:
        """End it, gently first."""
        if not self.ended():
            self.signal(signal.SIGTERM)
            if not until(self.ended, GRACE):
                self.signal(signal.SIGKILL)
        self._reap()

    def quote(self) -> str:
        """Return the last lines that it printed."""
        try:
            lines = self._output.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-QUOTED:])

    def _reap(self) -> int:
        if self._process.returncode is None:
            if self.ended():
                _kill_group(self.pid)
            self._process.wait()
        return self._process.returncode


def _step_back(pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, BACKGROUND)
    try:
        # Where the kernel schedules by sessions (sched(7), autogroup), only the session's own nice value counts.
        Path(f"/proc/{pid}/autogroup").write_text(str(BACKGROUND))
    except OSError:
        pass  # a kernel without autogroups


def _kill_group(leader: int) -> None:
    # The leader is dead and not collected, so the number of its group cannot belong to anybody else.
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


class Crew:
    """Starts the processes and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._members: list[Member] = []
        self._setpriv = shutil.which("setpriv")

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        text: str = "",
        background: bool = False,
    ) -> Member:
        """Start a program.

        Args:
            name: for errors and for the file with its output.
            command: the program and its arguments.
            environment: additions to ours.
            text: what it reads from its standard input.
            background: the others come first when the machine is busy.
        """
        output = self._folder / f"{name}.log"
        # util-linux's setpriv, since a preexec_fn of ours could deadlock beside the progress display's thread.
        guard = [self._setpriv, "--pdeathsig", "TERM", "--"] if self._setpriv else []
        with output.open("ab") as log:
            process = subprocess.Popen(
                [*guard, *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        member = Member(name, process, output)
        self._members.append(member)
        if background:
            _step_back(process.pid)
        if process.stdin is not None:
            process.stdin.write(text.encode())
            process.stdin.close()
        return member

    def check(self) -> None:
        """See that nobody has ended who was not asked to.

        Raises:
            LabError: somebody has, with the last lines of what it printed.
        """
        for member in self._members:
            if not member.ending and member.ended():
                raise LabError(f"{member.name} ended unexpectedly", hint=member.quote())

    def end(self) -> None:
        """End all of them, the last started first; gently, then not."""
        running = [member for member in reversed(self._members) if not member.ended()]
        for member in running:
            member.signal(signal.SIGTERM)
        until(lambda: all(member.ended() for member in running), GRACE)
        for member in self._members:
            member.end()


def pause_until(moment: float) -> None:
    """Wait for a moment of the wall clock (epoch seconds): what is awaited is the time itself."""
    left = moment - time.time()
    if left > 0:
        time.sleep(left)  # noqa: TID251 - the condition is the moment
