"""What all subscriptions share, and what one of them learns for the next."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from gevent.lock import RLock

from bridge.amqp import ChannelClosed
from bridge.core.pace import Budget, Limit, share
from bridge.core.relay import Held, Surprise
from bridge.core.search import Search
from bridge.core.window import Crowd, Window
from bridge.delayed import Exits
from bridge.doubles import Doubles
from bridge.errors import BridgeError
from bridge.link import Link
from bridge.terms import Terms

if TYPE_CHECKING:
    from bridge.backup import Stream


#: What a broker says of a message that it does not take for its size.
TOO_LARGE = re.compile(r"message size \d+ is larger than (?:the )?(?:configured )?max size (\d+)")


class Faulted(BridgeError):
    """The queue cannot move now; it is tried again.

    Attributes:
        side: the one that is the reason; empty where it is none.
        silent: it does not answer, and may not do so for long.
    """

    def __init__(self, message: str, *, hint: str = "", side: str = "", silent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.side = side
        self.silent = silent


@dataclasses.dataclass(frozen=True, slots=True)
class Shared:
    """What all queues of the daemon use."""

    exits: Exits
    #: Type of a target queue by its name; None when it is not known.
    target_type: Callable[[str], str | None]
    #: Sets a message of a queue apart, and says where; an error leaves it with the source.
    set_apart: Callable[[Link, str, Held], str]
    doubles: Doubles
    #: Sees that the exit of a quiet queue is still bound, by the name of its target queue.
    look_at_exit: Callable[[str], None]
    #: Bytes in flight of all queues.
    budget: Budget = dataclasses.field(default_factory=lambda: Budget(1 << 62))
    #: Messages a second of all queues together; who changes it wakes the queues.
    limit: Limit = dataclasses.field(default_factory=lambda: Limit(None, 0.0))
    #: Those that move, and what they leave each other.
    crowd: Crowd = dataclasses.field(default_factory=Crowd)
    stream: Stream | None = None
    #: Held by the queue that has connections of its own: one at a time.
    turn_apart: RLock = dataclasses.field(default_factory=RLock)

    def doubt(self, surprise: Surprise) -> None:
        """What stopped one queue may be about what all use: that is looked at again before it is used."""
        if surprise.reason == "backup" and self.stream is not None:
            self.stream.doubt(surprise.text)
        if surprise.reason == "ladder":
            self.exits.doubt(surprise.text)


@dataclasses.dataclass(slots=True)
class Learnt:
    """What one subscription learns for the next."""

    window: Window
    search: Search = dataclasses.field(default_factory=Search)
    #: Bytes of the largest body that the target takes; None while it is not known.
    max_message: int | None = None
    #: The same of the second live side.
    leg_max_message: int | None = None
    #: How many messages fit into the window's bytes, by the sizes seen when they did not.
    fits: int = 1 << 16
    #: How many of those that come redelivered may have been in flight in the process before this one.
    unsure: int = 0
    #: Until when that is so, in monotonic seconds: by then the source knows that the process before is gone.
    unsure_until: float | None = None
    #: Messages were in flight when the last subscription failed: one at a time until one is confirmed, so that each try
    #: at a target that takes them and does not answer doubles no more than one.
    cautious: bool = False


def limit(terms: Terms, queues: int, learnt: Learnt) -> int:
    """Most messages of a queue that may be in flight, by their bytes and by how many queues share the window."""
    if learnt.cautious:
        return 1
    most = min(share(terms.window, queues), learnt.fits)
    return most if learnt.search.prefetch is None else min(most, learnt.search.prefetch)


def closed_on_publish(
    queue: str, name: str, fault: ChannelClosed, learnt: Learnt, unanswered: list[bytes], *, leg: bool
) -> Faulted:
    """What it means for a queue that a broker closed the channel on which it is published to.

    Args:
        queue: its name.
        name: what the broker is called.
        fault: what it said.
        learnt: what follows is written down here.
        unanswered: header frame and body frames of the publishes without an answer, in their order.
        leg: it is the second live side.
    """
    size = TOO_LARGE.search(fault.text)
    if size is not None:
        if leg:
            learnt.leg_max_message = int(size[1])
        else:
            learnt.max_message = int(size[1])
        text = f"a message is larger than the {size[1]} bytes the {name} takes; it is exported on the next try"
        return Faulted(f'queue "{queue}": {text}')
    if fault.code == 403:
        return Faulted(f'queue "{queue}": {fault}', side=name)
    then = "looking for the one it was"
    if learnt.search.closed(unanswered):
        then = "it is set apart on the next try"
    elif learnt.search.given_up:
        then = "none went through between the last ones that were set apart, so no more are: look at the target"
    return Faulted(f'queue "{queue}": the {name} closed the channel on a message: {fault.text} ({fault.code}); {then}')
