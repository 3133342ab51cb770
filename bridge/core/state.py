"""The one message of the control queue: whose it is, which one counts, and what it keeps (design, section 8).

1. Its head says who wrote it and in which term and number; a later term, then a higher number, counts.
2. A term begins when a bridge takes over; the number grows with every save. Term 0 keeps nothing: it is how a bridge
   knocks at the queue.
3. What does not read as one of ours is a `BadState`, never another exception: anybody may publish into a queue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

#: The document as this version writes it. What a later version wrote is refused, not guessed.
FORMAT = 1
#: What tells our messages from others.
_KIND = "bridge state"
#: Characters of a host name in a consumer tag, and hosts of a source in it: a tag has at most 255 bytes (AMQP 0-9-1,
#: section 4.2.5.3).
_HOST, _HOSTS = 64, 14


class BadState(ValueError):
    """A message that is no state of ours, or one of a later version: `newer`."""

    def __init__(self, text: str, *, newer: bool = False) -> None:
        super().__init__(text)
        self.newer = newer


@dataclass(frozen=True, slots=True)
class Holder:
    """A process of the bridge: where it runs, since when (ISO 8601), and a word that no other one has."""

    host: str
    pid: int
    since: str
    id: str

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, started {self.since}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What an instance moves: two bridges with the same name and another one of these are not the same bridge.

    Attributes:
        vhost: of the source.
        hosts: of the source, `host:port` each.
        inline: whether there is a legacy side.
    """

    vhost: str
    hosts: tuple[str, ...]
    inline: bool

    def differs(self, other: Identity) -> str:
        """What the other one has that this one has not; empty when they are the same bridge."""
        if self.vhost != other.vhost:
            return f'its source is vhost "{other.vhost}", here it is "{self.vhost}"'
        if not set(self.hosts) & set(other.hosts):
            return f"its source is {', '.join(other.hosts)}, here it is {', '.join(self.hosts)}"
        if self.inline != other.inline:
            return f"its layout is {_layout(other.inline)}, here it is {_layout(self.inline)}"
        return ""


def _layout(inline: bool) -> str:
    return "inline" if inline else "takeover"


@dataclass(frozen=True, slots=True)
class Document:
    """One state.

    Attributes:
        term: how many took over before.
        number: of the save within the term.
        holder: who wrote it.
        identity: for what.
        saved_at: when (ISO 8601, UTC).
        left: whether the holder left in an orderly way, with nothing in flight.
        content: what is kept; None when there is nothing yet.
    """

    term: int
    number: int
    holder: Holder
    identity: Identity
    saved_at: str
    left: bool = False
    content: Mapping[str, Any] | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Of two documents, the one with the higher rank counts."""
        return self.term, self.number


def encode(document: Document) -> bytes:
    """As it stands in the message: JSON in UTF-8."""
    head: dict[str, Any] = {"kind": _KIND, "format": FORMAT}
    # The content is as large as there are queues, and plain already: `asdict` would copy it value by value.
    rest = asdict(replace(document, content=None)) | {"content": document.content}
    return json.dumps(head | rest, separators=(",", ":")).encode()


def decode(body: bytes) -> Document:
    """Read a message of the control queue.

    Raises:
        BadState: it is not one of ours, or a later version's.
    """
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise BadState(f"{len(body)} bytes that are no JSON, a state of the bridge was expected") from None
    if not isinstance(read, dict) or read.get("kind") != _KIND:
        raise BadState(f'JSON that is no state of the bridge: it has no "kind": "{_KIND}"')
    written = _whole(read, "format")
    if written > FORMAT:
        raise BadState(
            f"a state of format {written}, this version of the bridge reads up to {FORMAT}",
            newer=bool(_whole(read, "term")),
        )
    holder, identity = _part(read, "holder"), _part(read, "identity")
    hosts = identity.get("hosts")
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise BadState('a state of the bridge whose "hosts" is not a list of texts')
    content = read.get("content")
    if content is not None and not isinstance(content, dict):
        raise BadState('a state of the bridge whose "content" is not a mapping')
    return Document(
        _whole(read, "term"),
        _whole(read, "number"),
        Holder(_text(holder, "host"), _whole(holder, "pid"), _text(holder, "since"), _text(holder, "id")),
        Identity(_text(identity, "vhost"), tuple(hosts), _switch(identity, "inline")),
        _text(read, "saved_at"),
        _switch(read, "left"),
        content,
    )


def _part(read: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = read.get(name)
    if not isinstance(value, dict):
        raise _unfit(name, "a mapping")
    return value


def _whole(read: Mapping[str, Any], name: str) -> int:
    value = read.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _unfit(name, "a whole number of at least 0")
    return value


def _text(read: Mapping[str, Any], name: str) -> str:
    value = read.get(name)
    if not isinstance(value, str):
        raise _unfit(name, "a text")
    return value


def _switch(read: Mapping[str, Any], name: str) -> bool:
    value = read.get(name)
    if not isinstance(value, bool):
        raise _unfit(name, "true or false")
    return value


def _unfit(name: str, allowed: str) -> BadState:
    return BadState(f'a state of the bridge whose "{name}" is not {allowed}')


# -- what others can see ----------------------------------------------------------------------------------------------


def tag(holder: Holder, identity: Identity) -> str:
    """The consumer tag by which the HTTP API shows who waits at the control queue, and for what."""
    marks = ",".join(_mark(host) for host in identity.hosts[:_HOSTS])
    layout = "i" if identity.inline else "t"
    host = holder.host.replace("|", "_").encode("ascii", "replace").decode()[:_HOST]
    return f"bridge|{host}|{holder.pid}|{holder.since}|{holder.id}|{layout}{_mark(identity.vhost)}|{marks}"


def _mark(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True)
class Seen:
    """A bridge at the control queue, as its consumer tag tells.

    Attributes:
        who: where it runs, and since when.
        what: its layout and the vhost of its source, as marks.
        sources: hosts of its source, as marks.
    """

    who: str
    what: str
    sources: frozenset[str]

    def is_another(self, other: Seen) -> bool:
        """Whether the two move different things."""
        return self.what != other.what or not self.sources & other.sources


def seen(consumer_tag: str) -> Seen | None:
    """Read a consumer tag; None when it is none of ours."""
    parts = consumer_tag.split("|")
    if len(parts) != 7 or parts[0] != "bridge":
        return None
    _, host, pid, since, _, what, sources = parts
    return Seen(f"host {host}, pid {pid}, started {since}", what, frozenset(sources.split(",")))
