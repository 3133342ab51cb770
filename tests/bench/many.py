"""What a thousand queues cost: the start, the flip of all of them, the status, and a daemon that has nothing to do.

1. Every queue is there on both sides, and the ladder on the target, as `bridge apply` or the workers leave it. Three
   queues have one message that waits: the first by name, the middle one, the last one.
2. The start is measured from outside: READY as systemd is told it, and each of the three messages as it arrives.
3. Nothing moves while the daemon idles; its looks at the brokers go through a proxy that counts them.
"""

from __future__ import annotations

import compileall
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import amqp
import yaml

from bridge import delayed
from bridge.address import AmqpAddress
from bridge.errors import LabError
from tests.bench.cost import peak_memory, process_time
from tests.bench.load import connected
from tests.bench.study import Aim, Column, Sample, Study
from tests.bench.world import fresh
from tests.support.daemon import Daemon, takeover
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.study import Bench
    from tests.support.brokers import Vhosts, World

#: Queues of the small and of the large run; the second is what gets smaller with `--scale`.
FEW, MANY = 10, 1000
#: Seconds over which an idle daemon is looked at, and those after the start or the flip that do not count: the broker's
#: statistics and the daemon's own looks (every 5 to 30 s) have come by once then.
IDLE, SETTLED = 30.0, 10.0
#: Seconds in which a daemon must have started, and in which all queues must move.
WITHIN = 120.0
#: Connections over which queues are declared: the broker makes one queue after the other on each.
CONNECTIONS = 8
#: Seconds between two looks at the queues that wait for their message: what the start is measured to.
LOOK_EVERY = 0.002
#: Times that the status is asked for.
ASKED = 10

_REPOSITORY = Path(__file__).parents[2]


class _Counting(Proxy):
    """Counts the calls of the HTTP API that pass by."""

    calls = 0

    def changed(self, data: bytes, source: socket.socket) -> bytes:
        self.calls += data.count(b" /api/")
        return data


class _Run:
    """One daemon over so many queues."""

    def __init__(self, vhosts: Vhosts, names: list[str], folder: Path, stack: ExitStack) -> None:
        self._vhosts = vhosts
        self._names = names
        self._folder = folder
        self._stack = stack
        self._proxies = [_Counting(side.api) for side in (vhosts.old, vhosts.new)]
        for proxy in self._proxies:
            stack.enter_context(proxy)

    def start(self, route: str) -> tuple[Daemon, dict[str, float]]:
        """Start a daemon, and return it with the seconds to READY and, on route quorum, to the first and last message.

        Raises:
            LabError: it did not come to that in time.
        """
        config = takeover(self._vhosts, self._folder, route=route)
        for side, proxy in zip(("source", "target"), self._proxies, strict=True):
            config[side]["api"] = proxy.url
        file, log = self._folder / "bridge.yaml", self._folder / "bridge.log"
        file.touch(mode=0o600)  # it holds passwords
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        place = self._folder / f"notify-{route}.sock"
        notified = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notified.bind(str(place))
        waiting = dict.fromkeys(_waiting(self._names) if route == "quorum" else ())
        connection, target = self._stack.enter_context(connected(self._vhosts.new.amqp))
        # It ends with us even where we have no time to end it.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "bridge", "-c", str(file), "run"]
        environment = {**os.environ, "NOTIFY_SOCKET": str(place)}
        # As whatever installs it does: where Python may write no bytecode, each start would compile the sources.
        compileall.compile_dir(_REPOSITORY / "bridge", quiet=1)
        began, arrived, ready = time.monotonic(), [], None
        with log.open("ab") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=out, cwd=_REPOSITORY, env=environment)
        daemon = Daemon(process, file, config["admin"]["socket"], log)
        self._stack.callback(daemon.kill)
        while ready is None or waiting:
            now = time.monotonic() - began
            if process.poll() is not None or now > WITHIN:
                raise LabError("the daemon did not start", hint=f"its last lines:\n{daemon.quote()}")
            if select.select([notified], [], [], LOOK_EVERY)[0] and b"READY=1" in notified.recv(4096):
                ready = time.monotonic() - began
            for name in list(waiting):
                if target.queue_declare(name, passive=True).message_count:
                    arrived.append(time.monotonic() - began)
                    del waiting[name]
        connection.close()
        values = {"ready_s": ready}
        if arrived:
            values |= {"first_s": arrived[0], "last_s": arrived[-1]}
        return daemon, values

    def idle(self, daemon: Daemon, seconds: float) -> dict[str, float]:
        """Look at a daemon that has nothing to do."""
        # The wait is what is measured.
        time.sleep(SETTLED)  # noqa: TID251
        calls, cpu, began = self._calls(), process_time(daemon.pid), time.monotonic()
        time.sleep(seconds)  # noqa: TID251
        took = time.monotonic() - began
        idle = 100 * (process_time(daemon.pid) - cpu) / took
        calls = self._calls() - calls
        asked = []
        for _ in range(ASKED):
            began = time.monotonic()
            daemon.status()
            asked.append(1000 * (time.monotonic() - began))
        began = time.monotonic()
        command = [sys.executable, "-m", "bridge", "-c", str(daemon.file), "status"]
        subprocess.run(command, cwd=_REPOSITORY, stdout=subprocess.DEVNULL, check=True)
        return {
            "idle_percent": idle,
            "calls": 60 * calls / took,
            "status_ms": median(asked),
            "command_s": time.monotonic() - began,
            "rss_mib": peak_memory(daemon.pid),
        }

    def flip(self, daemon: Daemon) -> float:
        """Cut all queues over; the seconds until every one moves."""
        began = time.monotonic()
        daemon.ask("cutover")
        self.all_moving(daemon)
        return time.monotonic() - began

    def all_moving(self, daemon: Daemon) -> None:
        """Wait until every queue moves."""
        count = len(self._names)
        daemon.wait_until(lambda said: sum(one["state"] == "moving" for one in said["queues"]) == count, WITHIN)

    def _calls(self) -> int:
        return sum(proxy.calls for proxy in self._proxies)


