"""Who moves: the daemon, as its operator has it, and whoever it is compared with.

A mover is a function that gets it ready between two vhosts for a block: connected, and nothing moved yet.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import yaml

from bridge.errors import LabError
from tests.bench.load import QUEUE
from tests.support.daemon import READY_WITHIN, Daemon, takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.brokers import Vhosts

    Mover = Callable[[Vhosts], AbstractContextManager["Moving"]]

_REPOSITORY = Path(__file__).parents[2]


class Moving(Protocol):
    """A mover that is ready."""

    def flip(self) -> None:
        """Begin to move."""

    def finish(self, count: int) -> None:
        """Wait until all `count` messages are acked on the source."""

    def cpu(self) -> float | None:
        """Seconds of processor time (user and system) it has used; None when it has no process of its own."""


class _Daemon:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def flip(self) -> None:
        self._daemon.signal(signal.SIGUSR1)

    def finish(self, count: int) -> None:
        self._daemon.wait_until(lambda said: said["totals"]["moved"] >= count and not said["totals"]["in_flight"])

    def cpu(self) -> float:
        return process_time(self._daemon.pid)


def bridge(module: str = "bridge") -> Mover:
    """Return the daemon as a mover: `python -m MODULE -c FILE run`, route `legacy` until SIGUSR1."""

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        with tempfile.TemporaryDirectory(prefix="bridge-bench-") as name:
            folder = Path(name)
            config = takeover(vhosts, folder, queues={"include": [QUEUE]})
            file, log = folder / "bridge.yaml", folder / "bridge.log"
            file.touch(mode=0o600)  # it holds passwords
            file.write_text(yaml.safe_dump(config, sort_keys=False))
            with log.open("ab") as out:
                # It ends with us even where we have no time to end it.
                alone = ["setpriv", "--pdeathsig", "KILL"]
                command = [*alone, sys.executable, "-m", module, "-c", str(file), "run"]
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=out, cwd=_REPOSITORY)
            daemon = Daemon(process, file, config["admin"]["socket"], log)
            try:
                daemon.wait_until(lambda said: said["state"] != "starting" and bool(said["queues"]), READY_WITHIN)
                yield _Daemon(daemon)
                daemon.stop()
            except AssertionError as fault:
                raise LabError(str(fault)) from fault
            except LabError as fault:
                raise LabError(str(fault), hint=f"the daemon's last lines:\n{daemon.quote()}") from fault
            finally:
                daemon.kill()

    return ready


def process_time(pid: int) -> float:
    """Return the processor time that all threads of a process have used, user and system, in seconds.

    It is what /proc/PID/stat has in hundredths of a second, to the nanosecond: clock_getcpuclockid(3).
    """
    return time.clock_gettime(~pid << 3 | 2)
