"""Labs: sets of real brokers that are brought up by name, found again by name, and taken down without a rest.

1. A lab without an owner lives until `down`.
2. A lab with an owner has a guard, which takes it down when that process ends, however it ends.
3. While a lab comes up, the process that brings it up is its owner: an interrupted start leaves nothing either.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from bridge.errors import LabError
from bridge.lab import docker, guard, ports
from bridge.lab.cluster import READY_SECONDS, Backend, Cluster, Node
from bridge.lab.packages import Packages
from bridge.lab.process import Process
from bridge.lab.releases import release
from bridge.lab.roots import check_possible
from bridge.lab.state import ClusterState, LabState, NodeState, SideState, Store, all_states, locked
from bridge.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.progress import Progress

__all__ = ["Brokers", "Cluster", "Lab", "Node", "Side", "Wanted"]

#: Vhosts of a lab: `chost` is the old side with its classic queues, `qhost` the new one with its quorum queues.
OLD_VHOST = "chost"
NEW_VHOST = "qhost"
USER = "bridge"


@dataclass(frozen=True)
class Wanted:
    """A broker that a lab is to have: release series, vhosts, number of nodes."""

    version: str
    vhosts: tuple[str, ...]
    nodes: int = 1


class Brokers:
    """Any set of brokers under one name.

    Attributes:
        name: the lab's name.
        fresh: whether this object brought it up, rather than found it.
        clusters: the brokers by the names they were wanted under.
    """

    def __init__(self, store: Store, state: LabState, *, fresh: bool) -> None:
        self.name = store.name
        self.fresh = fresh
        self._store = store
        self._mark = state.mark
        self._backend = _backend(store, state)
        self.clusters = {name: Cluster(name, store, self._backend) for name in state.clusters}

    @classmethod
    def up(
        cls,
        name: str,
        wanted: Mapping[str, Wanted],
        *,
        sides: Mapping[str, SideState] | None = None,
        owner_pid: int | None = None,
        progress: Progress = silent,
    ) -> Brokers:
        """Bring the brokers up, or find them up already.

        Args:
            name: small letters, digits, dashes.
            wanted: the brokers by name.
            sides: which vhosts are old and new, for labs with these two sides.
            owner_pid: process with whose end the lab ends; without it, only `down` ends it.
            progress: told each step.

        Raises:
            LabError: no brokers are possible here, they do not come up, or the lab is up with other brokers.
        """
        store = Store(name)
        sides = dict(sides or {})
        for broker in wanted.values():
            release(broker.version)
        kind = backend_here()
        with locked():
            found = store.load()
            if found is not None and _alive(store, found):
                return cls(store, _same(found, wanted, sides), fresh=False)
            if found is not None:
                _remove(store, found)  # its brokers are gone: the machine was restarted, or they were killed
            state = _planned(name, kind, wanted, sides)
            state.starter = Process.of(os.getpid())
            state.guard = guard.start(name, state.mark, state.starter)
            store.save(state)
        try:
            brokers = cls(store, state, fresh=True)
            brokers._start(progress)
            with store.change(state.mark) as state:
                _hand_over(state, owner_pid)
        except BaseException:
            take_down(name, state.mark)
            raise
        return brokers

    @classmethod
    def attach(cls, name: str) -> Brokers:
        """Return the brokers of a lab that is up.

        Raises:
            LabError: it is not, or still comes up.
        """
        store = Store(name)
        state = store.get()
        if state.starter is not None:
            raise LabError(f'lab "{name}" still comes up, started by process {state.starter.pid}')
        return cls(store, state, fresh=False)

    @property
    def sides(self) -> dict[str, SideState]:
        """Which cluster and vhost are old and new."""
        return self._store.get().sides

    def down(self) -> None:
        """End this lab and delete its data; once is enough, twice is fine."""
        take_down(self.name, self._mark)

    def _start(self, progress: Progress) -> None:
        self._backend.prepare(progress)
        # All at once: booting waits more than it computes, and members of a cluster wait for each other.
        for cluster in self.clusters.values():
            for node in cluster.nodes:
                progress(node.name, "booting")
                self._backend.start(node.name)
        for cluster in self.clusters.values():
            for node in cluster.nodes:
                node.wait(READY_SECONDS, members=node.members)
                progress(node.name, "up")
            calls = cluster.nodes[0].calls()
            calls.enable_stable_features()
            version = calls.version()
            with self._store.change(self._mark) as state:
                state.clusters[cluster.name].reported = version


class SideInfo(TypedDict):
    """One side as `bridge lab env --json` prints it; user and password are in the URLs."""

    version: str
    amqp: str
    api: str
    nodes: list[NodeInfo]


class NodeInfo(TypedDict):
    """One node of a side."""

    name: str
    amqp: str
    api: str


@dataclass(frozen=True)
class Side:
    """The old or the new side of a lab: a vhost of a broker."""

    cluster: Cluster
    vhost: str

    @property
    def version(self) -> str:
        """The version that the broker reports, such as 3.10.8."""
        return self.cluster.version

    @property
    def amqp(self) -> str:
        """AMQP URL of the vhost, on the first node."""
        return self.cluster.amqp(self.vhost)

    @property
    def api(self) -> str:
        """URL of the HTTP API of the first node."""
        return self.cluster.api()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the broker."""
        return self.cluster.nodes

    def info(self) -> SideInfo:
        """Return what `bridge lab env --json` prints."""
        return {
            "version": self.version,
            "amqp": self.amqp,
            "api": self.api,
            "nodes": [{"name": node.name, "amqp": node.amqp(self.vhost), "api": node.api()} for node in self.nodes],
        }


