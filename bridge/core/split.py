"""Which of the two live sides gets a message, in the inline layout (design, sections 2 and 3).

1. Every message is asked about once, in the order in which they come, so a flip is sharp: one goes to one side, the
   next to the other.
2. What was given to a side and went back to the source is taken back (`undone`): it is asked about again.
3. A split outlives the subscription: a share is exact over all of them.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Protocol

from bridge.core import bodies, frames, properties
from bridge.core.envelope import fingerprint

#: Seconds of its rate that a canary may take at once: what nobody wanted a while ago is not made up for.
_BURST = 0.1
#: Names of tasks whose answer is remembered; whoever can publish chooses them.
_REMEMBERED = 10_000


class To(enum.Enum):
    """Who gets a message."""

    TARGET = "target"
    LEGACY = "legacy"
    BOTH = "both"
    #: Both have it already.
    NEITHER = "neither"
    #: The legacy side: it may be a task, and its name cannot be read.
    UNREADABLE = "unreadable"


class Had:
    """What a side has of messages that went back to the source because the other did not: it is not sent them again.

    By fingerprint, so of messages that are the same in every byte it is only known how many a side has. Good for one
    stay on the route `dual`, and for messages that come redelivered: what went back to the source comes again.
    """

    def __init__(self) -> None:
        self.target: Counter[bytes] = Counter()
        self.legacy: Counter[bytes] = Counter()

    def __bool__(self) -> bool:
        return bool(self.target or self.legacy)

    def missing(self, wire: bytes) -> To:
        """Who does not have this message, which came again; it is asked once."""
        mark = fingerprint(wire)
        target, legacy = _take(self.target, mark), _take(self.legacy, mark)
        if target and legacy:
            return To.NEITHER
        if target:
            return To.LEGACY
        return To.TARGET if legacy else To.BOTH


def _take(had: Counter[bytes], mark: bytes) -> bool:
    if mark not in had:
        return False
    had[mark] -= 1
    if not had[mark]:
        del had[mark]
    return True


class Split(Protocol):
    """Says who gets each message."""

    #: What a side has of messages for both that went back.
    had: Had

    #: Messages that the target was given, and that did not go back.
    taken: int

    def choose(self, wire: bytes, size: int, at: float) -> To:
        """Who gets this one.

        Args:
            wire: its header frame and body frames.
            size: length of the header frame's payload.
            at: monotonic seconds.
        """

    def undone(self, target: int, legacy: int) -> None:
        """So many that a side was given went back to the source."""

    @property
    def finished(self) -> bool:
        """Whether the target gets no more."""


class _Taken:
    """How many the target was given."""

    def __init__(self) -> None:
        self.taken = 0
        self.had = Had()

    def undone(self, target: int, legacy: int) -> None:
        self.taken -= target

    @property
    def finished(self) -> bool:
        return False


class Everything(_Taken):
    """Every message goes to both sides: the route `dual`."""

    def choose(self, wire: bytes, size: int, at: float) -> To:
        self.taken += 1
        return To.BOTH


class Percent(_Taken):
    """An exact share: of n messages the target has n * percent / 100, rounded up or down.

    Args:
        percent: as it was written, such as 12.5.
    """

    def __init__(self, percent: float) -> None:
        super().__init__()
        share = Fraction(repr(percent)) / 100
        self._up, self._down = share.numerator, share.denominator
        self._seen = 0

    def choose(self, wire: bytes, size: int, at: float) -> To:
        self._seen += 1
        # The nearest whole number to what is due: half a message behind, and the next one is the target's.
        if 2 * (self._seen * self._up - self.taken * self._down) < self._down:
            return To.LEGACY
        self.taken += 1
        return To.TARGET

    def undone(self, target: int, legacy: int) -> None:
        super().undone(target, legacy)
        self._seen -= target + legacy


class PerSecond(_Taken):
    """At most `rate` messages a second, taken as they come."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate
        self._most = max(1.0, rate * _BURST)
        self._tokens = 1.0
        self._at: float | None = None

    def choose(self, wire: bytes, size: int, at: float) -> To:
        if self._at is not None:
            self._tokens = min(self._most, self._tokens + (at - self._at) * self._rate)
        self._at = at
        if self._tokens < 1:
            return To.LEGACY
        self._tokens -= 1
        self.taken += 1
        return To.TARGET

    def undone(self, target: int, legacy: int) -> None:
        super().undone(target, legacy)
        self._tokens += target


class FirstOnes(_Taken):
    """The first `total` messages, `taken` of them before."""

    def __init__(self, total: int, taken: int) -> None:
        super().__init__()
        self._total = total
        self.taken = taken

    def choose(self, wire: bytes, size: int, at: float) -> To:
        if self.finished:
            return To.LEGACY
        self.taken += 1
        return To.TARGET

    @property
    def finished(self) -> bool:
        return self.taken >= self._total


class ByTask(_Taken):
    """The tasks whose names match one of these shell patterns. A name that cannot be read matches none."""

    def __init__(self, patterns: Iterable[str]) -> None:
        super().__init__()
        self._matches = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
        self._known: dict[str, bool] = {}

    def choose(self, wire: bytes, size: int, at: float) -> To:
        try:
            name = task_name(wire, size)
        except bodies.Unreadable:
            return To.UNREADABLE
        if name is None:
            return To.LEGACY
        wanted = self._known.get(name)
        if wanted is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            wanted = self._known[name] = self._matches(name) is not None
        if not wanted:
            return To.LEGACY
        self.taken += 1
        return To.TARGET


def task_name(wire: bytes, size: int) -> str | None:
    """Name of a task: header `task` (protocol 2), else in the body (protocol 1); None when it is no task.

    Args:
        wire: header frame and body frames.
        size: length of the header frame's payload.

    Raises:
        bodies.Unreadable: it may be a task, and its name cannot be read.
    """
    payload = wire[7 : 7 + size]
    try:
        found = properties.spans(payload)
        table = found.get(properties.HEADERS)
        entries = list(properties.fields(payload, *table)) if table is not None else []
    except properties.Malformed as fault:
        raise bodies.Unreadable(str(fault)) from fault
    compression = None
    for entry in entries:
        if entry.name == b"task":
            return _text(properties.text(payload, entry) if entry.tag in b"Sx" else None)
        if entry.name == b"compression":
            compression = properties.text(payload, entry)
    body = bodies.top_level(
        frames.body_of(wire, size + frames.OVERHEAD),
        properties.string(payload, found.get(properties.CONTENT_TYPE)),
        properties.string(payload, found.get(properties.CONTENT_ENCODING)),
        compression,
    )
    return _text(body["task"]) if "task" in body else None


def _text(given: object) -> str:
    if isinstance(given, bytes):
        # A name that is not UTF-8 is no worker's; patterns may still match its readable part.
        return given.decode(errors="replace")
    if not isinstance(given, str):
        raise bodies.Unreadable("the name of the task is not text")
    return given
