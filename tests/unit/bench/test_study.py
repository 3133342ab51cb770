"""What an aim looks at, and how rounds are compared."""

from __future__ import annotations

import math

from tests.bench.study import Aim, Bench, Sample, Spread, compared, spread


def sample(row: str, number: int, rate: float, shape: str = "1 KiB", world: str = "3.10->4.3") -> Sample:
    return Sample("movers", world, shape, row, number, {"rate": rate}, 0.0)


def test_rows_are_compared_within_a_round() -> None:
    runs = [sample("bridge", 1, 100), sample("Shovel", 1, 50), sample("bridge", 2, 30), sample("Shovel", 2, 10)]
    assert compared(Aim("bridge", "rate", "Shovel"), runs, "3.10->4.3", "1 KiB") == Spread(2.5, 2, 3)


def test_rows_take_turns_and_each_second_round_goes_the_other_way() -> None:
    turns = Bench(3, 1.0, print).turns(name for name in "abc")
    assert list(turns) == [(1, "a"), (1, "b"), (1, "c"), (2, "c"), (2, "b"), (2, "a"), (3, "a"), (3, "b"), (3, "c")]


def test_a_round_without_the_other_row_does_not_count() -> None:
    runs = [sample("bridge", 1, 100), sample("bridge", 2, 30), sample("Shovel", 2, 10)]
    assert compared(Aim("bridge", "rate", "Shovel"), runs, "3.10->4.3", "1 KiB") == Spread(3, 3, 3)
    assert compared(Aim("bridge", "rate", "pika"), runs, "3.10->4.3", "1 KiB") is None


def test_a_row_that_moved_nothing_is_passed_by_far() -> None:
    runs = [sample("bridge", 1, 100), sample("Shovel", 1, 0)]
    found = compared(Aim("bridge", "rate", "Shovel"), runs, "3.10->4.3", "1 KiB")
    assert found is not None
    assert math.isinf(found.median)


def test_without_another_row_the_figure_itself_counts() -> None:
    runs = [sample("bridge", 1, 100), sample("bridge", 2, 30), sample("bridge", 1, 7, world="3.10->4.0")]
    assert compared(Aim("bridge", "rate", None), runs, "3.10->4.3", "1 KiB") == Spread(65, 30, 100)
    assert compared(Aim("bridge", "cpu_us", None), runs, "3.10->4.3", "1 KiB") is None


def test_another_shape_of_the_same_row_can_be_the_measure() -> None:
    runs = [sample("bridge", 1, 100, "1 queue"), sample("bridge", 1, 90, "200 queues")]
    aim = Aim("bridge", "rate", "bridge", least=0.8, shape="200 queues", than_shape="1 queue")
    found = compared(aim, runs, "3.10->4.3", "200 queues")
    assert found == Spread(0.9, 0.9, 0.9)
    assert aim.met(found.median)


def test_an_aim_says_what_is_wanted_and_where() -> None:
    aim = Aim("bridge", "rate", None, least=1.2, most=5, world="3.10->4.3")
    assert aim.text() == ">= 1.2 and <= 5"
    assert (aim.met(1.2), aim.met(1.1), aim.met(5.1)) == (True, False, False)
    assert aim.concerns("3.10->4.3", "1 KiB")
    assert not aim.concerns("3.10->4.0", "1 KiB")
    assert not Aim("bridge", "rate", None, shape="300 B").concerns("3.10->4.3", "1 KiB")


def test_a_spread_is_one_figure_where_all_are_alike() -> None:
    assert Spread.of([3, 1, 2]).text(1) == "2.0 (1.0-3.0)"
    assert Spread.of([12345.2, 12345.4]).text(0) == "12 345"
    assert spread([sample("bridge", 1, 5)], "cpu_us") is None


def test_sizes_follow_the_scale() -> None:
    bench = Bench(1, 0.01, lambda _: None)
    assert bench.size(40_000) == 1000
    assert bench.size(40_000, least=10) == 400
