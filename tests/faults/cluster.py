"""What happens to a target of three nodes: leaders killed, quorum lost, nodes parted, all of them restarted in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from bridge.lab.deadline import until
from tests.faults.fault import CLUSTER, Fault, nothing
from tests.support.peers import Admin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.lab.cluster import Node
    from tests.faults.stage import Stage

_NEEDS = frozenset({CLUSTER})
#: Seconds in which a node must know something of the cluster, and in which all must see each other again.
_KNOWN_WITHIN, _WHOLE_WITHIN = 30.0, 120.0
#: Seconds after which a broker offers what left the ladder and was not taken again: until then ETA tasks may be stuck
#: behind it (semantics.md, 8.3; seen on 3.10.8 when a node came back from its pause).
_OFFERED_AGAIN = 240.0
#: Releases that keep their metadata in Mnesia unless an operator enables `khepri_db`.
_WITH_MNESIA = ("3.", "4.0")
#: What these may be told to do about a partition; without a word they stay parted until an operator restarts a node.
#: With Khepri there is nothing to choose: a minority waits.
_ANSWERS = ("pause_minority", "autoheal")


def leader_of(stage: Stage) -> Node:
    """The node that leads the stage's queue on the target.

    Raises:
        AssertionError: it has no leader.
    """
    return _found(stage, lambda admin: _leader(admin, stage))


def reached_by(stage: Stage) -> Node:
    """The node that the daemon's connection to the target is on.

    Raises:
        AssertionError: it has none, or the node does not say so.
    """
    return _found(stage, lambda admin: _bridged(admin, stage))


def _found(stage: Stage, name_from: Callable[[Admin], str | None]) -> Node:
    nodes = {node.name: node for node in stage.vhosts.new.nodes}
    found: list[Node] = []

    def look() -> bool:
        for node in nodes.values():
            # A name stays in a node's books for a while after that node has ended.
            if node.running and (name := name_from(Admin(node.api()))) in nodes and nodes[name].running:
                found.append(nodes[name])
                return True
        return False

    assert until(look, _KNOWN_WITHIN), f"no node of {', '.join(nodes)} was named"
    return found[0]


def _leader(admin: Admin, stage: Stage) -> str | None:
    name = admin.call("GET", f"queues/{quote(stage.vhosts.new.vhost, safe='')}/{quote(stage.queue, safe='')}")["leader"]
    return str(name) if name else None


def _bridged(admin: Admin, stage: Stage) -> str | None:
    for connection in admin.call("GET", f"vhosts/{quote(stage.vhosts.new.vhost, safe='')}/connections"):
        if str(connection.get("client_properties", {}).get("connection_name", "")).endswith(" target"):
            return str(connection["node"])
    return None


def _others(stage: Stage, than: Node) -> list[Node]:
    return [node for node in stage.vhosts.new.nodes if node.name != than.name]


def _kill(pick: Callable[[Stage], Iterable[Node]]) -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        for node in list(pick(stage)):
            node.kill()

    return inject


def start_all(stage: Stage) -> None:
    """Start the nodes that do not run, and wait until all see each other."""
    nodes = stage.vhosts.new.nodes
    for node in nodes:
        if not node.running:
            node.start()
    for node in nodes:
        node.wait(_WHOLE_WITHIN, members=len(nodes))


def _part(pick: Callable[[Stage], Node], answer: str = "") -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        nodes = stage.vhosts.new.nodes
        if answer:
            for node in nodes:
                node.ctl("eval", f"application:set_env(rabbit, cluster_partition_handling, {answer}).")
        pick(stage).cut_off(nodes)

    return inject


def join_all(stage: Stage) -> None:
    """Let all nodes talk to each other, and wait until they do."""
    nodes = stage.vhosts.new.nodes
    for node in nodes:
        node.let_in(nodes)
    start_all(stage)


def _restart_in_turn(stage: Stage) -> None:
    nodes = stage.vhosts.new.nodes
    for node in nodes:
        node.stop()
        node.start()
        node.wait(_WHOLE_WITHIN, members=len(nodes))


#: Partitions on brokers with Khepri.
PARTED = (
    Fault(
        "target node of the bridge cut off from the others",
        _part(reached_by),
        join_all,
        20.0,
        _NEEDS,
        given_back=True,
        happens="a minority confirms nothing; the old workers have the queue until one with a quorum is reached",
        late=30.0,
        long=True,
    ),
    Fault(
        "leader of the target queue cut off from the others",
        _part(leader_of),
        join_all,
        20.0,
        _NEEDS,
        given_back=False,
        happens="another node leads as soon as they miss it; what was not confirmed goes back and comes again",
        late=30.0,
        long=True,
    ),
)

#: Partitions on brokers with Mnesia, which were told what to do about them.
ANSWERED = tuple(
    Fault(
        f"target node of the bridge cut off from the others, {answer}",
        _part(reached_by, answer),
        join_all,
        20.0,
        _NEEDS,
        given_back=False,
        happens="the broker stops or restarts the node; the bridge goes to the next of its URLs",
        late=_OFFERED_AGAIN,
        long=True,
    )
    for answer in _ANSWERS
)

FAULTS = (
    Fault(
        "leader of the target queue killed",
        _kill(lambda stage: [leader_of(stage)]),
        start_all,
        5.0,
        _NEEDS,
        given_back=False,
        happens="another node leads; what was not confirmed goes back and comes again",
    ),
    Fault(
        "two of three target nodes killed",
        _kill(lambda stage: _others(stage, reached_by(stage))),
        start_all,
        8.0,
        _NEEDS,
        given_back=True,
        happens="no quorum, no confirm; the old workers have the queue until two nodes are back",
        late=30.0,
    ),
    Fault(
        "target node of the bridge killed",
        _kill(lambda stage: [reached_by(stage)]),
        start_all,
        8.0,
        _NEEDS,
        given_back=False,
        happens="connected to the next of its URLs",
        long=True,
    ),
    Fault(
        "all target nodes restarted one after the other",
        _restart_in_turn,
        nothing,
        0.0,
        _NEEDS,
        given_back=False,
        happens="it goes from node to node; what was not confirmed goes back and comes again",
        late=30.0,
        long=True,
    ),
)


def possible(version: str) -> list[Fault]:
    """The faults that can happen to a target of that release, and end by themselves."""
    return [*FAULTS, *(ANSWERED if version.startswith(_WITH_MNESIA) else PARTED)]
