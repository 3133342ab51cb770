"""Where it is measured: two brokers of the lab or one, and for every run a pair of fresh vhosts."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.lab.brokers import Brokers, Lab, Side, Wanted
from tests.support.brokers import WORLDS, Vhosts, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.lab.progress import Progress

__all__ = ["WORLDS", "World", "brought_up", "fresh"]


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
        old, new = found.old, found.new
        yield World(f"{old.version}->{new.version}", old.cluster, new.cluster)
        return
    wanted = {version: Wanted(version, ()) for version in WORLDS[name]}
    brokers = Brokers.up(f"bench-{os.getpid()}", wanted, owner_pid=os.getpid(), progress=progress)
    try:
        before, after = WORLDS[name]
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
