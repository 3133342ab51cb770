"""Queues, exchanges, bindings, policies and what else a vhost has, as values (design, section 5).

A `Vhost` is what the HTTP API told of one side at one moment. What the API did not tell (no right to ask, too old a
version) is None or
empty, never guessed. The rules over these values stand in `scope.py` (what is moved), `translate.py` (old effective
value to new one),
`check.py` (findings) and `plan.py` (what is to be made).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Arguments = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the HTTP API reports it."""

    name: str
    type: str
    durable: bool
    exclusive: bool
    auto_delete: bool
    arguments: Arguments
    #: Effective policy keys, operator policy merged in by the broker; a policy can set `expires` as an argument can.
    policy: Arguments
    ready: int = 0
    unacked: int = 0
    consumers: int = 0
    #: Names of the policy and the operator policy that apply.
    policy_name: str | None = None
    operator_policy_name: str | None = None
    #: Bytes of all message bodies, ready and unacked.
    message_bytes: int = 0
    #: Quorum queues: nodes with a replica, those of them that are up, and where the leader is.
    members: tuple[str, ...] = ()
    online: tuple[str, ...] = ()
    leader: str | None = None
    #: UTC epoch seconds of the message at the head, if the broker knows it.
    head_timestamp: int | None = None
    #: `running`, `down`, `crashed`, ... as the broker says.
    state: str = "running"
    single_active_consumer: bool = False
    #: Quorum queues with at-least-once dead-lettering: due messages that no queue has taken yet (`messages_dlx`).
    dead_letters: int = 0
    #: Messages that came in since the broker counts; None where it does not.
    published: int | None = None

    @property
    def messages(self) -> int:
        """Ready and unacked."""
        return self.ready + self.unacked


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange."""

    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of a queue or an exchange to an exchange; the default exchange's are left out."""

    source: str
    destination: str
    #: `queue` or `exchange`.
    destination_type: str
    routing_key: str
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy or an operator policy."""

    name: str
    pattern: str
    #: `queues`, `classic_queues`, `quorum_queues`, `streams`, `exchanges`, `all`.
    apply_to: str
    definition: Arguments
    priority: int = 0
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer and who it is."""

    queue: str
    tag: str
    prefetch: int = 0
    ack_required: bool = True
    exclusive: bool = False
    arguments: Arguments = field(default_factory=dict)
    #: `host:port -> host:port` as the broker names the connection, and its user.
    connection: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """A client of the vhost."""

    name: str
    user: str
    host: str
    #: `product` and `version` of its client properties, and its connection name if it gave one.
    product: str = ""
    version: str = ""
    given_name: str = ""
    #: Messages published on its channels since it opened, if the broker counts them.
    published: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the broker's cluster. None where the user may not see it (tag `monitoring`)."""

    name: str
    running: bool = True
    memory_used: int | None = None
    memory_limit: int | None = None
    memory_alarm: bool = False
    disk_free: int | None = None
    disk_limit: int | None = None
    disk_alarm: bool = False
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What our user may do in the vhost: regular expressions, None when there is no permission at all."""

    user: str
    configure: str | None
    write: str | None
    read: str | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vhost:
    """One side at one moment."""

    name: str
    #: The broker's version as numbers, such as (3, 10, 8).
    version: tuple[int, ...]
    nodes: tuple[Node, ...] = ()
    #: Names of feature flags that are on; None where the user may not see them.
    feature_flags: frozenset[str] | None = None
    queues: Mapping[str, Queue] = field(default_factory=dict)
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    policies: tuple[Policy, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    connections: tuple[Connection, ...] = ()
    permissions: Permissions | None = None
    #: `max-queues`, `max-connections`; -1 and absent are no limit.
    limits: Mapping[str, int] = field(default_factory=dict)
    default_queue_type: str | None = None
    #: Sent again with every change of the vhost, or the broker forgets them.
    description: str = ""
    tags: tuple[str, ...] = ()
    #: What could not be asked, each with its reason: the findings that need it say so.
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A right that was tried over AMQP, in a way that changes nothing (`bridge/probe.py`)."""

    #: `source` or `target`.
    side: str
    #: `configure`, `write` or `read`.
    right: str
    #: `queue` or `exchange`.
    kind: str
    #: The default exchange is `amq.default`, as in RabbitMQ's permissions.
    name: str
    #: None: the broker answered neither way.
    granted: bool | None
    #: What it answered, unless it granted.
    text: str = ""


@dataclass(frozen=True, slots=True)
class Probes:
    """What only trying and looking twice can show."""

    trials: tuple[Trial, ...] = ()
    #: Bytes of the largest body the target takes; None: not known.
    max_message_size: int | None = None
    #: Whether that was tried; else it is the default of the target's version.
    max_message_size_tried: bool = False
    #: Level of the target's ladder to due messages that were in it at every look, over seconds.
    stuck: Mapping[int, int] = field(default_factory=dict)
    #: What could not be tried, each with its reason.
    unknown: tuple[str, ...] = ()
