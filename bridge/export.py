"""Messages that no broker would take, as files: written and on the disk before they are acked (design, section 4.9).

1. A message is one file `<time>-<tag>.amqp` in a folder of its queue: an envelope (`core/envelope.py`), that is a line
   of JSON, the content header's payload, the body.
2. A file has its name only when it is whole and on the disk: one that is cut off is `*.part`, and its message was not
   acked.
3. Whole messages of any size are written and read without a second copy of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import gevent

from bridge.core import envelope, frames
from bridge.errors import Refused

#: What the files of whole messages end in.
SUFFIX = ".amqp"
#: Bytes of a file name on the file systems of Linux.
_LONGEST = 255
#: Bytes of a body that are read at once.
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that holds a message: all but its body."""

    file: Path
    queue: str
    reason: str
    #: UTC epoch seconds when it was written.
    time: float
    #: Payload of the content header.
    header: bytes
    #: Bytes of the file before the body.
    body_at: int
    body_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """The body, in pieces.

        Raises:
            Refused: it cannot be read.
        """
        try:
            with self.file.open("rb") as given:
                given.seek(self.body_at)
                while piece := given.read(_CHUNK):
                    yield piece
        except OSError as fault:
            raise _unreadable(self.file, fault) from None

    def body(self) -> bytes:
        """The whole body.

        Raises:
            Refused: it cannot be read.
        """
        try:
            with self.file.open("rb") as given:
                given.seek(self.body_at)
                return given.read()
        except OSError as fault:
            raise _unreadable(self.file, fault) from None

    def remove(self) -> None:
        """Delete the file: its message is safe elsewhere.

        Raises:
            Refused: it cannot be deleted.
        """
        try:
            self.file.unlink()
            _sync(self.file.parent)
        except OSError as fault:
            raise Refused(
                f"{self.file}: is safe elsewhere and cannot be deleted: {(fault.strerror or str(fault)).lower()}",
                hint="delete it by hand, or it counts as one that still waits",
            ) from None


def write(folder: Path, queue: str, reason: str, tag: int, wire: bytes) -> Path:
    """Write one message and return its file, once the disk has it.

    Args:
        folder: of all exported messages.
        queue: name of its source queue.
        reason: why it is not on a broker.
        tag: a number that tells messages of one moment apart, such as its delivery tag.
        wire: its header frame and body frames.

    Raises:
        Refused: it cannot be written; nothing of it is left.
    """
    stop = 7 + frames.frame_at(wire, 0)[2]
    return _write(folder, queue, reason, tag, wire[7:stop], list(_payloads(wire, stop + 1)))


def store(folder: Path, queue: str, reason: str, tag: int, header: bytes, body: bytes) -> Path:
    """The same for a message whose frames are undone: its content header's payload and its body.

    Raises:
        Refused: it cannot be written; nothing of it is left.
    """
    return _write(folder, queue, reason, tag, header, [memoryview(body)])


def _payloads(wire: bytes, start: int) -> Iterator[memoryview]:
    """The payloads of the body frames in `wire[start:]`, not copied."""
    view = memoryview(wire)
    while start < len(wire):
        stop = start + 7 + frames.frame_at(wire, start)[2]
        yield view[start + 7 : stop]
        start = stop + 1


def _write(folder: Path, queue: str, reason: str, tag: int, header: bytes, pieces: list[memoryview]) -> Path:
    stamp = datetime.now(UTC)
    size = sum([len(piece) for piece in pieces])
    line = envelope.opening(queue, reason) % (stamp.timestamp(), len(header), size)
    place = folder / _folder_name(queue)
    file = place / f"{stamp:%Y%m%dT%H%M%S.%f}-{tag}{SUFFIX}"
    part = file.with_suffix(".part")
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                out.write(line + header)
                out.writelines(pieces)
                out.flush()
                os.fsync(out.fileno())
            part.rename(file)
        except OSError:
            # A disk that is full gets its room back: the message is tried again.
            part.unlink(missing_ok=True)
            raise
        _sync(place)
        _sync(folder)
    except OSError as fault:
        raise Refused(
            f'queue "{queue}": a message of {size} bytes ({reason}) cannot be exported to {place}: '
            f"{(fault.strerror or str(fault)).lower()}",
            hint="make the folder writable, with room for the message; the daemon writes to export.folder",
        ) from None
    return file


def exporter(folder: Path) -> Callable[[str, str, int, bytes], Path]:
    """`write` into a folder, in a thread of its own: a slow disk must not stop the heartbeats."""

    def export(queue: str, reason: str, tag: int, wire: bytes) -> Path:
        written: Path = gevent.get_hub().threadpool.apply(write, (folder, queue, reason, tag, wire))
        return written

    return export


# -- reading
# ------------------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    """The files of all messages in a folder, oldest first; none where there is no folder.

    Raises:
        Refused: it cannot be read.
    """
    try:
        places = [place for place in folder.iterdir() if place.is_dir()]
        found = [file for place in places for file in place.iterdir() if file.suffix == SUFFIX]
    except FileNotFoundError:
        return []
    except OSError as fault:
        raise _unreadable(folder, fault) from None
    return sorted(found, key=lambda file: (file.name, file.parent.name))


def describe(file: Path) -> Exported:
    """Read all of a message but its body.

    Raises:
        Refused: the file cannot be read, or is not that of a whole message.
    """
    try:
        with file.open("rb") as given:
            line = given.readline(envelope.MAX_LINE)
            told = json.loads(line)
            queue, reason, time = str(told["queue"]), str(told["reason"]), float(told["time"])
            header_bytes, body_bytes = int(told["header_bytes"]), int(told["body_bytes"])
            due = len(line) + header_bytes + body_bytes
            size = os.fstat(given.fileno()).st_size
            if min(header_bytes, body_bytes) < 0 or size != due:
                raise Refused(f"{file}: has {size} bytes, by its first line {due} are due")
            header = given.read(header_bytes)
    except OSError as fault:
        raise _unreadable(file, fault) from None
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{file}: is not a message of the bridge: its first line is not an envelope's") from None
    return Exported(file, queue, reason, time, header, len(line) + header_bytes, body_bytes)


def _unreadable(path: Path, fault: OSError) -> Refused:
    return Refused(
        f"{path}: cannot be read: {(fault.strerror or str(fault)).lower()}",
        hint="messages are for the daemon's user alone: run the command as that user or root",
    )


def _folder_name(queue: str) -> str:
    """A file name for any queue name: no path leads out of the folder, and none is longer than file systems allow."""
    name = quote(queue, safe="")
    if not name.strip("."):
        return name.replace(".", "%2E")
    return name if len(name) <= _LONGEST else f"{name[:150]}-{hashlib.sha256(queue.encode()).hexdigest()}"


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
