"""What the processes of a soak write down, one JSON line per event, through `bridge.lab.records.Journal`.

1. `Sent` (of the lab): the old broker confirmed the task, so it has to run. In the folder `UNSURE`: the publish failed
   or was not answered, so the broker may have the task or not; it is nobody's loss and may run all the same.
2. `Got`: a worker was delivered a message. `Ran`: it began to execute the task.

A task that retries keeps its id: `retries` tells its runs apart (semantics.md, section 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.lab.fingerprint import parse
from bridge.lab.records import as_bytes

#: Folder, in that of the soak, of the tasks of which nobody knows whether the broker has them.
UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Got:
    """A worker of `side` got a message; `redelivered` if the broker had given it to somebody before."""

    id: str
    at: float
    side: str
    worker: str
    queue: str
    redelivered: bool
    retries: int
    body: str
    properties: str


@dataclass(frozen=True, slots=True)
class Ran:
    """A worker of `side` began to execute a task, for the `retries`-th time after the first."""

    id: str
    at: float
    side: str
    worker: str
    retries: int


def retries_in(properties: bytes) -> int:
    """Return the number of the try that a message asks for; protocol 1 has it in the body and never retries here."""
    found = parse(properties).get("headers.retries")
    return 0 if found is None else int.from_bytes(found.data, "big", signed=True)


def properties_of(record: Any) -> bytes:
    """Return the property bytes of a `Sent` or `Got`."""
    return as_bytes(record.properties)


def unsure(folder: Path) -> Path:
    """Return the folder of the tasks of which nobody knows, made if it is not there."""
    made = folder / UNSURE
    made.mkdir(exist_ok=True)
    return made