def _waiting(names: list[str]) -> list[str]:
    """The queues that have a message: their arrival tells when the daemon comes to which."""
    return [names[0], names[len(names) // 2], names[-1]]


def _declare(url: str, names: list[str], kind: str) -> None:
    """Declare so many queues, many at the same time."""
    with ExitStack() as stack:
        channels = [stack.enter_context(connected(url))[1] for _ in range(min(CONNECTIONS, len(names)))]
        arguments = {"x-queue-type": kind}
        for number, name in enumerate(names):
            one = channels[number % len(channels)]
            one.queue_declare(name, durable=True, auto_delete=False, arguments=arguments, nowait=True)
        for one in channels:
            # Answered when all before it are made.
            one.queue_declare(names[0], passive=True)


def _put(url: str, names: list[str]) -> None:
    """Put a message into each of these queues."""
    with connected(url) as (_, one):
        for name in names:
            one.queue_purge(name)
            one.basic_publish(amqp.Message(b"[]", delivery_mode=2), routing_key=name)
        one.queue_declare(names[0], passive=True)


@contextmanager
def _queues(world: World, count: int) -> Iterator[_Run]:
    """Have so many queues on both sides for a block."""
    names = [f"queue.{number:04d}" for number in range(count)]
    with fresh(world) as vhosts, tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder, ExitStack() as stack:
        _declare(vhosts.old.amqp, names, "classic")
        _declare(vhosts.new.amqp, names, "quorum")
        delayed.declare(AmqpAddress.parse(vhosts.new.amqp), None)
        _put(vhosts.old.amqp, _waiting(names))
        yield _Run(vhosts, names, Path(folder), stack)


def _measured(bench: Bench, world: World, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    """One daemon that starts on route legacy and is flipped, and one that starts on route quorum."""
    seconds = max(2.0, IDLE * min(1.0, bench.scale))
    with _queues(world, count) as run:
        try:
            daemon, values = run.start("quorum")
            run.all_moving(daemon)
            yield "quorum", values | run.idle(daemon, seconds)
            daemon.stop()
            daemon, values = run.start("legacy")
            values |= run.idle(daemon, seconds)
            yield "legacy", values | {"flip_s": run.flip(daemon)}
            daemon.stop()
        except AssertionError as fault:
            raise LabError(str(fault)) from fault


def _run(bench: Bench, world: World) -> Iterator[Sample]:
    for number in range(1, bench.rounds + 1):
        for count in dict.fromkeys((FEW, bench.size(MANY, FEW))):
            bench.progress(f"{count} queues, round {number}")
            for route, values in _measured(bench, world, count):
                yield Sample(NAME, world.name, f"{count} queues", f"bridge, route {route}", number, values)


NAME = "many"
_QUORUM, _LEGACY = "bridge, route quorum", "bridge, route legacy"

STUDY = Study(
    name=NAME,
    about="What queues cost a daemon that has nothing to move: start, idle, memory, status, and the flip of all.",
    columns=(
        Column("ready_s", "start to READY s", 2),
        Column("first_s", "to first message s", 2),
        Column("last_s", "to last queue's s", 2),
        Column("idle_percent", "idle CPU %", 2),
        Column("rss_mib", "most memory MiB", 1),
        Column("calls", "API calls/min", 0),
        Column("status_ms", "GET /api/status ms", 1),
        Column("command_s", "bridge status s", 2),
        Column("flip_s", "cutover --all s", 2),
    ),
    aims=(
        Aim(_QUORUM, "first_s", None, most=1, shape=f"{FEW} queues"),
        Aim(_QUORUM, "first_s", None, most=5, shape=f"{MANY} queues"),
        Aim(_QUORUM, "idle_percent", None, most=2),
        Aim(_LEGACY, "idle_percent", None, most=2),
        Aim(_QUORUM, "rss_mib", None, most=80, shape=f"{FEW} queues"),
        Aim(_LEGACY, "rss_mib", None, most=80, shape=f"{FEW} queues"),
    ),
    worlds=("3.10->4.3",),
    run=_run,
)
