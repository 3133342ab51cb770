"""What is in the quarantine, in its queue and in files, and the ways out of it (design, section 4.9).

1. A message has an id made of its content. Two messages of the same content have the same, and go the same way.
2. A message is acked in the queue, or its file deleted, last of all: after the broker confirmed it elsewhere, or after
   the disk has it. A crash before that leaves it where it was, and perhaps a second time elsewhere.
3. Bodies are held one window at a time, whatever is in there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bridge import export
from bridge.core import described
from bridge.core.described import Task
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.export import Exported
from bridge.quarantine_queue import HEAD, MOST, PATIENCE, Look, Passing, QuarantineQueue, digest_of

#: Bytes of messages that are held at once on their way out of the queue.
HELD = 64 * 1024**2
#: Messages on their way out of the queue at once.
AT_ONCE = 200
#: Seconds for the last answers.
LAST_ANSWERS = 60.0
#: Seconds without a byte after which the broker is given up although it has more.
GIVEN_UP = 30.0
#: Reason of a file that is the backup's copy of a message that moved (core/relay.py).
COPY = "copy-too-large"
#: Bytes of a body that are shown.
PREVIEW = 2048


@dataclass(frozen=True, slots=True)
class Found:
    """A message of the quarantine."""

    id: str
    #: Its source queue; empty when that is not known.
    queue: str
    reason: str
    task: Task
    #: Bytes of its body.
    size: int
    #: Its file; None: it is in the queue.
    file: Path | None = None
    #: When it was written to its file, UTC epoch seconds.
    time: float | None = None

    @property
    def where(self) -> str:
        """`queue` or `file`."""
        return "queue" if self.file is None else "file"

    def as_json(self) -> dict[str, Any]:
        """The stable form for programs."""
        return {
            "id": self.id,
            "where": self.where,
            "queue": self.queue,
            "reason": self.reason,
            "task": self.task.name,
            "task_id": self.task.id,
            "eta": self.task.eta,
            "eta_unreadable": self.task.unreadable,
            "bytes": self.size,
            "time": self.time,
            "file": None if self.file is None else str(self.file),
        }


@dataclass(slots=True)
class Stock:
    """All messages of the quarantine.

    Attributes:
        found: those of the queue first, in its order, then files, oldest first.
        unread: files that are no whole messages, each with why.
        beyond: messages of the queue that were not looked at, being too many.
        limited: whether the broker drops messages that are looked at too often.
    """

    found: list[Found] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    beyond: int = 0
    limited: bool = False

    def reasons(self) -> dict[str, int]:
        """How many messages there are for each reason, the most first."""
        return dict(Counter(each.reason for each in self.found).most_common())


def _silent(tried: int) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Outcome:
    """What became of the messages that were to leave."""

    done: int = 0
    #: Messages that stay where they are, and why.
    failed: list[tuple[Found, str]] = field(default_factory=list)
    #: What ended it before all were tried.
    fault: BridgeError | None = None
    #: Called with how many were tried, when there is one more.
    tell: Callable[[int], None] = _silent

    def add(self, found: Found, why: str | None) -> None:
        """One more was tried: None is that it is safe, else why it stays."""
        if why is None:
            self.done += 1
        else:
            self.failed.append((found, why))
        self.tell(self.done + len(self.failed))


class Publishes(Protocol):
    """What sends messages on (`bridge.republish.Republisher`)."""

    def put(self, queue: str, header: bytes, body: bytes, done: Callable[[str | None], None]) -> None:
        """Send a message; `done` is told None when it is safe, else why not."""

    def flush(self, seconds: float) -> None:
        """Wait until every `done` was called."""


def take_stock(queue: QuarantineQueue, folder: Path) -> Stock:
    """Look at every message once.

    Args:
        queue: of the quarantine.
        folder: of exported messages.

    Raises:
        BridgeError: the broker does not answer, or the folder cannot be read.
    """
    stock = Stock()
    for message in _passing(queue, stock):
        stock.found.append(_of_message(message))
    for file in export.files(folder):
        try:
            exported = export.describe(file)
            stock.found.append(_of_file(exported))
        except Refused as fault:
            stock.unread.append(str(fault))
    return stock


def selected(
    stock: Stock, ids: Sequence[str] = (), queues: Sequence[str] = (), reasons: Sequence[str] = ()
) -> list[Found]:
    """The messages that have one of the ids (or of their beginnings), one of the queues and one of the reasons.

    None given is any.

    Raises:
        Refused: an id is that of no message, or the beginning of several.
    """
    wanted = set()
    for given in ids:
        matching = {each.id for each in stock.found if each.id.startswith(given.lower())}
        if not matching:
            raise Refused(f'no message has the id "{given}"', hint="bridge quarantine list shows them")
        if len(matching) > 1:
            raise Refused(f'"{given}" is the beginning of {len(matching)} ids: {", ".join(sorted(matching)[:5])}')
        wanted |= matching
    return [
        each
        for each in stock.found
        if (not ids or each.id in wanted)
        and (not queues or each.queue in queues)
        and (not reasons or each.reason in reasons)
    ]


def to_send(chosen: list[Found], ids: Sequence[str], reasons: Sequence[str]) -> list[Found]:
    """Those that are to be sent on: copies of messages that moved only when they were asked for, by id or reason."""
    return chosen if ids or COPY in reasons else [each for each in chosen if each.reason != COPY]


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as it is shown whole."""

    found: Found
    #: Payload of its content header.
    header: bytes
    #: The beginning of its body.
    body: bytes


