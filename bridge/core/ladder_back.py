"""What becomes of a message in the delay ladder while queues are brought back (design, sections 3 and 7).

The levels are shared: whoever looks for one queue's tasks takes those of all others as well.

1. **Ours to bring back** is a message that leaves the ladder for a queue whose route is `reverse`, by our own exit or
   by the target's bindings (semantics.md, 2.3). It goes to the old queue as a plain ETA task, at once.
2. **Everything else stays what it is**: it enters the ladder again with the same suffix, for the seconds that are left
   by its ETA. Where no ETA can be read, the bits of its key say the most that can be left. It enters by Celery's
   exchanges, which are wherever a level is: to be slower matters little here.
3. **A message for several queues** (two patterns that match one suffix, a fanout) goes back for those that are brought
   back, and by our own exit to each of the others: every queue gets it as often as it would have.
4. What is not certain stays: through a type of exchange that is not known here, a message is left in the ladder. What
   comes out of it into the target queue is brought back from there.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bridge.core import edits, eta, frames, ladder, properties
from bridge.core.topology import Binding

#: Where what is due is published, with this key: behind the last level.
DUE_EXCHANGE = ladder.DELIVERY_EXCHANGE.encode()
_DUE_BITS = b"0." * ladder.LEVELS
#: Messages of others without an ETA of which is remembered when they leave.
REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """A message as it was found in a level."""

    level: int
    exchange: str
    #: As it stood on the wire; bytes that are not UTF-8 are surrogates.
    key: str
    #: Payload of its content header.
    header: bytes
    body: bytes


class Send(NamedTuple):
    """One publish that a message comes to."""

    #: Target queue for whose old queue it is; empty: back into the ladder.
    queue: str
    exchange: bytes
    key: bytes
    #: Payload of its content header.
    header: bytes


class Ends:
    """Which queues a message leaves the ladder for, by the bindings of the target.

    Args:
        types: of the exchanges, by name.
        bindings: of the vhost.
    """

    def __init__(self, types: Mapping[str, str], bindings: Iterable[Binding]) -> None:
        self._types = types
        self._of: dict[str, list[Binding]] = defaultdict(list)
        for binding in bindings:
            self._of[binding.source].append(binding)
        self._known: dict[str, frozenset[str] | None] = {}

    def queues(self, suffix: str) -> frozenset[str] | None:
        """The queues that a key with this suffix reaches; None when that cannot be told."""
        if suffix not in self._known:
            self._known[suffix] = self._walk(ladder.entry(1, suffix).routing_key)
        return self._known[suffix]

    def _walk(self, key: str) -> frozenset[str] | None:
        found: set[str] = set()
        seen = {ladder.DELIVERY_EXCHANGE}
        ahead = [ladder.DELIVERY_EXCHANGE]
        while ahead:
            exchange = ahead.pop()
            kind = self._types.get(exchange, "topic")
            for binding in self._of.get(exchange, ()):
                if kind not in ("topic", "direct", "fanout"):
                    return None
                pattern = binding.routing_key
                if kind == "topic" and not ladder.topic_matches(pattern, key):
                    continue
                if kind == "direct" and pattern != key:
                    continue
                if binding.destination_type == "queue":
                    found.add(binding.destination)
                elif binding.destination not in seen:
                    seen.add(binding.destination)
                    ahead.append(binding.destination)
        return frozenset(found)


class LeaveTimes:
    """When messages without an ETA leave the ladder, remembered from one look to the next: each time one is sent again,
    the bits of its key say more than is left.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._due: dict[tuple[bytes, str], float] = {}

    def left(self, found: Found, suffix: str, wall: float) -> int:
        """The seconds for which a message is sent again, rounded up: never too early.

        Args:
            found: the message; its key is one of the ladder's.
            suffix: of its key.
            wall: UTC epoch seconds.
        """
        mark = hashlib.blake2b(b"\0".join((suffix.encode(errors="replace"), found.body)), digest_size=16).digest()
        due = self._due.pop((mark, found.key), None)
        if due is None:
            converted = ladder.unconvert(found.key)
            # Set bits above the level were waited for already.
            due = wall + ((converted.delay if converted else 0) & (2 ** (found.level + 1) - 1))
        left: int = min(math.ceil(due - wall), ladder.MAX_DELAY)
        if left < 1:
            return 0
        if len(self._due) >= self._most:
            del self._due[next(iter(self._due))]
        self._due[mark, ladder.entry(left, suffix).routing_key] = due
        return left


