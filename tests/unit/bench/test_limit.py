"""How the clients of the brokers' limit count what they get."""

from __future__ import annotations

import pytest

from bridge.core import frames
from bridge.errors import LabError
from tests.bench.limit import _Confirms, _delivery_length


def confirms(*acks: tuple[int, bool]) -> memoryview:
    return memoryview(b"".join(frames.ack(1, tag, multiple=multiple) for tag, multiple in acks))


def test_confirms_are_counted_in_any_order() -> None:
    counted = _Confirms()
    counted.read(confirms((2, False)))
    assert counted.count == 1
    counted.read(confirms((1, False), (5, False)))
    assert counted.count == 3
    counted.read(confirms((6, True), (8, False)))
    assert counted.count == 7
    counted.read(confirms((7, False), (8, True)))
    assert counted.count == 8


def test_a_nack_is_no_confirm() -> None:
    with pytest.raises(LabError, match="where only confirms were expected"):
        _Confirms().read(memoryview(frames.nack(1, 3, multiple=False, requeue=False)))


@pytest.mark.parametrize("body", [b"", b"x" * 10, b"x" * 300])
def test_the_first_delivery_tells_the_length_of_all(body: bytes) -> None:
    header = b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + b"\x00\x00"
    head = frames.deliver_head(1, b"c", 1, False, b"", b"orders")
    wire = head + frames.header_frame(1, header) + frames.body_frames(1, body, 108)
    assert [_delivery_length(wire[:end]) for end in range(len(wire))] == [0] * len(wire)
    assert _delivery_length(wire + head) == len(wire)
