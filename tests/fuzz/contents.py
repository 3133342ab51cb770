"""Bodies that a seed makes: of every serializer and compression, whole and bent."""

from __future__ import annotations

import json
import pickle
import random
from datetime import UTC, datetime
from functools import cache

import msgpack
import yaml

from tests.fuzz.bombs import JSON, MSGPACK, PACKERS, PICKLE, YAML

_ETAS: tuple[object, ...] = (
    None,
    "2030-01-01T00:00:10Z",
    "2031-01-01T00:00:00+05:30",
    "soon",
    "",
    0,
    1.5,
    [],
    "\xff",
    "2029-01-01",
)


@cache
def _whole() -> tuple[tuple[bytes, bytes], ...]:
    """Bodies as Celery writes them, with their content types."""
    found = [(b'[["a@example.org"], {}, {"callbacks": null}]', JSON), (b"", JSON), (b"hello", b"text/plain")]
    for eta in _ETAS:
        task = {"task": "shop.mail", "id": "4c1f", "args": [1, "é", None], "kwargs": {"eta": "x"}, "eta": eta}
        found += [
            (json.dumps(task).encode(), JSON),
            (yaml.safe_dump(task).encode(), YAML),
            (msgpack.packb(task), MSGPACK),
            *((pickle.dumps(task, protocol), PICKLE) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        ]
    moment = {"task": "shop.mail", "eta": datetime(2030, 1, 1, 1, tzinfo=UTC)}
    found += [(pickle.dumps(moment, 2), PICKLE), (yaml.safe_dump(moment).encode(), YAML)]
    found += [(pack(body), kind) for _, pack in PACKERS.values() for body, kind in found[:8]]
    return tuple(found)


def body(chance: random.Random) -> tuple[bytes, bytes]:
    """A body and its content type."""
    content, kind = chance.choice(_whole())
    roll = chance.random()
    if roll < 0.6:
        return content, kind
    if roll < 0.75:
        return content + b" %x" % chance.getrandbits(32), kind
    if roll < 0.9 and content:
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed), kind
    if roll < 0.97:
        return content[: chance.randrange(len(content) + 1)], kind
    return chance.randbytes(chance.choice((1, 4088, 4089, 9000, 20_000))), kind
