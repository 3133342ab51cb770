"""Content headers are cut byte-exactly: for every combination of properties, whatever their values."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import properties as p
from tests.support import wire

FLAGS = list(wire.SAMPLES)


def test_every_combination_of_present_properties() -> None:
    """All 16 384: found where they are, cut without touching a byte of the others."""
    table = wire.table({"lang": "py", "task": "t"})
    for kept in itertools.product((True, False), repeat=len(FLAGS)):
        present = {flag: wire.SAMPLES[flag] for flag, keep in zip(FLAGS, kept, strict=True) if keep}
        payload = wire.header(present, 77)
        spans = p.spans(payload)
        assert {flag: payload[start:stop] for flag, (start, stop) in spans.items()} == present
        assert p.edit(payload, spans) == payload
        entries = list(p.fields(payload, *spans[p.HEADERS])) if p.HEADERS in spans else []
        edited = p.edit(
            payload,
            spans,
            table=[entry for entry in entries if not p.is_cut(entry.name)],
            expiration=b"5",
            drop=p.USER_ID,
            priority=4,
        )
        expected = {flag: given for flag, given in present.items() if flag != p.USER_ID}
        for flag, new in ((p.HEADERS, table), (p.EXPIRATION, b"\x015"), (p.PRIORITY, b"\x04")):
            if flag in expected:
                expected[flag] = new
        assert edited == wire.header(expected, 77)


VALUES = st.one_of(
    st.binary(min_size=1, max_size=1).map(lambda raw: b"t" + raw),
    st.binary(min_size=1, max_size=1).map(lambda raw: b"b" + raw),
    st.binary(min_size=1, max_size=1).map(lambda raw: b"B" + raw),
    st.binary(min_size=2, max_size=2).map(lambda raw: b"s" + raw),
    st.binary(min_size=2, max_size=2).map(lambda raw: b"u" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"I" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"i" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"f" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"l" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"L" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"d" + raw),
    st.binary(min_size=8, max_size=8).map(lambda raw: b"T" + raw),
    st.binary(min_size=5, max_size=5).map(lambda raw: b"D" + raw),
    st.just(b"V"),
    st.binary(max_size=40).map(lambda raw: b"S" + struct.pack(">I", len(raw)) + raw),
    st.binary(max_size=40).map(lambda raw: b"x" + struct.pack(">I", len(raw)) + raw),
    st.binary(max_size=40).map(lambda raw: b"A" + struct.pack(">I", len(raw)) + raw),
    st.binary(max_size=40).map(lambda raw: b"F" + struct.pack(">I", len(raw)) + raw),
)
NAMES = st.one_of(
    st.binary(min_size=0, max_size=12),
    st.sampled_from(
        [
            b"x-death",
            b"x-delivery-count",
            b"x-acquired-count",
            b"x-first-death-queue",
            b"x-last-death-reason",
            b"CC",
            b"BCC",
            b"eta",
        ]
    ),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_a_table_of_any_values_is_cut_by_whole_entries(entries: list[tuple[bytes, bytes]]) -> None:
    raw = [wire.shortstr(name) + value for name, value in entries]
    listed = b"".join(raw)
    payload = wire.header({p.HEADERS: struct.pack(">I", len(listed)) + listed})
    spans = p.spans(payload)
    found = list(p.fields(payload, *spans[p.HEADERS]))
    assert [payload[field.start : field.stop] for field in found] == raw
    assert [(field.name, field.tag) for field in found] == [(name, value[0]) for name, value in entries]
    kept = [one for one, (name, _) in zip(raw, entries, strict=True) if not p.is_cut(name)]
    left = b"".join(kept)
    expected = wire.header({p.HEADERS: struct.pack(">I", len(left)) + left})
    assert p.edit(payload, spans, table=[field for field in found if not p.is_cut(field.name)]) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    try:
        spans = p.spans(payload)
        if p.HEADERS in spans:
            list(p.fields(payload, *spans[p.HEADERS]))
    except p.Malformed:
        return
    assert p.edit(payload, spans) == payload


@pytest.mark.parametrize("length", range(14, len(wire.header(wire.SAMPLES))))
def test_a_cut_header_is_refused(length: int) -> None:
    with pytest.raises(p.Malformed):
        p.spans(wire.header(wire.SAMPLES)[:length])


def test_what_class_basic_does_not_have_is_refused() -> None:
    with pytest.raises(p.Malformed, match="at least 14"):
        p.spans(b"\x00" * 13)
    with pytest.raises(p.Malformed, match="no more than 14 properties"):
        p.spans(struct.pack(">HHQH", 60, 0, 0, 1))
    with pytest.raises(p.Malformed, match="1 bytes behind"):
        p.spans(struct.pack(">HHQH", 60, 0, 0, 0) + b"x")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (b"\x04eta", "passes the end"),  # the name
        (b"\x03eta", "passes the end"),  # no tag behind it
        (b"\x03etaU\x00", "unknown type tag 0x55"),
        (b"\x03etaI\x00\x00", "passes the end"),
        (b"\x03etaS\x00\x00\x00\x09short", "passes the end"),
        (b"\x03etaS\x00\x00", "passes the end"),  # no room for its length
    ],
)
def test_a_broken_table_is_refused(table: bytes, reason: str) -> None:
    payload = struct.pack(">I", len(table)) + table
    with pytest.raises(p.Malformed, match=reason):
        list(p.fields(payload, 0, len(payload)))


def test_values_without_their_lengths() -> None:
    payload = wire.header(
        {p.CONTENT_TYPE: wire.shortstr(b"text/plain"), p.HEADERS: wire.table({"eta": "now", "n": 1, "v": None})}
    )
    spans = p.spans(payload)
    assert p.string(payload, spans.get(p.CONTENT_TYPE)) == b"text/plain"
    assert p.string(payload, spans.get(p.TYPE)) is None
    assert [p.text(payload, field) for field in p.fields(payload, *spans[p.HEADERS])] == [
        b"now",
        b"\x00\x00\x00\x01",
        b"",
    ]


def test_where_an_entry_begins() -> None:
    entries = {"a": "\x03eta", "n": 5, "nested": {"eta": None}, "eta": "now", "z": None}
    payload = wire.table(entries)
    starts = [field.start for field in p.fields(payload, 0, len(payload))]
    assert [at for at in range(4, len(payload)) if p.begins_entry(payload, 0, at)] == starts


def test_no_entry_begins_behind_an_unknown_tag_or_a_name_without_a_value() -> None:
    table = b"\x01aU\x00\x01\x03etaV"
    payload = struct.pack(">I", len(table)) + table
    assert not p.begins_entry(payload, 0, payload.index(b"\x03eta"))
    table = b"\x09abc\x03etaV"
    payload = struct.pack(">I", len(table)) + table
    assert not p.begins_entry(payload, 0, payload.index(b"\x03eta"))
