"""The old side by name: who still publishes, who still consumes, and which worker holds what (design, section 7).

What one look at the broker told comes in (`Look`), who it was comes out (`OldSide`).

1. A broker tells publishes by connection and by queue, and which went where only in the mode `detailed` of its
   `rates_mode`. Otherwise a connection that publishes is named for every queue that it may have published into.
2. Nothing is guessed away: what no connection explains is said as a number (`Flow.unnamed`).
3. The bridge's own connections explain publishes and unacked messages, and are never named as somebody to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

#: First letters of our consumers' tags on the source.
OUR_TAG = "bridge-"


# -- what a look told
# -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """A queue: `published` messages since the broker counts, `rate` of late; None where it does not count."""

    name: str
    unacked: int = 0
    published: int | None = None
    rate: float | None = None
    #: Whether it holds tasks (`scope.left_alone`), not replies, events or remote control.
    tasks: bool = True


@dataclass(frozen=True, slots=True)
class ChannelSeen:
    """A channel; numbers as those of a queue."""

    name: str
    connection: str
    unacked: int = 0
    published: int | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class ConsumerSeen:
    """A consumer; `connection` is empty while the broker does not know its channel yet."""

    queue: str
    tag: str
    priority: int = 0
    channel: str = ""
    connection: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """A connection: `host` is `host:port` of the client, `given` the name it gave itself."""

    name: str
    user: str = ""
    host: str = ""
    product: str = ""
    version: str = ""
    given: str = ""

    @property
    def client(self) -> str:
        """Who it says it is."""
        library = f"{self.product} {self.version}".strip()
        return f"{self.given} ({library})" if self.given and library else self.given or library

    @property
    def address(self) -> str:
        """Its host without the port."""
        return self.host.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Crossing:
    """What passed one exchange: by channel that published and by queue that got it, messages and messages a second."""

    exchange: str
    channels: Mapping[str, tuple[int, float]]
    queues: Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Look:
    """The old side at one moment; numbers are as old as the broker's statistics, 5 s."""

    at: datetime
    queues: Mapping[str, QueueSeen] = field(default_factory=dict)
    consumers: tuple[ConsumerSeen, ...] = ()
    channels: Mapping[str, ChannelSeen] = field(default_factory=dict)
    connections: Mapping[str, ConnectionSeen] = field(default_factory=dict)
    #: By exchange; None where the broker does not tell (`rates_mode` is not `detailed`).
    crossings: tuple[Crossing, ...] | None = None
    #: What could not be asked, each with its reason.
    unknown: tuple[str, ...] = ()


# -- who it is
# ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publisher:
    """A connection that publishes: `rate` messages a second, into `queue` and whatever else it reaches."""

    queue: str
    connection: str
    host: str
    client: str
    user: str
    rate: float
    #: None: the broker does not tell which exchange.
    exchange: str | None = None
    #: Whether nobody else can have published into the queue.
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer of a task queue."""

    queue: str
    connection: str
    host: str
    client: str
    user: str
    tag: str
    ours: bool
    priority: int
    #: Celery's name of the worker, where its mailbox is on the same connection.
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A connection that holds messages unacked, `eta` of them tasks that wait for their time; None: not known."""

    queue: str
    connection: str
    host: str
    client: str
    user: str
    unacked: int
    eta: int | None
    worker: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Publishes that belong together: into these queues (messages a second), by these connections.

    `Publisher.queue` is empty in here: a connection may have published into any of them.
    """

    exchange: str | None
    queues: Mapping[str, float]
    publishers: tuple[Publisher, ...]
    #: Messages a second where nobody could be named: published by connections that are gone, or dead-lettered.
    unnamed: float = 0.0


@dataclass(frozen=True, slots=True)
class OldSide:
    """Who is still there."""

    at: datetime
    flows: tuple[Flow, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    holders: tuple[Holder, ...] = ()
    #: Workers by Celery's name, as far as they have a mailbox, to the connection that it is on.
    workers: Mapping[str, str] = field(default_factory=dict)
    #: Queues with the messages that they have unacked without ours, and that no connection explains.
    unexplained: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def publishers(self) -> tuple[Publisher, ...]:
        """Each connection for each queue that it may publish into: many, where a broker does not tell the exchange."""
        return tuple(
            replace(one, queue=queue, rate=min(one.rate, rate))
            for flow in self.flows
            for queue, rate in flow.queues.items()
            for one in flow.publishers
        )

    @property
    def unnamed(self) -> float:
        """Messages a second that were published by nobody who could be named."""
        return sum(flow.unnamed for flow in self.flows)

    def of(self, queue: str) -> OldSide:
        """What concerns one queue."""
        return replace(
            self,
            flows=tuple(
                replace(flow, queues={queue: flow.queues[queue]}, unnamed=min(flow.unnamed, flow.queues[queue]))
                for flow in self.flows
                if queue in flow.queues
            ),
            consumers=tuple(one for one in self.consumers if one.queue == queue),
            holders=tuple(one for one in self.holders if one.queue == queue),
            unexplained={name: number for name, number in self.unexplained.items() if name == queue},
        )

    def as_json(self) -> dict[str, Any]:
        """For programs: publishers once for all queues that they may publish into."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "publishes": [
                {
                    "exchange": flow.exchange,
                    "queues": {name: round(rate, 3) for name, rate in flow.queues.items()},
                    "publishers": [_publisher(one) for one in flow.publishers],
                    "unnamed": round(flow.unnamed, 3),
                }
                for flow in self.flows
            ],
            "consumers": [asdict(one) for one in self.consumers],
            "holders": [asdict(one) for one in self.holders],
            "workers": dict(self.workers),
            "unexplained": dict(self.unexplained),
            "unknown": list(self.unknown),
        }


