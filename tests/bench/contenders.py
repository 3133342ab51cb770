"""Study `movers`: due messages of 1 KiB from one queue to another, by everything that people could use.

1. All rows of a round have the same world and, but for their number, the same messages. Slow movers get fewer.
2. The Shovel runs at its default prefetch of 1000 and at the best of several, which is looked for first, in the same
   world. The bridge runs as it comes, and with nothing read ahead of its window.
3. The bridge also moves what has an ETA: as it does it, and entering the ladder in Celery's two ways.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.bench import limit
from tests.bench.load import DAY, Load
from tests.bench.moved import moved
from tests.bench.movers import bridge, program
from tests.bench.shapes import Run, in_turn
from tests.bench.shovel import PREFETCH, local_shovel, shovel
from tests.bench.study import MOVED, Aim, Column, Study
from tests.bench.world import ONE_BROKER, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.study import Bench, Sample
    from tests.support.brokers import World

NAME = "movers"
SHAPE = "1 KiB"
#: Shape of the runs in which the best prefetch is looked for.
SEARCH = "1 KiB, search"
#: Prefetches of which the best is looked for, and how often each is tried.
PREFETCHES = (100, 250, 500, PREFETCH, 2000, 5000)
TRIES = 2

DEFAULT, BEST = f"Shovel, prefetch {PREFETCH}", "Shovel, best prefetch"
PLAIN = "bridge, nothing read ahead"
DELAYED = "bridge, ETA in a day"
ENTRY_CELERY, ENTRY27 = "same, by Celery's highest bit", "same, by celery_delayed_27"

# Messages of a run: each takes a few seconds on two cores that the brokers share.
_DUE = 60_000
_SEARCHED = 20_000
_CLIENTS = {"pika async": 15_000, "kombu, no confirms": 8_000, "pika, one by one": 2_500, "celery migrate": 4_000}
_WITH_ETA = 20_000
_ENTRY27 = 5_000


def _runs(bench: Bench, best: int, *, one_broker: bool) -> Iterator[Run]:
    due = Load(bench.size(_DUE))
    movers = {
        "bridge": bridge(),
        PLAIN: bridge(relay={"read_ahead": 0}),
        DEFAULT: shovel(),
        BEST: shovel(prefetch=best),
        **({"local Shovel": local_shovel()} if one_broker else {}),
        **dict.fromkeys(limit.KINDS),
    }
    for row, mover in movers.items():
        yield Run(SHAPE, row, mover, due)
    if one_broker:
        return
    for row, count in ((row, bench.size(count, 500)) for row, count in _CLIENTS.items()):
        yield Run(SHAPE, row, program("tests.bench.clients", row, str(count)), Load(count))
    late = Load(bench.size(_WITH_ETA, 4000), ahead=DAY)
    fewer = replace(late, count=bench.size(_ENTRY27))
    yield Run(SHAPE, DELAYED, bridge(), late)
    yield Run(SHAPE, ENTRY_CELERY, bridge(module="tests.bench.entry_celery"), fewer)
    yield Run(SHAPE, ENTRY27, bridge(module="tests.bench.entry27"), fewer)


def _run(bench: Bench, world: World) -> Iterator[Sample]:
    found: dict[int, list[float]] = {prefetch: [] for prefetch in PREFETCHES}
    work = Load(bench.size(_SEARCHED, 2000))
    for number, prefetch in replace(bench, rounds=TRIES).turns(PREFETCHES):
        name = f"Shovel, prefetch {prefetch}"
        sample = moved(bench, world, NAME, SEARCH, name, number, shovel(prefetch=prefetch), work)
        found[prefetch].append(sample.values["rate"])
        yield sample
    best = max(found, key=lambda prefetch: sum(found[prefetch]))
    prefetches = {DEFAULT: {"prefetch": PREFETCH}, BEST: {"prefetch": best}}
    for sample in in_turn(bench, world, NAME, _runs(bench, best, one_broker=world.name == ONE_BROKER)):
        yield replace(sample, values=sample.values | prefetches.get(sample.row, {}))


STUDY = Study(
    NAME,
    "due messages of 1 KiB from one classic queue to one quorum queue, by everything that people could use",
    (*MOVED, Column("prefetch", "prefetch")),
    (
        Aim("bridge", "rate", BEST, least=1.2, shape=SHAPE),
        Aim("bridge", "rate", limit.BOTH, least=0.9, shape=SHAPE),
        Aim("bridge", "cpu_us", None, most=10, shape=SHAPE),
        Aim("bridge", "rss_mib", None, most=80, shape=SHAPE),
        Aim(DELAYED, "cpu_us", None, most=20, shape=SHAPE),
        Aim(DELAYED, "rate", ENTRY27, least=6, shape=SHAPE, world="3.10->3.10"),
        *(
            aim
            for world in TARGETS[1:]
            for aim in (
                Aim(DELAYED, "rate", ENTRY27, least=3, shape=SHAPE, world=world),
                Aim(DELAYED, "rate", "bridge", least=0.6, shape=SHAPE, world=world),
            )
        ),
    ),
    (*TARGETS, ONE_BROKER),
    _run,
)
