"""Pickles: what the real pickler writes is found in every protocol, and what a stranger writes does nothing."""

from __future__ import annotations

import collections
import pickle
import pickletools
import struct
import sys
import tracemalloc
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import pickles

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**300), 2**300), st.floats(allow_nan=False), st.text(), st.binary()
)
PLAIN = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(SCALAR, inner, max_size=4),
        st.tuples(inner, inner, inner, inner),
        st.tuples(inner),
        st.sets(SCALAR, max_size=3),
        st.frozensets(SCALAR, max_size=3),
    ),
    max_leaves=12,
)


def same(read: object, value: object) -> bool:
    """Whether what was read is the value, as far as it is kept: big numbers, sets and encoded bytes may be opaque."""
    if isinstance(read, pickles.Stub):
        return isinstance(value, int | float | bytes | bytearray | set | frozenset)
    if isinstance(read, pickles.Node):
        if read.kind == "dict":
            assert isinstance(value, dict)
            pairs = [pair for pair in read.items if isinstance(pair, tuple)]
            return len(pairs) == len(value) and all(
                same(key, real_key) and same(item, real)
                for (key, item), (real_key, real) in zip(pairs, value.items(), strict=True)
            )
        if read.kind == "set":
            return isinstance(value, set | frozenset) and len(read.items) == len(value)
        assert isinstance(value, list | tuple)
        return type(value).__name__ == read.kind and (
            len(read.items) == len(value) and all(map(same, read.items, value))
        )
    return type(read) is type(value) and read == value


@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=4), st.sampled_from(PROTOCOLS), st.booleans())
def test_a_plain_mapping_is_read_as_it_was_pickled(mapping: dict[str, object], protocol: int, optimized: bool) -> None:
    data = pickle.dumps(mapping, protocol)
    pairs = pickles.top_level_mapping(pickletools.optimize(data) if optimized else data)
    assert pairs is not None
    assert [key for key, _ in pairs] == list(mapping)
    assert all(same(value, mapping[str(key)]) for key, value in pairs)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [None, 1, "x", [], (), [{}], (1, 2, 3, 4)])
def test_what_is_no_mapping(value: object, protocol: int) -> None:
    assert pickles.top_level_mapping(pickle.dumps(value, protocol)) is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [collections.OrderedDict(eta="x"), ValueError("x"), complex(1, 2), len])
def test_an_object_at_the_top_cannot_be_read(value: object, protocol: int) -> None:
    with pytest.raises(pickles.Malformed, match="an object"):
        pickles.top_level_mapping(pickle.dumps(value, protocol))


