"""What a huge queue does to a small one: how long the messages of a trickle take alone, and beside a backlog.

1. The small queue gets 20 messages a second. The backlog lies in other queues of the same vhost, and moves from the
   same moment on.
2. "bridge, a daemon each" has one daemon for the small queue and one for the backlog, which share the brokers and the
   machine but no connection: what it takes longer than alone is not the doing of the daemon. A Shovel has connections
   of its own for each queue, too.
3. "past the mover" publishes into the target's queue itself while the daemon moves the backlog: the broker's own part.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from tests.bench import load, stamps
from tests.bench.load import Load, queue_names
from tests.bench.movers import bridge
from tests.bench.shovel import shovel
from tests.bench.study import Aim, Column, Sample, Study
from tests.bench.world import fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.bench.movers import Mover, Moving
    from tests.bench.study import Bench
    from tests.support.brokers import Vhosts, World

#: Messages a second in the small queue, and for how many seconds: 600 messages, of which six may take longer than p99.
RATE, SECONDS = 20, 30
#: Seconds before these that do not count: the daemon looks once a second at who moves beside whom.
WARM_UP = 6.0
#: Messages in the backlog, over all its queues; never fewer than such a rate moves in that time.
BACKLOG, FASTEST = 1_000_000, 12_000

APART, ONE, TEN = "alone", "beside one huge queue", "beside ten huge queues"
BRIDGE, EACH, SHOVEL, PAST = "bridge", "bridge, a daemon each", "Shovel, one each", "past the mover"
#: How many huge queues stand beside the small one.
SHAPES = {APART: 0, ONE: 1, TEN: 10}


class _Backlog(Load):
    """What lies in all queues but the first one."""

    @property
    def names(self) -> list[str]:
        return queue_names(self.queues + 1)[1:]


@dataclass(frozen=True)
class _Row:
    """Who moves.

    Attributes:
        mover: made for a number of queues.
        past: whether the stream passes by it.
        shapes: in which it is measured.
    """

    mover: Callable[[int], Mover]
    past: bool = False
    shapes: tuple[str, ...] = tuple(SHAPES)


def _daemon_each(queues: int) -> Mover:
    small, *huge = queue_names(queues)

    @contextmanager
    def ready(vhosts: Vhosts) -> Iterator[Moving]:
        with (
            bridge(include=[small], instance="small")(vhosts) as one,
            bridge(include=huge, instance="huge", queues=len(huge))(vhosts) as other,
        ):
            yield _Both(one, other)

    return ready


class _Both:
    """Two movers that begin together."""

    def __init__(self, *movers: Moving) -> None:
        self._movers = movers

    def flip(self) -> None:
        for mover in self._movers:
            mover.flip()

    def finish(self, count: int) -> None:
        """Neither is waited for: a backlog is left."""

    def cpu(self) -> None:
        return None

    def rss(self) -> None:
        return None


ROWS = {
    BRIDGE: _Row(lambda queues: bridge(queues=queues)),
    SHOVEL: _Row(lambda queues: shovel(queues=queues)),
    EACH: _Row(_daemon_each, shapes=(ONE,)),
    PAST: _Row(lambda queues: bridge(queues=queues), past=True, shapes=(APART, ONE)),
}


def _run(bench: Bench, world: World) -> Iterator[Sample]:
    for number, ((shape, huge), (name, row)) in bench.turns(product(SHAPES.items(), ROWS.items())):
        if shape in row.shapes:
            bench.progress(f"round {number} of {bench.rounds}: {shape}, {name}")
            busy = os.getloadavg()[0]
            found = _measured(bench, world, row, huge)
            yield Sample("fairness", world.name, shape, name, number, found, busy)


def _measured(bench: Bench, world: World, row: _Row, huge: int) -> dict[str, float]:
    """Measure one row beside so many huge queues."""
    queues = 1 + huge
    small = queue_names(queues)[0]
    seconds = bench.size(SECONDS, least=2)
    least = round((WARM_UP + seconds) * FASTEST)
    backlog = _Backlog(bench.size(BACKLOG, least), queues=huge) if huge else None
    with fresh(world) as vhosts:
        load.declare(vhosts.old.amqp, vhosts.new.amqp, queues)
        if backlog is not None:
            backlog.publish(vhosts.old.amqp)
        new = (vhosts.new.amqp, small)
        source = new if row.past else (vhosts.old.amqp, small)
        with row.mover(queues)(vhosts) as moving, _progress(vhosts, backlog) as moved:
            found = stamps.measured(source, new, RATE, seconds, moving.flip, moved.begin, warm_up=WARM_UP)
            return found.values() | moved.values()


class _Moved:
    """How fast the backlog got less meanwhile."""

    def __init__(self, source: load.Arrivals | None) -> None:
        self._source = source
        self._began = (0.0, 0)

    def begin(self) -> None:
        """Look for the first time."""
        if self._source is not None:
            self._began = (time.monotonic(), self._source.now())

    def values(self) -> dict[str, float]:
        """Look again, and return messages a second, and how many are left."""
        if self._source is None:
            return {}
        before, there = self._began
        left = self._source.now()
        return {"backlog_rate": (there - left) / (time.monotonic() - before), "left": left}


@contextmanager
def _progress(vhosts: Vhosts, backlog: Load | None) -> Iterator[_Moved]:
    watching: AbstractContextManager[load.Arrivals | None] = nullcontext()
    if backlog is not None:
        watching = load.watching(vhosts.old.amqp, dict.fromkeys(backlog.names))
    with watching as source:
        yield _Moved(source)


STUDY = Study(
    "fairness",
    "milliseconds that a message of a small queue takes, alone and beside a backlog of 1 000 000 in other queues",
    (*stamps.COLUMNS, Column("backlog_rate", "backlog's messages/s"), Column("left", "backlog left")),
    (
        Aim(BRIDGE, "p99_ms", BRIDGE, most=3.0, shape=ONE, than_shape=APART),
        Aim(BRIDGE, "p99_ms", BRIDGE, most=3.0, shape=TEN, than_shape=APART),
    ),
    ("3.10->3.10", "3.10->4.0", "3.10->4.3"),
    _run,
)
