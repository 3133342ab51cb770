"""Who moves: the daemon, as its operator has it, and programs that it is compared with.

A mover is a function that gets it ready between two vhosts for a block: connected, and nothing moved yet.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import yaml

from bridge.errors import BridgeError, LabError
from tests.bench.cost import peak_memory, process_time
from tests.bench.load import QUEUE
from tests.support.daemon import READY_WITHIN, Daemon, takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tests.support.brokers import Vhosts

    Mover = Callable[[Vhosts], AbstractContextManager["Moving"]]

#: Seconds in which a program must be connected, and in which it must have done its work.
CONNECTED_WITHIN = 30.0
DONE_WITHIN = 300.0

_REPOSITORY = Path(__file__).parents[2]
# What we start ends with us even where we have no time to end it.
_ALONE = ["setpriv", "--pdeathsig", "KILL"]


class Moving(Protocol):
    """A mover that is ready."""

    def flip(self) -> None:
        """Begin to move."""

    def finish(self, count: int) -> None:
        """Wait until all `count` messages are acked on the source."""

    def cpu(self) -> float | None:
        """Seconds of processor time (user and system) it has used; None when it has no process of its own."""

    def rss(self) -> float | None:
        """The most memory it had resident, in MiB; None when it has no process of its own."""


class _Daemon:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def flip(self) -> None:
        self._daemon.signal(signal.SIGUSR1)

    def finish(self, count: int) -> None:
        self._daemon.wait_until(lambda said: said["totals"]["moved"] >= count and not said["totals"]["in_flight"])

    def cpu(self) -> float:
        return process_time(self._daemon.pid)

    def rss(self) -> float:
        return peak_memory(self._daemon.pid)


def bridge(
    *, module: str = "bridge", queues: int = 1, include: Sequence[str] = (f"{QUEUE}*",), **changed: Any
) -> Mover:
    """Return the daemon as a mover: `python -m MODULE -c FILE run`, route `legacy` until SIGUSR1.

    Args:
        module: what is run.
        queues: over how many queues the load is spread.
        include: which queues it moves, as the configuration has it.
        changed: sections of the configuration that replace those of `takeover`.
    """

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        with tempfile.TemporaryDirectory(prefix="bridge-bench-") as name:
            folder = Path(name)
            config = takeover(vhosts, folder, **{"queues": {"include": list(include)}, **changed})
            file, log = folder / "bridge.yaml", folder / "bridge.log"
            file.touch(mode=0o600)  # it holds passwords
            file.write_text(yaml.safe_dump(config, sort_keys=False))
            with log.open("ab") as out:
                command = [*_ALONE, sys.executable, "-m", module, "-c", str(file), "run"]
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=out, cwd=_REPOSITORY)
            daemon = Daemon(process, file, config["admin"]["socket"], log)
            try:
                daemon.wait_until(
                    lambda said: said["state"] != "starting" and len(said["queues"]) >= queues, READY_WITHIN
                )
                yield _Daemon(daemon)
                daemon.stop()
            except AssertionError as fault:
                raise LabError(str(fault)) from fault
            except LabError as fault:
                raise LabError(
                    str(fault), hint=f"{_at_rest(daemon)}the daemon's last lines:\n{daemon.quote()}"
                ) from fault
            finally:
                daemon.kill()

    return ready


def _at_rest(daemon: Daemon) -> str:
    """Say which queues do not move and why, as far as the daemon answers."""
    try:
        queues = daemon.status()["queues"]
    except (BridgeError, AssertionError) as fault:
        return f"the daemon does not answer: {fault}\n"
    return "".join(f"{one['name']}: {one['state']}, {one['why']}\n" for one in queues if one["state"] != "moving")


class Program:
    """A program of ours that moves: it says `ready`, moves when it is told `go`, says `done` and waits for its end.

    What follows the word `done` on its line is kept in `said`.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self.said: list[str] = []

    def flip(self) -> None:
        self._pipe(self._process.stdin).write("go\n")
        self._pipe(self._process.stdin).flush()

    def finish(self, count: int) -> None:
        self.said = self.await_word("done", DONE_WITHIN)

    def cpu(self) -> float:
        return process_time(self._process.pid)

    def rss(self) -> float:
        return peak_memory(self._process.pid)

    def await_word(self, word: str, seconds: float) -> list[str]:
        """Wait for a line that begins with this word, and return the words behind it.

        Raises:
            LabError: it does not come.
        """
        out = self._pipe(self._process.stdout)
        line = out.readline() if select.select([out], [], [], seconds)[0] else ""
        if line.split()[:1] != [word]:
            told = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise LabError(f"{self._process.args!r} did not say {word} within {seconds:g} s:\n{told}")
        return line.split()[1:]

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


@contextmanager
def started(module: str, *arguments: str) -> Iterator[Program]:
    """Run `python -m MODULE ARGUMENTS` for a block, once it is ready.

    Raises:
        LabError: it does not become ready; with its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as name:
        log = Path(name) / "program.log"
        command = [*_ALONE, sys.executable, "-m", module, *arguments]
        with log.open("ab") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, cwd=_REPOSITORY
            )
        program = Program(process, log)
        try:
            program.await_word("ready", CONNECTED_WITHIN)
            yield program
        finally:
            process.kill()
            process.communicate()


def program(module: str, *arguments: str) -> Mover:
    """Return a program of ours as a mover: `python -m MODULE ARGUMENTS SOURCE TARGET`, both as AMQP URLs."""

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        with started(module, *arguments, vhosts.old.amqp, vhosts.new.amqp) as found:
            yield found

    return ready
