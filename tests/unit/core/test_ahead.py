"""How many messages are read ahead of the window."""

from __future__ import annotations

import pytest

from bridge.core.ahead import BYTES, LEAST, LESS, MORE, SECONDS, UNKNOWN, ReadAhead

MOST = 2000


def look(
    ahead: ReadAhead,
    now: float,
    rate: float = 10_000.0,
    *,
    bulk: float = 1000.0,
    scope: int = 1,
    busy: int = 1,
    alone: bool = True,
) -> int:
    """Look at a queue whose messages are confirmed at this rate."""
    return ahead.look(now, int(rate * now), bulk, scope, busy, alone=alone)


def test_a_backlog_is_read_ahead_at_once() -> None:
    assert look(ReadAhead(MOST, 0.0, 0), 0.1) == MOST


def test_none_is_read_ahead_where_none_may_be() -> None:
    assert look(ReadAhead(0, 0.0, 0), 0.1) == 0


def test_no_more_than_go_in_half_a_second() -> None:
    assert look(ReadAhead(MOST, 0.0, 0), 1.0, 1000.0) == 1000 * SECONDS
    assert look(ReadAhead(MOST, 0.0, 0), 1.0, LEAST / SECONDS - 2) == 0, "so few hide nothing"


@pytest.mark.parametrize(("bulk", "most"), [(1024, MOST), (16 * 1024, BYTES // 16384), (1024 * 1024, 0)])
def test_fewer_of_large_ones(bulk: int, most: int) -> None:
    assert look(ReadAhead(MOST, 0.0, 0), 1.0, bulk=bulk) == most


def test_queues_share_it_and_who_is_one_of_them_is_not_known_at_first() -> None:
    ahead = ReadAhead(MOST, 0.0, 0)
    assert look(ahead, 1.0, scope=10, busy=1) == MOST // 10
    assert look(ahead, UNKNOWN, scope=10, busy=2) == MOST // 2
    assert look(ahead, UNKNOWN + 1, scope=10, busy=0) == MOST
    assert look(ReadAhead(MOST, 0.0, 0), 1.0, scope=200, busy=1) == 0


def test_none_while_another_queue_waits_behind_it() -> None:
    ahead = ReadAhead(MOST, 0.0, 0)
    assert look(ahead, 1.0) == MOST
    assert look(ahead, 2.0, alone=False) == 0
    assert look(ahead, 3.0) == MOST


def test_it_does_not_change_for_a_little_more_or_less() -> None:
    ahead = ReadAhead(MOST, 0.0, 0)
    confirmed = 1000
    assert ahead.look(1.0, confirmed, 1000.0, 1, 1, alone=True) == 500
    for second, (factor, size) in enumerate([(MORE - 0.1, 500), (LESS + 0.1, 500), (MORE + 0.1, 800)], 2):
        confirmed += round(1000 * factor)
        assert ahead.look(float(second), confirmed, 1000.0, 1, 1, alone=True) == size
