"""Bodies: what kombu's serializers and compressions write is read, what a stranger made up is Unreadable."""

from __future__ import annotations

import base64
import bz2
import collections
import gzip
import json
import lzma
import tracemalloc
import zlib
from datetime import UTC, date, datetime, timedelta, timezone

import brotli
import msgpack
import pytest
import yaml
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from kombu import compression as kombu_compression
from kombu.serialization import dumps

from bridge.core import bodies

SERIALIZERS = ["json", "yaml", "msgpack", "pickle"]
TASK = {
    "task": "tasks.add",
    "id": "7b1f",
    "args": [1, "é", None, 2.5],
    "kwargs": {"eta": "not this one", "x": {"task": [1]}},
    "retries": 0,
    "eta": "2030-01-01T00:00:00.000001+00:00",
    "expires": None,
    "utc": True,
    "callbacks": None,
    "timelimit": [None, 300.5],
    "taskset": None,
    "chord": None,
}


def top(
    body: bytes, content_type: str | None, encoding: str | None = None, compression: str | None = None
) -> bodies.Entries:
    return bodies.top_level(
        body,
        None if content_type is None else content_type.encode(),
        None if encoding is None else encoding.encode(),
        None if compression is None else compression.encode(),
    )


def written(value: object, serializer: str) -> tuple[bytes, str, str]:
    """Body, content type and content encoding, as kombu publishes them."""
    content_type, encoding, body = dumps(value, serializer)
    return body.encode(encoding) if isinstance(body, str) else body, content_type, encoding


JSON, YAML, MSGPACK, PICKLE = (written({}, serializer)[1] for serializer in SERIALIZERS)


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_task_of_every_serializer(serializer: str) -> None:
    assert top(*written(TASK, serializer)) == {"task": TASK["task"], "args": bodies.OPAQUE, "eta": TASK["eta"]}


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    "value", [{}, {"status": "SUCCESS", "result": {"task": 1, "eta": "x"}}, [], [1, [2]], "eta", 5, None, True]
)
def test_what_is_no_task(serializer: str, value: object) -> None:
    assert top(*written(value, serializer)) == {}


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    ("eta", "read"),
    [
        (None, None),
        ("", ""),
        ("x" * 60, "x" * 60),
        (0, bodies.OPAQUE),
        (1.5, bodies.OPAQUE),
        (False, bodies.OPAQUE),
        ([], bodies.OPAQUE),
        ([None, ["x"] * 40], bodies.OPAQUE),
        ({"a": {"b": 1}}, bodies.OPAQUE),
        (2**60, bodies.OPAQUE),
    ],
)
def test_every_kind_of_eta(serializer: str, eta: object, read: object) -> None:
    body, content_type, encoding = written({"eta": eta, "task": "t"}, serializer)
    if serializer == "msgpack" and isinstance(eta, list) and eta:
        with pytest.raises(bodies.Unreadable, match="max_array_len"):
            top(body, content_type, encoding)
    else:
        assert top(body, content_type, encoding)["eta"] == read


@pytest.mark.parametrize("serializer", ["json", "yaml", "pickle"])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_a_datetime(serializer: str, zone: timezone) -> None:
    moment = datetime(2030, 1, 1, 12, 30, 15, 250000, zone)
    assert top(*written({"task": "t", "eta": moment}, serializer))["eta"] == moment


def test_kombus_own_types_in_json() -> None:
    naive = top(b'{"task":"t","eta":{"__type__":"datetime","__value__":"2030-01-01T00:00:00"}}', JSON)["eta"]
    assert naive == datetime(2030, 1, 1)  # noqa: DTZ001 as it was sent
    for other in (
        '{"__type__":"date","__value__":"2030-01-01"}',
        '{"__type__":"datetime","__value__":"2030-01-01","x":1}',
        '{"__type__":"datetime","__value__":1}',
    ):
        assert top(b'{"task":"t","eta":%s}' % other.encode(), JSON)["eta"] is bodies.OPAQUE
    with pytest.raises(bodies.Unreadable, match="isoformat"):
        top(b'{"task":"t","eta":{"__type__":"datetime","__value__":"soon"}}', JSON)


