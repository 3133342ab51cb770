"""What a message is when it is there: semantics.md section 9, "Protocol/body", "Headers/properties", "Expiry"."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import msgpack
import yaml

from bridge.core import properties as p
from tests.functional.cases import (
    ABSENT,
    Case,
    Differs,
    Lands,
    Message,
    iso,
    old_entries,
    old_json,
    old_task,
    shortstr,
    task,
)

#: What a malicious pickle makes when somebody loads it.
PICKLE_RAN = Path(tempfile.gettempdir(), f"bridge-conformance-{os.getpid()}")
#: A user of the old broker that the target does not know as ours.
OLD_USER = "old-app"
#: The lab's user, by whom the bridge publishes.
OUR_USER = "bridge"
#: Bytes of the largest body that RabbitMQ 4 takes.
LARGEST = 16 * 1024**2
#: Bytes of a body frame, by RabbitMQ's frame-max.
FRAME = 131072 - 8


class _Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return subprocess.call, (["touch", str(PICKLE_RAN)],)


def _json(now: float, **changed: object) -> Message:
    return old_task(old_json(iso(now + 4.5), **changed), "application/json", "utf-8")


def _pickle(entries: object, protocol: int = 2) -> Message:
    return old_task(pickle.dumps(entries, protocol), "application/x-python-serialize")


def _opaque(body: bytes, content_type: str, now: float | None = None) -> Message:
    """A task of protocol 2 whose body nobody but its worker can read."""
    eta = None if now is None else iso(now + 90.9)
    return task(body, eta=eta).but({p.CONTENT_TYPE: shortstr(content_type), p.CONTENT_ENCODING: shortstr("binary")})


BODIES = (
    Case("v1-json", 25, _json, Lands.DELAYED, 4.5),
    Case("v1-json-null", 25, lambda now: old_task(old_json(None), "application/json", "utf-8")),
    Case("v1-json-garbage", 25, lambda now: old_task(b'{"task": ', "application/json"), counts={"eta_unreadable": 1}),
    Case(
        "v1-yaml",
        25,
        lambda now: old_task(yaml.safe_dump(old_entries(iso(now + 90.9))).encode(), "application/x-yaml", "utf-8"),
        Lands.WAITS,
        90.9,
    ),
    Case(
        "v1-msgpack",
        25,
        lambda now: old_task(msgpack.packb(old_entries(iso(now + 90.9))), "application/x-msgpack"),
        Lands.WAITS,
        90.9,
    ),
    Case(
        "v1-compressed",
        46,
        lambda now: old_task(
            zlib.compress(old_json(iso(now + 90.9))), "application/json", "utf-8", compression="application/x-gzip"
        ),
        Lands.WAITS,
        90.9,
    ),
    Case("v1-pickle", 27, lambda now: _pickle(old_entries(iso(now + 4.5))), Lands.DELAYED, 4.5),
    Case(
        "v1-pickle-malicious",
        27,
        lambda now: _pickle(old_entries(iso(now + 90.9), args=[_Malicious()])),
        Lands.WAITS,
        90.9,
    ),
    # What would come out of this is known only to who calls what it names.
    Case("v1-pickle-all-malicious", 27, lambda now: _pickle(_Malicious()), counts={"eta_unreadable": 1}),
    Case("v1-pickle-eta-malicious", 27, lambda now: _pickle(old_entries(_Malicious())), counts={"eta_unreadable": 1}),
    Case("v2-pickle", 29, lambda now: _opaque(pickle.dumps(_Malicious()), "application/x-python-serialize")),
    Case(
        "v2-pickle-eta",
        29,
        lambda now: _opaque(pickle.dumps(_Malicious()), "application/x-python-serialize", now),
        Lands.WAITS,
        90.9,
    ),
    Case("v2-encrypted", 29, lambda now: _opaque(bytes(range(256)) * 3, "application/x-encrypted")),
    Case("v2-invalid-json", 29, lambda now: task(b'[["a@example.org"], {"eta": ')),
    Case(
        "v2-kwargs-eta",
        31,
        lambda now: task(json.dumps([[], {"eta": iso(now + 90)}, {"eta": iso(now + 90)}]).encode()),
    ),
    Case("v2-nested-eta", 31, lambda now: task(stamps={"eta": iso(now + 90), "deep": {"eta": iso(now + 90)}})),
    Case("body-empty", 32, lambda now: task(b"")),
    Case("body-empty-eta", 32, lambda now: task(b"", eta=iso(now + 3.5)), Lands.DELAYED, 3.5),
    Case("v1-body-empty", 32, lambda now: old_task(b"", "application/json")),
    Case("body-one-frame", 32, lambda now: task(os.urandom(FRAME))),
    Case("body-two-frames", 32, lambda now: task(os.urandom(FRAME + 1))),
    Case("body-frames-eta", 32, lambda now: task(os.urandom(3 * FRAME), eta=iso(now + 3.5)), Lands.DELAYED, 3.5),
    Case("body-largest", 32, lambda now: task(os.urandom(LARGEST))),
)

#: One value of each type that RabbitMQ knows, as Celery never writes most of them and other producers do.
TAGS: dict[str, object] = {
    "bool": True,
    "int8": b"b\xfb",
    "uint8": b"B\xc8",
    "int16": b"s\xff\x00",
    "uint16": b"u\xff\x00",
    "int32": -5,
    "uint32": b"i" + struct.pack(">I", 4_000_000_000),
    "int64": b"l" + struct.pack(">q", -1000),
    "long": b"L" + struct.pack(">q", 2**40),
    "float": b"f" + struct.pack(">f", 1.5),
    "double": 300.5,
    "decimal": b"D\x02" + struct.pack(">I", 100),
    "time": b"T" + struct.pack(">Q", 1_900_000_000),
    "time-ms": b"T" + struct.pack(">Q", 1_900_000_000_000),
    "bytes": b"x\x00\x00\x00\x03\xff\x00\x01",
    "void": None,
    "text": "naïve",
    "text-not-utf8": b"S\x00\x00\x00\x02\xff\xfe",
    "text-empty": "",
    "array": [None, 1, 2.5, [None, "eta"], {"eta": None}],
    "array-empty": [],
    "table": {"z": None, "a": 300.5, "m": {"list": [b"b\x01", True]}},
    "table-empty": {},
    "": "a name without letters",
}
_STAMPS = {"stamps": {"rate": 0.1, "deep": [[1.0, None], [{"x": 2**31 - 1}]]}, "big": b"l" + struct.pack(">q", 2**62)}

DEATH = {
    "x-death": [
        {
            "count": b"l" + struct.pack(">q", 1),
            "reason": "expired",
            "queue": "celery_delayed_2",
            "time": b"T" + struct.pack(">Q", 1_700_000_000),
            "exchange": "celery_delayed_2",
            "routing-keys": ["0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.q1"],
        }
    ],
    "x-first-death-exchange": "celery_delayed_2",
    "x-first-death-queue": "celery_delayed_2",
    "x-first-death-reason": "expired",
}
_LATER_DEATH = {
    "x-last-death-exchange": "celery_delayed_2",
    "x-last-death-queue": "celery_delayed_2",
    "x-last-death-reason": "expired",
    "x-delivery-count": 3,
    "x-acquired-count": b"l" + struct.pack(">q", 4),
}
_NO_DEATH = dict.fromkeys({**DEATH, **_LATER_DEATH}, ABSENT)

_CAP = "RabbitMQ 4.0 to 4.2 lets one priority above 4 hold back all due tasks of its level: 4 in the ladder"
_CAPPED = {"4.0": Differs(_CAP, lambda sent: sent.but({p.PRIORITY: b"\x04"}), {"priority_capped": 1})}

HEADERS = (
    Case("timelimit-double", 34, lambda now: task(timelimit=[300.5, 60])),
    Case("timelimit-null", 34, lambda now: task(timelimit=[None, 300])),
    Case("stamps", 34, lambda now: task().but(headers=_STAMPS)),
    Case("stamps-eta", 34, lambda now: task(eta=iso(now + 3.5)).but(headers=_STAMPS), Lands.DELAYED, 3.5),
    Case("every-type", 35, lambda now: task().but(headers=TAGS)),
    Case("every-type-eta", 35, lambda now: task(eta=iso(now + 3.5)).but(headers=TAGS), Lands.DELAYED, 3.5),
    Case("every-type-v1", 35, lambda now: _json(now).but(headers=TAGS), Lands.DELAYED, 4.5),
    Case("priority-absent", 39, lambda now: task().but({p.PRIORITY: ABSENT})),
    Case("priority-9", 39, lambda now: task().but({p.PRIORITY: b"\x09"})),
    Case("priority-absent-eta", 39, lambda now: task(eta=iso(now + 3.5)).but({p.PRIORITY: ABSENT}), Lands.DELAYED, 3.5),
    Case("priority-4-eta", 39, lambda now: task(eta=iso(now + 3.5)).but({p.PRIORITY: b"\x04"}), Lands.DELAYED, 3.5),
    # The first is in level 2 from 0 to 4 s, the second from 3.7 to 7.7 s: it must not keep the first there.
    Case("priority-0-eta", 39, lambda now: task(eta=iso(now + 4.9)), Lands.DELAYED, 4.9),
    Case(
        "priority-9-eta",
        39,
        lambda now: task(eta=iso(now + 7.9)).but({p.PRIORITY: b"\x09"}),
        Lands.DELAYED,
        7.9,
        differs=_CAPPED,
        later=3.7,
    ),
    Case("transient", 40, lambda now: task().but({p.DELIVERY_MODE: b"\x01"})),
    Case("transient-eta", 40, lambda now: task(eta=iso(now + 3.5)).but({p.DELIVERY_MODE: b"\x01"}), Lands.DELAYED, 3.5),
    Case("mode-absent", 40, lambda now: task().but({p.DELIVERY_MODE: ABSENT})),
    Case(
        "user-id-old",
        41,
        lambda now: task().but({p.USER_ID: shortstr(OLD_USER)}),
        arrives=lambda sent: sent.but({p.USER_ID: ABSENT}),
        user=OLD_USER,
    ),
    Case("user-id-ours", 41, lambda now: task().but({p.USER_ID: shortstr(OUR_USER)})),
    # The old broker took the copy for BCC when it got the message, and hides that header from consumers.
    Case(
        "cc",
        42,
        lambda now: task().but(headers={"CC": ["cc-42", "bcc-42"]}),
        arrives=lambda sent: sent.but(headers={"CC": ABSENT}),
        beside=("cc-42", "bcc-42"),
    ),
    Case(
        "bcc-eta",
        42,
        lambda now: task(eta=iso(now + 3.5)).but(headers={"BCC": ["bcc-42"], "CC": ["cc-42"]}),
        Lands.DELAYED,
        3.5,
        arrives=lambda sent: sent.but(headers={"CC": ABSENT, "BCC": ABSENT}),
        beside=("cc-42", "bcc-42"),
    ),
    # RabbitMQ 3.x drops what says that it passed a level before: 5 s pass levels 2 and 0.
    Case(
        "x-death-eta",
        43,
        lambda now: task(eta=iso(now + 5.9)).but(headers={**DEATH, **_LATER_DEATH}),
        Lands.DELAYED,
        5.9,
        arrives=lambda sent: sent.but(headers=_NO_DEATH),
    ),
    Case(
        "x-death",
        43,
        lambda now: task().but(headers={**DEATH, **_LATER_DEATH}),
        arrives=lambda sent: sent.but(headers=_NO_DEATH),
    ),
    # A header of the application's own that only looks like one of those.
    Case("x-own", 43, lambda now: task().but(headers={"x-deathly": "kept", "x-trace": [1.5], "CCX": "kept"})),
)

EXPIRY = (
    Case(
        "expires-20",
        47,
        lambda now: task(expires=iso(now + 20)).but({p.EXPIRATION: shortstr("60000")}),
        expiration=(15_000, 20_000),
    ),
    Case(
        "expires-later",
        47,
        lambda now: task(expires=iso(now + 50)).but({p.EXPIRATION: shortstr("60000")}),
        expiration=(45_000, 50_000),
    ),
    # With its expiration it would leave the first level after 2 s.
    Case(
        "expires-before-eta",
        48,
        lambda now: task(eta=iso(now + 5.9), expires=iso(now + 2)).but({p.EXPIRATION: shortstr("2000")}),
        Lands.DELAYED,
        5.9,
        arrives=lambda sent: sent.but({p.EXPIRATION: ABSENT}),
    ),
    Case(
        "expiration-eta",
        48,
        lambda now: task(eta=iso(now + 90.9)).but({p.EXPIRATION: shortstr("60000")}),
        Lands.WAITS,
        90.9,
        arrives=lambda sent: sent.but({p.EXPIRATION: ABSENT}),
    ),
    Case("expiration-alone", 50, lambda now: task().but({p.EXPIRATION: shortstr("60000")})),
    Case("expiration-0", 50, lambda now: task().but({p.EXPIRATION: shortstr("0")}), Lands.PERHAPS),
    Case(
        "expires-unreadable",
        50,
        lambda now: task(expires="soon").but({p.EXPIRATION: shortstr("60000")}),
        expiration=(60_000, 60_000),
    ),
)
