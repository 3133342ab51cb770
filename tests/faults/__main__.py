"""Every fault in every world, as a table: `python -m tests.faults [--only NAME] [--world OLD,NEW] [--json]`.

A fault is chosen by a part of its name. The exit code is 1 when a promise was broken; the table shows it in bold.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.lab.brokers import Lab
from tests.faults import fault as faults
from tests.faults import kills
from tests.faults.report import Seen, table
from tests.faults.theatre import Theatre
from tests.support.brokers import WORLDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.faults.stage import Stage

#: How a fault ends from which the bridge does not come back; an API that does not answer is an OSError.
_FAILED = (AssertionError, BridgeError, OSError)
#: Kills in a row, and tasks that move meanwhile.
_KILLS, _TASKS = 20, 50_000
_AT_FULL_SPEED = f"daemon killed {_KILLS} times in a row at full speed, {_TASKS} tasks waiting"
_LIVE = f"daemon killed {_KILLS} times in a row at 200 tasks a second"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="faults with this in their name")
    parser.add_argument("--world", metavar="OLD,NEW", action="append", help="releases, such as 3.10,4.3")
    parser.add_argument("--json", action="store_true", help="every figure instead of the table")
    given = parser.parse_args(arguments)
    # What was begun is ended as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    worlds = [tuple(world.split(",")) for world in given.world or ()] or list(WORLDS.values())
    seen = []
    for old, new in worlds:
        for one in _world(old, new, given.only or [""]):
            seen.append(one)
            _say(one)
    print(json.dumps([it.as_json() for it in seen], indent=1) if given.json else table(seen))
    return int(any(it.broken for it in seen))


def _world(old: str, new: str, only: list[str]) -> Iterator[Seen]:
    """Play in one world, on brokers of its own."""
    world = f"{old} -> {new}"
    lab = Lab.up(f"faults-{os.getpid()}", old, new, same_broker=old == new, owner_pid=os.getpid())
    try:
        with tempfile.TemporaryDirectory() as folder, Theatre(lab, Path(folder)) as theatre:
            for fault in theatre.possible(faults.ALL):
                if any(part in fault.name for part in only):
                    try:
                        book = theatre.play(fault)
                    except _FAILED as failed:
                        yield Seen(fault.name, fault.happens, world, None, (str(failed),))
                    else:
                        yield Seen(fault.name, fault.happens, world, book, book.judged())
            for name, act, most in _rows_of_kills():
                if any(part in name for part in only):
                    yield _killed(theatre, name, act, most, world)
    finally:
        lab.down()


def _rows_of_kills() -> list[tuple[str, Callable[[Stage], kills.Kills], int | None]]:
    return [
        (_AT_FULL_SPEED, lambda stage: kills.at_full_speed(stage, _KILLS, _TASKS), None),
        (_LIVE, lambda stage: kills.live(stage, _KILLS), kills.LIVE_AT_MOST),
    ]


def _killed(theatre: Theatre, name: str, act: Callable[[Stage], kills.Kills], most: int | None, world: str) -> Seen:
    """Play a row of kills; None: one of them may double what may be in flight."""
    try:
        row = theatre.on_stage(act)
    except _FAILED as failed:
        return Seen(name, "", world, None, (str(failed),))
    happens = f"every second copy is listed by its task id; one kill made {max(row.each)} at most"
    return Seen(name, happens, world, row.book, row.judged(row.book.window if most is None else most))


def _say(seen: Seen) -> None:
    print(f"{seen.world}  {seen.fault}: {seen.cell()}", file=sys.stderr, flush=True)
    for line in seen.broken:
        print(f"    {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
