"""Where a message goes and when it is there: semantics.md section 9, "Routing/ETA"."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone

from bridge.core import properties as p
from tests.functional.cases import ABSENT, Case, Lands, Message, iso, shortstr, task

_YEAR = 365.25 * 86400
_INDIA = timezone(timedelta(hours=5, minutes=30))


def _naive(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat()


def _unreadable(name: str, eta: object) -> Case:
    return Case(f"eta-{name}", 9, lambda now: task(eta=eta), counts={"eta_unreadable": 1})


ROUTING = (
    Case("eta-null", 1, lambda now: task()),
    Case("eta-absent", 1, lambda now: task(eta=ABSENT)),
    Case(
        "every-property",
        1,
        lambda now: task().but(
            {
                p.MESSAGE_ID: shortstr("m-1"),
                p.TIMESTAMP: struct.pack(">Q", 1_900_000_000),
                p.TYPE: shortstr("type"),
                p.APP_ID: shortstr("celery"),
                p.CLUSTER_ID: shortstr(""),
                p.REPLY_TO: shortstr(""),
            }
        ),
    ),
    Case("no-header-table", 1, lambda now: Message({p.DELIVERY_MODE: b"\x02"}, None, b"no task at all")),
    Case("eta-past", 2, lambda now: task(eta=iso(now - 3600))),
    Case("eta-90.9", 3, lambda now: task(eta=iso(now + 90.9)), Lands.WAITS, 90.9),
    Case("eta-day", 3, lambda now: task(eta=iso(now + 86401.5)), Lands.WAITS, 86401.5),
    Case("eta-5.9", 3, lambda now: task(eta=iso(now + 5.9)), Lands.DELAYED, 5.9),
    Case("eta-0.4", 4, lambda now: task(eta=iso(now + 0.4))),
    Case("eta-1.0", 5, lambda now: task(eta=iso(now + 1.0)), Lands.SOON, 1.0),
    Case("eta-2.8", 5, lambda now: task(eta=iso(now + 2.8)), Lands.DELAYED, 2.8),
    Case("eta-naive", 6, lambda now: task(eta=_naive(now + 4.5)), Lands.DELAYED, 4.5),
    Case("eta-naive-far", 6, lambda now: task(eta=_naive(now + 90.9)), Lands.WAITS, 90.9),
    Case(
        "eta-india",
        6,
        lambda now: task(eta=datetime.fromtimestamp(now + 4.5, _INDIA).isoformat()),
        Lands.DELAYED,
        4.5,
    ),
    # What dateutil's isoparse, and so the worker, reads beyond datetime.fromisoformat.
    Case(
        "eta-month",
        6,
        lambda now: task(eta="2031-05"),
        Lands.WAITS,
        lambda now: datetime(2031, 5, 1, tzinfo=UTC).timestamp(),
    ),
    Case(
        "eta-midnight-24",
        6,
        lambda now: task(eta="2031-05-01T24:00:00Z"),
        Lands.WAITS,
        lambda now: datetime(2031, 5, 2, tzinfo=UTC).timestamp(),
    ),
    Case(
        "eta-timestamp",
        6,
        lambda now: task(eta=b"T" + struct.pack(">Q", int(now) + 6)),
        Lands.DELAYED,
        lambda now: int(now) + 6,
    ),
    Case(
        "eta-bytes",
        6,
        lambda now: task(eta=b"x" + struct.pack(">I", 32) + iso(int(now) + 90.5).encode()),
        Lands.WAITS,
        lambda now: int(now) + 90.5,
    ),
    _unreadable("empty", ""),
    _unreadable("zero", 0),
    _unreadable("int", 1_900_000_000),
    _unreadable("double", 1_900_000_000.5),
    _unreadable("true", True),
    _unreadable("garbage", "tomorrow"),
    _unreadable("rfc-2822", "Tue, 01 Jan 2030 00:00:00 GMT"),
    _unreadable("second-60", "2030-01-01T00:00:60Z"),
    _unreadable("trailing-space", "2030-01-01T00:00:00Z "),
    _unreadable("not-utf8", b"S\x00\x00\x00\x02\xff\xfe"),
    _unreadable("list", ["2030-01-01T00:00:00Z"]),
    _unreadable("table", {"__type__": "datetime", "__value__": "2030-01-01T00:00:00Z"}),
    Case("eta-9-years", 10, lambda now: task(eta=iso(now + 9 * _YEAR)), Lands.WAITS, 9 * _YEAR),
    Case(
        "eta-year-9999",
        10,
        lambda now: task(eta="9999-12-31T23:59:59+00:00"),
        Lands.WAITS,
        lambda now: datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp(),
    ),
    # Celery binds q1 with "#.q1", which catches the key of a.q1 as well.
    Case(
        "a.q1",
        15,
        lambda now: task(eta=iso(now + 3.5)),
        Lands.DELAYED,
        3.5,
        bound=("celery", "topic"),
        celery_bound=True,
        beside=("q1",),
    ),
    # Nothing of Celery's leads to a queue on a direct exchange.
    Case("on-direct", 18, lambda now: task(eta=iso(now + 3.5)), Lands.DELAYED, 3.5, bound=("direct-18", "direct")),
    Case("no-exchange", 18, lambda now: task(eta=iso(now + 3.5)), Lands.DELAYED, 3.5),
    Case("read-from", 21, lambda now: task(), source=("topic-21", "orders.eu.created"), beside=("orders.eu.created",)),
    Case("read-from-eta", 21, lambda now: task(eta=iso(now + 3.5)), Lands.DELAYED, 3.5, source=("topic-21", "mail.x")),
    # Our exit's word: special characters escaped, a hash where it would not fit into a routing key.
    Case("naïve #.* %2F~é", 15, lambda now: task(eta=iso(now + 3.5)), Lands.DELAYED, 3.5),
    Case("long-" + "n" * 245, 15, lambda now: task(eta=iso(now + 3.5)), Lands.DELAYED, 3.5),
)
