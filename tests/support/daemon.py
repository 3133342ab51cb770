"""The daemon as its operator has it: a process of its own, a configuration file, signals, its status, its log.

    daemon = Daemon.start(takeover(vhosts, tmp_path, queues={"include": ["q1"]}), tmp_path)
    daemon.wait_until(lambda status: status["totals"]["moved"] == 3)
    assert daemon.stop() == 0

`running` is the same as a context manager that leaves no process behind whatever the test does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bridge.admin_client import fetch_status, post
from bridge.errors import Unreachable
from bridge.lab.deadline import until
from tests.support.brokers import Vhosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.brokers import Three

#: What `bridge status --json` prints.
Status = dict[str, Any]

#: Seconds in which a daemon must answer, in which something it does must have happened, and in which it must end.
READY_WITHIN = 30.0
DONE_WITHIN = 15.0
ENDED_WITHIN = 40.0

_REPOSITORY = Path(__file__).parents[2]


def takeover(vhosts: Vhosts, folder: Path, **changed: Any) -> dict[str, Any]:
    """Return a configuration: route `legacy`, no worker wanted on the target, all files in `folder`.

    Args:
        vhosts: source and target.
        folder: where admin socket and exported messages are.
        changed: top-level sections that replace these; None leaves one out.
    """
    config = {
        "source": {"amqp": vhosts.old.amqp, "api": vhosts.old.api},
        "target": {"amqp": vhosts.new.amqp, "api": vhosts.new.api},
        "route": "legacy",
        "gate": {"consumers": 0},
        "admin": {"socket": str(folder / "admin.sock")},
        "export": {"folder": str(folder / "export")},
        "log": {"format": "text"},
        **changed,
    }
    return {name: value for name, value in config.items() if value is not None}


def inline(three: Three, folder: Path, **changed: Any) -> dict[str, Any]:
    """Return a configuration of the inline layout, as `takeover` does."""
    sides = {
        "source": {"amqp": three.ingress.amqp, "api": three.ingress.api},
        "target": {"amqp": three.new.amqp, "api": three.new.api},
        "legacy": {"amqp": three.legacy.amqp, "api": three.legacy.api},
    }
    return takeover(Vhosts(three.ingress, three.new), folder, **{**sides, **changed})


class Daemon:
    """One run of `bridge run`.

    Attributes:
        process: the process.
        file: its configuration; write to it and send SIGHUP to reload it.
        socket: its admin socket.
    """

    def __init__(self, process: subprocess.Popen[bytes], file: Path, socket: str, log: Path) -> None:
        self.process = process
        self.file = file
        self.socket = socket
        self._log = log

    @classmethod
    def start(
        cls,
        config: Mapping[str, Any] | str,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ready: bool = True,
        module: str = "bridge",
    ) -> Daemon:
        """Start a daemon.

        Args:
            config: its configuration, as a value or as the text of the file.
            folder: for its file and its log; another daemon in the same folder goes on in the same log.
            environment: added to this process's environment.
            ready: wait until it answers and is past its start; without, it may end at once.
            module: what is run; another one than the command does something beside it.
        """
        file, log = folder / "bridge.yaml", folder / "bridge.log"
        file.touch(mode=0o600)  # it holds passwords
        file.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False))
        command = [sys.executable, "-m", module, "-c", str(file), "run"]
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=out,
                cwd=_REPOSITORY,
                env={**os.environ, **(environment or {})},
            )
        daemon = cls(process, file, _socket_of(config, folder), log)
        if ready:
            try:
                daemon.wait_until(lambda status: status["state"] != "starting", READY_WITHIN)
            except BaseException:
                daemon.kill()
                raise
        return daemon

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def stderr(self) -> str:
        """What it logged so far."""
        return self._log.read_text(errors="replace")

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write another configuration; SIGHUP makes it read it."""
        self.file.write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def status(self) -> Status:
        """Return what it says about itself, over its socket as `bridge status` asks.

        Raises:
            Unreachable: it does not answer.
        """
        return fetch_status(self.socket)

    def queue(self, name: str) -> Status:
        """Return what it says about one queue."""
        return queue_of(self.status(), name)

    def ask(self, verb: str, *queues: str, **more: Any) -> list[dict[str, Any]]:
        """Ask for a verb as the commands do, for these queues or for all; an answer for each queue."""
        which: dict[str, Any] = {"queues": list(queues)} if queues else {"all": True}
        return post(self.socket, verb, {**which, **more})

    def wait_until(self, condition: Callable[[Status], bool], seconds: float = DONE_WITHIN) -> Status:
        """Ask for the status until the condition holds, and return the status in which it does.

        Raises:
            AssertionError: it did not hold within `seconds`, or the daemon ended; with its last status and log lines.
        """
        seen: Status = {}

        def holds() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with exit code {self.process.returncode}:\n{self.quote()}")
            try:
                answer = self.status()
            except Unreachable:
                return False
            seen.clear()
            seen.update(answer)
            return condition(answer)

        if not until(holds, seconds):
            what = json.dumps(seen, indent=1)
            raise AssertionError(f"the daemon was not as awaited within {seconds:g} s:\n{what}\n{self.quote()}")
        return seen

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self, seconds: float = ENDED_WITHIN) -> int:
        """Send SIGTERM and return the exit code.

        Raises:
            AssertionError: it did not end within `seconds`; it was killed then.
        """
        self.signal(signal.SIGTERM)
        return self.ended(seconds)

    def ended(self, seconds: float = ENDED_WITHIN) -> int:
        """Wait for its end and return the exit code.

        Raises:
            AssertionError: it did not end within `seconds`; it was killed then.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not end within {seconds:g} s:\n{self.quote()}") from None

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait until it is gone; once it has ended, nothing happens."""
        self.process.kill()
        self.process.wait()

    def quote(self, lines: int = 40) -> str:
        """Return the last lines of its log that are not frames."""
        told = [line for line in self.stderr.splitlines() if " debug " not in line]
        return "\n".join(told[-lines:])


@contextmanager
def running(config: Mapping[str, Any] | str, folder: Path, **how: Any) -> Iterator[Daemon]:
    """Start a daemon for a block, and end it after: gently, and without mercy when the block failed.

    A traceback in its log fails the block: none may reach an operator. So do books that do not balance.
    """
    daemon = Daemon.start(config, folder, **how)
    try:
        yield daemon
    except BaseException:
        daemon.kill()
        raise
    if daemon.process.poll() is None:
        books = unbalanced(daemon.status())
        assert daemon.stop() == 0, daemon.quote()
        assert not books, books
    told = "\n".join(line for line in daemon.stderr.splitlines() if " debug " not in line)
    assert "Traceback" not in told, told


def queue_of(status: Status, name: str) -> Status:
    """Return what a status says about one queue.

    Raises:
        KeyError: it is not in scope.
    """
    for queue in status["queues"]:
        if queue["name"] == name:
            found: Status = queue
            return found
    raise KeyError(name)


def unbalanced(status: Status) -> dict[str, Status]:
    """The books in a status that do not balance, by queue; at every moment there are none."""
    found = {queue["name"]: queue["books"] for queue in status["queues"]}
    found[""] = {"all": status["books"]}
    return {name: books for name, books in found.items() if not all(one["balanced"] for one in books.values())}


def _socket_of(config: Mapping[str, Any] | str, folder: Path) -> str:
    try:
        given = yaml.safe_load(config) if isinstance(config, str) else config
        return str(given["admin"]["socket"])
    except (yaml.YAMLError, KeyError, TypeError):
        # A configuration that is wrong on purpose: nobody will answer.
        return str(folder / "admin.sock")
