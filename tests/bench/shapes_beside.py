"""How a backlog drains while others go on publishing into the same queue, and that all of theirs arrive, too.

What those that are published meanwhile have to wait is a matter of the study `fairness`.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.errors import LabError
from bridge.lab.deadline import until
from tests.bench import load
from tests.bench.load import QUEUE, Load
from tests.bench.moved import moved
from tests.bench.movers import bridge
from tests.bench.shapes import AHEAD_OF, BRIDGE, ONE_WORLD, SHOVEL
from tests.bench.shovel import shovel
from tests.bench.study import CPU, RATE, RSS, Aim, Column, Sample, Study
from tests.bench.world import fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.movers import Mover
    from tests.bench.study import Bench
    from tests.support.brokers import World

#: Messages that wait when it begins, at scale 1, and a second that are published meanwhile.
COUNT = 200_000
LIVE = 500
ALONE, BESIDE = "nobody publishes", f"{LIVE}/s are published"
#: The part of its own rate that a drain is to keep: what is published meanwhile takes its place in the brokers, too.
KEPT = 0.8

#: Seconds between two moments at which what is due by then is published.
_BEAT = 0.01
#: Seconds in which the last of those that were published meanwhile must arrive.
_ALL_WITHIN = 30.0


def trickle(url: str, rate: float, ended: threading.Event) -> int:
    """Publish into QUEUE at a fixed rate until told to end, and return how many the broker has.

    Raises:
        LabError: the connection failed.
    """
    template, identity = Load(1).template(), load.ID.encode()
    with load.connected(url) as (connection, _):
        began, sent = time.monotonic(), 0
        while not ended.wait(_BEAT):
            due = int((time.monotonic() - began) * rate)
            # Other ids than those that wait: theirs are numbered from nought.
            found = [template.replace(identity, b"%08x-0000-4000-9000-000000000000" % n) for n in range(sent, due)]
            connection.transport.write(b"".join(found))
            sent = due
        # The farewell is answered when all before it was read.
    return sent


@contextmanager
def _live(url: str, rate: float) -> Iterator[Callable[[], int]]:
    """Publish for a block; what it gives ends that and returns how many there were."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(trickle, url, rate, ended)

        def end() -> int:
            ended.set()
            return published.result()

        try:
            yield end
        finally:
            ended.set()


def _drained(bench: Bench, world: World, row: str, number: int, mover: Mover, work: Load) -> Sample:
    bench.progress(f"round {number}: {row}, {BESIDE}")
    with fresh(world) as vhosts:
        load.declare(vhosts.old.amqp, vhosts.new.amqp)
        work.publish(vhosts.old.amqp)
        with mover(vhosts) as moving, load.watching(vhosts.new.amqp, {QUEUE: None}) as arrivals:
            busy, before = os.getloadavg()[0], moving.cpu()
            with _live(vhosts.old.amqp, LIVE) as end:
                moving.flip()
                # A classic queue gives out what it got first: these are the ones that waited.
                seen = arrivals.fill(work.count)
                live = end()
            if not until(lambda: arrivals.now() >= work.count + live, _ALL_WITHIN):
                raise LabError(f"{row}: {arrivals.now()} messages arrived, {work.count} + {live} were published")
            moving.finish(work.count + live)
            values = {"rate": seen.rate, "seconds": seen.seconds, "live": float(live)}
            after, memory = moving.cpu(), moving.rss()
            if before is not None and after is not None:
                values["cpu_us"] = (after - before) / (work.count + live) * 1e6
            if memory is not None:
                values["rss_mib"] = memory
            if (found := arrivals.now()) != work.count + live:
                raise LabError(f"{row}: {found} messages came out of {work.count} + {live}")
    return Sample("beside", world.name, BESIDE, row, number, values, busy)


def _run(bench: Bench, world: World) -> Iterator[Sample]:
    work = Load(bench.size(COUNT))
    movers = {BRIDGE: bridge(), SHOVEL: shovel()}
    for number, (row, mover) in bench.turns(movers.items()):
        yield moved(bench, world, "beside", ALONE, row, number, mover, work)
        yield _drained(bench, world, row, number, mover, work)


STUDY = Study(
    "beside",
    f"a backlog that drains while {LIVE} messages a second are published into the same queue",
    (RATE, CPU, RSS, Column("live", "published meanwhile")),
    (
        Aim(BRIDGE, "rate", SHOVEL, least=AHEAD_OF),
        Aim(BRIDGE, "rate", BRIDGE, least=KEPT, shape=BESIDE, than_shape=ALONE),
    ),
    ONE_WORLD,
    _run,
)