class Lab:
    """An old and a new side, as a migration has them.

    Attributes:
        brokers: what they stand on.
        old: vhost `chost` of the old broker.
        new: vhost `qhost` of the new broker, or of the old one.
    """

    def __init__(self, brokers: Brokers) -> None:
        self.brokers = brokers
        sides = brokers.sides
        if set(sides) != {"old", "new"}:
            raise LabError(f'lab "{brokers.name}" has no old and new side: it was not brought up by `lab up`')
        self.old, self.new = (Side(brokers.clusters[sides[key].cluster], sides[key].vhost) for key in ("old", "new"))

    @classmethod
    def up(
        cls,
        name: str,
        old: str = "3.10",
        new: str = "4.0",
        nodes: int = 1,
        same_broker: bool = False,
        owner_pid: int | None = None,
        progress: Progress = silent,
    ) -> Lab:
        """Bring a lab up, or find it up already (`lab.brokers.fresh` tells which).

        Args:
            name: small letters, digits, dashes.
            old: release series of the old broker, one node.
            new: release series of the new broker; with `same_broker` the old one's counts.
            nodes: nodes of the new broker, joined as a cluster.
            same_broker: both vhosts are on one broker.
            owner_pid: process with whose end the lab ends; without it, only `down` ends it.
            progress: told each step.

        Raises:
            LabError: no brokers are possible here, they do not come up, or the lab is up with other brokers.
        """
        wanted = (
            {"both": Wanted(old, (OLD_VHOST, NEW_VHOST), nodes)}
            if same_broker
            else {"old": Wanted(old, (OLD_VHOST,)), "new": Wanted(new, (NEW_VHOST,), nodes)}
        )
        sides = {
            "old": SideState(cluster="both" if same_broker else "old", vhost=OLD_VHOST),
            "new": SideState(cluster="both" if same_broker else "new", vhost=NEW_VHOST),
        }
        return cls(Brokers.up(name, wanted, sides=sides, owner_pid=owner_pid, progress=progress))

    @classmethod
    def attach(cls, name: str) -> Lab:
        """Return a lab that is up.

        Raises:
            LabError: it is not.
        """
        return cls(Brokers.attach(name))

    @classmethod
    def find(cls, name: str) -> Lab | None:
        """Return a lab that is up, or None when there is none of that name."""
        return cls.attach(name) if Store(name).load() is not None else None

    def env(self) -> dict[str, SideInfo]:
        """Return both sides as `bridge lab env --json` prints them."""
        return {"old": self.old.info(), "new": self.new.info()}

    def down(self) -> None:
        """End this lab and delete its data; once is enough, twice is fine."""
        self.brokers.down()


