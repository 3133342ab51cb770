"""Which task a message is: for people who look for it, never for a decision.

A retry has the id of its task (semantics.md, 3.5), so equal ids do not mean equal messages.
"""

from __future__ import annotations

from bridge.core import frames, properties

#: Characters of an id that are shown: Celery's has 36, a foreign one may be anything.
LONGEST = 80


def task_id(head: bytes) -> str:
    """Id of a task: header `id`, else the correlation id, else the message id; empty when there is none.

    Args:
        head: the message's header frame; what stands behind it is not looked at.
    """
    payload = head[7 : 7 + frames.frame_at(head, 0)[2]]
    try:
        found = properties.spans(payload)
        table = found.get(properties.HEADERS)
        if table is not None:
            for entry in properties.fields(payload, *table):
                if entry.name == b"id" and entry.tag == ord("S"):
                    return _shown(properties.text(payload, entry))
    except properties.Malformed:
        return ""
    for flag in (properties.CORRELATION_ID, properties.MESSAGE_ID):
        given = properties.string(payload, found.get(flag))
        if given:
            return _shown(given)
    return ""


def task_name(header: bytes) -> str:
    """Name of a task of protocol 2 (header `task`); empty when it has none.

    Args:
        header: payload of its content header.
    """
    try:
        table = properties.spans(header).get(properties.HEADERS)
        for entry in properties.fields(header, *table) if table is not None else ():
            if entry.name == b"task" and entry.tag == ord("S"):
                return _shown(properties.text(header, entry))
    except properties.Malformed:
        pass
    return ""


def _shown(given: bytes) -> str:
    """As text that a terminal can take."""
    text = given.decode(errors="replace")[:LONGEST]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
