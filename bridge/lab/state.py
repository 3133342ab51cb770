"""What is known about a lab, in one file that every process reads and changes under one lock.

1. A thing is started and written down within one hold of the lock, so that `down`, whoever calls it, finds everything.
   (Its mark in the environment, `process.MARK`, finds what a starter that was killed in between did not write down.)
2. The lock is held for moments only, never while packages install or a broker boots.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from bridge.errors import LabError
from bridge.lab.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class NodeState(BaseModel):
    """One broker node.

    Attributes:
        name: its Erlang node name.
        host: where its ports are reached.
        process: the process that holds its namespaces (packages); absent while the node is stopped.
        container: its container's id (Docker).
    """

    name: str
    host: str = "127.0.0.1"
    amqp: int
    api: int
    dist: int
    stream: int
    process: Process | None = None
    container: str | None = None


class ClusterState(BaseModel):
    """One broker: one node, or several that are joined.

    Attributes:
        version: the release series asked for.
        reported: the version that the broker itself reports, empty until it is up.
        vhosts: made before it accepts connections.
        root: folder that its release is installed in (packages).
    """

    version: str
    reported: str = ""
    vhosts: list[str]
    root: Path = Path()
    nodes: list[NodeState]


class SideState(BaseModel):
    """What the bridge sees as source or target: a vhost of a cluster."""

    cluster: str
    vhost: str


class LabState(BaseModel):
    """Everything about one lab.

    Attributes:
        mark: random word in the environment of all its processes and in the labels of all its containers.
        starter: the process that brings it up; absent once it is up.
        guard: the process that takes the lab down when its owner ends.
    """

    name: str
    mark: str
    kind: Literal["packages", "docker"]
    user: str
    password: str
    cookie: str
    clusters: dict[str, ClusterState]
    sides: dict[str, SideState] = {}
    epmd_port: int = 0
    epmd: Process | None = None
    starter: Process | None = None
    guard: Process | None = None

    def ports(self) -> set[int]:
        """Every port that is this lab's, also while a node of it is stopped."""
        ports = {self.epmd_port}
        for cluster in self.clusters.values():
            for node in cluster.nodes:
                ports |= {node.amqp, node.api, node.dist, node.stream}
        return ports

    def node(self, name: str) -> tuple[ClusterState, NodeState]:
        """Return the node of that name, and the cluster that it is in.

        Raises:
            LabError: the lab has no such node.
        """
        for cluster in self.clusters.values():
            for node in cluster.nodes:
                if node.name == name:
                    return cluster, node
        raise LabError(f'lab "{self.name}" has no node {name}')


class Store:
    """The folder of one lab: its state, and a folder per node."""

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise LabError(f"lab name {name!r}: small letters, digits and dashes are allowed, 40 at most")
        self.name = name
        self.folder = labs_folder() / name
        self._file = self.folder / "state.json"

    def load(self) -> LabState | None:
        """Return the state, or None when there is no such lab."""
        try:
            return LabState.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None

    def get(self) -> LabState:
        """Return the state.

        Raises:
            LabError: there is no such lab.
        """
        state = self.load()
        if state is None:
            raise LabError(f'lab "{self.name}" is not up', hint=f"start it: bridge lab up --name {self.name}")
        return state

    def save(self, state: LabState) -> None:
        """Write the state; call it under `locked`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.touch(mode=0o600)  # it holds the password
        draft.write_text(state.model_dump_json(indent=1))
        draft.replace(self._file)

    @contextmanager
    def change(self, mark: str) -> Iterator[LabState]:
        """Yield the state under the lock and write it afterwards.

        Args:
            mark: of the lab that is meant; one that was taken down and made anew under the same name is another.

        Raises:
            LabError: it was taken down meanwhile.
        """
        with locked():
            state = self.load()
            if state is None or state.mark != mark:
                raise LabError(f'lab "{self.name}" was taken down meanwhile')
            try:
                yield state
            finally:
                self.save(state)

    def remove(self) -> None:
        """Delete the lab's folder with all data of its brokers; call it under `locked`."""
        # The state goes first: what follows may be interrupted, and a lab without state is no lab.
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def labs_folder() -> Path:
    """Return the folder of all labs: $BRIDGE_LAB_STATE, else by $XDG_STATE_HOME, else in the home folder."""
    if chosen := os.environ.get("BRIDGE_LAB_STATE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base).absolute() / "celery-quorum-bridge" / "labs"


def all_states() -> list[LabState]:
    """Return the state of every lab; call it under `locked` when it is to stay true."""
    found = (Store(file.parent.name).load() for file in sorted(labs_folder().glob("*/state.json")))
    return [state for state in found if state is not None]


@contextmanager
def locked() -> Iterator[None]:
    """Hold the one lock of all labs."""
    folder = labs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
