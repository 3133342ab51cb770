"""The daemon under rehearsal: its configuration, its process, and what it says about itself."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from bridge.admin_client import fetch_status
from bridge.errors import LabError, Unreachable
from bridge.lab.crew import Crew, Member
from bridge.lab.deadline import until
from bridge.lab.notified import Listener, Protocol, Told, judge, reloaded

#: Seconds in which the daemon must be connected, in which it must have reloaded, and in which it must have ended after
#: SIGTERM.
READY_WITHIN = 60.0
RELOADED_WITHIN = 30.0
ENDED_WITHIN = 60.0
#: The daemon as a command, to which ` -c FILE run` is added.
COMMAND = (sys.executable, "-m", "bridge")


@dataclass(frozen=True)
class Sample:
    """The daemon's books at one moment: messages moved and converted so far, CPU seconds (user and system) used."""

    at: float
    moved: int
    converted: int
    cpu: float


def speed(samples: Sequence[Sample], before: int, waiting: int) -> float | None:
    """Return messages per second while the backlog was moved: from 5 % to 95 % of the `waiting` messages.

    Args:
        samples: the books from before the flip on.
        before: messages moved before it.
        waiting: messages of the backlog at the flip.
    """
    begun = [sample for sample in samples if sample.moved - before >= waiting * 0.05]
    done = [sample for sample in begun if sample.moved - before >= waiting * 0.95]
    if not done or done[0].at <= begun[0].at:
        return None
    return (done[0].moved - begun[0].moved) / (done[0].at - begun[0].at)


class Subject:
    """One daemon, started with a configuration made for the rehearsal: takeover layout, route `legacy`.

    Args:
        folder: for its files; its admin socket is there as well.
        source, target: `amqp` and `api` URL.
        queues: those in scope.
        command: the daemon, where it is not this installation's: in a container, for one. `{folder}` in a word is the
            folder. Such a one is not told of a service manager.

    Attributes:
        file: that configuration.
    """

    def __init__(
        self,
        folder: Path,
        source: Mapping[str, str],
        target: Mapping[str, str],
        queues: Sequence[str],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._folder = folder
        self._command = [word.replace("{folder}", str(folder)) for word in command]
        self._notified = tuple(command) == COMMAND
        self._socket = str(folder / "admin.sock")
        self.file = folder / "bridge.yaml"
        self._queues = frozenset(queues)
        config = {
            "source": {"amqp": source["amqp"], "api": source["api"]},
            "target": {"amqp": target["amqp"], "api": target["api"]},
            "instance": "rehearsal",
            "queues": {"include": list(queues)},
            "route": "legacy",
            "admin": {"socket": self._socket},
            "log": {"level": "info", "format": "text"},
        }
        self.file.touch(mode=0o600)  # it holds passwords
        self.file.write_text(yaml.safe_dump(config, sort_keys=False))
        self._member: Member | None = None
        self._listener: Listener | None = None
        self._started = 0.0
        self._reload_at: float | None = None
        #: What the service manager was told, once it has ended; None where it was not told of one.
        self.protocol: Protocol | None = None

    @property
    def member(self) -> Member:
        """The running daemon."""
        if self._member is None:
            raise LabError("the daemon was not started")
        return self._member

    def start(self, crew: Crew) -> None:
        """Start the daemon and wait until both brokers are connected and it knows all queues.

        Raises:
            LabError: it ended, or was not ready in time; the hint says what it printed last.
        """
        if self._notified:
            self._listener = Listener(self._folder / "notify")
        environment = {} if self._listener is None else self._listener.environment
        self._started = time.monotonic()
        self._member = crew.start("daemon", [*self._command, "-c", str(self.file), "run"], environment)

        def ready() -> bool:
            crew.check()
            return self._ready()

        if not until(ready, READY_WITHIN):
            raise LabError(f"the daemon was not ready within {READY_WITHIN:.0f} s", hint=self._member.quote())

    def sample(self, at: float) -> Sample:
        """Read its books and its CPU time, by the kernel's accounting of the process."""
        totals = fetch_status(self._socket)["totals"]
        # Where a container's runtime was started, the daemon is its child.
        member = psutil.Process(self.member.pid)
        times = [process.cpu_times() for process in (member, *member.children(recursive=True))]
        return Sample(at, totals["moved"], totals["converted"], sum(used.user + used.system for used in times))

    def reasons(self) -> str:
        """Return for each queue its route, its state and why it is in it."""
        queues = fetch_status(self._socket)["queues"]
        return "\n".join(f"{queue['name']}: {queue['route']}, {queue['state']}: {queue['why']}" for queue in queues)

    def cut_over(self) -> None:
        """Send it SIGUSR1."""
        self.member.signal(signal.SIGUSR1)

    def reload(self) -> None:
        """Send it SIGHUP, with the file as it was, and wait for the end of the reload where that is told."""
        self._reload_at = asked = time.monotonic()
        self.member.signal(signal.SIGHUP)
        if self._listener is not None:
            listener = self._listener
            until(lambda: reloaded(listener.told, asked) is not None, RELOADED_WITHIN)

    def stop(self) -> None:
        """Send SIGTERM and wait for the end.

        Raises:
            LabError: it did not end in time, or its exit code was not 0.
        """
        self.member.signal(signal.SIGTERM)
        code = self.member.finish(ENDED_WITHIN)
        if code:
            raise LabError(
                f"the daemon ended with exit code {code} after SIGTERM, 0 was expected", hint=self.member.quote()
            )
        if self._listener is not None:
            self.protocol = judge(self.end(), self.member.pid, self._started, self._reload_at)

    def end(self) -> list[Told]:
        """Be no service manager any more, and return what was told."""
        listener, self._listener = self._listener, None
        return [] if listener is None else listener.end()

    def _ready(self) -> bool:
        try:
            status = fetch_status(self._socket)
        except Unreachable:
            return False
        connected = status["source"]["connected"] and status["target"]["connected"]
        return bool(connected) and self._queues <= {queue["name"] for queue in status["queues"]}
