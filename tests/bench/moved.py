"""One run of a mover: fresh vhosts, queues that were filled before, and what moving them took.

1. Messages a second: from the look that sees the first of them on the target to the look that sees all. The target's
   queues are looked at, for every mover in the same way, and the mover is left alone meanwhile.
2. Processor time: what the mover's process, and what the brokers used from the flip until the last message is acked,
   over the number of messages. All they do in that time is in it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bridge.errors import LabError
from bridge.lab.deadline import until
from tests.bench import cost, load
from tests.bench.study import Sample
from tests.bench.world import fresh

if TYPE_CHECKING:
    from tests.bench.load import Load, Seen
    from tests.bench.movers import Mover, Moving
    from tests.bench.study import Bench
    from tests.support.brokers import World

#: Seconds in which what is on its way from one level of the ladder to the next must be there.
SETTLED_WITHIN = 10.0


def moved(
    bench: Bench, world: World, study: str, shape: str, row: str, number: int, mover: Mover, work: Load
) -> Sample:
    """Let a mover move a load in a world, and return what it took: `study.MOVED`, and `seconds`.

    Args:
        bench: told what is measured.
        world: the brokers.
        study: name of the study.
        shape: what is moved.
        row: who moves it.
        number: of the round.
        mover: the same.
        work: what is waiting when it begins.

    Raises:
        LabError: it did not move all, or moved some twice.
    """
    bench.progress(f"round {number}: {row}, {shape}")
    with fresh(world) as vhosts:
        load.declare(vhosts.old.amqp, vhosts.new.amqp, work.queues)
        work.publish(vhosts.old.amqp)
        with mover(vhosts) as moving, load.watching(vhosts.new.amqp, work.places) as arrivals:
            busy, mine, theirs = os.getloadavg()[0], moving.cpu(), cost.brokers_time(world)
            seen = _run(moving, arrivals, work.count)
            moving.finish(work.count)
            values = {"rate": seen.rate, "seconds": seen.seconds}
            after = moving.cpu(), cost.brokers_time(world)
            for key, begun, ended in (("cpu_us", mine, after[0]), ("broker_cpu_us", theirs, after[1])):
                if begun is not None and ended is not None:
                    values[key] = (ended - begun) / work.count * 1e6
            if (memory := moving.rss()) is not None:
                values["rss_mib"] = memory
            if not until(lambda: arrivals.now() == work.count, SETTLED_WITHIN):
                raise LabError(f"{row}: {arrivals.now()} messages came out of {work.count}")
    return Sample(study, world.name, shape, row, number, values, busy)


def _run(moving: Moving, arrivals: load.Arrivals, count: int) -> Seen:
    """Begin to move, and look on while a mover of many parts still begins with the last of them."""
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(moving.flip)
        try:
            return arrivals.fill(count)
        finally:
            # What kept it from beginning says more than that nothing came.
            begun.result()
