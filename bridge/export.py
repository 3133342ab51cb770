"""Messages that no broker would take, as files: written and on the disk before they are acked (design, section 4.9).

A message is one file `<time>-<number>.amqp` in a folder of its queue: the content header's payload and the body as
they came, behind a line of JSON that
says how long each is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import gevent

from bridge.core import frames
from bridge.errors import Refused

#: Bytes of a file name on the file systems of Linux.
_LONGEST = 255


def write(folder: Path, queue: str, tag: int, wire: bytes) -> Path:
    """Write one message (its header and body frames) and return its file, once the disk has it.

    Raises:
        Refused: it cannot be written.
    """
    size = frames.frame_at(wire, 0)[2]
    header, body = wire[7 : 7 + size], frames.body_of(wire, size + frames.OVERHEAD)
    stamp = datetime.now(UTC)
    line = {"queue": queue, "time": stamp.isoformat(), "header_bytes": len(header), "body_bytes": len(body)}
    place = folder / _folder_name(queue)
    file = place / f"{stamp:%Y%m%dT%H%M%S.%f}-{tag}.amqp"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(json.dumps(line).encode() + b"\n" + header + body)
            out.flush()
            os.fsync(out.fileno())
        directory = os.open(place, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as fault:
        raise Refused(
            f'queue "{queue}": a message too large for the target cannot be exported to {place}: '
            f"{(fault.strerror or str(fault)).lower()}",
            hint="make the folder of export.folder writable for the daemon, with room for the message",
        ) from None
    return file


def _folder_name(queue: str) -> str:
    """A file name for any queue name: no path leads out of the folder, and none is longer than file systems allow."""
    name = quote(queue, safe="")
    if not name.strip("."):
        return name.replace(".", "%2E")
    return name if len(name) <= _LONGEST else f"{name[:150]}-{hashlib.sha256(queue.encode()).hexdigest()}"


def exporter(folder: Path) -> Callable[[str, int, bytes], None]:
    """`write` in a thread of its own: a slow disk must not stop the heartbeats."""

    def export(queue: str, tag: int, wire: bytes) -> None:
        gevent.get_hub().threadpool.apply(write, (folder, queue, tag, wire))

    return export
