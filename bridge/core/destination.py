"""Where the messages of a queue go."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.core import ladder


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the messages of a queue go, and what its broker allows."""

    queue: str
    #: User name of the connection: a message's `user_id` must be this or be cut out.
    user: bytes = b""
    frame_max: int = 131072
    #: Bytes of the largest body the broker takes; None while it is not known.
    max_message: int | None = None
    #: Cap the priority of what goes into the ladder (design, section 4.11).
    cap_priority: bool = False
    #: Exchanges before the ladder's queues: ours where they were declared.
    entries: ladder.Entries = ladder.BY_CELERY
    #: ETA tasks go to the queue like all others: the workers there hold them themselves.
    straight: bool = False
    #: A message that came back to its queue so often is set apart before the broker drops it. 0: however often.
    most_returns: int = 0
    #: What the broker is called in sentences.
    side: str = "target"
    #: The other side should have every message as well, and takes none now: each is counted.
    degraded: bool = False
