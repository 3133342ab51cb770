"""Replay: copies of the backup stream are sent again (design, section 6).

1. The stream is read from a place before the time that is asked for to a mark, which is published when reading begins:
   what was there is read, all of it, and nothing is waited for. Offsets have gaps, so that counting them tells nothing.
2. What is wanted is judged by the envelope and the message in it, never by the broker's clock.
3. A dry run is the same walk without the sending: its counts are those of a replay.
"""

from __future__ import annotations

import fnmatch
import logging
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gevent.event import Event

from bridge import sides
from bridge.amqp import ANSWER
from bridge.backup import STREAM
from bridge.config import Config
from bridge.config_sections import BackupSide, Broker
from bridge.core import bodies, envelope, frames, identity, properties
from bridge.core.copies import EXCHANGE
from bridge.core.wires import TargetWire
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.reading import PREFETCH, Delivery, Reader
from bridge.republish import Republisher
from bridge.units import parse_duration

log = logging.getLogger("bridge.replay")

#: Seconds by which the clocks of bridge and broker may differ; so much more is read, and judged by its envelope.
SKEW = 600.0
#: Seconds in which the broker must deliver what is there.
SILENCE = 30.0
#: Connections lost in a row, without a message between them, after which the stream is given up; seconds between two.
TRIES = 5
READ_ON = 1.0
#: Seconds for the last answers.
LAST_ANSWERS = 120.0
#: Kinds of failures that are told apart.
REASONS = 100
#: Copies between two words on how far it is.
TELL_EVERY = 256
#: How a mark begins; a random word follows.
_MARK = b"bridge replay reads to here: "
_AGO = re.compile(r"(.+?)(?:\s+ago)?")


def moment(text: str, now: float) -> float:
    """UTC epoch seconds of a time such as `2026-05-01T12:00`, which is UTC without an offset, or `2h`: so long ago.

    Raises:
        ValueError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        ago = _AGO.fullmatch(text.strip())
        return now - parse_duration(ago[1] if ago is not None else text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which copies are wanted: all that is given must fit; what is empty fits any.

    Attributes:
        queues: names or shell patterns of source queues.
        tasks: names or shell patterns of tasks.
        ids: task ids.
        since: UTC epoch seconds; `until` is the first moment that is not wanted any more.
        limit: no more than so many.
    """

    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    ids: frozenset[str] = frozenset()
    since: float = -math.inf
    until: float = math.inf
    limit: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.queues or self.tasks or self.ids) and (self.since, self.until) == (-math.inf, math.inf)

    def fits(self, message: envelope.Message) -> bool:
        """Whether a copy is wanted."""
        return (
            self.since <= message.time < self.until
            and _fits(message.queue, self.queues)
            and (not self.ids or task_id(message) in self.ids)
            and (not self.tasks or _fits(task_name(message), self.tasks))
        )


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def task_id(message: envelope.Message) -> str:
    """Id of the task; empty when it has none."""
    return identity.task_id(frames.header_frame(0, message.header))


def task_name(message: envelope.Message) -> str:
    """Name of the task: of protocol 2 in its headers, of protocol 1 in its body; empty when it cannot be told."""
    name = identity.task_name(message.header)
    if name:
        return name
    try:
        found = properties.spans(message.header)
        table = found.get(properties.HEADERS)
        entries = properties.fields(message.header, *table) if table is not None else ()
        packed = next((properties.text(message.header, one) for one in entries if one.name == b"compression"), None)
        kind = properties.string(message.header, found.get(properties.CONTENT_TYPE))
        encoding = properties.string(message.header, found.get(properties.CONTENT_ENCODING))
        value = bodies.top_level(message.body, kind, encoding, packed).get("task")
    except (properties.Malformed, bodies.Unreadable):
        return ""
    return value if isinstance(value, str) and value.isprintable() else ""


@dataclass(slots=True)
class Book:
    """What a replay did, or a dry run would do."""

    dry_run: bool
    read: int = 0
    matched: int = 0
    published: int = 0
    #: Messages in the stream that are no copies.
    foreign: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    #: What matched, by queue, task name and minute of its copy (UTC).
    groups: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: When the oldest copy that was read was made, and the last one, in UTC epoch seconds.
    first: float | None = None
    at: float | None = None
    #: Why it ended before the end.
    fault: BridgeError | None = None

    def end(self, text: str | None) -> None:
        """A message is safe, or why it is not."""
        if text is None:
            self.published += 1
        else:
            self.failed[text if text in self.failed or len(self.failed) < REASONS else "other reasons"] += 1

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        groups = [
            {"queue": queue, "task": task, "minute": minute, "count": count}
            for (queue, task, minute), count in sorted(self.groups.items())
        ]
        return {
            "dry_run": self.dry_run,
            "read": self.read,
            "matched": self.matched,
            "published": self.published,
            "failed": dict(self.failed),
            "foreign": self.foreign,
            "groups": groups,
            "fault": None if self.fault is None else str(self.fault),
        }


