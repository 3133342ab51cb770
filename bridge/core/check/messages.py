"""Findings about the messages themselves: what a look at some of them showed, and what the target takes."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.core.check.finding import Found, size
from bridge.core.check.world import World
from bridge.core.translate import STRICT_PRIORITIES, TWO_CLASSES

#: Bytes of a body at most from 4.0 on, and before; unless configured.
LARGEST, LARGEST_BEFORE = 16 * 1024**2, 128 * 1024**2
_SMALLER_SINCE = (4, 0)
#: Bytes of a frame unless configured, and what a content header has in it beside the properties (AMQP 0-9-1, 2.3.5).
FRAME, HEADER = 131072, 22
#: Priorities over this are the high class of 4.0 to 4.2.
NORMAL = 4


def _default(version: tuple[int, ...]) -> int:
    return LARGEST if version >= _SMALLER_SINCE else LARGEST_BEFORE


def sizes(world: World) -> Iterator[Found]:
    """Bodies and headers against what the target takes."""
    known = world.probes.max_message_size if world.probes else None
    largest = _default(world.target.version) if known is None else known
    before = _default(world.source.version)
    if largest < before:
        seen = f"{size(largest)} at most, {size(before)} on the source unless configured"
        todo = "raise max_message_size on the target if tasks are that large"
        yield Found("message-size", "target vhost", world.target.name, seen, todo)
    for name, sample in (world.samples or {}).items():
        if sample.largest_body > largest:
            body = size(sample.largest_body)
            seen = f"a body of {body} among {sample.looked} looked at; the target takes {size(largest)}"
            yield Found("message-too-large", "queue", name, seen, "raise max_message_size on the target")
        if sample.largest_headers + HEADER > FRAME:
            seen = (
                f"headers of {size(sample.largest_headers)} among {sample.looked} looked at; a frame has {size(FRAME)}"
            )
            yield Found("headers-too-large", "queue", name, seen, "raise frame_max on the target")
    for couple in world.couples():
        old = couple.old
        # No message was looked at: where bodies are larger than that on average, at least one of them is.
        if old.messages and old.name not in (world.samples or {}) and old.message_bytes > largest * old.messages:
            body = size(old.message_bytes / old.messages)
            seen = f"bodies of {body} on average, {old.messages} messages; the target takes {size(largest)}"
            yield Found("message-too-large", "queue", old.name, seen, "raise max_message_size on the target")


def expirations(world: World) -> Iterator[Found]:
    """Messages that carry a TTL of their own."""
    for name, sample in (world.samples or {}).items():
        if sample.expiration:
            seen = (
                f"{sample.expiration} of {sample.looked} messages looked at have an expiration, "
                f"{sample.expiration_alone} of them without the header expires"
            )
            todo = "nothing" if not sample.expiration_alone else "see whether a TTL that begins anew does harm"
            yield Found("message-expiration", "queue", name, seen, todo)


def eta_priorities(world: World) -> Iterator[Found]:
    """ETA tasks whose priority holds back a level of the ladder on 4.0 to 4.2 (design, 4.11)."""
    if not TWO_CLASSES <= world.target.version < STRICT_PRIORITIES:
        return
    kind = "eta-priority-capped" if world.cap_priority else "eta-priority"
    todo = "nothing: the bridge caps them at 4" if world.cap_priority else "set eta.cap_priority to auto"
    for couple in world.couples():
        sample = (world.samples or {}).get(couple.old.name)
        most = couple.old.arguments.get("x-max-priority")
        if sample is not None and sample.eta_priority is not None and sample.eta_priority > NORMAL:
            seen = f"an ETA task with priority {sample.eta_priority} among {sample.looked} messages looked at"
            yield Found(kind, "queue", couple.old.name, seen, todo)
        elif sample is None and isinstance(most, int) and most > NORMAL:
            seen = f"x-max-priority {most}: ETA tasks can have a priority over {NORMAL}"
            yield Found(kind, "queue", couple.old.name, seen, todo)
