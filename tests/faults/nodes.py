"""What happens to a broker's node: it stops, is killed, runs short of memory or disk, closes its connections.

On a broker that has both sides each of these hits both, so the source's are done only where there are two brokers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.lab.cluster import READY_SECONDS
from tests.faults.fault import OFFERED_AGAIN, OWN_BROKER, TWO_BROKERS, Fault, nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.lab.brokers import Node, Side
    from tests.faults.stage import Stage

#: More than any disk has: the alarm goes off at once.
_MORE_THAN_THERE_IS = "100000GB"
#: As the lab sets them (bridge/lab/settings.py).
_MEMORY, _DISK = "2GiB", "64MiB"


def _side(stage: Stage, side: str) -> Side:
    return stage.vhosts.old if side == "source" else stage.vhosts.new


def _ctl(side: str, *arguments: str) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        _node(stage, side).ctl(*arguments)

    return act


def _node(stage: Stage, side: str) -> Node:
    return _side(stage, side).nodes[0]


def _start_app(side: str) -> Callable[[Stage], None]:
    def heal(stage: Stage) -> None:
        node = _node(stage, side)
        node.ctl("start_app")
        node.wait(READY_SECONDS, node.members)

    return heal


def _close_connections(side: str) -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        at = _side(stage, side)
        at.nodes[0].ctl("close_all_connections", "--vhost", at.vhost, "maintenance")

    return inject


def _of(side: str) -> list[Fault]:
    target = side == "target"
    needs = frozenset({OWN_BROKER}) if target else frozenset({OWN_BROKER, TWO_BROKERS})
    away = (
        "the old workers have the queue until the target is back"
        if target
        else "nobody can publish or work until the source is back; what it forgot of our acks comes again"
    )
    alarm = (
        "the target takes no publishes (connection.blocked); the old workers have the queue"
        if target
        else "producers are held by the broker; what is in the queue moves on"
    )
    return [
        Fault(
            f"{side} broker stopped and started (stop_app, start_app)",
            _ctl(side, "stop_app"),
            _start_app(side),
            6.0 if target else 1.0,
            needs,
            target,
            happens=away,
            late=OFFERED_AGAIN,
            says="target is not connected" if target else "",
            long=True,
        ),
        Fault(
            f"{side} node killed (SIGKILL) and started",
            lambda stage: _node(stage, side).kill(),
            lambda stage: _node(stage, side).start(),
            6.0 if target else 1.0,
            needs,
            target,
            happens=away,
            late=OFFERED_AGAIN,
            says="target is not connected" if target else "",
        ),
        Fault(
            f"{side} broker out of memory (alarm)",
            _ctl(side, "set_vm_memory_high_watermark", "absolute", "1"),
            _ctl(side, "set_vm_memory_high_watermark", "absolute", _MEMORY),
            6.0 if target else 3.0,
            needs,
            target,
            happens=alarm,
            says="target takes no publishes now: " if target else "",
            long=not target,
        ),
        Fault(
            f"{side} broker out of disk (alarm)",
            _ctl(side, "set_disk_free_limit", _MORE_THAN_THERE_IS),
            _ctl(side, "set_disk_free_limit", _DISK),
            6.0 if target else 3.0,
            needs,
            target,
            happens=alarm,
            says="target takes no publishes now: " if target else "",
            long=True,
        ),
        Fault(
            f"{side} connections closed by the operator (close_all_connections)",
            _close_connections(side),
            nothing,
            0.0,
            frozenset(),
            False,
            happens="connected again at once",
            long=not target,
        ),
    ]


FAULTS = (*_of("target"), *_of("source"))