class Bringing:
    """Decides, message by message.

    Args:
        back: target queues that are brought back.
        ends: where suffixes lead; None without the target's HTTP API: those of Celery count as names of queues then.
        users: user names of the connections to the old side and to the target.
        times: remembered from look to look.
    """

    def __init__(
        self,
        back: Collection[str],
        ends: Ends | None,
        users: tuple[bytes, bytes],
        times: LeaveTimes,
    ) -> None:
        self.back = back
        self._ends = ends
        self._old_user, self._target_user = users
        self._times = times

    def reach(self, key: str) -> frozenset[str]:
        """The queues that a message with this key leaves the ladder for; empty when that cannot be told."""
        converted = ladder.unconvert(key)
        if converted is None:
            return frozenset()
        suffix = converted.suffix
        ours = ladder.queue_of(suffix, self.back) if suffix.isascii() else None
        own = frozenset(() if ours is None else (ours,))
        if self._ends is not None:
            reached = self._ends.queues(suffix)
            if reached:
                return reached | own
            if reached is None:
                return own
        return own or frozenset((suffix,))

    def sends(self, found: Found, wall: float) -> list[Send]:
        """What a message comes to; together they replace it.

        Args:
            found: the message.
            wall: UTC epoch seconds.
        """
        reached = self.reach(found.key)
        mine = sorted(reached & frozenset(self.back))
        if not mine:
            return [self.stays(found, wall)]
        plain = self._edited(found, wall, ladder_=False)
        return [Send(queue, b"", b"", plain) for queue in mine] + [
            self.stays(found, wall, queue) for queue in sorted(reached - frozenset(mine))
        ]

    def stays(self, found: Found, wall: float, queue: str | None = None, *, least: int = 0) -> Send:
        """Into the ladder again, with the suffix it has, or by our own exit for one queue.

        Args:
            found: the message.
            wall: UTC epoch seconds.
            queue: of the target.
            least: seconds that it stays at least: with one, it is in the ladder whatever becomes of its exit.
        """
        converted = ladder.unconvert(found.key)
        header = self._edited(found, wall, ladder_=True)
        if converted is None:
            return Send("", _wire(found.exchange), _wire(found.key), header)
        left = max(least, self._left(found, converted.suffix, wall))
        word = _wire(converted.suffix if queue is None else ladder.exit_word(queue))
        if not left:
            return Send("", DUE_EXCHANGE, _DUE_BITS + word, header)
        return Send("", ladder.exchange_bytes(left), ladder.key_bytes(left) + word, header)

    def _left(self, found: Found, suffix: str, wall: float) -> int:
        """Seconds that a message stays in the ladder; 0 when it is due."""
        size = len(found.header)
        wire = frames.header_frame(0, found.header) + frames.frame(frames.BODY, 0, found.body)
        try:
            spans, entries = _read(found.header)
            due = edits.due_at(found.header, spans, entries, wire, size + frames.OVERHEAD)
        except (eta.Unreadable, properties.Malformed):
            due = None
        return self._times.left(found, suffix, wall) if due is None else eta.delay(due, wall)

    def _edited(self, found: Found, wall: float, *, ladder_: bool) -> bytes:
        user = self._target_user if ladder_ else self._old_user
        try:
            spans, entries = _read(found.header)
        except properties.Malformed:
            return found.header
        return edits.edit(found.header, spans, entries, user=user, ladder=ladder_, cap_priority=False, wall=wall)


def _read(header: bytes) -> tuple[properties.Spans, edits.Fields]:
    spans = properties.spans(header)
    table = spans.get(properties.HEADERS)
    return spans, list(properties.fields(header, *table)) if table else []


def _wire(text: str) -> bytes:
    """A short string as it stood on the wire."""
    return text.encode(errors="surrogateescape")