def test_the_last_of_two_keys_counts() -> None:
    for body, kind in (
        (b'{"eta":"a","eta":"b"}', JSON),
        (b"eta: a\neta: b\n", YAML),
        (b"\x82\xa3eta\xa1a\xa3eta\xa1b", MSGPACK),
        (b"}(Veta\nVa\nVeta\nVb\nu.", PICKLE),
    ):
        assert top(body, kind) == {"eta": "b"}


def test_keys_that_are_no_text() -> None:
    assert top(*written({1: "x", None: "y", b"eta": "z", ("eta",): 1}, "pickle")) == {}
    assert top(b"1: x\n~: y\n? [eta]\n: z\n? {a: b}\n: c\n!!binary ZXRh: v\neta: w\n", YAML) == {"eta": "w"}
    assert top(msgpack.packb({1: "x", None: [1] * 40, b"eta": "z", 2.5: {}, "eta": "w"}), MSGPACK) == {"eta": "w"}
    assert top(b"\x82\x92\x01\x02\xa1a\xa3eta\xa1w", MSGPACK) == {"eta": "w"}


# Content types


@pytest.mark.parametrize("kind", [None, "", "application/data", "text/plain", "text/html", "application/text"])
@pytest.mark.parametrize("body", [b"", b"hello", b'{"task": "t", "eta": "x"}', b"\x00\xff", b"eta=", b"abcde"])
def test_plain_and_raw_content_is_no_task(kind: str | None, body: bytes) -> None:
    assert top(body, kind) == {}


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_an_empty_body_is_no_task(serializer: str) -> None:
    assert top(b"", written({}, serializer)[1]) == {}


@pytest.mark.parametrize(
    "kind", ["application/x-own", "application/JSON", "application/json; charset=utf-8", "x" * 255, "\xff"]
)
def test_a_serializer_we_do_not_have(kind: str) -> None:
    with pytest.raises(bodies.Unreadable, match="no serializer of kombu's"):
        top(b"{}", kind)


def signed(body: bytes, content_type: str, encoding: str) -> bytes:
    """What Celery's auth serializer packs, the signature aside (celery/security/serialization.py)."""
    return base64.b64encode(b"\x00\x01".join([b"c2lnbmVy", b"c2ln", content_type.encode(), encoding.encode(), body]))


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_signed_body(serializer: str) -> None:
    assert top(signed(*written(TASK, serializer)), "application/data", "utf-8")["eta"] == TASK["eta"]


def test_a_signed_body_of_celery_3() -> None:
    # Signer, separator, raw signature, then the fields.
    inner = b"\x00\x01".join(
        [b"7", b"\x80\x00\x01\xff" * 32 + b"application/json", b"utf-8", b'{"task":"t","eta":"x"}']
    )
    assert top(base64.b64encode(inner.replace(b"\xffapplication", b"\xff\x00\x01application")), "application/data") == {
        "task": "t",
        "eta": "x",
    }


def test_what_was_signed_is_read_one_level_deep() -> None:
    body, content_type, encoding = written(TASK, "json")
    assert top(signed(signed(body, content_type, encoding), "application/data", "utf-8"), "application/data") == {}
    with pytest.raises(bodies.Unreadable, match="no serializer"):
        top(signed(body, "application/x-own", ""), "application/data")


# Compression

COMPRESSIONS = {
    "zlib": (["application/x-gzip", "gzip", "zlib"], zlib.compress),
    "real gzip": (["application/x-gzip", "gzip", "zlib"], gzip.compress),
    "bz2": (["application/x-bz2", "bzip2", "bzip"], bz2.compress),
    "brotli": (["application/x-brotli", "brotli"], brotli.compress),
    "lzma": (["application/x-lzma", "lzma", "xz"], lzma.compress),
    "zstandard": (["application/zstd", "zstd", "zstandard"], zstandard.compress),
}
PACKED = [(name, pack) for names, pack in COMPRESSIONS.values() for name in names]
PACKERS = [(names[0], pack) for names, pack in COMPRESSIONS.values()]


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_a_compressed_task(serializer: str, name: str, pack: collections.abc.Callable[[bytes], bytes]) -> None:
    body, content_type, encoding = written(TASK, serializer)
    assert top(pack(body), content_type, encoding, name)["eta"] == TASK["eta"]
    assert top(body, content_type, encoding, "")["eta"] == TASK["eta"]


