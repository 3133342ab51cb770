"""Commands of the configuration (`hooks:`) at transitions: started beside the traffic, never in its way.

1. Not more than eight run at once, each for `hooks.timeout` at most: then its process group gets SIGTERM, and SIGKILL a
   moment later.
2. A command has the facts in its environment, PATH, HOME and LANG, and nothing else of the daemon's: no secret. Its
   stdin is a file in memory, which nobody has to write to while it reads.
3. The first 4 KiB of what it says go to the log. The rest is read slowly and thrown away: a flood waits for its end.
4. A command that fails changes nothing: it is said, counted, and in the status.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from gevent.os import make_nonblocking, nb_read
from gevent.pool import Pool

from bridge import config_sections
from bridge.core.hooked import EVENT_OF, Call, Calls, Faults, Happened
from bridge.errors import redact
from bridge.spawned import GRACE, Spawned, kill

if TYPE_CHECKING:
    from bridge.changes import Change
    from bridge.subscription import Subscription

log = logging.getLogger("bridge.hooks")

#: Commands that may run at once.
AT_ONCE = 8
#: Bytes of a command's output that are kept, those read at once of the rest, and seconds from one read to the next.
_KEPT = 4096
_THROWN_AWAY = 65536
_EACH = 0.02
#: Characters of a failure that are in the status.
_SHOWN = 500
#: Seconds for which output is awaited after the end of the command itself: what it left behind may hold the pipe open.
_LAST_WORDS = 0.2
#: Variables that a command has of the daemon's environment.
_PASSED_ON = ("PATH", "HOME", "LANG")


class Hooks:
    """The commands, and what became of them.

    Args:
        instance: name of this bridge.
        section: the commands and their time limit.
    """

    def __init__(self, instance: str, section: config_sections.Hooks) -> None:
        self._instance = instance
        self._section = section
        self._calls = Calls()
        self._faults = Faults()
        self._by_name: dict[str, Subscription] = {}
        self._drained: set[str] = set()
        self._pool = Pool(AT_ONCE)
        self._groups: set[int] = set()
        self._wake = Event()
        self._ending = False
        self._started = self._failed = 0
        self._last_failure: dict[str, str] | None = None

    # -- what happens
    # ---------------------------------------------------------------------------------------------------

    def changed(self, change: Change) -> None:
        """A verb was asked for (`Control.on_change`); it is told if it was carried out."""
        event = EVENT_OF.get(change.verb)
        if event is None or change.outcome != "done":
            return
        self._drained.discard(change.queue)
        self._happened(
            Happened(
                event,
                _stamp(change.at),
                change.queue,
                change.before,
                change.after,
                change.by,
                change.door,
                change.reason,
                change.text,
            )
        )

    def state(self, subscription: Subscription, _before: str, after: str) -> None:
        """A queue has another state (`Subscription.on_state`)."""
        self._by_name[subscription.queue] = subscription
        if self._faults.saw(time.monotonic(), subscription.queue, after):
            self._now("faulted", subscription, subscription.why)

    def throttled(self, subscription: Subscription, why: str) -> None:
        """A queue begins to be left alone because of its target (`Throttles.on_throttled`)."""
        self._now("throttled", subscription, why)

    def drained(self, queue: str) -> None:
        """The old side of a queue is finished: told once, until a verb changes its route."""
        if queue not in self._drained:
            self._drained.add(queue)
            self._happened(Happened("drained", _stamp(datetime.now(UTC)), queue, route="quorum"))

    def active(self) -> None:
        """This daemon became the active one."""
        self._happened(Happened("active", _stamp(datetime.now(UTC))))

    def _now(self, event: str, subscription: Subscription, why: str) -> None:
        at = _stamp(datetime.now(UTC))
        self._happened(Happened(event, at, subscription.queue, route=subscription.route.value, why=why))

    def _happened(self, happened: Happened) -> None:
        if self._command(happened.event) is not None and not self._ending:
            self._calls.add(time.monotonic(), happened)
            self._wake.set()

    def _command(self, event: str) -> tuple[str, ...] | None:
        command: tuple[str, ...] | None = getattr(self._section, f"on_{event}")
        return command

    # -- its life
    # -------------------------------------------------------------------------------------------------------

    def reload(self, section: config_sections.Hooks) -> None:
        """Other commands: for all that are started from now on."""
        self._section = section

    def look(self) -> None:
        """See which queues move again after a fault; called every second or so."""
        for queue in self._faults.over(time.monotonic()):
            self._now("recovered", self._by_name[queue], "")

    def run(self) -> None:
        """Start commands as they become due, in order: runs in a greenlet of its own until `end`."""
        while not self._ending:
            self._wake.clear()
            left = self._calls.due(time.monotonic())
            if left is None or left > 0:
                self._wake.wait(left)
                continue
            # Waits while eight are at it.
            self._start()

    def _start(self) -> None:
        self._pool.wait_available()
        if len(self._calls):
            self._pool.spawn(self._carry_out, self._calls.take())

    def end(self) -> None:
        """Start what waits, and wait for all of it as long as one command may take, but no longer."""
        self._ending = True
        self._wake.set()
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(self._section.timeout):
            while len(self._calls):
                self._start()
            self._pool.join()
        if len(self._calls):
            log.warning("hooks: %d calls were not made before the end", len(self._calls))
        for group in list(self._groups):
            kill(group, signal.SIGKILL)
        self._pool.kill(timeout=GRACE)

    def status(self) -> dict[str, Any]:
        """Numbers for the status."""
        return {
            "running": len(self._pool),
            "waiting": len(self._calls),
            "started": self._started,
            "failed": self._failed,
            "given_up": self._calls.given_up,
            "last_failure": self._last_failure,
        }

    # -- one command
    # ----------------------------------------------------------------------------------------------------

    def _carry_out(self, call: Call) -> None:
        """Run one command to its end, whatever that is."""
        command = self._command(call.event)
        if command is None:
            # A reload took it away meanwhile.
            return
        self._started += 1
        began = time.monotonic()
        try:
            ended, said = self._run(command, call)
        except (OSError, ValueError) as fault:
            # ValueError: a name that no variable can hold.
            ended, said = f"could not be started: {getattr(fault, 'strerror', None) or fault}", ""
        what = f"hook on_{call.event}: {shlex.join(command)}: {ended}"
        told = redact(f"{what}{f': {said}' if said else ''}")
        if ended == "exit code 0":
            log.info("%s after %.1f s%s", redact(what), time.monotonic() - began, redact(f": {said}" if said else ""))
            return
        self._failed += 1
        self._last_failure = {"event": call.event, "at": _stamp(datetime.now(UTC)), "text": told[:_SHOWN]}
        log.warning("%s", told)

    def _run(self, command: Iterable[str], call: Call) -> tuple[str, str]:
        """How a command ended, and the beginning of what it said."""
        passed_on = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
        limit = self._section.timeout
        with _in_memory(call.document(self._instance)) as stdin, _pipe() as (read, close_write, write):
            environment = {**passed_on, **call.environment(self._instance)}
            process = Spawned(list(command), environment, (stdin, write, write))
            close_write()
            self._groups.add(process.pid)
            said = bytearray()
            reader = gevent.spawn(_listen, read, said)
            try:
                ended = process.wait(limit)
                reader.join(_LAST_WORDS)
            finally:
                self._groups.discard(process.pid)
                reader.kill()
        return ended, _shown(bytes(said))


def _listen(read: int, said: bytearray) -> None:
    """Read what a command says until it says no more: all of it, so that it is not held up, but no faster than suits
    the daemon.
    """
    while True:
        chunk = nb_read(read, _THROWN_AWAY)
        if not chunk:
            return
        said += chunk[: _KEPT - len(said)]
        if len(said) >= _KEPT:
            gevent.sleep(_EACH)


def _shown(said: bytes) -> str:
    """The output as one line of a log."""
    lines = said.decode(errors="replace").split("\n")
    return " / ".join("".join(char if char.isprintable() else " " for char in line).strip() for line in lines).strip(
        " /"
    )


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A file with this content, at its beginning."""
    file = os.memfd_create("hook")
    try:
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, Callable[[], None], int]]:
    """A pipe: where to read from, what closes our copy of the other end, and that end."""
    read, write = os.pipe()
    make_nonblocking(read)
    open_ends = [read, write]

    def close_write() -> None:
        open_ends.remove(write)
        os.close(write)

    try:
        yield read, close_write, write
    finally:
        for end in open_ends:
            os.close(end)


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
