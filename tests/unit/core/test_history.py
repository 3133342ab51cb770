"""Rings of points in 16 bits a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.history import History, pack, unpack


@given(st.integers(0, 2_048))
def test_small_numbers_are_exact(number: int) -> None:
    assert unpack(pack(number)) == number


@given(st.integers(2_049, 4 * 10**12))
def test_others_are_right_to_a_twentieth_of_a_percent(number: int) -> None:
    packed = pack(number)
    assert 0 <= packed < 0xFFFF
    assert unpack(packed) == pytest.approx(number, rel=0.0005)


def test_what_is_too_large_is_the_largest_and_never_unknown() -> None:
    assert pack(10**15) == pack(10**18) == 0xFFFE
    assert pack(-3) == 0


def test_a_ring_tells_its_points_with_their_times_the_oldest_first() -> None:
    history = History((1, 16, 1000), 3)
    ring, late = history.ring(), history.ring()
    assert history.points(ring) == []
    for turn in range(5):
        before = history.points(ring)
        history.put(ring, (turn, None, 0.123 * turn))
        if turn == 4:
            history.put(late, (7, 2.5, None))
        assert history.points(ring) == before
        history.turn(100.0 + turn)
    assert history.points(ring) == [
        [102.0, 2.0, None, 0.246],
        [103.0, 3.0, None, 0.369],
        [104.0, 4.0, None, 0.492],
    ]
    assert history.points(late) == [[104.0, 7.0, 2.5, None]]


def test_a_point_may_be_as_the_one_before() -> None:
    history = History((1, 16), 2)
    ring = history.ring()
    history.put(ring, (3, None))
    history.turn(100.0)
    for turn in range(1, 4):
        history.again(ring)
        history.turn(100.0 + turn)
    assert history.points(ring) == [[102.0, 3.0, None], [103.0, 3.0, None]]


def test_an_hour_of_a_thousand_queues_takes_less_than_ten_mebibytes() -> None:
    ring = History((1, 1, 1, 16, 16, 1000), 720).ring()
    assert 1000 * len(ring) * ring.itemsize < 10 << 20