@pytest.mark.parametrize("name", sorted({*kombu_compression._decoders, *kombu_compression._aliases}))
def test_all_that_kombu_compresses(name: str) -> None:
    body, content_type = kombu_compression.compress(json.dumps(TASK), name)
    for used in (name, content_type):
        assert top(body, JSON, "utf-8", used)["eta"] == TASK["eta"]


@pytest.mark.parametrize("name", ["application/x-zip", "GZIP", "deflate", "\xff"])
def test_a_compression_we_do_not_have(name: str) -> None:
    with pytest.raises(bodies.Unreadable, match="none of kombu's"):
        top(b"{}", JSON, None, name)


@pytest.mark.parametrize(("name", "pack"), PACKERS)
@pytest.mark.parametrize("size", [bodies.MAX_BODY - 1, bodies.MAX_BODY, bodies.MAX_BODY + 1])
def test_the_cap_is_exact(name: str, pack: collections.abc.Callable[[bytes], bytes], size: int) -> None:
    body = b'{"task":1}' + b" " * (size - 10)
    if size <= bodies.MAX_BODY:
        assert top(body, JSON) == top(pack(body), JSON, None, name) == {"task": bodies.OPAQUE}
    else:
        with pytest.raises(bodies.Unreadable, match="up to 262144 are read"):
            top(body, JSON)
        with pytest.raises(bodies.Unreadable, match="decompresses to more than 262144 bytes"):
            top(pack(body), JSON, None, name)


@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_a_compressed_body_that_is_cut_short_or_none(name: str, pack: collections.abc.Callable[[bytes], bytes]) -> None:
    whole = pack(json.dumps(TASK).encode() * 50)
    for broken in (whole[:-1], whole[:-5], whole[: len(whole) // 2], whole[:1], b"no such thing", b"\xff" * 50):
        with pytest.raises(bodies.Unreadable):
            top(broken, JSON, None, name)


@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_a_bomb_is_not_unpacked(name: str, pack: collections.abc.Callable[[bytes], bytes]) -> None:
    bomb = pack(b"\0" * 2**24)
    assert len(bomb) < bodies.MAX_BODY
    tracemalloc.start()
    try:
        with pytest.raises(bodies.Unreadable, match="decompresses to more than"):
            top(bomb, JSON, None, name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # LZMA has a dictionary of 8 MiB.
    assert peak < 2**24 - 2**21


def test_a_stream_that_asks_for_memory() -> None:
    with pytest.raises(bodies.Unreadable, match=r"[Mm]emory"):
        top(lzma.compress(b"{}", preset=9), JSON, None, "xz")
    wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=24)).compressobj()
    with pytest.raises(bodies.Unreadable, match="memory"):
        top(wide.compress(b"{}") + wide.flush(), JSON, None, "zstd")


# JSON


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "binary", "us-ascii", "no-such", "\xff", "", None])
def test_json_is_utf_8_as_workers_read_it(encoding: str | None) -> None:
    assert top('{"task": "é", "eta": "x"}'.encode(), JSON, encoding) == {"task": "é", "eta": "x"}


@pytest.mark.parametrize("encoding", ["utf-16", "UTF-16-LE", "latin-1", "utf-32"])
def test_json_in_the_encoding_it_names(encoding: str) -> None:
    assert top('{"task": "é"}'.encode(encoding), JSON, encoding) == {"task": "é"}


