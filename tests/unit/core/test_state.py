"""The state as it stands in its message, and what is no state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.state import FORMAT, BadState, Document, Holder, Identity, decode, encode, seen, tag

MINE = Holder("h1", 4, "2026-01-02T03:04:05+00:00", "a1")
HERE = Identity("chost", ("old:5672", "old2:5672"), inline=False)
STATE = Document(3, 7, MINE, HERE, "2026-01-02T03:05:00+00:00", left=True, content={"queues": {"mäil": [1, None]}})


def test_it_comes_back_as_it_went() -> None:
    assert decode(encode(STATE)) == STATE
    empty = Document(0, 0, MINE, HERE, "now")
    assert decode(encode(empty)) == empty
    assert str(MINE) == "host h1, pid 4, started 2026-01-02T03:04:05+00:00"


def test_a_later_term_counts_more_than_a_higher_number() -> None:
    assert replace(STATE, term=4, number=0).rank > STATE.rank > replace(STATE, number=6).rank


def without(*path: str, **put: Any) -> bytes:
    """The state with something else in one place."""
    read = json.loads(encode(STATE))
    inner = read
    for part in path:
        inner = inner[part]
    inner.update(put)
    return json.dumps(read).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "0 bytes that are no JSON, a state of the bridge was expected"),
        (b"\xff\xfe", "2 bytes that are no JSON"),
        (b"[" * 100_000, "100000 bytes that are no JSON"),
        (b"1" * 5000, "5000 bytes that are no JSON"),
        (b"[]", 'JSON that is no state of the bridge: it has no "kind": "bridge state"'),
        (b"{}", "JSON that is no state"),
        (without(format="1"), '"format" is not a whole number of at least 0'),
        (without(term=True), '"term" is not a whole number'),
        (without(number=-1), '"number" is not a whole number'),
        (without(holder=[]), '"holder" is not a mapping'),
        (without("holder", host=None), '"host" is not a text'),
        (without("holder", pid="4"), '"pid" is not a whole number'),
        (without(identity=None), '"identity" is not a mapping'),
        (without("identity", hosts="old"), '"hosts" is not a list of texts'),
        (without("identity", hosts=[1]), '"hosts" is not a list of texts'),
        (without("identity", inline=1), '"inline" is not true or false'),
        (without(content=[]), '"content" is not a mapping'),
        (without(left=None), '"left" is not true or false'),
    ],
)
def test_what_is_no_state_is_said(body: bytes, said: str) -> None:
    with pytest.raises(BadState) as bad:
        decode(body)
    assert said in str(bad.value)
    assert not bad.value.newer


@given(st.binary(max_size=200) | st.builds(lambda at, end: encode(STATE)[:at] + end, st.integers(0, 300), st.binary()))
def test_no_bytes_end_in_another_error(body: bytes) -> None:
    try:
        decode(body)
    except BadState:
        pass


def test_a_later_format_is_told_from_rubbish_unless_it_keeps_nothing() -> None:
    with pytest.raises(BadState, match=f"a state of format {FORMAT + 1}, this version .* up to {FORMAT}") as bad:
        decode(without(format=FORMAT + 1, content="any"))
    assert bad.value.newer
    with pytest.raises(BadState) as knock:
        decode(without(format=FORMAT + 1, term=0))
    assert not knock.value.newer


OTHERS = [
    (replace(HERE, vhost="other"), 'its source is vhost "other", here it is "chost"'),
    (replace(HERE, hosts=("new:5672",)), "its source is new:5672, here it is old:5672, old2:5672"),
    (replace(HERE, inline=True), "its layout is inline, here it is takeover"),
]


@pytest.mark.parametrize(("other", "said"), OTHERS)
def test_another_bridge(other: Identity, said: str) -> None:
    assert HERE.differs(other) == said
    mine, theirs = seen(tag(MINE, HERE)), seen(tag(MINE, other))
    assert mine is not None
    assert theirs is not None
    assert mine.is_another(theirs)


def test_one_host_in_common_is_the_same_bridge() -> None:
    other = replace(HERE, hosts=("old3:5672", "old2:5672"))
    assert HERE.differs(other) == ""
    mine, theirs = seen(tag(MINE, HERE)), seen(tag(replace(MINE, host="h2"), other))
    assert mine is not None
    assert theirs is not None
    assert not mine.is_another(theirs)
    assert theirs.who == "host h2, pid 4, started 2026-01-02T03:04:05+00:00"


def test_a_tag_is_a_short_string_whatever_the_names_are() -> None:
    long = tag(
        Holder("h|ö" * 100, 1 << 22, MINE.since, "0123456789abcdef"), Identity("v" * 500, ("x" * 99,) * 99, inline=True)
    )
    assert len(long.encode()) <= 255
    assert seen(long) is not None


@pytest.mark.parametrize("other", ["", "ctag1.abc", "bridge|a|b", "bridges|a|b|c|d|e|f"])
def test_other_consumers_are_none_of_ours(other: str) -> None:
    assert seen(other) is None
