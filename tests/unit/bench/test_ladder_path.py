"""Ways through the ladder against kombu's own reading of a delay, averages against counting, lateness by hand."""

from __future__ import annotations

import pytest
from kombu.transport.native_delayed_delivery import calculate_routing_key

from bridge.core import ladder
from tests.bench.ladder_path import Cost, Path, lateness, mean_bits, mean_entry

COST = Cost(once=50.0, hop=120.0, exchange=7.0)


@pytest.mark.parametrize("delay", [1, 2, 7, 8, 15, 86_401, ladder.MAX_DELAY])
def test_a_path_has_a_queue_for_each_set_bit_and_begins_at_the_highest(delay: int) -> None:
    bits = calculate_routing_key(delay, "q").split(".")[: ladder.LEVELS]

    for top, entry in ((False, 27 - bits.index("1")), (True, 27)):
        path = Path.of(delay, top=top)
        assert path.levels == [27 - place for place, bit in enumerate(bits) if bit == "1"]
        assert path.entry == entry


@pytest.mark.parametrize("most", [1, 2, 5, 8, 600, 3600, 4095, 4096])
def test_averages_are_those_of_all_delays(most: int) -> None:
    delays = range(1, most + 1)

    assert mean_bits(most) == pytest.approx(sum(delay.bit_count() for delay in delays) / most)
    assert mean_entry(most) == pytest.approx(sum(delay.bit_length() - 1 for delay in delays) / most)


def test_the_cost_of_a_queue_and_of_an_exchange_are_found_again() -> None:
    ways = Path.of(1), Path.of(8), Path.of(15), Path.of(8, top=True)

    found = Cost.of(*(COST.of_path(way) for way in ways))

    assert (found.once, found.hop, found.exchange) == pytest.approx((50.0, 120.0, 7.0))


def test_every_exchange_from_the_entry_down_counts() -> None:
    assert COST.of_path(Path.of(5)) == 50.0 + 2 * 120.0 + 3 * 7.0
    assert COST.of_path(Path.of(5, top=True)) == 50.0 + 2 * 120.0 + 28 * 7.0


@pytest.mark.parametrize("top", [False, True])
def test_the_cost_of_a_life_is_the_mean_over_all_delays(top: bool) -> None:
    lives = [COST.of_path(Path.of(delay, top=top)) for delay in range(1, 601)]

    assert COST.of_life(600, top=top) == pytest.approx(sum(lives) / 600)


def test_lateness_is_taken_from_the_first_look_that_saw_the_task() -> None:
    looks = [(9.0, 0), (10.5, 1), (11.0, 3), (14.0, 4)]

    assert lateness(looks, [10.0] * 4) == {
        "late_first": 0.5,
        "late_p50": 1.0,
        "late_p99": 1.0,
        "late_last": 4.0,
    }


def test_lateness_of_spread_due_times_is_taken_from_each_task_s_own() -> None:
    assert lateness([(9.9, 0), (10.0, 1), (11.0, 2)], [10.0, 11.5]) == {
        "late_first": 0.0,
        "late_p50": 0.0,
        "late_p99": 0.0,
        "late_last": -0.5,
    }
