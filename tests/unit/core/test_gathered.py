"""A delivery that comes in pieces."""

from __future__ import annotations

import pytest

from bridge.core import frames
from bridge.core.gathered import Gathered
from tests.support import wire


def pieces(message: bytes) -> list[tuple[int, bytes]]:
    cutter = frames.Cutter()
    cutter.feed(message)
    return [(kind, message[start:stop]) for kind, _, start, stop in cutter.frames()]


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 2), (12, 2), (13, 3), (100, 10)])
def test_whole_with_its_last_frame(size: int, count: int) -> None:
    message = wire.task(bytes(size), frame_max=20)
    gathered = Gathered(7, 1)
    assert [gathered.add(kind, piece) for kind, piece in pieces(message)] == [False] * (count - 1) + [True]
    assert b"".join(gathered.parts) == message
    assert (gathered.tag, gathered.redelivered) == (7, 1)
    assert (gathered.size, gathered.flags) == frames.size_and_flags_at(message, 3)


def test_what_is_dropped_is_not_kept_and_still_counted_off() -> None:
    message = wire.task(bytes(100), frame_max=20)
    gathered = Gathered(1, 0)
    for number, (kind, piece) in enumerate(pieces(message)):
        if number == 3:
            gathered.drop()
        whole = gathered.add(kind, piece)
    assert whole
    assert gathered.parts == []
    assert gathered.dropped


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (frames.frame(frames.BODY, 5, b"first"), "before its header"),
        (frames.header_frame(5, wire.header({}, 2)) * 2, "out of place"),
        (frames.header_frame(5, bytes(13)), "too short"),
        (frames.header_frame(5, wire.header({}, 2)) + frames.frame(frames.BODY, 5, b"three"), "longer"),
    ],
)
def test_frames_out_of_order(content: bytes, seen: str) -> None:
    gathered = Gathered(1, 0)
    *before, (kind, last) = pieces(content)
    assert not any(gathered.add(*piece) for piece in before)
    with pytest.raises(frames.FrameError, match=seen):
        gathered.add(kind, last)
