"""What tests, the rehearsal and benchmarks hold in their hands: a broker node, and a broker of one or more nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import quote

from bridge.errors import LabError
from bridge.lab.api import Api
from bridge.lab.deadline import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.lab.state import ClusterState, NodeState, Store
    from bridge.progress import Progress

#: Seconds that a node may take until it accepts clients: 5 alone, more when several start on a busy machine.
READY_SECONDS = 180.0
#: Where a broker listens for AMQP inside its container.
AMQP_PORT = 5672


class Ended(NamedTuple):
    """How a program ended: exit code, and what it printed on stdout and stderr."""

    code: int
    printed: str
    complaints: str


class Backend(Protocol):
    """What runs nodes: `packages.Packages` or `docker.Containers`. Nodes are named by their Erlang node name."""

    def prepare(self, progress: Progress) -> None:
        """Make everything that comes before the first node."""

    def start(self, name: str) -> None:
        """Start a node that does not run; does not wait until it is up."""

    def stop(self, name: str) -> None:
        """Stop a node in good order."""

    def kill(self, name: str) -> None:
        """End a node at once."""

    def running(self, name: str) -> bool:
        """Whether the node's process or container runs."""

    def ctl(self, name: str, arguments: Sequence[str]) -> Ended:
        """Run `rabbitmqctl` against a node."""

    def last_lines(self, name: str) -> str:
        """Return the end of the node's log."""

    def remove(self) -> None:
        """End everything of the lab."""


@dataclass(frozen=True)
class Node:
    """One broker node. Its ports stay the same while it is stopped and after it was started again.

    Attributes:
        name: Erlang node name.
        members: nodes in its cluster.
    """

    name: str
    members: int
    _store: Store
    _backend: Backend

    @property
    def running(self) -> bool:
        """Whether its process lives; it may still be booting."""
        return self._backend.running(self.name)

    def amqp(self, vhost: str) -> str:
        """Return the AMQP URL of a vhost on this node, with user and password."""
        state, node = self._state()
        return f"amqp://{state}@{node.host}:{node.amqp}/{quote(vhost, safe='')}"

    def api(self) -> str:
        """Return the URL of its HTTP API, with user and password."""
        state, node = self._state()
        return f"http://{state}@{node.host}:{node.api}"

    def calls(self) -> Api:
        """Return its HTTP API to call."""
        state = self._store.get()
        node = state.node(self.name)[1]
        return Api(f"http://{node.host}:{node.api}", state.user, state.password)

    def stop(self) -> None:
        """Stop the broker in good order: messages are written out, the rest of the cluster is told."""
        self._backend.stop(self.name)

    def kill(self) -> None:
        """End the broker with SIGKILL, as a power cut does."""
        self._backend.kill(self.name)

    def start(self, *, seconds: float = READY_SECONDS) -> None:
        """Start the broker and wait until it accepts clients.

        Raises:
            LabError: it ended, or was not up within `seconds`; holds the end of its log.
        """
        self._backend.start(self.name)
        self.wait(seconds, members=1)

    def wait(self, seconds: float, members: int) -> None:
        """Wait until it accepts clients and sees so many running nodes of its cluster, itself among them.

        Raises:
            LabError: as `start`.
        """
        calls = self.calls()
        port = self._backend_port()

        def settled() -> bool:
            return calls.ready(port, members) or not self.running

        if not until(settled, seconds) or not self.running:
            what = f"was not ready within {seconds:.0f} s" if self.running else "ended while it started"
            raise LabError(f"broker {self.name} {what}; its last lines:\n{self._backend.last_lines(self.name)}")

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on the node and return what it printed (it takes a few seconds: the HTTP API is quicker).

        Raises:
            LabError: it failed; holds what it complained about.
        """
        ended = self._backend.ctl(self.name, arguments)
        if ended.code != 0:
            said = ended.complaints or ended.printed
            raise LabError(f"rabbitmqctl {' '.join(arguments)} on {self.name} ended with {ended.code}:\n{said}")
        return ended.printed

    def cut_off(self, peers: Iterable[Node]) -> None:
        """Part it from these nodes of its cluster until `let_in`: a partition. Clients reach it as before.

        It forgets the cookie that it shares with them and closes their connections, so neither end can open another
        one (Erlang distribution, section 13.2: each end proves that it knows the cookie). Where brokers share one
        network there is no cable to pull; a cookie parts them wherever they run.

        Raises:
            LabError: it does not run.
        """
        names = ", ".join(f"'{peer.name}'" for peer in peers if peer.name != self.name)
        self.ctl("eval", f"[begin erlang:set_cookie(N, apart), erlang:disconnect_node(N) end || N <- [{names}]].")

    def let_in(self, peers: Iterable[Node]) -> None:
        """End what `cut_off` began; the nodes find each other by themselves.

        Raises:
            LabError: it does not run.
        """
        names = ", ".join(f"'{peer.name}'" for peer in peers if peer.name != self.name)
        self.ctl("eval", f"[erlang:set_cookie(N, erlang:get_cookie()) || N <- [{names}]].")

    def _state(self) -> tuple[str, NodeState]:
        state = self._store.get()
        return f"{quote(state.user, safe='')}:{quote(state.password, safe='')}", state.node(self.name)[1]

    def _backend_port(self) -> int:
        node = self._store.get().node(self.name)[1]
        return node.amqp if node.container is None else AMQP_PORT


class Cluster:
    """One broker: a node, or several that are joined.

    Attributes:
        name: how the lab calls it.
        nodes: its nodes; the first is the one that its own URLs name.
    """

    def __init__(self, name: str, store: Store, backend: Backend) -> None:
        self.name = name
        self._store = store
        names = [node.name for node in self._state().nodes]
        self.nodes = tuple(Node(node, len(names), store, backend) for node in names)

    @property
    def version(self) -> str:
        """The version that the broker reports, such as 3.10.8."""
        return self._state().reported

    def amqp(self, vhost: str) -> str:
        """Return the AMQP URL of a vhost on the first node."""
        return self.nodes[0].amqp(vhost)

    def api(self) -> str:
        """Return the URL of the first node's HTTP API."""
        return self.nodes[0].api()

    def make_vhost(self, name: str) -> None:
        """Make a vhost in which the lab's user may do everything."""
        self._calls().make_vhost(name)

    def drop_vhost(self, name: str) -> None:
        """Delete a vhost with everything in it; one that is not there is fine."""
        self._calls().drop_vhost(name)

    def _calls(self) -> Api:
        return next((node for node in self.nodes if node.running), self.nodes[0]).calls()

    def _state(self) -> ClusterState:
        return self._store.get().clusters[self.name]
