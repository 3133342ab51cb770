"""Which queues hold tasks that the bridge may move (design, section 5; semantics.md, 5.1).

Properties decide first, names second: a name can be anything, the properties are what the broker does.
"""

from __future__ import annotations

import re

from bridge.core.topology import Queue

#: Before the names of the bridge's own queues and exchanges.
OWN = "bridge."

_NEVER = (
    (re.compile(r"\.pidbox$"), "Celery's remote control (pidbox)"),
    (re.compile(r"^celeryev\."), "Celery's events"),
    (re.compile(r"^bcast\."), "a Broadcast copy of one worker"),
    (re.compile(r"^amq\."), "named by the broker"),
    (re.compile(r"(^|_)celery_delayed_([0-9]|1[0-9]|2[0-7])$"), "a level of the ladder: its messages are timers"),
    (re.compile(r"^mqtt-subscription-"), "an MQTT subscription"),
    (re.compile(r"^federation: "), "a federation link"),
)

#: Tasks for one worker by its host name: moved only when it is named in queues.include.
_BY_NAME = re.compile(r"\.dq2$")


def left_alone(queue: Queue, *, named: bool) -> str | None:
    """Why a queue is not moved; None when it is in scope.

    Args:
        queue: what the broker says of it.
        named: it stands in `queues.include` by its full name.
    """
    if queue.name.startswith(OWN):
        return "the bridge's own"
    if queue.type != "classic":
        return f"a {queue.type} queue: only classic queues are moved"
    if queue.exclusive:
        return "exclusive to one connection"
    if queue.auto_delete:
        return "auto-delete: it ends with its last consumer"
    if not queue.durable:
        return "not durable"
    if "x-expires" in queue.arguments or "expires" in queue.policy:
        return "it expires when unused (x-expires): a reply or an event queue"
    for pattern, reason in _NEVER:
        if pattern.search(queue.name):
            return reason
    if _BY_NAME.search(queue.name) and not named:
        return "tasks for one worker by name (.dq2): name it in queues.include to move it"
    return None