def _publisher(one: Publisher) -> dict[str, Any]:
    told = {**asdict(one), "rate": round(one.rate, 3)}
    del told["queue"], told["exchange"]
    return told


def consumers(look: Look, instance: str, workers: Mapping[str, str]) -> tuple[Consumer, ...]:
    """Who consumes task queues, ours among them.

    Args:
        look: at the broker.
        instance: name of this bridge.
        workers: connection to the worker whose mailbox is on it.
    """
    found = []
    for one in look.consumers:
        queue = look.queues.get(one.queue)
        if queue is None or not queue.tasks:
            continue
        who = named(look, one.connection, one.user)
        ours = one.tag.startswith(OUR_TAG) and who.given == f"bridge {instance} source"
        found.append(
            Consumer(
                one.queue, who.name, who.host, who.client, who.user, one.tag, ours, one.priority, workers.get(who.name)
            )
        )
    return tuple(sorted(found, key=lambda one: (one.queue, one.connection, one.tag)))


def mailboxes(look: Look, control_exchange: str) -> dict[str, str]:
    """Connection to Celery's name of the worker that it belongs to, by the mailbox `<name>.<control exchange>.pidbox`.

    A worker consumes its mailbox on the connection on which it consumes tasks; with gevent and eventlet on one beside
    it (`celery/worker/pidbox.py`): there it is told by its host, where no other connection of that host can be meant.
    """
    found: dict[str, str] = {}
    consuming: set[str] = set()
    for one in look.consumers:
        worker = worker_of(one.queue, control_exchange)
        if worker is not None and one.connection:
            found[one.connection] = worker
        elif one.connection and one.queue in look.queues and look.queues[one.queue].tasks:
            consuming.add(one.connection)
    alone = [name for name in found if name not in consuming]
    # Bridges consume what workers do, and are none.
    others = [name for name in consuming if name not in found and not named(look, name).given.startswith("bridge ")]
    for name in alone:
        address = named(look, name).address
        beside = [other for other in others if named(look, other).address == address]
        if len(beside) == 1 and sum(named(look, other).address == address for other in alone) == 1:
            found[beside[0]] = found[name]
    return found


def worker_of(queue: str, control_exchange: str) -> str | None:
    """The worker whose mailbox a queue is; None for other queues, and for those of callers who wait for replies."""
    name = queue.removesuffix(f".{control_exchange}.pidbox")
    return None if name == queue or name.endswith(".reply") else name


def named(look: Look, connection: str, user: str = "") -> ConnectionSeen:
    """The connection of that name; one that is not seen (any more) has no more than its name."""
    found = look.connections.get(connection)
    # RabbitMQ names a connection "host:port -> host:port", which tells where it comes from.
    return found or ConnectionSeen(connection, user, connection.partition(" -> ")[0])


def is_ours(one: ConnectionSeen, instance: str) -> bool:
    """Whether it is a connection of this bridge, the daemon's or a command's."""
    return one.given.startswith(f"bridge {instance} ")


def per_second(now: int | None, before: int | None, elapsed: float | None, told: float | None) -> float:
    """Messages a second: by the counts of two looks, and by what the broker says where there is one look only.

    Args:
        now: count at this look.
        before: count at the look before; None: it was not there.
        elapsed: seconds between both; None: there was no look before.
        told: rate by the broker, over its last sample.
    """
    if now is None:
        return 0.0
    if not elapsed:
        return told or 0.0
    risen = now - (before or 0)
    # A count that fell began anew: with the broker, or as another of the same name.
    return (now if risen < 0 else risen) / elapsed


def summed(rates: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The sum for each name, without those that are zero."""
    total: dict[str, float] = {}
    for name, rate in rates:
        if rate > 0:
            total[name] = total.get(name, 0.0) + rate
    return total