def take_down(name: str, mark: str | None = None) -> bool:
    """End a lab and delete its data, whoever started it and however far it came.

    Args:
        name: of the lab.
        mark: only the lab that has it; one made anew under the same name stays.

    Returns:
        Whether there was such a lab.
    """
    store = Store(name)
    with locked():
        state = store.load()
        if state is None or mark not in (None, state.mark):
            return False
        _remove(store, state)
    return True


def _hand_over(state: LabState, owner_pid: int | None) -> None:
    """Give a lab that is up to its owner, or to nobody.

    Raises:
        LabError: the owner has ended already.
    """
    starter, state.starter = state.starter, None
    if starter is not None and owner_pid == starter.pid:
        return  # its guard watches the right process already
    before, state.guard = state.guard, None
    if owner_pid is not None:
        try:
            owner = Process.of(owner_pid)
        except ProcessLookupError:
            raise LabError(f'no process {owner_pid}, which is to own lab "{state.name}"') from None
        state.guard = guard.start(state.name, state.mark, owner)
    if before is not None:
        before.kill()


def _remove(store: Store, state: LabState) -> None:
    if state.guard is not None and state.guard.pid != os.getpid():
        state.guard.kill()
    _backend(store, state).remove()
    store.remove()


def backend_here() -> Literal["packages", "docker"]:
    """Return how brokers are run here: in containers where a Docker engine answers, else from packages.

    Raises:
        LabError: neither is possible.
    """
    if docker.answers():
        return "docker"
    check_possible()
    return "packages"


def _backend(store: Store, state: LabState) -> Backend:
    return docker.Containers(store, state.mark) if state.kind == "docker" else Packages(store, state.mark)


def _alive(store: Store, state: LabState) -> bool:
    """Whether a lab that was written down is one still: it comes up, or a node of it runs."""
    if state.starter is not None:
        return state.starter.alive()
    backend = _backend(store, state)
    return any(backend.running(node.name) for cluster in state.clusters.values() for node in cluster.nodes)


def _same(found: LabState, wanted: Mapping[str, Wanted], sides: Mapping[str, SideState]) -> LabState:
    """Return the lab that was found if it is what is wanted.

    Raises:
        LabError: it is not, or it still comes up.
    """
    if found.starter is not None:
        raise LabError(f'lab "{found.name}" still comes up, started by process {found.starter.pid}')
    has = {key: Wanted(it.version, tuple(it.vhosts), len(it.nodes)) for key, it in found.clusters.items()}
    if has != dict(wanted) or found.sides != dict(sides):
        shown = ", ".join(f"{key}: RabbitMQ {it.version} with {it.nodes} node(s)" for key, it in has.items())
        raise LabError(
            f'lab "{found.name}" is up with other brokers ({shown})',
            hint=f"take it down (bridge lab down --name {found.name}), or give another --name",
        )
    return found


def _planned(
    name: str, kind: Literal["packages", "docker"], wanted: Mapping[str, Wanted], sides: dict[str, SideState]
) -> LabState:
    """Return the state of a lab of which nothing runs yet: names, secrets and ports; call it under `locked`."""
    taken = set().union(*(other.ports() for other in all_states()))
    numbers = iter(ports.free(1 + 4 * sum(broker.nodes for broker in wanted.values()), taken))

    def planned(key: str, broker: Wanted) -> ClusterState:
        slug = key.replace(".", "")
        nodes = [
            NodeState(
                # Containers have host names of their own; the nodes of one machine share its one.
                name=f"rabbit@{slug}-{number}" if kind == "docker" else f"{slug}-{number}@localhost",
                amqp=next(numbers),
                api=next(numbers),
                dist=next(numbers),
                stream=next(numbers),
            )
            for number in range(1, broker.nodes + 1)
        ]
        return ClusterState(version=broker.version, vhosts=list(broker.vhosts), nodes=nodes)

    return LabState(
        name=name,
        mark=secrets.token_hex(8),
        kind=kind,
        user=USER,
        password=secrets.token_hex(8),
        cookie=secrets.token_hex(16),
        epmd_port=next(numbers),
        clusters={key: planned(key, broker) for key, broker in wanted.items()},
        sides=sides,
    )
