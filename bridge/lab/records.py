"""The ground truth of a rehearsal: what was sent, what was received, what was started, one JSON line per event.

Every process appends to its own file with single writes, so nothing is torn and nothing is lost when a pool child ends
by a signal. Times are seconds of the machine's wall clock: all processes of a rehearsal share it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar


@dataclass(frozen=True, slots=True)
class Sent:
    """A producer published a task: `live` traffic or backlog, due at `eta` or (None) at once."""

    id: str
    at: float
    queue: str
    eta: float | None
    live: bool
    shape: str
    body: str
    properties: str


@dataclass(frozen=True, slots=True)
class Received:
    """A worker of `side` got a message; the same task comes again when a worker stopped before it was due."""

    id: str
    at: float
    side: str
    worker: str
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    body: str
    properties: str


@dataclass(frozen=True, slots=True)
class Started:
    """A worker of `side` began to execute a task."""

    id: str
    at: float
    side: str
    worker: str


#: One of the above, or a slotted dataclass of its own kind that other processes write down.
Record = TypeVar("Record")


def digest(body: bytes) -> str:
    """Return what stands for a body in the records."""
    return hashlib.sha256(body).hexdigest()


def as_text(properties: bytes) -> str:
    """Return property bytes as they stand in the records."""
    return base64.b64encode(properties).decode()


def as_bytes(properties: str) -> bytes:
    """Return the property bytes of a record."""
    return base64.b64decode(properties)


class Journal:
    """Appends records of one kind to a file per process in `folder`; forked children open their own."""

    def __init__(self, folder: Path, kind: type[Any]) -> None:
        self._folder = folder
        self._kind = kind.__name__.lower()
        self._pid = 0
        self._file = -1

    def append(self, record: Any) -> None:
        """Write one line with one system call: after it returns, the end of this process loses nothing."""
        pid = os.getpid()
        if pid != self._pid:
            path = self._folder / f"{self._kind}-{pid}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._pid = pid
        # Not asdict, which takes three times as long.
        line = json.dumps({name: getattr(record, name) for name in record.__slots__})
        os.write(self._file, line.encode() + b"\n")


class Reader(Generic[Record]):
    """Reads what was appended to all journals of one kind since it last looked."""

    def __init__(self, folder: Path, kind: type[Record]) -> None:
        self._folder = folder
        self._make: type[Record] = kind
        self._name = kind.__name__.lower()
        self._read: dict[Path, int] = {}

    def news(self) -> Iterator[Record]:
        """Yield the records that are new, file by file; a line still being written waits for the next call."""
        for path in sorted(self._folder.glob(f"{self._name}-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    yield self._make(**json.loads(line))


class Truth:
    """Everything that producers and workers wrote down so far; `refresh` reads on."""

    def __init__(self, folder: Path) -> None:
        self.sent: dict[str, Sent] = {}
        self.received: list[Received] = []
        self.started: dict[str, list[Started]] = {}
        #: Tasks that were sent and have not started.
        self.waiting: dict[str, Sent] = {}
        self._sent = Reader(folder, Sent)
        self._received = Reader(folder, Received)
        self._started = Reader(folder, Started)

    def refresh(self) -> None:
        """Take in what was appended since the last time."""
        for sent in self._sent.news():
            self.sent[sent.id] = sent
            if sent.id not in self.started:
                self.waiting[sent.id] = sent
        for received in self._received.news():
            self.received.append(received)
        for started in self._started.news():
            self.started.setdefault(started.id, []).append(started)
            self.waiting.pop(started.id, None)