def show(queue: QuarantineQueue, found: Found) -> Shown:
    """Look at one message again.

    Raises:
        BridgeError: it cannot be read, or is not there any more.
    """
    if found.file is not None:
        exported = export.describe(found.file)
        return Shown(found, exported.header, next(exported.chunks(), b"")[:PREVIEW])
    shown = None
    for message in _passing(queue, Stock()):
        if shown is None and message.id == found.id:
            shown = Shown(found, message.header, bytes(message.body[:PREVIEW]))
    if shown is None:
        raise Refused(f"message {found.id} is not there any more: somebody took it meanwhile")
    return shown


def redrive(
    queue: QuarantineQueue, chosen: Iterable[Found], among: Stock, by: Publishes, tell: Callable[[int], None] = _silent
) -> Outcome:
    """Send messages on, and take each out when it is safe there.

    Args:
        queue: of the quarantine.
        chosen: the messages.
        among: the stock they are of.
        by: sends them.
        tell: called with how many were tried.
    """

    def send(found: Found, header: bytes, body: bytes, done: Callable[[str | None], None]) -> None:
        if found.queue:
            by.put(found.queue, header, body, done)
        else:
            done("which queue it is for is not known: it was not put here by the bridge")

    return _leave(queue, list(chosen), among, send, lambda: by.flush(LAST_ANSWERS), Outcome(tell=tell), remove=True)


def store(
    queue: QuarantineQueue,
    chosen: Iterable[Found],
    among: Stock,
    folder: Path,
    *,
    remove: bool,
    tell: Callable[[int], None] = _silent,
) -> Outcome:
    """Write messages to files of a folder, and take each out, if asked to, when the disk has it.

    Args:
        queue: of the quarantine.
        chosen: the messages.
        among: the stock they are of.
        folder: where the files are written.
        remove: whether they are taken out.
        tell: called with how many were tried.
    """
    number = 0

    def write(found: Found, header: bytes, body: bytes, done: Callable[[str | None], None]) -> None:
        nonlocal number
        number += 1
        export.store(folder, found.queue, found.reason, number, header, body)
        done(None)

    return _leave(queue, list(chosen), among, write, lambda: None, Outcome(tell=tell), remove=remove)


# -- on the way out
# --------------------------------------------------------------------------------------------------------------

#: Sends a message somewhere, and says when it is safe there.
_Send = Callable[[Found, bytes, bytes, Callable[[str | None], None]], None]


def _leave(
    queue: QuarantineQueue,
    chosen: list[Found],
    among: Stock,
    send: _Send,
    settle: Callable[[], None],
    outcome: Outcome,
    *,
    remove: bool,
) -> Outcome:
    try:
        stored = [each for each in chosen if each.file is None]
        if stored:
            _Leaving(queue, stored, among, send, settle, outcome, remove).run()
        for each in chosen:
            if each.file is not None:
                _leave_file(each, export.describe(each.file), send, outcome, remove)
        settle()
    except BridgeError as fault:
        outcome.fault = fault
    return outcome


