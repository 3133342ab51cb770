"""What a fault is: something that is broken on purpose and comes right again; and all of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.stage import Stage

#: Needs: three nodes on the target; two brokers, because it is the other side's fault as well where there is one;
#: a broker that nobody else uses; the numbered traffic of the stage.
CLUSTER = "cluster"
TWO_BROKERS = "two brokers"
OWN_BROKER = "own broker"
TRAFFIC = "stage's traffic"

#: Seconds after which a broker offers again what left the ladder and found no queue or a failing one, and some for it
#: to come out (at-least-once dead-lettering tries every 180 s).
OFFERED_AGAIN = 210.0


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, and comes right again.

    Attributes:
        name: as the docs say it.
        inject: returns when the fault is in place.
        heal: ends it; what comes back after that comes back by itself.
        lasts: seconds between the two, with live traffic.
        needs: what it cannot be done without; of the names above.
        given_back: whether the old workers must get new tasks while it lasts.
        happens: what the bridge does, as the docs say it.
        says: what stands in the status meanwhile, as the queue's `why` or the target's `reason`.
        late: seconds that a task may come late by it, beyond the usual.
        long: too slow for every run of the tests.
    """

    name: str
    inject: Callable[[Stage], None]
    heal: Callable[[Stage], None]
    lasts: float
    needs: frozenset[str]
    given_back: bool
    happens: str = ""
    says: str = ""
    late: float = 0.0
    long: bool = False


def nothing(_stage: Stage) -> None:
    """The fault ends, or passes, without anybody."""


def _collected() -> tuple[Fault, ...]:
    modules = ("network", "process", "nodes", "operator")
    return tuple(fault for module in modules for fault in importlib.import_module(f"tests.faults.{module}").FAULTS)


def __getattr__(name: str) -> tuple[Fault, ...]:
    # The modules that define faults import this one: they are loaded when somebody asks.
    if name == "ALL":
        return _collected()
    raise AttributeError(name)