class Harm:
    """An object whose unpickling runs what it names."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return (self.call[0], self.call[1:])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_malicious_pickle_does_nothing(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "harmed"
    data = pickle.dumps({"task": "t", "args": Harm(__import__("os").system, f"touch {proof}"), "eta": "2030"}, protocol)
    assert b"system" in data
    assert dict(pickles.top_level_mapping(data) or ())["eta"] == "2030"
    assert not proof.exists()


def test_nothing_is_imported() -> None:
    assert "antigravity" not in sys.modules
    assert pickles.top_level_mapping(b"}(Vk\ncantigravity\nfly\n(tRVeta\nVx\nu.") is not None
    assert pickles.top_level_mapping(b"}(Vk\n(iantigravity\nfly\nVeta\nVx\nu.") is not None
    assert "antigravity" not in sys.modules


class WithState:
    """An ordinary object, with attributes and slots of its own."""

    def __init__(self) -> None:
        self.attribute = ["x"]


class Keywords:
    """An object that is made with keywords: NEWOBJ_EX."""

    def __new__(cls, *, size: int) -> Keywords:
        return object.__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return ((), {"size": 1})


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_objects_between_the_entries_are_stubs(protocol: int) -> None:
    value = {
        "a": WithState(),
        "b": Keywords(size=1),
        "c": collections.OrderedDict(x=1),
        "d": bytearray(b"x"),
        "eta": "e",
    }
    pairs = dict(pickles.top_level_mapping(pickle.dumps(value, protocol)) or ())
    assert all(isinstance(pairs[key], pickles.Stub) for key in "abc")
    assert pairs["eta"] == "e"


def test_buffers_outside_the_pickle() -> None:
    data = pickle.dumps(
        {"a": pickle.PickleBuffer(b"readonly"), "b": pickle.PickleBuffer(bytearray(1)), "eta": "e"},
        5,
        buffer_callback=lambda _: None,
    )
    assert dict(pickles.top_level_mapping(data) or ())["eta"] == "e"


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        # Python 2, protocols 0, 1 and 2, as Celery 3.1 sends them.
        (
            b"(dp0\nS'eta'\np1\nS'2030-01-01'\np2\nsS'n'\np3\nL5L\nsg3\nI1\ns.",
            [("eta", "2030-01-01"), ("n", 5), ("n", 1)],
        ),
        (b"}q\x00(U\x03etaq\x01U\x042030q\x02U\x01nK\x05u.", [("eta", "2030"), ("n", 5)]),
        (b"\x80\x02}q\x00(U\x03etaq\x01T\x04\x00\x00\x002030X\x01\x00\x00\x00uI01\nu.", [("eta", "2030"), ("u", True)]),
        (b'}(S"a\'b"\nI00\nU\x01\xe9F1.5\nu.', [("a'b", False), (b"\xe9", 1.5)]),
        (
            b"}(U\x01aG\x3f\xf8\x00\x00\x00\x00\x00\x00U\x01bJ\xff\xff\xff\xffU\x01cM\x01\x02u.",
            [("a", 1.5), ("b", -1), ("c", 513)],
        ),
        (b"(U\x01aNU\x01b\x88U\x01c\x89d.", [("a", None), ("b", True), ("c", False)]),
        (b"}(V\\u0065ta\nC\x01xV2\nB\x01\x00\x00\x00yu.", [("eta", b"x"), ("2", b"y")]),
        (
            b"}(\x8d\x01\0\0\0\0\0\0\0a\x8e\x01\0\0\0\0\0\0\0b\x8c\x01c\x96\x01\0\0\0\0\0\0\0du.",
            [("a", b"b"), ("c", b"d")],
        ),
        (b"}(U\x01a\x8a\x02\xff\x01U\x01b\x8b\x01\0\0\0\xffu.", [("a", 511), ("b", -1)]),
        # The memo in all its sizes, marks that are popped, what comes after STOP.
        (b"}U\x03etap70\n0r\x00\x01\x00\x00(11g70\nj\x00\x01\x00\x000Nsnothing of this matters", None),
        (b"}U\x03eta\x94U\x01x\x940(0(U\x01z10h\x00h\x01s.", [("eta", "x")]),
        (b"}U\x01a2s.", [("a", "a")]),
    ],
)
def test_hand_written(data: bytes, pairs: list[tuple[object, object]] | None) -> None:
    if pairs is None:
        with pytest.raises(pickles.Malformed):
            pickles.top_level_mapping(data)
    else:
        assert pickles.top_level_mapping(data) == pairs


def test_what_stays_opaque() -> None:
    long = b"1" * 5000
    entries = [
        b"I" + long + b"\n",
        b"L" + long + b"L\n",
        b"F" + long + b"\n",
        b"\x8b\x88\x13\x00\x00" + long,
        b"S'\\x41'\n",
        b"Pid\n",
        b"NQ",
        b"\x82\x01",
        b"\x83\x01\x01",
        b"\x84\x01\x00\x00\x00",
        b"\x97",
        b"\x97\x98",
        b"NNR",
        b"NNN\x92",
        b"(NNo",
        b"cos\nsystem\n",
        b"(ios\nsystem\n",
        b"U\x02osU\x06system\x93",
        b"cos\nsystem\nN\x81Nb",
        b"cos\nsystem\n)R)R",
        b"cos\nsystem\n(e",
        b"cos\nsystem\nNa",
        b"cos\nsystem\nNNs",
        b"cos\nsystem\n(NNu",
        b"cos\nsystem\n(\x90",
    ]
    for entry in entries:
        pairs = pickles.top_level_mapping(b"}(U\x01k" + entry + b"U\x03etaU\x01xu.")
        assert pairs is not None, entry
        assert isinstance(pairs[0][1], pickles.Stub), entry
        assert pairs[1] == ("eta", "x"), entry


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"}",
        b"N0.",
        b".",
        b"\xff.",
        b"a.",
        b"\x80\x06.",
        b"\x80",
        b"U",
        b"U\x05abc.",
        b"X\xff\xff\xff\xff.",
        b"Iabc",
        b"Iabc\n.",
        b"Labc\n.",
        b"Fabc\n.",
        b"Sabc\n.",
        b"S'abc\n.",
        b"S'\n.",
        b"Vabc",
        b"V\\u12\n.",
        b"X\x01\x00\x00\x00\xff.",
        b"cos\xff\nsystem\n.",
        b"g0\n.",
        b"h\x00.",
        b"j\x00\x00\x00\x00.",
        b"p0\n.",
        b"Np-1\n.",
        b"Np\n.",
        b"gx\n.",
        b"Np" + b"1" * 40 + b"\n.",
        b"Np99999999999\n.",
        b"}NNa.",
        b"]NNs.",
        b"}(Nu.",
        b"(Nd.",
        b"}u.",
        b"}e.",
        b"Ne.",
        b"}(e.",
        b"](\x90.",
        b"t.",
        b"\x86.",
        b"N\x86.",
        b"}(N(\x86.",
        b"2.",
        b"R.",
        b"NR.",
        b"b.",
        b"o.",
        b"Q.",
        b"\x93.",
        b"\x98.",
        b"\x95\x00.",
        b"(.",
        b"N(.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8b\xff\xff\xff\xff.",
        b"T\xff\xff\xff\xff.",
        b"1.",
        b"\x94.",
        b"G\x00.",
    ],
)
def test_what_is_no_pickle(data: bytes) -> None:
    # Malformed, or what Python says to a text or number that is none.
    with pytest.raises(ValueError, match=r"."):
        pickles.top_level_mapping(data)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(pickletools.opcodes).map(lambda op: op.code.encode("latin-1")), max_size=60).map(
            b"".join
        ),
    )
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        pickles.top_level_mapping(data)
    except ValueError:
        pass


@given(st.data())
def test_a_pickle_that_was_cut_or_changed(data: st.DataObject) -> None:
    whole = pickle.dumps(
        {"task": "t", "eta": "2030", "args": [1, "a", None, 2.5, {"k": b"v"}]}, data.draw(st.sampled_from(PROTOCOLS))
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"."):
        pickles.top_level_mapping(whole[:at])
    changed = bytearray(whole)
    changed[at] = data.draw(st.integers(0, 255))
    try:
        pickles.top_level_mapping(bytes(changed))
    except ValueError:
        pass


def test_every_opcode_is_known() -> None:
    assert {op.code.encode("latin-1") for op in pickletools.opcodes} == set(pickles._BY_OPCODE) | {b"."}


#: A string that a few hundred copies of would show.
LONG = b"X" + struct.pack("<I", 2**17) + b"x" * 2**17 + b"\x940"


@pytest.mark.parametrize(
    "bomb",
    [
        # Billion laughs: every list holds the one before ten times.
        b"]\x940" + b"".join(b"](" + b"h%c" % level * 10 + b"e\x940" for level in range(200)) + b"}.",
        # A long string, named, and encoded, again and again.
        LONG + b"h\x00h\x00\x93" * 1000 + b"}.",
        LONG + b"c_codecs\nencode\n\x94" + b"h\x01h\x00\x85R" * 1000 + b"}.",
        # Lengths and indexes that lie.
        b"\x96" + struct.pack("<Q", 2**62) + b"}.",
        b"Nr\xff\xff\xff\xff}.",
        b"]" * 5000 + b"a" * 4999 + b"0}.",
        b"(" * 5000 + b"1" * 5000 + b"}.",
        b"}" + b"2" * 5000 + b".",
    ],
    ids=range(8),
)
def test_bombs_stay_small(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        pickles.top_level_mapping(bomb)
    except pickles.Malformed:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**21


def test_opcodes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_OPCODES", 10)
    assert pickles.top_level_mapping(b"N0N0N0N0}.") == []
    with pytest.raises(pickles.Malformed, match="more than 10 opcodes"):
        pickles.top_level_mapping(b"N0" * 5 + b"}.")


MOMENT = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001 the zone is drawn apart
OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)


def reduced(moment: datetime, protocol: int) -> object:
    """What the reader makes of a datetime as a value."""
    pairs = pickles.top_level_mapping(pickle.dumps({"eta": moment}, protocol))
    assert pairs is not None
    return pairs[0][1]


@given(MOMENT, st.one_of(st.none(), st.just(UTC), OFFSETS), st.sampled_from(PROTOCOLS))
def test_a_pickled_datetime(naive: datetime, zone: tzinfo | None, protocol: int) -> None:
    assert pickles.moment(reduced(naive.replace(tzinfo=zone), protocol)) == naive.replace(tzinfo=zone or UTC)


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
@pytest.mark.parametrize("zone", [tz.tzutc(), zoneinfo.ZoneInfo("UTC")])
def test_a_pickled_datetime_in_a_utc_of_its_own(zone: tzinfo, protocol: int) -> None:
    moment = datetime(2030, 1, 1, tzinfo=zone)
    assert pickles.moment(reduced(moment, protocol)) == moment


def test_a_zone_that_cannot_be_told() -> None:
    for zone in (zoneinfo.ZoneInfo("Europe/Berlin"), tz.gettz("Europe/Berlin"), tz.tzlocal()):
        assert pickles.moment(reduced(datetime(2030, 1, 1, tzinfo=zone), 4)) is None


Stub = pickles.Stub
DATETIME = ("datetime", "datetime")
STATE = bytes([7, 238, 1, 1, 0, 0, 0, 0, 0, 0])
OFFSET = ("datetime", "timezone")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "2030",
        Stub(),
        Stub(DATETIME),
        Stub(("os", "system"), [STATE]),
        Stub(DATETIME, []),
        Stub(DATETIME, [STATE, None, None]),
        Stub(DATETIME, [STATE[1:]]),
        Stub(DATETIME, ["2030"]),
        Stub(DATETIME, [b"\0" * 10]),
        Stub(DATETIME, [2030, 1]),
        Stub(DATETIME, [Stub(("_codecs", "encode"), ["é日", "latin1"])]),
        Stub(DATETIME, [Stub(("_codecs", "encode"), ["é" * 99, "latin1"])]),
        Stub(DATETIME, [Stub(("_codecs", "encode"), ["x", "rot13"])]),
        Stub(DATETIME, [STATE, None]),
        Stub(DATETIME, [STATE, Stub(OFFSET)]),
        Stub(DATETIME, [STATE, Stub(OFFSET, [])]),
        Stub(DATETIME, [STATE, Stub(OFFSET, [Stub()])]),
        Stub(DATETIME, [STATE, Stub(Stub(), [1])]),
        Stub(DATETIME, [STATE, Stub(OFFSET, [Stub(("datetime", "timedelta"), [1, 0, 0])])]),
        Stub(DATETIME, [STATE, Stub(OFFSET, [Stub(("datetime", "timedelta"), [10**12, 0, 0])])]),
        Stub(DATETIME, [STATE, Stub(OFFSET, [Stub(("datetime", "timedelta"), ["x"])])]),
    ],
)
def test_what_is_no_datetime(value: object) -> None:
    assert pickles.moment(value) is None
