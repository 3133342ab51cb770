"""The kinds of messages that a rehearsal publishes: what old Celery installations are seen to send, hazards first.

Each shape is a way to call Celery's `send_task`. Together they cover the header types of semantics section 6, every
serializer and compression of section 4, both protocols, and the priorities of section 8.2.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bridge.lab.wiretap import Typed, small

#: Seconds until a task with `expires` would be revoked: far beyond any rehearsal, so that expiry never looks like loss.
FAR = 86_400


@dataclass(frozen=True)
class Shape:
    """How one task is sent: protocol 1 or 2, and what goes to `send_task` as options and as custom headers."""

    name: str
    protocol: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] | None = None


def _plain(_: random.Random) -> Shape:
    return Shape("plain")


def _limits(rng: random.Random) -> Shape:
    # A float here is what turned into 300 or "," in bridges that decode headers.
    hard, soft = rng.choice([(300.5, 60), (300, None), (1200.25, 600.125)])
    return Shape("limits", options={"time_limit": hard, "soft_time_limit": soft})


def _stamps(rng: random.Random) -> Shape:
    stamp = {"weight": rng.random(), "path": ["a", 1, None, [2.5, {"deep": True}]], "big": 2**41}
    return Shape("stamps", options={"stamped_headers": ["trace"], "trace": stamp})


def _expires(_: random.Random) -> Shape:
    return Shape("expires", options={"expires": FAR})


def _no_priority(_: random.Random) -> Shape:
    return Shape("priority absent", options={"priority": None})


def _high_priority(_: random.Random) -> Shape:
    return Shape("priority 9", options={"priority": 9})


def _group(rng: random.Random) -> Shape:
    group = f"{rng.getrandbits(128):032x}"
    return Shape(
        "group", options={"group_id": group, "group_index": rng.randrange(9), "root_id": group, "shadow": "lab"}
    )


def _plain_types(rng: random.Random) -> Shape:
    headers = {
        "tenant": "ü-42",
        "attempt": rng.randrange(-9, 9),
        "big": 2**40 + rng.randrange(1000),
        "negative": -(2**33),
        "urgent": rng.random() < 0.5,
        "nothing": None,
        "ratio": 0.1,
        "price": Decimal("12.50"),
        "when": dt.datetime(2031, 5, 6, 7, 8, 9),  # noqa: DTZ001 - AMQP timestamps have no zone, py-amqp wants it naive
        "raw": b"\x00\xff\xfe",
    }
    return Shape("plain types", headers=headers)


def _rare_types(_: random.Random) -> Shape:
    # Types that other clients write and py-amqp does not.
    headers = {
        "int8": small("b", -5),
        "uint8": small("B", 200),
        "int16": small("s", -300),
        "uint16": small("u", 65_000),
        "uint32": small("i", 4_000_000_000),
        "int64": small("l", -1000),
        "float32": small("f", 1.5),
        "bytes": Typed(b"x", b"\x00\x00\x00\x03\x01\x02\xff"),
        "decimal": Typed(b"D", b"\x02\x00\x00\x00\x64"),  # 1.00: most clients lose the scale
    }
    return Shape("rare types", headers=headers)


def _nested(rng: random.Random) -> Shape:
    headers = {
        "baggage": {"z": 1, "a": [1, 2.5, None, "x", {"deeper": [True, -(2**50)]}], "n": rng.random()},
        "list": [],
    }
    return Shape("nested", headers=headers)


def _serialized(rng: random.Random) -> Shape:
    return Shape("serialized", options={"serializer": rng.choice(["pickle", "msgpack", "json"])})


def _compressed(rng: random.Random) -> Shape:
    return Shape("compressed", options={"compression": rng.choice(["gzip", "bzip2", "brotli"])})


def _protocol_1(rng: random.Random) -> Shape:
    serializer = rng.choices(["json", "pickle", "msgpack", "yaml"], [8, 4, 2, 1])[0]
    options: dict[str, Any] = {"serializer": serializer}
    if rng.random() < 0.2:
        options["compression"] = rng.choice(["gzip", "bzip2"])
    if rng.random() < 0.2:
        options["expires"] = FAR
    return Shape(f"protocol 1 {serializer}", protocol=1, options=options)


#: Shapes and how often each is taken. A third is plain; protocol 1 is a seventh, of which every serializer has its
#: part.
MIX: tuple[tuple[Callable[[random.Random], Shape], int], ...] = (
    (_plain, 33),
    (_limits, 8),
    (_stamps, 6),
    (_expires, 5),
    (_no_priority, 5),
    (_high_priority, 5),
    (_group, 5),
    (_plain_types, 6),
    (_rare_types, 4),
    (_nested, 4),
    (_serialized, 3),
    (_compressed, 2),
    (_protocol_1, 14),
)


def pick(rng: random.Random) -> Shape:
    """Return the next shape; the same seed gives the same sequence."""
    make = rng.choices([make for make, _ in MIX], [weight for _, weight in MIX])[0]
    return make(rng)
