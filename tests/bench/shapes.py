"""How the same movers fare with other loads: other sizes, tasks that are not due, more queues, a copy of each message.

Each study varies one thing and leaves the rest as the study `movers` has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from tests.bench import limit
from tests.bench.load import DAY, KIB, Load
from tests.bench.moved import moved
from tests.bench.movers import bridge
from tests.bench.shovel import shovel
from tests.bench.study import MOVED, Aim, Column, Study

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.bench.movers import Mover
    from tests.bench.study import Bench, Sample
    from tests.support.brokers import World

BRIDGE = "bridge"
COPIED = "bridge, with a backup on the source"
SHOVEL = "Shovel, prefetch 1000"
#: Where a shape costs the same wherever it is measured: an old broker and the newest one.
ONE_WORLD = ("3.10->4.3",)

MIB = 1024**2
#: Bytes of a small message.
SMALL = 300
#: Bytes of one message on the wire, and how many of them make a run of some seconds.
SIZES = {"300 B": (SMALL, 80_000), "1 KiB": (KIB, 60_000), "16 KiB": (16 * KIB, 20_000), "1 MiB": (MIB, 400)}
#: MiB that the daemon may have in memory, by shape.
MEMORY = {"300 B": 80, "1 KiB": 80, "16 KiB": 80, "1 MiB": 200}

#: Seconds ahead: each is past the round number, as people's are.
AHEAD = {"10 s": 10, "1 h": 3_601, "1 day": DAY, "30 days": 30 * 86_400 + 1}
SHARES = (0.3, 1.0)
DUE = "due"
TOP, TOP_MODULE = "same, by celery_delayed_27", "tests.bench.entry27"
#: Messages of one run at scale 1, and those that the slow way is given.
ETA_COUNT, TOP_COUNT = 20_000, 5_000

#: The bridge with so many times fewer messages: the difference tells what one more message costs.
FEW, FEWER = "bridge, a sixth of the messages", 6
QUEUES = {"1 queue": 1, "10 queues": 10, "200 queues": 200}
#: Messages of one run at scale 1: so many that what it takes to begin with each queue does not drown what they cost.
QUEUES_COUNT = 120_000
#: Messages of one run at scale 1 in the other studies.
COUNT = 60_000
#: What is aimed at: not behind the Shovel in any shape, and so much of what the brokers can carry.
AHEAD_OF, OF_LIMIT = 1.0, 0.9
#: What "flat" means: so much more for a message at most, so many fewer messages a second at least.
FLAT_COST, FLAT_RATE = 1.2, 0.8

#: Messages that wait, and in how many rounds the bridge and the Shovel move them at most: two millions take minutes.
BACKLOGS: dict[str, tuple[int, dict[str, float]]] = {
    "100 000": (100_000, {BRIDGE: math.inf, SHOVEL: math.inf}),
    "500 000": (500_000, {BRIDGE: math.inf, SHOVEL: 1}),
    "2 000 000": (2_000_000, {BRIDGE: 1}),
}


@dataclass(frozen=True)
class Run:
    """A row in a shape: who moves what; without a mover, what the brokers could carry of it."""

    shape: str
    row: str
    mover: Mover | None
    load: Load


def in_turn(bench: Bench, world: World, study: str, runs: Iterable[Run]) -> Iterator[Sample]:
    """Measure each of these once in every round."""
    for number, run in bench.turns(runs):
        if run.mover is None:
            yield limit.reached(bench, world, study, run.shape, number, run.row, run.load)
        else:
            yield moved(bench, world, study, run.shape, run.row, number, run.mover, run.load)


def flat(shape: str, than: str, cost: str = "cpu_us", rate: str = "rate") -> tuple[Aim, Aim]:
    """Return the aims of a message that costs the same in two shapes."""
    return (
        Aim(BRIDGE, cost, BRIDGE, most=FLAT_COST, shape=shape, than_shape=than),
        Aim(BRIDGE, rate, BRIDGE, least=FLAT_RATE, shape=shape, than_shape=than),
    )


def _sizes(bench: Bench, world: World) -> Iterator[Sample]:
    movers = {BRIDGE: bridge(), SHOVEL: shovel(), limit.BOTH: None}
    runs = []
    for shape, (body, count) in SIZES.items():
        load = Load(bench.size(count, min(count // 4, 1000)), body)
        runs += [Run(shape, row, mover, load) for row, mover in movers.items()]
    return in_turn(bench, world, "sizes", runs)


def _delayed(words: str, share: float) -> str:
    return f"{words}, {share:.0%}"


def _eta(bench: Bench, world: World) -> Iterator[Sample]:
    runs = [Run(DUE, BRIDGE, bridge(), Load(bench.size(ETA_COUNT)))]
    for words, ahead in AHEAD.items():
        for share in SHARES:
            load = Load(bench.size(ETA_COUNT), ahead=ahead, share=share)
            runs.append(Run(_delayed(words, share), BRIDGE, bridge(), load))
        if ahead != AHEAD["10 s"]:
            runs.append(
                Run(_delayed(words, 1), TOP, bridge(module=TOP_MODULE), Load(bench.size(TOP_COUNT), ahead=ahead))
            )
    return in_turn(bench, world, "eta", runs)


def _further(less: Sample, few: int, more: Sample, many: int) -> dict[str, float]:
    """Return what a message beyond the first `few` takes: what it takes to begin with each queue is in both samples."""
    cost = more.values["cpu_us"] * many - less.values["cpu_us"] * few
    seconds = more.values["seconds"] - less.values["seconds"]
    found = {}
    # Where there are not many of them, chance may have made the few cost more.
    if cost > 0:
        found["more_us"] = cost / (many - few)
    if seconds > 0:
        found["more_rate"] = (many - few) / seconds
    return found


def _queues(bench: Bench, world: World) -> Iterator[Sample]:
    few, many = bench.size(QUEUES_COUNT // FEWER), bench.size(QUEUES_COUNT, 2000)
    for number, ((shape, queues), row) in bench.turns(product(QUEUES.items(), (BRIDGE, SHOVEL))):
        part, whole = Load(few, queues=queues), Load(many, queues=queues)
        if row == SHOVEL:
            yield moved(bench, world, "queues", shape, SHOVEL, number, shovel(queues=queues), whole)
            continue
        mover = bridge(queues=queues)
        less = moved(bench, world, "queues", shape, FEW, number, mover, part)
        more = moved(bench, world, "queues", shape, BRIDGE, number, mover, whole)
        yield less
        yield replace(more, values=more.values | _further(less, few, more, many))


def _backlog(bench: Bench, world: World) -> Iterator[Sample]:
    movers = {BRIDGE: bridge(), SHOVEL: shovel()}
    rows = [(shape, count, row, most) for shape, (count, by) in BACKLOGS.items() for row, most in by.items()]
    for number, (shape, count, row, most) in bench.turns(rows):
        if number <= most:
            yield moved(bench, world, "backlog", shape, row, number, movers[row], Load(bench.size(count), SMALL))


def _backup(bench: Bench, world: World) -> Iterator[Sample]:
    load = Load(bench.size(COUNT))
    movers = {BRIDGE: bridge(), COPIED: bridge(backup={"on": "source"})}
    return in_turn(bench, world, "backup", (Run("1 KiB", row, mover, load) for row, mover in movers.items()))


SHAPES = (
    Study(
        "sizes",
        "due messages of 300 bytes to 1 MiB on one queue",
        MOVED,
        (
            Aim(BRIDGE, "rate", SHOVEL, least=AHEAD_OF),
            Aim(BRIDGE, "rate", limit.BOTH, least=OF_LIMIT),
            *(Aim(BRIDGE, "rss_mib", None, most=most, shape=shape) for shape, most in MEMORY.items()),
        ),
        ONE_WORLD,
        _sizes,
    ),
    Study(
        "eta",
        "none, some and all of the tasks with an ETA, ten seconds to thirty days ahead",
        MOVED,
        (
            Aim(BRIDGE, "rate", TOP, least=6, shape=_delayed("1 day", 1), world="3.10->3.10"),
            Aim(BRIDGE, "rate", TOP, least=3, shape=_delayed("1 day", 1), world="3.10->4.3"),
            Aim(BRIDGE, "rate", BRIDGE, least=0.6, shape=_delayed("1 day", 1), world="3.10->4.3", than_shape=DUE),
            *(Aim(BRIDGE, "cpu_us", None, most=20, shape=_delayed(words, 1)) for words in AHEAD),
        ),
        ("3.10->3.10", "3.10->4.3"),
        _eta,
    ),
    Study(
        "queues",
        "the same number of messages over one, ten and two hundred queues",
        (*MOVED, Column("more_rate", "further messages/s"), Column("more_us", "CPU us/further message", 1)),
        (
            Aim(BRIDGE, "rate", SHOVEL, least=AHEAD_OF),
            *flat("10 queues", "1 queue", "more_us", "more_rate"),
            *flat("200 queues", "1 queue", "more_us", "more_rate"),
        ),
        ONE_WORLD,
        _queues,
    ),
    Study(
        "backlog",
        "a hundred thousand to two million messages of 300 bytes on one queue",
        MOVED,
        (
            Aim(BRIDGE, "rate", SHOVEL, least=AHEAD_OF),
            *flat("500 000", "100 000"),
            *flat("2 000 000", "100 000"),
            Aim(BRIDGE, "rss_mib", None, most=MEMORY["300 B"]),
        ),
        ONE_WORLD,
        _backlog,
    ),
    Study("backup", "what a copy of each message costs", MOVED, (), ONE_WORLD, _backup),
)
