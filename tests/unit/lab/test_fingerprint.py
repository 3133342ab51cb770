"""Differences that matter are found, those that brokers make on their way are not."""

from __future__ import annotations

import struct
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.basic_message import Message

from bridge.lab.fingerprint import caps_priority, differences, parse


def properties(headers: dict[str, Any] | None = None, **others: Any) -> bytes:
    if headers is not None:
        others["application_headers"] = headers
    raw: bytes = Message("", **others)._serialize_properties()
    return raw


def field(name: str, tag: str, data: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + tag.encode() + data


def with_headers(*fields: bytes) -> bytes:
    table = b"".join(fields)
    return struct.pack(">HI", 0x2000, len(table)) + table


def compare(sent: bytes, seen: bytes, *, has_eta: bool = False, capped: bool = False) -> list[str]:
    return differences(sent, seen, has_eta=has_eta, capped=capped)


@pytest.mark.parametrize(
    ("version", "caps"), [("3.10.8", False), ("4.0.9", True), ("4.1.4", True), ("4.2.0", True), ("4.3.6", False)]
)
def test_three_series_have_the_priority_capped(version: str, caps: bool) -> None:
    assert caps_priority(version) is caps


def test_every_property_and_header_type_is_read() -> None:
    everything = properties(
        {
            "S": "text",
            "d": 1.5,
            "I": 7,
            "L": 2**40,
            "t": True,
            "V": None,
            "D": Decimal("1.25"),
            "T": datetime(2031, 1, 2),  # noqa: DTZ001 - py-amqp wants it naive
            "F": {"inner": [1, "x"]},
            "A": [],
        },
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        priority=0,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1,
        type="t",
        user_id="u",
        app_id="a",
        cluster_id="k",
    )
    found = parse(everything)
    assert len(found) == 14 + 10
    assert {name: found[f"headers.{name}"].tag for name in "SdItVDTFA"} == {name: name for name in "SdItVDTFA"}
    assert str(found["headers.F"]) == "F{inner: A[I 00000001, S b'x']}"


@pytest.mark.parametrize(("tag", "size"), [("b", 1), ("B", 1), ("s", 2), ("u", 2), ("i", 4), ("l", 8), ("f", 4)])
def test_rare_types_have_their_size(tag: str, size: int) -> None:
    raw = with_headers(field("n", tag, bytes(size)), field("x", "x", b"\0\0\0\2ab"))
    assert [parse(raw)[f"headers.{name}"].tag for name in "nx"] == [tag, "x"]


def test_unknown_type_and_short_bytes_are_errors() -> None:
    with pytest.raises(ValueError, match="header field type 'U'"):
        parse(with_headers(field("n", "U", b"\0\0")))
    with pytest.raises(ValueError, match="properties end at byte"):
        parse(properties(priority=1) + b"\0")


def test_same_bytes_and_another_order_are_no_difference() -> None:
    sent = properties({"b": 1, "a": [1, None]}, priority=0)
    assert compare(sent, sent) == []
    assert compare(sent, properties({"a": [1, None], "b": 1}, priority=0)) == []


def test_both_letters_of_a_long_are_the_same() -> None:
    number = struct.pack(">q", -1000)
    old, new = (with_headers(field("n", tag, number)) for tag in "Ll")
    assert compare(old, new) == compare(new, old) == []
    old, new = (with_headers(field("n", "A", struct.pack(">I", 9) + tag + number)) for tag in (b"L", b"l"))
    assert compare(old, new) == []
    assert compare(old, with_headers(field("n", "d", number))) != []


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ({"timelimit": [300.5, None]}, {"timelimit": [300, None]}),
        ({"n": 1}, {"n": True}),
        ({"n": None}, {}),
        ({}, {"added": "x"}),
        ({"n": [1]}, {"n": [1, 2]}),
        ({"n": [2**40]}, {"n": [2**40 + 1]}),
        ({"n": {"a": 1, "b": 2}}, {"n": {"b": 2, "a": 1}}),
        ({"n": "a"}, {"n": "b"}),
    ],
)
def test_another_type_value_or_field_is_a_difference(sent: dict[str, Any], seen: dict[str, Any]) -> None:
    (wrong,) = compare(properties(sent), properties(seen))
    assert wrong.startswith("headers.")


def test_a_difference_names_the_property_and_both_values() -> None:
    assert compare(properties(priority=0), properties()) == ["priority: o 00 was sent, absent was read"]


def test_fields_that_brokers_add_are_none() -> None:
    death = {"x-death": [{"count": 1}], "x-first-death-queue": "celery_delayed_0", "x-delivery-count": 1}
    assert compare(properties({"a": 1}), properties({"a": 1, **death})) == []
    assert compare(properties(priority=0), properties(death, priority=0)) == []


def test_a_header_table_that_goes_away_is_one() -> None:
    assert compare(properties({}, priority=0), properties(priority=0)) == ["headers: F{} was sent, absent was read"]


@pytest.mark.parametrize(
    ("seen", "has_eta", "allowed"),
    [
        (None, True, True),
        (None, False, False),
        ("59000", False, True),
        ("60001", False, False),
        ("60000000", False, False),
        ("soon", False, False),
    ],
)
def test_expiration_may_shrink_and_is_gone_from_eta_tasks(seen: str | None, has_eta: bool, allowed: bool) -> None:
    sent, read = properties(expiration="60000"), properties(expiration=seen)
    assert (compare(sent, read, has_eta=has_eta) == []) is allowed


def test_an_expiration_out_of_nowhere_is_a_difference() -> None:
    assert compare(properties(), properties(expiration="1"), has_eta=True) != []


@pytest.mark.parametrize(
    ("sent", "seen", "has_eta", "capped", "allowed"),
    [
        (9, 4, True, True, True),
        (9, 4, True, False, False),
        (9, 4, False, True, False),
        (9, 5, True, True, False),
        (3, 4, True, True, False),
        (9, None, True, True, False),
        (None, 4, True, True, False),
    ],
)
def test_priority_is_capped_only_for_eta_tasks_on_such_targets(
    sent: int | None, seen: int | None, has_eta: bool, capped: bool, allowed: bool
) -> None:
    found = compare(properties(priority=sent), properties(priority=seen), has_eta=has_eta, capped=capped)
    assert (found == []) is allowed