def replay(config: Config, wanted: Wanted, *, to: str, dry_run: bool, tell: Callable[[Book], None]) -> Book:
    """Send the wanted copies again, each to the queue it was taken from or that one's sister.

    Args:
        config: of the bridge.
        wanted: which.
        to: `target`, as the daemon sends, or `source`: with its ETA as it is, to the queue it was taken from.
        dry_run: send nothing.
        tell: called now and then.

    Raises:
        Refused: there is no backup, or it cannot be read.
        Unreachable: a broker cannot be reached. What happens after the first message ends the replay as the book's
            `fault` instead.
    """
    if config.backup is None:
        raise Refused(
            "the configuration has no backup: section, so it does not say where the copies are",
            hint="replay with the configuration that the copies were made with",
        )
    broker = config.source if config.backup.on is BackupSide.SOURCE else config.target
    book = Book(dry_run)
    republisher = None if dry_run else Republisher(config, to=to)
    try:
        with closing(_copies(config, broker, wanted.since, book)) as copies:
            for message in copies:
                if book.read % TELL_EVERY == 0:
                    tell(book)
                if not wanted.fits(message):
                    continue
                book.matched += 1
                minute = datetime.fromtimestamp(message.time, UTC).strftime("%Y-%m-%dT%H:%MZ")
                book.groups[message.queue, task_name(message), minute] += 1
                if republisher is not None:
                    republisher.put(message.queue, message.header, message.body, book.end)
                if wanted.limit is not None and book.matched >= wanted.limit:
                    break
        if republisher is not None:
            republisher.flush(LAST_ANSWERS)
    except BridgeError as fault:
        if not book.matched:
            raise
        book.fault = fault
    except KeyboardInterrupt:
        book.fault = Refused("interrupted")
    finally:
        if republisher is not None:
            republisher.close()
    tell(book)
    return book


def _copies(config: Config, broker: Broker, since: float, book: Book) -> Generator[envelope.Message, None, None]:
    """Every copy that is in the stream now, from about `since` on; read on where a lost connection broke it off."""
    make = sides.connection("backup", broker, config.instance)
    mark = _MARK + secrets.token_hex(16).encode()
    marked = False
    # RabbitMQ takes whole seconds, and begins at the first chunk that is not older.
    place: str | datetime | int = "first" if since == -math.inf else datetime.fromtimestamp(max(0.0, since - SKEW), UTC)
    tries = TRIES
    while True:
        try:
            with Reader(make, STREAM, arguments={"x-stream-offset": place}) as reader:
                if not marked:
                    # Only after the subscription: a mark before it could be older than where the reading begins.
                    _publish(config, broker, mark)
                    marked = True
                for delivery in _taken(reader):
                    if delivery.body == mark:
                        return
                    tries = TRIES
                    place = _behind(delivery, place)
                    message = _unsealed(delivery, book)
                    if message is not None:
                        yield message
        except Unreachable as fault:
            # 3.10.8 ends the connection (541) when retention takes the segment that is about to be read.
            tries -= 1
            if not tries:
                raise
            log.info("%s; read on in %g s", fault, READ_ON)
            Event().wait(READ_ON)


def _taken(reader: Reader) -> Generator[Delivery, None, None]:
    """What the stream delivers, acked in bunches."""
    unacked = 0
    while True:
        delivery = reader.take(SILENCE)
        if delivery is None:
            raise Unreachable(f'backup: stream "{STREAM}" delivers nothing for {SILENCE:.0f} s')
        unacked += 1
        if unacked >= PREFETCH // 2:
            reader.ack(delivery.tag, multiple=True)
            unacked = 0
        yield delivery


def _behind(delivery: Delivery, place: str | datetime | int) -> str | datetime | int:
    """Where to read on after a delivery."""
    try:
        return place if delivery.offset is None else delivery.offset + 1
    except properties.Malformed:
        return place


def _unsealed(delivery: Delivery, book: Book) -> envelope.Message | None:
    """The copy in a delivery; None when it is none."""
    if delivery.body.startswith(_MARK):
        return None
    book.read += 1
    try:
        message = envelope.unseal(delivery.body)
    except envelope.NotAnEnvelope:
        book.foreign += 1
        return None
    book.at = message.time
    if book.first is None:
        book.first = message.time
    return message


class _Mark:
    """Waits for the confirm of the one message of its channel."""

    def __init__(self) -> None:
        self.answered = Event()
        self.fault: str | None = None

    def confirmed(self, seq: int, multiple: bool, at: float) -> None:
        """The stream has it."""
        self.answered.set()

    def nacked(self, seq: int, multiple: bool) -> None:
        """The stream refused it."""
        self.fault = "the stream refused it (basic.nack)"
        self.answered.set()

    def returned(self, code: int, text: str, key: str, header: bytes, bodies: bytes) -> None:
        """No stream is bound to the exchange; the confirm follows."""
        self.fault = f'exchange "{EXCHANGE}" has no stream ({code} {text})'

    def turn(self, at: float) -> None:
        """Nothing is acked."""


def _publish(config: Config, broker: Broker, mark: bytes) -> None:
    """Publish the mark, and wait until the stream has it."""
    wire = TargetWire()
    publisher = wire.relays[1] = _Mark()
    connection = sides.connection("backup", broker, config.instance)(
        receive=lambda chunk: wire.receive(chunk, time.monotonic())
    )
    connection.open()
    try:
        channel = connection.channel(1)
        channel.on_end = publisher.answered.set
        channel.confirm_select()
        header = frames.header_frame(1, b"\x00\x3c\x00\x00" + len(mark).to_bytes(8, "big") + b"\x00\x00")
        body = frames.body_frames(1, mark, connection.frame_max)
        connection.send(frames.publish_head(1, EXCHANGE.encode(), b"bridge.mark") + header + body)
        answered = publisher.answered.wait(ANSWER)
        fault = publisher.fault or (str(channel.error) if channel.error is not None else None)
        if connection.blocked is not None and not answered:
            fault = f"the broker takes no publishes now: {connection.blocked}"
        elif not answered:
            fault = f"no confirm within {ANSWER:.0f} s"
        if fault is not None:
            raise Refused(
                f"backup: the end of the stream cannot be marked: {fault}",
                hint=f'the user needs write on the exchange "{EXCHANGE}", and the broker must take publishes: '
                "reading goes to a mark that is published when it begins",
            )
    finally:
        connection.close()
