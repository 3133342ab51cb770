"""The daemon while it drains a backlog on real brokers, and somebody looks on."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bridge.errors import LabError
from tests.bench import load
from tests.bench.load import QUEUE, Load
from tests.bench.world import World, fresh
from tests.support.daemon import running, takeover

#: Looks at the process with this id for a block.
Onlooker = Callable[[int], AbstractContextManager[None]]


@dataclass(frozen=True)
class Drained:
    """What a drain took.

    Attributes:
        count: messages.
        rate: messages a second.
        user: microseconds of processor time a message, the daemon's own.
        system: the same of the kernel for it.
    """

    count: int
    rate: float
    user: float
    system: float


def drained(world: World, work: Load, look: Onlooker) -> Drained:
    """Fill a queue, let the daemon move all to the target, and look on.

    Raises:
        LabError: it did not move them.
    """
    with fresh(world) as vhosts, tempfile.TemporaryDirectory(prefix="bridge-profile-") as folder:
        load.declare(vhosts.old.amqp, vhosts.new.amqp)
        work.publish(vhosts.old.amqp)
        config = takeover(vhosts, Path(folder), queues={"include": [QUEUE]})
        try:
            with running(config, Path(folder)) as daemon, load.watching(vhosts.new.amqp, work.places) as arrivals:
                daemon.wait_until(lambda said: bool(said["queues"]))
                process = psutil.Process(daemon.pid)
                with look(daemon.pid):
                    before = process.cpu_times()
                    daemon.signal(signal.SIGUSR1)
                    seen = arrivals.fill(work.count)
                    after = process.cpu_times()
                daemon.wait_until(lambda said: said["totals"]["moved"] >= work.count)
        except AssertionError as fault:
            raise LabError(str(fault)) from fault
    user, system = after.user - before.user, after.system - before.system
    return Drained(work.count, seen.rate, user / work.count * 1e6, system / work.count * 1e6)
