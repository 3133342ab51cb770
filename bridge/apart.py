"""Where messages go that no publish can carry: into the quarantine if the target takes them there, else into a file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from bridge import quarantine
from bridge.core.relay import Held
from bridge.errors import BridgeError
from bridge.link import Link

log = logging.getLogger("bridge.apart")

#: What `setter` gives back for a message that is in the quarantine; else it is the name of a file.
QUARANTINE = "quarantine"
#: Reasons for which a message may still be stored on the target.
_QUARANTINED = frozenset(("closes-channel", "delivery-limit"))


def setter(
    export: Callable[[str, str, int, bytes], Path], forward: Callable[[], Link]
) -> Callable[[Link, str, Held], str]:
    """Sets messages apart, and says where; an error leaves a message with the source.

    What closes a whole connection is found on one that is the queue's own (`Link.apart`), and goes into a file without
    a try: the next one would close that too.

    Args:
        export: writes a file: queue, reason, tag, header frame and body frames.
        forward: the connections to the target, where the quarantine is whichever way a message goes.
    """

    def set_apart(link: Link, queue: str, held: Held) -> str:
        if held.reason in _QUARANTINED and not link.apart:
            try:
                quarantine.deposit(forward(), queue, held.reason, held.wire)
                return QUARANTINE
            except BridgeError as fault:
                log.info('queue "%s": the quarantine does not take a message, it goes to a file: %s', queue, fault)
        return str(export(queue, held.reason, held.tag, held.wire))

    return set_apart
