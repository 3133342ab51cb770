"""What a row of the conformance suite says, and the messages that its rows are made of.

A case is one message into one classic queue, and what is then at the quorum queue of the same name. Its number is that
of semantics.md, section 9.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from bridge.core import properties as p
from tests.support import wire
from tests.support.raw_amqp import Raw

#: What stands for "take it out" beside a header's name or a property's flag.
ABSENT = ...

_ID = "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11"


class Lands(Enum):
    """How a message reaches its queue."""

    #: Through the default exchange, as soon as the bridge has it.
    DUE = auto()
    #: Through the ladder: no earlier than a second before it is due, and not late.
    DELAYED = auto()
    #: It is on the ladder for longer than a test runs: where it went in is what counts.
    WAITS = auto()
    #: Less than a second is left of it, more or less: either way, never early and not late.
    SOON = auto()
    #: The broker may have dropped it, since its time was over; if it is there, it is there once.
    PERHAPS = auto()


@dataclass(frozen=True)
class Message:
    """A message that a test knows every byte of; `headers` None is a message without a header table."""

    properties: Mapping[int, bytes]
    headers: Mapping[str, object] | None
    body: bytes

    def but(
        self, properties: Mapping[int, Any] | None = None, headers: Mapping[str, Any] | None = None, **named: Any
    ) -> Message:
        """Return it with other properties and headers; ABSENT takes one out."""
        kept = {**self.properties, **(properties or {})}
        table = None if self.headers is None else {**self.headers, **(headers or {}), **named}
        return replace(
            self,
            properties={flag: value for flag, value in kept.items() if value is not ABSENT},
            headers=None if table is None else {name: value for name, value in table.items() if value is not ABSENT},
        )

    def raw(self) -> Raw:
        """Return it as bytes."""
        present = dict(self.properties)
        if self.headers is not None:
            present[p.HEADERS] = wire.table(self.headers)
        return Raw(wire.header(present)[12:], self.body)


@dataclass(frozen=True)
class Differs:
    """What is otherwise on one release of the target, and why that is no fault."""

    why: str
    arrives: Callable[[Message], Message] = lambda sent: sent
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        name: of the case and of its queue.
        number: of semantics.md, section 9.
        make: the message, for the time at which it is published (UTC epoch seconds).
        lands: how it reaches its queue.
        due: when its task is due: seconds after it was published, or a function from then to UTC epoch seconds.
        arrives: what is at the queue, for what was sent; as it was sent unless given.
        counts: numbers of the status beside `moved`, `confirmed`, `taken` (1) and `converted` (by `lands`), else 0.
        differs: what is otherwise on a release of the target.
        expiration: milliseconds between which the expiration must be that arrives.
        user: the publishing user of the old broker, if not the one of all.
        source: exchange (a topic exchange, made for the case) and routing key, if not straight into the queue.
        bound: exchange and its type on the target to which the queue is bound as its application would.
        celery_bound: whether Celery's own binding to the ladder's end is there too.
        beside: other queues of the target, which must get nothing.
        later: seconds after the others at which it is published.
    """

    name: str
    number: int
    make: Callable[[float], Message]
    lands: Lands = Lands.DUE
    due: float | Callable[[float], float] = 0.0
    arrives: Callable[[Message], Message] = lambda sent: sent
    counts: Mapping[str, int] = field(default_factory=dict)
    differs: Mapping[str, Differs] = field(default_factory=dict)
    expiration: tuple[int, int] | None = None
    user: str | None = None
    source: tuple[str, str] | None = None
    bound: tuple[str, str] | None = None
    celery_bound: bool = False
    beside: tuple[str, ...] = ()
    later: float = 0.0

    def due_at(self, published: float) -> float:
        """When the task is due (UTC epoch seconds)."""
        return self.due(published) if callable(self.due) else published + self.due

    def expected(self, sent: Message, release: str) -> Message:
        """What must arrive on a target of this release (3.10, 4.0, 4.3)."""
        return self.differs[release].arrives(sent) if release in self.differs else self.arrives(sent)

    def counted(self, release: str) -> dict[str, int]:
        """The numbers that the status must show for its queue, as far as the case says."""
        delayed = self.lands in (Lands.DELAYED, Lands.WAITS)
        counts = {"taken": 1, "moved": 1, "confirmed": 1, "returned": 0, "nacked": 0, "exported": 0, "redelivered": 0}
        counts |= {"eta_unreadable": 0, "priority_capped": 0}
        if self.lands is not Lands.SOON:
            counts["converted"] = int(delayed)
        return counts | dict(self.differs[release].counts if release in self.differs else self.counts)


def iso(moment: float) -> str:
    """A time as Celery writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def shortstr(text: str) -> bytes:
    """A short string property."""
    return wire.shortstr(text.encode())


def task(body: bytes = b'[["a@example.org"], {}, {"callbacks": null}]', **headers: Any) -> Message:
    """A task of protocol 2 in JSON, due at once."""
    return Message(
        {
            p.CONTENT_TYPE: shortstr("application/json"),
            p.CONTENT_ENCODING: shortstr("utf-8"),
            p.DELIVERY_MODE: b"\x02",
            p.PRIORITY: b"\x00",
            p.CORRELATION_ID: shortstr(_ID),
            p.REPLY_TO: shortstr("b1f7c6f0-0000-3333-8888-000000000000"),
        },
        wire.task_headers(),
        body,
    ).but(**headers)


def old_task(body: bytes, content_type: str, encoding: str = "binary", **headers: Any) -> Message:
    """A task of protocol 1: all of it is in the body; the header table is there, and empty unless given."""
    return Message(
        {
            p.CONTENT_TYPE: shortstr(content_type),
            p.CONTENT_ENCODING: shortstr(encoding),
            p.DELIVERY_MODE: b"\x02",
            p.PRIORITY: b"\x00",
        },
        dict(headers),
        body,
    )


def old_entries(eta: object, **changed: object) -> dict[str, object]:
    """The entries of a task of protocol 1."""
    return {
        "task": "shop.tasks.mail",
        "id": _ID,
        "args": ["a@example.org"],
        "kwargs": {},
        "group": None,
        "retries": 0,
        "eta": eta,
        "expires": None,
        "utc": True,
        "callbacks": None,
        "errbacks": None,
        "timelimit": [None, 300.5],
        "taskset": None,
        "chord": None,
        **changed,
    }


def old_json(eta: object, **changed: object) -> bytes:
    """A task of protocol 1 in JSON."""
    return json.dumps(old_entries(eta, **changed)).encode()
