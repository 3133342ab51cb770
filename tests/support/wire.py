"""Content headers and messages written by hand, so that a test knows every byte of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from bridge.core import frames
from bridge.core import properties as p


def shortstr(value: bytes) -> bytes:
    return bytes((len(value),)) + value


def value(given: object) -> bytes:
    """A field value with its type tag; `bytes` are taken as tag and value already."""
    if given is None:
        return b"V"
    if isinstance(given, bytes):
        return given
    if isinstance(given, bool):
        return b"t" + bytes((given,))
    if isinstance(given, int):
        return b"I" + struct.pack(">i", given)
    if isinstance(given, float):
        return b"d" + struct.pack(">d", given)
    if isinstance(given, str):
        return b"S" + struct.pack(">I", len(given.encode())) + given.encode()
    if isinstance(given, Mapping):
        return b"F" + table(given)
    if isinstance(given, Sequence):
        items = b"".join(value(one) for one in given)
        return b"A" + struct.pack(">I", len(items)) + items
    raise TypeError(given)


def entry(name: str, given: object) -> bytes:
    return shortstr(name.encode()) + value(given)


def table(entries: Mapping[str, object]) -> bytes:
    body = b"".join(entry(name, given) for name, given in entries.items())
    return struct.pack(">I", len(body)) + body


#: One value of each property as it stands on the wire.
SAMPLES: dict[int, bytes] = {
    p.CONTENT_TYPE: shortstr(b"application/json"),
    p.CONTENT_ENCODING: shortstr(b"utf-8"),
    p.HEADERS: table({"lang": "py", "x-death": [{"count": 1}], "task": "t", "CC": ["other"]}),
    p.DELIVERY_MODE: b"\x02",
    p.PRIORITY: b"\x09",
    p.CORRELATION_ID: shortstr(b"4c1f"),
    p.REPLY_TO: shortstr(b""),
    p.EXPIRATION: shortstr(b"60000"),
    p.MESSAGE_ID: shortstr(b"m\xff"),
    p.TIMESTAMP: struct.pack(">Q", 1_900_000_000),
    p.TYPE: shortstr(b"type"),
    p.USER_ID: shortstr(b"app"),
    p.APP_ID: shortstr(b"celery"),
    p.CLUSTER_ID: shortstr(b""),
}


def header(present: Mapping[int, bytes], body_size: int = 0) -> bytes:
    """A content header's payload with these properties."""
    flags = sum(present)
    listed = b"".join(present[flag] for flag in sorted(present, reverse=True))
    return struct.pack(">HHQH", 60, 0, body_size, flags) + listed


def task_headers(**changed: object) -> dict[str, object]:
    """Celery's header table of protocol 2, in its order; a value of `...` leaves a header out."""
    headers: dict[str, object] = {
        "lang": "py",
        "task": "shop.tasks.mail",
        "id": "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, 300.5],
        "root_id": "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11",
        "parent_id": None,
        "argsrepr": "('a@example.org',)",
        "kwargsrepr": "{}",
        "origin": "gen1@host",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    headers.update(changed)
    return {name: given for name, given in headers.items() if given is not ...}


def task(
    body: bytes = b'[["a@example.org"], {}, {"callbacks": null}]',
    properties: Mapping[int, bytes | None] | None = None,
    channel: int = 5,
    frame_max: int = 131072,
    headers: Mapping[str, object] | None = None,
    **changed: object,
) -> bytes:
    """Header and body frames of a Celery task."""
    present: dict[int, bytes] = {
        p.CONTENT_TYPE: shortstr(b"application/json"),
        p.CONTENT_ENCODING: shortstr(b"utf-8"),
        p.HEADERS: table(task_headers(**changed) if headers is None else headers),
        p.DELIVERY_MODE: b"\x02",
        p.PRIORITY: b"\x00",
        p.CORRELATION_ID: shortstr(b"4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11"),
        p.REPLY_TO: shortstr(b"b1f7c6f0-0000-3333-8888-000000000000"),
    }
    for flag, given in (properties or {}).items():
        if given is None:
            present.pop(flag, None)
        else:
            present[flag] = given
    return frames.header_frame(channel, header(present, len(body))) + frames.body_frames(channel, body, frame_max)
