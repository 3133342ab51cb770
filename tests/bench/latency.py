"""How long a message takes from its publish on the old broker to its arrival at a consumer on the new one.

"one broker alone" is the floor: published into the target's queue itself. What a mover adds is the difference to it.
"""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING

from tests.bench import load, stamps
from tests.bench.load import QUEUE
from tests.bench.movers import bridge
from tests.bench.shovel import shovel
from tests.bench.study import Aim, Sample, Study
from tests.bench.world import fresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.movers import Mover
    from tests.bench.stamps import Latency
    from tests.bench.study import Bench
    from tests.support.brokers import World

#: Messages a second.
RATES = (1, 50, 500, 2_000, 5_000)
#: Seconds for which the messages count; a slow stream has at least so many messages.
SECONDS, LEAST = 10, 20
#: The rate at which the two movers are compared.
COMPARED = 500

BRIDGE, SHOVEL, ALONE = "bridge", "Shovel, prefetch 1000", "one broker alone"


def _shape(rate: int) -> str:
    return f"{rate:,} msg/s".replace(",", " ")


def _run(bench: Bench, world: World) -> Iterator[Sample]:
    rows: dict[str, Mover | None] = {BRIDGE: bridge(), SHOVEL: shovel(direct=True), ALONE: None}
    seconds = bench.size(SECONDS, least=1)
    for number, (rate, (row, mover)) in bench.turns(product(RATES, rows.items())):
        bench.progress(f"round {number} of {bench.rounds}: {_shape(rate)}, {row}")
        busy = os.getloadavg()[0]
        found = _measured(world, mover, rate, max(seconds, LEAST / rate))
        yield Sample("latency", world.name, _shape(rate), row, number, found.values(), busy)


def _measured(world: World, mover: Mover | None, rate: int, seconds: float) -> Latency:
    with fresh(world) as vhosts:
        load.declare(vhosts.old.amqp, vhosts.new.amqp)
        old, new = (vhosts.old.amqp, QUEUE), (vhosts.new.amqp, QUEUE)
        if mover is None:
            return stamps.measured(new, new, rate, seconds)
        with mover(vhosts) as moving:
            found = stamps.measured(old, new, rate, seconds, moving.flip)
            moving.finish(found.sent)
        return found


STUDY = Study(
    "latency",
    "milliseconds from the publish on the old broker to the arrival on the new one, at fixed rates",
    stamps.COLUMNS,
    (
        Aim(BRIDGE, "p50_ms", SHOVEL, most=1.0, shape=_shape(COMPARED)),
        Aim(BRIDGE, "p99_ms", SHOVEL, most=1.0, shape=_shape(COMPARED)),
    ),
    ("3.10->3.10", "3.10->4.0", "3.10->4.3"),
    _run,
)