@pytest.mark.parametrize(
    "body",
    [b"{", b"{}x", b"\xff", b'{"task": "\xff"}', b"[" * 100_000, b"1" * 5000, b"\xef\xbb\xbf{}", b"nul", b"'", b"\0"],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(bodies.Unreadable, match="body of b'application/json': "):
        top(body, JSON)


# YAML

KEYS = st.sampled_from(["task", "args", "eta", "kwargs", "x: y", "1", "null", ""])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=8),
        st.datetimes(timezones=st.just(UTC)),
        st.sampled_from(["2030-01-01T00:00:00", "2030-01-01", "~", "<<", "=", "!x"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_yaml_is_read_as_safe_load_reads_it(mapping: dict[str, object], flow: bool) -> None:
    body = yaml.safe_dump(mapping, default_flow_style=flow, allow_unicode=True).encode()
    read = top(body, YAML)
    loaded = yaml.safe_load(body)
    assert set(read) == set(loaded) & bodies.KEYS
    for key, value in read.items():
        assert (
            value == loaded[key] if value is not bodies.OPAQUE else not isinstance(loaded[key], str | datetime | None)
        )


@pytest.mark.parametrize(
    ("body", "eta"),
    [
        ("{task: t, eta: 2030-01-01T00:00:00Z}", datetime(2030, 1, 1, tzinfo=UTC)),
        ("{task: t, eta: 2030-01-01 00:00:00}", datetime(2030, 1, 1)),  # noqa: DTZ001 as safe_load reads it
        ("{task: t, eta: 2030-01-01}", bodies.OPAQUE),
        ("{task: t, eta: '2030-01-01T00:00:00'}", "2030-01-01T00:00:00"),
        ("{task: t, eta: !!str 2030-01-01}", "2030-01-01"),
        ("{task: t, eta: ! 2030-01-01}", bodies.OPAQUE),
        ("{task: t, eta: !own x}", bodies.OPAQUE),
        ("{task: t, eta: }", None),
        ("{task: t, eta: ~}", None),
        ("{task: t, eta: !!null x}", None),
        ("{task: t, eta: 1:30}", bodies.OPAQUE),
        ("eta: &a x\nexpires: *a\n", "x"),
        ("expires: &a x\neta: *a\n", "x"),
        ("x: {y: [&a 2030-01-01 00:00:00Z]}\neta: *a\n", datetime(2030, 1, 1, tzinfo=UTC)),
        ("x: &a [1]\neta: *a\n", bodies.OPAQUE),
        ("eta: *nowhere\n", bodies.OPAQUE),
        ("x: &k eta\n*k : y\n", "y"),
        ("x: [eta, {eta: a}]\neta: b\ny: {eta: c}\n", "b"),
        ("---\n!!map\neta: a\n...\n", "a"),
        ("eta: " + "x" * 64, "x" * 64),
        ("eta: " + "x" * 65, bodies.OPAQUE),
        ("base: &b {eta: a}\n<<: *b\neta: c\n", "c"),
    ],
)
def test_yaml_written_by_hand(body: str, eta: object) -> None:
    assert top(body.encode(), YAML)["eta"] == eta


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_yaml_with_a_byte_order_mark(encoding: str) -> None:
    assert top("\ufeffeta: é\n".encode(encoding), YAML)["eta"] == "é"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"eta: [", "ParserError"),
        (b"eta: \xff", "ReaderError"),
        (b"eta: \x00x", "ReaderError"),
        (b"eta: !!timestamp soon", "AttributeError"),
        (b"eta: 2030-13-01", "ValueError"),
        (b"eta: a\n---\neta: b\n", "more than one document"),
        (b"%YAML 1.1\n---\neta: a\n", "directives"),
        (b"base: &b {eta: a}\n<<: *b\n", "merges another mapping"),
        (b"- " * 200, "nested deeper than 50"),
        (b"[" * 2**16, "up to 32768 are read"),
        (b"[" * 2**15, "too many flow collections"),
        (b"{" * 1000, "nested deeper than 50"),
        (b"a: 1\n" * 2**13, "up to 32768 are read"),
    ],
)
def test_yaml_that_cannot_be_read(body: bytes, why: str) -> None:
    with pytest.raises(bodies.Unreadable, match=why):
        top(body, YAML)


