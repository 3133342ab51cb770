"""Real brokers for the tiers that need them: one of each release for the whole session, fresh vhosts for every test.

A tier takes the fixtures by importing them in its `conftest.py`:

    from tests.support.brokers import broker_set, new_lab, new_vhosts, vhosts, world  # noqa: F401

    def test_something(vhosts):                      # once per world
        connect(vhosts.old.amqp), connect(vhosts.new.amqp)

    @pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
    def test_in_one_world(vhosts): ...

Where no brokers are possible, tests are skipped with the reason; with CI set in the environment they fail instead.
A session that is killed leaves nothing: the lab's guard sees to that.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from bridge.errors import LabError
from bridge.lab.brokers import Brokers, Cluster, Lab, Side, SideInfo, Wanted, backend_here
from tests.support.ci import in_ci

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a test may run in: old release, new release. The same release twice is one broker with two vhosts.
WORLDS = {"3.10->3.10": ("3.10", "3.10"), "3.10->4.0": ("3.10", "4.0"), "3.10->4.3": ("3.10", "4.3")}

#: The session's brokers. One for all tiers, though each of them has these fixtures as its own.
_running: list[Brokers] = []


@dataclass(frozen=True)
class World:
    """An old broker and a new one, which may be the same."""

    name: str
    old: Cluster
    new: Cluster

    @property
    def same_broker(self) -> bool:
        """Whether both sides are vhosts of one broker."""
        return self.old is self.new


@dataclass(frozen=True)
class Vhosts:
    """A fresh vhost on either side, with nothing in it."""

    old: Side
    new: Side

    def env(self) -> dict[str, SideInfo]:
        """Return both sides as `bridge lab env --json` prints them."""
        return {"old": self.old.info(), "new": self.new.info()}


@dataclass(frozen=True)
class Three:
    """The vhosts of the inline layout: producers publish into the first, and two live sides get messages from us."""

    ingress: Side
    legacy: Side
    new: Side


class MakesVhosts(Protocol):
    """Makes another pair of fresh vhosts; they are deleted after the test."""

    def __call__(self) -> Vhosts:
        """Return the pair."""


class MakesLabs(Protocol):
    """Brings brokers up that a test may stop, kill and break; they are taken down after it."""

    def __call__(self, old: str = "3.10", new: str = "4.3", *, nodes: int = 1, same_broker: bool = False) -> Lab:
        """Return the lab; it takes 5 to 15 seconds."""


def need_brokers() -> None:
    """Skip the test where no brokers are possible; in CI, fail it."""
    try:
        backend_here()
    except LabError as fault:
        if not in_ci():
            pytest.skip(str(fault))
        raise


@pytest.fixture(scope="session")
def broker_set(request: pytest.FixtureRequest) -> Iterator[Brokers]:
    """The session's brokers by release, as many as its tests have worlds for."""
    need_brokers()
    if not _running:
        wanted = {version: Wanted(version, ()) for name in _worlds_asked(request.session) for version in WORLDS[name]}
        _running.append(Brokers.up(f"tests-{os.getpid()}", wanted, owner_pid=os.getpid()))
    yield _running[0]
    # Twice is fine, and no test is left: session fixtures of all tiers end together.
    _running[0].down()


@pytest.fixture(params=list(WORLDS))
def world(request: pytest.FixtureRequest, broker_set: Brokers) -> World:
    """Each world in turn."""
    old, new = WORLDS[request.param]
    return World(request.param, broker_set.clusters[old], broker_set.clusters[new])


@pytest.fixture
def new_vhosts(world: World) -> Iterator[MakesVhosts]:
    """Make as many pairs of fresh vhosts as the test wants."""
    made: list[Side] = []

    def make() -> Vhosts:
        word = secrets.token_hex(4)
        pair = Vhosts(Side(world.old, f"chost-{word}"), Side(world.new, f"qhost-{word}"))
        for side in (pair.old, pair.new):
            made.append(side)
            side.cluster.make_vhost(side.vhost)
        return pair

    yield make
    for side in made:
        side.cluster.drop_vhost(side.vhost)


@pytest.fixture
def vhosts(new_vhosts: MakesVhosts) -> Vhosts:
    """One pair of fresh vhosts."""
    return new_vhosts()


@pytest.fixture
def three(world: World) -> Iterator[Three]:
    """Fresh vhosts for the inline layout; ingress and legacy are on the old broker."""
    word = secrets.token_hex(4)
    made = Three(Side(world.old, f"ingress-{word}"), Side(world.old, f"chost-{word}"), Side(world.new, f"qhost-{word}"))
    sides = (made.ingress, made.legacy, made.new)
    for side in sides:
        side.cluster.make_vhost(side.vhost)
    yield made
    for side in sides:
        side.cluster.drop_vhost(side.vhost)


@pytest.fixture
def new_lab() -> Iterator[MakesLabs]:
    """Bring up brokers of the test's own."""
    need_brokers()
    made: list[Lab] = []

    def make(old: str = "3.10", new: str = "4.3", *, nodes: int = 1, same_broker: bool = False) -> Lab:
        name = f"test-{os.getpid()}-{secrets.token_hex(4)}"
        lab = Lab.up(name, old, new, nodes=nodes, same_broker=same_broker, owner_pid=os.getpid())
        made.append(lab)
        return lab

    yield make
    for lab in made:
        lab.down()


def _worlds_asked(session: pytest.Session) -> list[str]:
    """Return the worlds that this session's tests are to run in."""
    asked = {item.callspec.params.get("world") for item in session.items if hasattr(item, "callspec")}
    return [name for name in WORLDS if name in asked] or list(WORLDS)
