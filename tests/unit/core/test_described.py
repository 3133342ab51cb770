"""A message as people read it, whatever is in it."""

from __future__ import annotations

import json
import struct
import time

import pytest

from bridge.core import described, frames
from bridge.core import properties as p
from bridge.core.described import preview, restored, rows, stable
from tests.support.wire import SAMPLES, header, shortstr, table, task, task_headers

EVERY = {
    "bool": True,
    "no": b"t\x00",
    "int8": b"b\xfb",
    "uint8": b"B\xc8",
    "int16": b"s\xff\x00",
    "uint16": b"u\xff\x00",
    "int": -5,
    "uint32": b"i\xff\xff\xff\xff",
    "int64": b"l" + struct.pack(">q", -(2**40)),
    "long": b"L" + struct.pack(">q", 2**40),
    "float": b"f" + struct.pack(">f", 0.5),
    "double": 300.25,
    "decimal": b"D\x02" + struct.pack(">I", 12345),
    "text": "a\x1b[31m\u202eb",
    "long text": "x" * 300,
    "bytes": b"x" + struct.pack(">I", 3) + b"\x00\x01\xff",
    "when": b"T" + struct.pack(">Q", 1_900_000_000),
    "never": b"T" + struct.pack(">Q", 2**64 - 1),
    "null": None,
    "array": [1, "two", [3.0, {"four": None}]],
    "table": {"in": {"deep": True}},
}


def only(**headers: object) -> bytes:
    return header({p.HEADERS: table(headers)})


def test_every_property_and_every_type():
    told = {row.name: (row.type, row.value) for row in rows(header({**SAMPLES, p.HEADERS: table(EVERY)}))}
    assert told["content_type"] == ("shortstr", "application/json")
    assert told["delivery_mode"] == ("octet", "2")
    assert told["timestamp"] == ("timestamp", "1900000000 (2030-03-17T17:46:40+00:00)")
    assert told["message_id"] == ("shortstr", "m\\xff")
    assert {name: told[name] for name in ("bool", "no", "int8", "uint8", "int16", "uint16", "int", "uint32")} == {
        "bool": ("t", "true"),
        "no": ("t", "false"),
        "int8": ("b", "-5"),
        "uint8": ("B", "200"),
        "int16": ("s", "-256"),
        "uint16": ("u", "65280"),
        "int": ("I", "-5"),
        "uint32": ("i", "4294967295"),
    }
    assert [told[name] for name in ("int64", "long", "float", "double", "decimal")] == [
        ("l", "-1099511627776"),
        ("L", "1099511627776"),
        ("f", "0.5"),
        ("d", "300.25"),
        ("D", "12345e-2"),
    ]
    assert told["text"] == ("S", "a\\x1b[31m\\u202eb")
    assert told["long text"] == ("S", "x" * 200 + "...")
    assert told["bytes"] == ("x", "00 01 ff")
    assert told["when"] == ("T", "1900000000 (2030-03-17T17:46:40+00:00)")
    assert told["never"] == ("T", "18446744073709551615")
    assert told["null"] == ("V", "null")
    assert told["array[2][1].four"] == ("V", "null")
    assert told["array[1]"] == ("S", "two")
    assert told["table.in.deep"] == ("t", "true")
    assert told["table.in"][0] == "F"


def test_a_header_that_is_none():
    assert rows(b"\x00")[0].type == "malformed"
    assert restored(b"\x00") == stable(b"\x00") == b"\x00"


@pytest.mark.parametrize(
    "broken",
    [
        b"A" + struct.pack(">I", 1) + b"S",
        b"A" + struct.pack(">I", 7) + b"S\x00\x00\x00\xff\x00\x00",
        b"A" + struct.pack(">I", 2) + b"?\x00",
        b"A" + struct.pack(">I", 2) + b"I\x00",
        b"F" + struct.pack(">I", 2) + b"\x09x",
    ],
)
def test_what_cannot_be_read_is_left_out(broken: bytes):
    assert [row.name for row in rows(only(odd=broken, good=1))] == ["odd", "good"]


