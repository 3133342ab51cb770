"""What `bridge check` judges: both sides at one moment, what is to be moved, and what only trying can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bridge.core.pairs import Pair
from bridge.core.topology import Probes, Queue, Trial, Vhost


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen in messages of one source queue that were looked at and left where they were.

    Attributes:
        looked: how many messages.
        largest_body: bytes.
        largest_headers: bytes of the content header's properties.
        eta_priority: highest priority of a message with an ETA ahead; None when there was none.
        expiration: messages with a TTL of their own (`expiration`).
        expiration_alone: those of them without the header `expires`, so that the time left is not known.
        delayed: messages with the header `x-delay` of the delayed-message exchange.
    """

    looked: int
    largest_body: int = 0
    largest_headers: int = 0
    eta_priority: int | None = None
    expiration: int = 0
    expiration_alone: int = 0
    delayed: int = 0


class Couple(NamedTuple):
    """An old queue in scope, the name of its sister, and the sister if there is one."""

    old: Queue
    name: str
    new: Queue | None


@dataclass(frozen=True, slots=True)
class LegacySide:
    """The side of the old workers in the inline layout, seen over AMQP.

    Attributes:
        vhost: its name.
        user: of our connection.
        missing: queues in scope that it does not have.
        trials: of the rights that are needed there.
    """

    vhost: str
    user: str
    missing: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the rules look at.

    Attributes:
        source: the old vhost.
        target: the new one.
        pairs: queues in scope and the names of their sisters.
        probes: what only trying can show; None: nothing was tried, and `check` says so.
        samples: by source queue; one without a sample was empty or not looked at. None: none was.
        moving: source queues whose route is not `legacy`: that messages are in their sisters is what is wanted.
        named: queues that `queues.include` names in full.
        same_broker: both sides are vhosts of one broker or cluster.
        instance: names the control queue.
        gate_consumers: consumers that the gate wants on each sister.
        priority: our consumer priority on the source.
        cap_priority: whether the priority of ETA messages is capped where the target needs it.
        backup: the side that is to keep the backup stream; None: there is none.
        probe: queue of the probe; empty: there is none.
        legacy: the third side of the inline layout; None in the other.
    """

    source: Vhost
    target: Vhost
    pairs: tuple[Pair, ...] = ()
    probes: Probes | None = None
    samples: Mapping[str, Sample] | None = None
    moving: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    same_broker: bool = False
    instance: str = "main"
    gate_consumers: int = 1
    priority: int = 1000
    cap_priority: bool = True
    backup: str | None = None
    probe: str = ""
    legacy: LegacySide | None = None

    def couples(self) -> Iterator[Couple]:
        """Each pair with the sister that is there."""
        for pair in self.pairs:
            yield Couple(pair.source, pair.target, self.target.queues.get(pair.target))

    def sides(self) -> Iterator[tuple[str, Vhost]]:
        """`source` and `target` with their vhosts."""
        yield "source", self.source
        yield "target", self.target
