"""When a task is due: Celery's own worker is the judge of every value, for headers and for bodies."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import msgpack
import pytest
import yaml
from amqp.serialization import dumps as amqp_dumps
from amqp.serialization import loads as amqp_loads
from celery import Celery
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request
from celery.worker.strategy import hybrid_to_proto2, proto1_to_proto2
from dateutil.parser import isoparse
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.message import Message
from kombu.serialization import dumps

from bridge.core import eta, ladder

S, X, T, V = b"SxTV"
NOON = "2030-01-01T12:00:00"
NOON_SECONDS = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
JSON = b"application/json"
ACCEPTED = {"application/json", "application/x-yaml", "application/x-msgpack", "application/x-python-serialize"}


class Rejected(Exception):
    """The worker does not run the task, or falls over it."""


@pytest.fixture(scope="module")
def worker() -> Callable[..., float | None]:
    """When a real worker would run a message, as its strategy and request read it."""
    app = Celery("judge", set_as_current=False)
    app.conf.timezone = "Pacific/Kiritimati"  # 14 hours from UTC: whoever takes naive times for local ones shows

    def work() -> None: ...

    task = app.task(name="t")(work)

    def due(headers: dict[str, object], body: bytes, content_type: str) -> float | None:
        message = Message(body, content_type=content_type, content_encoding="utf-8", headers=headers, accept=ACCEPTED)
        try:
            if "task" not in headers:
                decoded, headers, _, _ = proto1_to_proto2(message, message.decode())
            elif "args" in message.payload:
                decoded, headers, _, _ = hybrid_to_proto2(message, message.payload)
            else:
                decoded = message.payload
            moment = Request(message, app=app, task=task, headers=headers, body=decoded, decoded=True)._eta
        except (InvalidTaskError, AttributeError) as fault:
            raise Rejected from fault
        return None if moment is None else float(moment.timestamp())

    return due


def outcome(read: Callable[[], float | None]) -> float | str | None:
    try:
        return read()
    except (eta.Unreadable, Rejected):
        return "refused"


def agree(ours: float | str | None, theirs: float | str | None) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-6)
    return ours == theirs


# The text


def plain(text: str) -> float:
    moment = isoparse(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


DIGITS = st.integers(0, 99).map("{:02}".format)
YEAR = st.one_of(st.just("2030"), st.integers(0, 9999).map("{:04}".format))
FRACTION = st.one_of(
    st.sampled_from(["", ".5", ".000000", ",123456", ".1234567", "."]), st.from_regex(r"\.[0-9]{6}", fullmatch=True)
)
ZONE = st.one_of(
    st.sampled_from(["", "Z", "z", "+00:00", "-00:00", "+24:00", "+10:60", "+05", "+0530", "-23:59", "+05:30:10", " "]),
    st.builds("{}{}:{}".format, st.sampled_from("+-"), DIGITS, DIGITS),
)


def often(text: str) -> st.SearchStrategy[str]:
    """Two digits that are mostly in range."""
    return st.one_of(st.just(text), DIGITS)


#: The shape Celery writes, and what differs from it by little.
NEAR = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    YEAR,
    often("02"),
    often("29"),
    st.sampled_from("TTTT t-"),
    often("24"),
    often("00"),
    often("00"),
    FRACTION,
    ZONE,
)


@given(st.one_of(NEAR, st.text(max_size=30), st.text("0123456789-:.TWZ+ ", max_size=30)))
@example("2030-01-01T24:00:00")
@example("2030-01-01T24:00:00Z")
@example("2030-01-01T23:59:60Z")
@example("2030-01-01T00:00:00+10:60")
@example("2030-01-01T00:00:00+24:00")
@example("2030-01-01T00:00:00Z\n")
@example("٢٠٣٠-01-01T00:00:00")
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T24:00:00")
@example("9999-12-31T23:59:59-23:59")
@example("2030-01")
@example("2030-W01-1T10")
@example("20300101T101112")
def test_the_fast_path_reads_what_isoparse_reads(text: str) -> None:
    try:
        expected: float | str = plain(text)
    except (ValueError, OverflowError):
        expected = "refused"
    assert outcome(lambda: eta.parse(text)) == expected


MOMENT = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001 the zone is drawn apart
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENT, st.one_of(st.none(), st.just(UTC), OFFSETS))
def test_what_isoformat_writes(naive: datetime, zone: timezone | None) -> None:
    assert eta.parse(naive.replace(tzinfo=zone).isoformat()) == naive.replace(tzinfo=zone or UTC).timestamp()


def test_a_time_without_a_zone_is_utc() -> None:
    assert eta.parse("2030-01-01T12:00:00") == eta.parse("2030-01-01T12:00:00Z") == NOON_SECONDS
    assert eta.parse("2030-01-01T14:30:00.500000+02:30") == NOON_SECONDS + 0.5


# The header


def field(tag: int, raw: bytes) -> object:
    """What py-amqp gives the worker for a field."""
    size = struct.pack(">I", len(raw)) if tag in (S, X) else b""
    entry = b"\x03eta" + bytes([tag]) + size + raw
    (table,), _ = amqp_loads("F", struct.pack(">I", len(entry)) + entry, 0)
    return table["eta"]


@pytest.mark.parametrize(
    ("tag", "raw"),
    [
        (V, b""),
        (S, NOON.encode()),
        (S, b"2030-01-01T12:00:00.123456+02:00"),
        (S, b"2030-01"),
        (S, b""),
        (S, b"tomorrow"),
        (S, b"2030-01-01T12:00:00 "),
        (S, "2030-01-01é12:00:00".encode()),
        (X, NOON.encode()),
        (X, b""),
        (X, b"tomorrow"),
        (T, struct.pack(">Q", 1893499200)),
        (T, struct.pack(">Q", 0)),
        (T, struct.pack(">Q", 253402214400)),
        *((ord(tag), raw) for tag, raw in (
            ("t", b"\x00"), ("t", b"\x01"), ("b", b"\x01"), ("B", b"\x00"), ("s", b"\x00\x01"), ("u", b"\x00\x01"),
            ("I", b"\x00\x00\x00\x01"), ("i", b"\x00\x00\x00\x00"), ("l", b"\x00" * 8), ("L", b"\x00" * 7 + b"\x01"),
            ("f", struct.pack(">f", 1.5)), ("d", struct.pack(">d", 1.9e9)), ("D", b"\x01\x00\x00\x00\x01"),
            ("A", b"\x00" * 4), ("F", b"\x00" * 4),
        )),
    ],
)  # fmt: skip
def test_a_header_counts_as_the_worker_counts_it(worker: Callable[..., float | None], tag: int, raw: bytes) -> None:
    headers = {"task": "t", "id": "1", "eta": field(tag, raw)}
    theirs = outcome(lambda: worker(headers, b"[[], {}, {}]", "application/json"))
    assert agree(outcome(lambda: eta.of_header_value(tag, raw)), theirs)


def test_what_celery_sends_in_headers() -> None:
    moment = datetime(2030, 1, 1, 12, 0, 0, 250000, UTC)
    for value, due in (
        (moment.isoformat(), NOON_SECONDS + 0.25),
        (None, None),
        (moment.replace(microsecond=0), NOON_SECONDS),
    ):
        wire = amqp_dumps("F", ({"eta": value},))
        tag, raw = wire[8], wire[9:]
        assert eta.of_header_value(tag, raw[4:] if tag in (S, X) else raw) == due


@pytest.mark.parametrize("raw", [struct.pack(">Q", 253402300800), struct.pack(">Q", 1893499200000000), b"\xff" * 8])
def test_a_timestamp_beyond_all_years_is_unreadable(raw: bytes) -> None:
    with pytest.raises(eta.Unreadable):
        eta.of_header_value(T, raw)


@pytest.mark.parametrize("raw", [b"\xff", b"2030-01-01\xff12:00:00"])
def test_a_header_that_is_not_ascii_is_unreadable(raw: bytes) -> None:
    for tag in (S, X):
        with pytest.raises(eta.Unreadable, match="not ASCII"):
            eta.of_header_value(tag, raw)


# The body


def task(value: object, serializer: str = "json", **more: object) -> tuple[bytes, str]:
    """A body of protocol 1 as Celery makes it, and its content type."""
    content_type, encoding, body = dumps(
        {
            "task": "t",
            "id": "1",
            "args": [],
            "kwargs": {"eta": "2040-01-01"},
            "retries": 0,
            "eta": value,
            "utc": True,
            **more,
        },
        serializer,
    )
    return body.encode(encoding) if isinstance(body, str) else body, content_type


def due(
    body: bytes, content_type: str | None, *, hybrid: bool = False, compression: bytes | None = None
) -> float | str | None:
    kind = None if content_type is None else content_type.encode()
    return outcome(lambda: eta.of_body(body, kind, b"utf-8", compression, hybrid=hybrid))


VALUES = [
    None, NOON, f"{NOON}.000001+02:00", "2030-01-01", "", "tomorrow", 0, 1, 1.9e9, True, [], [NOON], {}, {"at": NOON},
    datetime(2030, 1, 1, 12, tzinfo=UTC), datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=-3))),
    datetime(2030, 1, 1, 12),  # noqa: DTZ001 a producer without a zone
]  # fmt: skip


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack", "pickle"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_body_counts_as_the_worker_counts_it(
    worker: Callable[..., float | None], serializer: str, value: object
) -> None:
    if serializer == "msgpack" and isinstance(value, datetime):
        with pytest.raises(Exception, match="serialize"):
            task(value, serializer)
        return
    body, content_type = task(value, serializer)
    assert agree(due(body, content_type), outcome(lambda: worker({}, body, content_type)))
    if serializer == "json":
        headers = {"task": "t", "id": "1"}
        assert agree(due(body, content_type, hybrid=True), outcome(lambda: worker(headers, body, content_type)))


def test_bytes_count_as_text() -> None:
    assert due(msgpack.packb({"task": "t", "eta": NOON.encode()}), "application/x-msgpack") == NOON_SECONDS
    assert due(msgpack.packb({"task": "t", "eta": b"\xff"}), "application/x-msgpack") == "refused"


def test_a_time_that_its_producer_meant_as_local_is_utc(worker: Callable[..., float | None]) -> None:
    # Celery 3.1 with enable_utc=False; workers since 4.0 read it as UTC, and so the bridge.
    body, content_type = task(NOON, utc=False)
    assert due(body, content_type) == worker({}, body, content_type) == NOON_SECONDS


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack", "pickle"])
def test_what_is_no_task_is_due(serializer: str) -> None:
    for value in ({"eta": NOON}, {"task_id": "x", "status": "SUCCESS", "result": NOON}, [NOON], "eta"):
        content_type, _, body = dumps(value, serializer)
        assert due(body.encode() if isinstance(body, str) else body, content_type) is None
    assert due(b"", "application/json") is None
    assert due(b"raw", None) is None


def test_a_task_without_the_key_is_due() -> None:
    assert due(b'{"task": "t"}', "application/json") is None
    assert due(b'{"args": []}', "application/json", hybrid=True) is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b'{"task": "t", "eta": {"__type__": "datetime", "__value__": "x"}}', "application/json"),
        (b"\x81", "application/x-msgpack"),
        (b"{", "application/x-yaml"),
        (b"x", "application/x-python-serialize"),
        (b"{}", "application/x-own"),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, content_type: str) -> None:
    assert due(body, content_type) == "refused"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[[], {"eta": "2040-01-01"}, {}]', "application/json"),
        (b"  [[], {}, {}]", "application/json"),
        (b"\xffencrypted", "application/json"),
        (b"", "application/json"),
        (b'{"kwargs": {}, "eta": "2040-01-01"}', "application/json"),
        (yaml.safe_dump({"args": [], "eta": "2040-01-01"}).encode(), "application/x-yaml"),
        (b"cos\nsystem\n(S'exit 1'\ntR.", "application/x-python-serialize"),
        (b"{}", "application/x-own"),
        (b"{}", None),
    ],
)
def test_a_body_of_protocol_2_says_nothing(body: bytes, content_type: str | None) -> None:
    assert due(body, content_type, hybrid=True) is None


def test_a_hybrid() -> None:
    body = json.dumps({"args": [], "eta": NOON}).encode()
    assert due(b"\n " + body, "application/json", hybrid=True) == NOON_SECONDS
    assert due(body[:-1], "application/json", hybrid=True) == "refused"
    # Without `task` in body or headers it is none of Celery's.
    assert due(body, "application/json") is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"args": [], "eta": "2030-01-01T12:00:00"}', NOON_SECONDS), (b"[[], {}, {}]", None)],
)
def test_a_compressed_hybrid(body: bytes, expected: float | None) -> None:
    assert due(zlib.compress(body), "application/json", hybrid=True, compression=b"zlib") == expected


# The delay


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        *((left, 0) for left in (-1e9, -0.5, 0, 0.4, 0.999, -math.inf, math.nan)),
        (1, 1),
        (1.999, 1),
        (90.9, 90),
        (ladder.MAX_DELAY - 1, ladder.MAX_DELAY - 1),
        *((left, ladder.MAX_DELAY) for left in (2**28 - 1, 2**28 - 0.5, 2**28, 9 * 366 * 86400, 1e300, math.inf)),
    ],
)
def test_the_delay(left: float, seconds: int) -> None:
    assert eta.delay(left, 0.0) == seconds


def test_no_eta_is_due() -> None:
    assert eta.delay(None, NOON_SECONDS) == 0


@given(st.floats(), st.floats())
def test_a_delay_is_one_the_ladder_holds_and_never_late(due_at: float, now: float) -> None:
    delay = eta.delay(due_at, now)
    assert 0 <= delay <= ladder.MAX_DELAY
    assert delay == 0 or ladder.key_bytes(delay)
    assert delay == 0 or delay <= due_at - now