def test_what_is_shown_is_bounded():
    found = rows(only(**{f"h{number}": number for number in range(1000)}))
    assert (len(found), found[-1].value) == (described.MOST_ROWS, "and more, which are not shown")
    assert len(rows(only(**{f"h{number}": number for number in range(300)}))) == 300
    nested = b"V"
    for number in range(20_000):
        nested = (
            (b"F" if number % 2 else b"A")
            + struct.pack(">I", len(nested) + number % 2 * 2)
            + (b"\x01n" if number % 2 else b"")
            + nested
        )
        if len(nested) > 100_000:
            break
    began = time.monotonic()
    deep = only(many=b"A" + struct.pack(">I", 20_000) + b"V" * 20_000, n=nested)
    assert len(rows(deep)) <= described.MOST_ROWS
    assert stable(deep) == deep
    assert time.monotonic() - began < 2


# -- what the broker adds
# ------------------------------------------------------------------------------------------------------------


def test_the_broker_s_counts_are_cut_and_nothing_else():
    kept = {"x-death": [{"count": 1}], "CC": ["else"], "delivery": 2.5}
    counted = {"x-delivery-count": b"l" + bytes(8), **kept, "x-acquired-count": b"l" + bytes(8)}
    assert restored(only(**counted)) == only(**kept)
    assert restored(only(**kept)) == only(**kept)
    assert restored(header({})) == header({})


LONG = {"a": b"l" + bytes(8), "b": [b"l" + bytes(8)], "c": {"d": b"l" + bytes(8)}}


def test_it_is_the_same_each_time_it_is_handed_out():
    before = only(a=b"L" + bytes(8), b=[b"L" + bytes(8)], c={"d": b"L" + bytes(8)}, L="L")
    after = only(a=b"l" + bytes(8), b=[b"l" + bytes(8)], c={"d": b"l" + bytes(8)}, L="L")
    shuffled = only(c={"d": b"l" + bytes(8)}, L="L", b=[b"l" + bytes(8)], a=b"l" + bytes(8))
    assert stable(before) == stable(after) == stable(shuffled) == only(L="L", **{name: LONG[name] for name in "abc"})
    assert stable(only()) == stable(header({})) == header({})


# -- which task
# ------------------------------------------------------------------------------------------------------------


def parts(wire: bytes) -> tuple[bytes, bytes]:
    stop = 7 + frames.frame_at(wire, 0)[2]
    return wire[7:stop], frames.body_of(wire, stop + 1)


def old(entries: object, content_type: bytes = b"application/json") -> tuple[bytes, bytes]:
    body = json.dumps(entries).encode()
    return header({p.CONTENT_TYPE: shortstr(content_type), p.HEADERS: table({})}, len(body)), body


def test_a_task_of_protocol_2():
    found = described.task(*parts(task(eta="2030-01-01T00:00:00+00:00")))
    assert found == ("shop.tasks.mail", "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11", 1893456000.0, "")
    assert described.task(*parts(task())).eta is None


def test_a_task_whose_name_is_no_text():
    assert described.task(*parts(task(headers=task_headers(task=5)))).name == ""


def test_a_task_of_protocol_1():
    found = described.task(*old({"task": "shop.old\n", "eta": "2030-01-01T00:00:00Z"}))
    assert found == ("shop.old\\n", "", 1893456000.0, "")
    assert described.task(*old({"task": 5})).name == ""
    assert described.task(*old([])) == ("", "", None, "")


def test_what_cannot_be_told():
    assert "no serializer" in described.task(*old({}, b"application/x-odd")).unreadable
    assert described.task(header({}), b"") == ("", "", None, "")
    assert described.task(b"\x00" * 14 + b"x", b"").unreadable != ""


# -- the body
# ------------------------------------------------------------------------------------------------------------


def test_text_is_shown_as_text_that_does_nothing():
    assert preview('[["é"], {}]\n\x1b[2J'.encode()) == ['[["é"], {}]', "\\x1b[2J"]
    assert preview("ab€".encode()[:-1]) == ["ab"]
    assert preview(b"") == []


def test_what_is_no_text_is_shown_as_bytes():
    assert preview(b"\x80\x02}q\x00.") == ["00000000  80 02 7d 71 00 2e                                ..}q.."]
    assert preview(b"a\0" * 9)[1].startswith("00000010  61 00 ")
    assert preview(b"\xff")[0].startswith("00000000  ff ")