def test_aliases_are_not_expanded() -> None:
    laughs = "a: &a [x]\n" + "".join(
        f"{y}: &{y} [{', '.join([f'*{x}'] * 9)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert top(f"{laughs}eta: e\nargs: *i\n".encode(), YAML) == {"eta": "e", "args": bodies.OPAQUE}


def test_yaml_objects_are_not_made() -> None:
    body = b"args: !!python/object/apply:os.system ['exit 1']\neta: !!python/object/apply:os.system ['exit 1']\n"
    assert top(body, YAML) == {"args": bodies.OPAQUE, "eta": bodies.OPAQUE}
    assert top(b"eta: !!python/name:os.system ''\n", YAML) == {"eta": bodies.OPAQUE}


# msgpack


@pytest.mark.parametrize(
    ("body", "eta"),
    [
        (msgpack.packb({"eta": b"2030"}), b"2030"),
        (msgpack.packb({"eta": msgpack.Timestamp(5)}), bodies.OPAQUE),
        (msgpack.packb({"eta": msgpack.ExtType(5, b"x")}), bodies.OPAQUE),
        (msgpack.packb({**{str(number): number for number in range(20)}, "eta": "x"}), "x"),
        (b"\xdf\x00\x00\x00\x01\xa3eta\xa1x", "x"),
    ],
)
def test_msgpack_values(body: bytes, eta: object) -> None:
    assert top(body, MSGPACK)["eta"] == eta


@pytest.mark.parametrize(
    "body",
    [
        b"\x81",
        b"\x81\xa3eta",
        b"\x80x",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa3eta\xdd\xff\xff\xff\xff",
        b"\x81\xa1x\xdd\xff\xff\xff\xff",
        b"\x81\xa3eta\xa1\xff",
        b"\x81\xa1x" + b"\x91" * 100_000,
        b"\x81" + b"\x91" * 100_000,
        b"\x81\xc1\xc0",
        b"\x81\x81\x90\x01\x01",
        b"\x81\xa3eta\xc6\xff\xff\xff\xff",
        b"\x81\xa3eta" + b"\xdc\xff\xff" * 1000,
    ],
)
def test_msgpack_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(bodies.Unreadable):
        top(body, MSGPACK)


def test_msgpack_lengths_that_lie_cost_nothing() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(bodies.Unreadable):
            top(b"\x81\xa1x" + b"\xdd\x7f\xff\xff\xff" * 200, MSGPACK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22


# pickle


class Harm:
    """An object whose unpickling runs something."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exit, ("unpickled",))


def test_pickled_objects_are_not_made() -> None:
    body, content_type, encoding = written({"task": Harm(), "eta": Harm(), "args": [date(2030, 1, 1)]}, "pickle")
    assert top(body, content_type, encoding) == {"task": bodies.OPAQUE, "eta": bodies.OPAQUE, "args": bodies.OPAQUE}


def test_a_task_of_python_2() -> None:
    body = b"\x80\x02}q\x01(U\x04taskq\x02U\x01tq\x03U\x03etaq\x04U\x132030-01-01T00:00:00q\x05u."
    assert top(body, PICKLE) == {"task": "t", "eta": "2030-01-01T00:00:00"}


def test_of_many_pickled_datetimes_only_the_last_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    monkeypatch.setattr(bodies.pickles, "moment", read.append)
    assert top(b"}(Vtask\nVt\n" + b"Veta\ncdatetime\ndatetime\n" * 100 + b"Veta\nVx\nu.", PICKLE)["eta"] == "x"
    assert read == ["t", "x"]


@pytest.mark.parametrize("body", [b"}", b"garbage", b"cos\nsystem\n(S'exit 1'\ntR."])
def test_what_is_no_pickle(body: bytes) -> None:
    with pytest.raises(bodies.Unreadable, match="Malformed"):
        top(body, PICKLE)


# Any bytes at all


@given(
    st.binary(max_size=80),
    st.sampled_from([JSON, YAML, MSGPACK, PICKLE, "application/data", None]),
    st.sampled_from([None, *(name for name, _ in PACKERS)]),
    st.sampled_from([None, "utf-8", "utf-16"]),
)
def test_any_bytes_are_read_or_refused(
    body: bytes, content_type: str | None, name: str | None, encoding: str | None
) -> None:
    try:
        read = top(body, content_type, encoding, name)
    except bodies.Unreadable:
        return
    assert set(read) <= bodies.KEYS


@given(st.data(), st.sampled_from(SERIALIZERS))
def test_a_task_that_was_changed_on_its_way(data: st.DataObject, serializer: str) -> None:
    body, content_type, encoding = written(TASK, serializer)
    changed = bytearray(body)
    for _ in range(3):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        top(bytes(changed), content_type, encoding)
    except bodies.Unreadable:
        pass
