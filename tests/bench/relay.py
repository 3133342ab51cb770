"""How fast a queue is moved, by whom, and what a message costs the daemon.

1. Four runs make a round: the bridge and the Shovel with due messages, the bridge with messages that are due in a day
   and the same entering the ladder at `celery_delayed_27`. Rounds follow each other, so that a machine that is busy for
   a while is busy for all of them, and ratios are taken within a round.
2. A run has vhosts of its own: one classic queue that was filled before, one quorum queue.
3. Messages a second: from the look that sees the first of them on the target to the look that sees all. The target's
   queue is looked at, for every mover in the same way, and the daemon is left alone meanwhile.
4. CPU: what the daemon's process used, user and system, from the flip until the last message is acked, over the number
   of messages. All it does in that time is in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.errors import LabError
from tests.bench import load
from tests.bench.load import Load
from tests.bench.movers import bridge
from tests.bench.shovel import shovel
from tests.bench.world import fresh

if TYPE_CHECKING:
    from bridge.lab.progress import Progress
    from tests.bench.movers import Mover
    from tests.support.brokers import World


@dataclass(frozen=True)
class Contender:
    """One row of the result: who moves what, and what we aim at.

    Attributes:
        name: as it is printed.
        mover: who.
        eta: whether the messages have an ETA one day ahead.
        share: the part of such messages that it is given; the slow way gets fewer, so that a round stays short.
        cpu: microseconds of the daemon per message that we aim at.
        versus: the name of the row that it is compared with, and how many times as fast we want to be.
    """

    name: str
    mover: Mover
    eta: bool
    share: float = 1.0
    cpu: float | None = None
    versus: tuple[str, float] | None = None


@dataclass(frozen=True)
class Run:
    """One measured run.

    Attributes:
        contender: name of the row.
        round: counted from 1.
        messages: how many were moved.
        message_bytes: of one message on the wire, all frames of its publish.
        rate: messages a second.
        cpu_us: microseconds of the daemon's processor time per message; None for the Shovel.
        load: the machine's load average of the last minute, when the run began.
    """

    contender: str
    round: int
    messages: int
    message_bytes: int
    rate: float
    cpu_us: float | None
    load: float


def contenders(*, direct: bool) -> list[Contender]:
    """Return who is measured, in order.

    Args:
        direct: how the Shovel connects to its own broker.
    """
    return [
        Contender("bridge, due", bridge(), eta=False, cpu=15.0, versus=("Shovel, due", 1.0)),
        Contender("Shovel, due", shovel(direct=direct), eta=False),
        Contender("bridge, ETA in a day", bridge(), eta=True, cpu=40.0, versus=("same, by celery_delayed_27", 3.0)),
        Contender("same, by celery_delayed_27", bridge("tests.bench.entry27"), eta=True, share=0.25),
    ]


def measured(
    world: World, rows: list[Contender], rounds: int, messages: int, eta_messages: int, progress: Progress
) -> list[Run]:
    """Measure every contender `rounds` times, in turn.

    Raises:
        LabError: a mover did not move all.
    """
    runs = []
    for number in range(1, rounds + 1):
        for row in rows:
            progress(f"round {number} of {rounds}", row.name)
            work = Load(round((eta_messages if row.eta else messages) * row.share), row.eta)
            runs.append(_run(world, row, number, work))
    return runs


def _run(world: World, row: Contender, number: int, work: Load) -> Run:
    with fresh(world) as vhosts:
        load.declare(vhosts.old.amqp, vhosts.new.amqp)
        size = work.publish(vhosts.old.amqp)
        with row.mover(vhosts) as moving, load.watching(vhosts.new.amqp, work.arrives_in) as arrivals:
            busy, before = os.getloadavg()[0], moving.cpu()
            moving.flip()
            seen = arrivals.fill(work.count)
            moving.finish(work.count)
            after = moving.cpu()
            if (there := arrivals.now()) != work.count:
                raise LabError(f"{row.name}: {there} messages came out of {work.count}")
    cost = None if before is None or after is None else (after - before) / work.count * 1e6
    return Run(row.name, number, work.count, size, seen.rate, cost, busy)