def _leave_file(found: Found, exported: Exported, send: _Send, outcome: Outcome, remove: bool) -> None:
    def done(text: str | None) -> None:
        if text is None and remove:
            exported.remove()
        outcome.add(found, text)

    send(found, exported.header, exported.body(), done)


class _Leaving:
    """Messages of the queue on their way out.

    Those that stay are unacked meanwhile, so the prefetch has room for them beside those that are held. Where more of
    the chosen come at once than may be held, some pass unheld, and are taken when all pass again.
    """

    def __init__(
        self,
        queue: QuarantineQueue,
        chosen: list[Found],
        among: Stock,
        send: _Send,
        settle: Callable[[], None],
        outcome: Outcome,
        remove: bool,
    ) -> None:
        self._queue = queue
        self._send = send
        self._settle = settle
        self._outcome = outcome
        self._remove = remove
        self._left = Counter(each.id for each in chosen)
        self._likely = Counter((each.queue, each.reason, each.size) for each in chosen)
        staying = sum(each.file is None for each in among.found) - len(chosen)
        largest = max(each.size for each in chosen)
        self._prefetch = max(0, staying) + max(1, min(AT_ONCE, HELD // max(1, largest)))
        self._held = 0
        self._under_way = 0

    def run(self) -> None:
        """Until all are gone, or have said why not.

        Raises:
            BridgeError: it cannot go on.
        """
        again = True
        while again:
            before = self._left.total()
            again = self._round()
            if again and self._left.total() == before:
                raise Refused(f"{before} messages are not there any more, or do not come: try again")

    def _wants(self, message: Passing) -> bool:
        likely = self._likely[message.queue, message.reason, message.size] > 0
        if not likely or (self._held and self._held + message.size > HELD):
            return False
        self._held += message.size
        return True

    def _round(self) -> bool:
        """Have all messages pass once; whether some of the chosen are still there."""
        # Those that are copied and stay are unacked too.
        prefetch = self._prefetch if self._remove else self._prefetch + self._left.total()
        passed_by = False
        with self._queue.look(self._wants, prefetch) as look:
            for message in look:
                if message is None:
                    if self._under_way:
                        self._settle()
                    elif passed_by or look.quiet > PATIENCE:
                        break
                elif not message.whole:
                    passed_by = passed_by or self._left[message.id] > 0
                elif self._left[message.id] > 0:
                    self._left[message.id] -= 1
                    self._go(look, message)
                else:
                    self._held -= message.size
            self._settle()
        return self._left.total() > 0

    def _go(self, look: Look, message: Passing) -> None:
        found = _of_message(message)

        def done(text: str | None) -> None:
            self._held -= message.size
            self._under_way -= 1
            if text is None and self._remove:
                look.ack(message)
            self._outcome.add(found, text)

        self._under_way += 1
        self._send(found, message.header, bytes(message.body), done)


# -- looking
# --------------------------------------------------------------------------------------------------------------


def _passing(queue: QuarantineQueue, stock: Stock) -> Iterator[Passing]:
    """Every message of the queue, as it passes."""
    with queue.look(lambda _message: False) as look:
        stock.limited = look.limited
        seen = 0
        for message in look:
            if message is not None:
                seen += 1
                yield message
            elif seen >= MOST:
                break
            elif look.quiet > GIVEN_UP:
                raise Unreachable(f"target: no more messages of the quarantine within {GIVEN_UP:.0f} s")
        stock.beyond = max(0, look.ready - seen)


def _of_message(message: Passing) -> Found:
    return Found(
        message.id,
        message.queue,
        message.reason,
        described.task(message.header, bytes(message.body[:HEAD])),
        message.size,
    )


def _of_file(exported: Exported) -> Found:
    digest = digest_of(exported.header)
    head = b""
    for piece in exported.chunks():
        head = head or piece[:HEAD]
        digest.update(piece)
    return Found(
        digest.hexdigest()[:12],
        exported.queue,
        exported.reason,
        described.task(exported.header, head),
        exported.body_bytes,
        exported.file,
        exported.time,
    )
