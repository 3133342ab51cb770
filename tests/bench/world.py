"""Where it is measured: brokers of the lab, and for every run a pair of fresh vhosts."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.lab.brokers import Brokers, Lab, Side, Wanted
from tests.support.brokers import Vhosts, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.progress import Progress

__all__ = ["ONE_BROKER", "TARGETS", "THREE_NODES", "WORLDS", "World", "brought_up", "fresh"]

#: A 4.3 with two vhosts, where its own Shovel can move without any protocol.
ONE_BROKER = "4.3->4.3"
#: A target of three nodes: each message is written three times.
THREE_NODES = "3.10->4.3x3"
#: Old and new release, and the nodes of the new one. The same release twice is one broker with two vhosts.
WORLDS = {
    "3.10->3.10": ("3.10", "3.10", 1),
    "3.10->4.0": ("3.10", "4.0", 1),
    "3.10->4.3": ("3.10", "4.3", 1),
    THREE_NODES: ("3.10", "4.3", 3),
    ONE_BROKER: ("4.3", "4.3", 1),
}
#: One of each kind of target.
TARGETS = ("3.10->3.10", "3.10->4.0", "3.10->4.3", THREE_NODES)


@contextmanager
def brought_up(name: str, lab: str | None, progress: Progress) -> Iterator[World]:
    """Bring the brokers of a world up for a block, or take those of a lab that is up and leave it up.

    Args:
        name: of the world, a key of WORLDS; with a lab only the lab counts.
        lab: the lab's name; None brings up brokers of our own, which end with this process however it ends.
        progress: told each step.

    Raises:
        LabError: no brokers are possible here, or there is no such lab.
    """
    if lab is not None:
        found = Lab.attach(lab)
        old, new = found.old.cluster, found.new.cluster
        nodes = f"x{len(new.nodes)}" if len(new.nodes) > 1 else ""
        yield World(f"{_series(old.version)}->{_series(new.version)}{nodes}", old, new)
        return
    before, after, nodes_wanted = WORLDS[name]
    wanted = {before: Wanted(before, ()), after: Wanted(after, (), nodes_wanted)}
    brokers = Brokers.up(f"bench-{os.getpid()}", wanted, owner_pid=os.getpid(), progress=progress)
    try:
        yield World(name, brokers.clusters[before], brokers.clusters[after])
    finally:
        brokers.down()


@contextmanager
def fresh(world: World) -> Iterator[Vhosts]:
    """Make a pair of vhosts for a block; they are deleted after it with all that is left in them."""
    word = secrets.token_hex(4)
    pair = Vhosts(Side(world.old, f"bench-old-{word}"), Side(world.new, f"bench-new-{word}"))
    try:
        for side in (pair.old, pair.new):
            side.cluster.make_vhost(side.vhost)
        yield pair
    finally:
        for side in (pair.old, pair.new):
            side.cluster.drop_vhost(side.vhost)


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])
