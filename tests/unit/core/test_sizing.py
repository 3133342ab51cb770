"""The estimate: what a message costs by its size, backlog against inflow, ranges, and what it all takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import sizing
from bridge.core.sizing import Assumptions, Backlog, Basis, Moving, Seconds, estimate, seconds_each

PLAIN = Assumptions()
EXACT = Basis("given", "exactly", 1.0, 1.0)


def backlog(messages: int, arriving: float | None = 0.0, *, wire: int = 1024, name: str = "mail") -> Backlog:
    return Backlog(name, messages, 0, messages * (wire - sizing.ENVELOPE), arriving, 0.0)


@pytest.mark.parametrize(("size", "rate"), sizing.SPEEDS)
def test_what_was_measured_is_what_comes_out(size: int, rate: float) -> None:
    assert 1 / seconds_each(size) == pytest.approx(rate)


@given(st.integers(1, 1 << 24), st.integers(1, 1 << 20))
def test_a_larger_message_never_costs_less(size: int, more: int) -> None:
    assert 0 < seconds_each(size) <= seconds_each(size + more)


def test_below_the_smallest_nothing_is_saved_and_beyond_the_largest_bytes_count() -> None:
    assert seconds_each(1) == seconds_each(sizing.SPEEDS[0][0])
    (low, before), (high, after) = sizing.SPEEDS[-2:]
    each_byte = (1 / after - 1 / before) / (high - low)
    assert seconds_each(2 * high) - seconds_each(high) == pytest.approx(high * each_byte)


def test_time_is_backlog_over_rate_less_inflow() -> None:
    found = estimate([backlog(100_000, 500.0)], EXACT, Assumptions(rate=1000.0))
    assert found.together == Seconds(200.0, 200.0, 200.0)
    assert found.queues[0].seconds == found.together
    assert (found.messages, found.rate, found.arriving, found.all_eta) == (100_000, 1000.0, 500.0, None)


def test_never_where_as_much_comes_in_as_can_be_moved() -> None:
    found = estimate([backlog(1, 1000.0)], Basis("given", "", 0.5, 2.0), Assumptions(rate=1000.0))
    assert (found.together.expected, found.together.most) == (None, None)
    assert found.together.least == pytest.approx(1 / 1000)


def test_queues_share_one_limit() -> None:
    half = [backlog(50_000, 300.0, name="a"), backlog(50_000, 300.0, name="b")]
    found = estimate(half, EXACT, Assumptions(rate=1000.0))
    assert found.together.expected == pytest.approx(100_000 / 400)
    assert found.queues[0].seconds.expected == pytest.approx(50_000 / 700)


def test_the_range_is_that_of_the_basis() -> None:
    found = estimate([backlog(110_000)], sizing.model(), PLAIN).together
    assert found.expected is not None
    assert (found.least, found.most) == (found.expected / 2, found.expected * 2)


def test_a_line_bounds_whatever_the_basis_says() -> None:
    # 1 MiB/s carries 1024 messages of 1 KiB.
    found = estimate([backlog(10_240)], sizing.model(), replace(PLAIN, bandwidth=1024 * 1024)).together
    assert found == Seconds(10.0, 10.0, 10.0)


def test_eta_and_backup_cost_more() -> None:
    def rate(**more: object) -> float:
        return estimate([backlog(1000)], EXACT, Assumptions(**more)).rate  # type: ignore[arg-type]  # by keyword

    due = rate()
    assert due / rate(eta_share=1.0) == pytest.approx(sizing.LADDER_COST)
    for before in ((3, 13, 7), (4, 0, 5)):
        assert rate(eta_share=1.0, version=before) == pytest.approx(rate(eta_share=1.0))
    assert due / rate(eta_share=0.5) == pytest.approx((1 + sizing.LADDER_COST) / 2)
    assert due / rate(backup=True) == pytest.approx(sizing.BACKUP_COST)
    assert rate(eta_shares=(("mail", 1.0),)) == pytest.approx(rate(eta_share=1.0))
    assert rate(eta_shares=(("other", 1.0),)) == pytest.approx(due)
    assert rate(speed=0.5) == pytest.approx(due / 2)


def test_how_long_it_takes_if_all_had_an_eta() -> None:
    found = estimate([backlog(1000)], EXACT, PLAIN)
    assert found.all_eta is not None
    assert found.together.expected is not None
    assert found.all_eta.expected == pytest.approx(found.together.expected * sizing.LADDER_COST)


def test_sizes_that_cannot_be_weighed_are_those_of_the_others() -> None:
    found = estimate([backlog(100, wire=4096, name="a"), Backlog("b")], EXACT, PLAIN)
    assert [queue.size for queue in found.queues] == [4096, 4096]
    assert estimate([Backlog("b", 10)], EXACT, PLAIN).queues[0].size == sizing.TYPICAL


def test_nothing_to_be_moved_takes_no_time_and_has_a_rate() -> None:
    for queues in ([], [Backlog("a", arriving=5.0)]):
        found = estimate(queues, sizing.model(), PLAIN)
        assert found.together == Seconds(0.0, 0.0, 0.0)
        assert found.rate == pytest.approx(1 / seconds_each(sizing.TYPICAL))
        assert (found.messages, found.cost.fetched, found.cost.disk) == (0, 0, 0)


@pytest.mark.parametrize(
    ("ready", "arriving", "worked", "seconds"),
    [
        (0, None, None, 0.0),
        (100, 1.0, 11.0, 10.0),
        (100, 5.0, 5.0, None),
        (100, None, 5.0, None),
        (100, 5.0, None, None),
    ],
)
def test_left_to_the_old_workers(
    ready: int, arriving: float | None, worked: float | None, seconds: float | None
) -> None:
    found = estimate([Backlog("a", ready, 7, 100, arriving, worked)], EXACT, PLAIN)
    assert found.queues[0].old_workers == seconds


def test_what_it_takes() -> None:
    found = estimate([backlog(1024)], EXACT, replace(PLAIN, nodes=3)).cost
    assert (found.fetched, found.sent, found.between_nodes) == (1 << 20, 1 << 20, 2 << 20)
    assert found.disk == (1 << 20) + 1024 * sizing.KEPT_ON_DISK
    assert found.memory == 1024 * sizing.KEPT_IN_MEMORY
    assert (found.backup_disk, found.hops) == (0, 0)
    assert found.target_cpu / found.source_cpu == pytest.approx(3 * sizing.TARGET_PART / (1 - sizing.TARGET_PART))
    assert found.daemon_cpu == pytest.approx(1024 * sum(sizing.DAEMON_CPU) / 1e6)
    with_backup = estimate([backlog(1024)], EXACT, replace(PLAIN, nodes=3, backup=True)).cost
    assert (with_backup.sent, with_backup.backup_disk) == (2 << 20, 1 << 20)
    five = estimate([backlog(1024)], EXACT, replace(PLAIN, nodes=5)).cost
    assert five.disk == found.disk * 3 // 5, "a queue has three copies, whatever the number of nodes"


def test_hops_of_the_ladder() -> None:
    found = estimate([backlog(1000)], EXACT, replace(PLAIN, eta_share=0.5, ahead=86_400)).cost
    assert found.hops == 500 * 17 / 2
    assert found.target_cpu > estimate([backlog(1000)], EXACT, PLAIN).cost.target_cpu
    assert sizing.hops(1) == 1


def test_speed_of_a_daemon_is_what_it_moves_of_the_model() -> None:
    one, other = sizing.SPEEDS[1][1], sizing.SPEEDS[2][1]
    moving = [Moving("a", one / 4), Moving("b", other / 4)]
    sizes = {"a": sizing.SPEEDS[1][0], "b": sizing.SPEEDS[2][0]}
    assert sizing.speed_of(moving, sizes, PLAIN) == pytest.approx(0.5)
    assert sizing.speed_of([Moving("a", one, 1.0)], sizes, PLAIN) == pytest.approx(sizing.LADDER_COST)
    assert sizing.speed_of([Moving("new", one)], {}, PLAIN) == pytest.approx(1.0), "unknown sizes are typical"


def test_bases_say_what_they_rest_on() -> None:
    assert sizing.model().slow < 1 < sizing.model().fast
    assert sizing.given(5000.0).text == "the rate that was given, 5000 messages a second"
    assert "412 messages a second of a queue, 0.5 times the model" in sizing.measured(1, 412.4, 0.5).text
    assert "of 3 queues" in sizing.measured(3, 412.4, 0.5).text


def test_as_json() -> None:
    found = estimate([backlog(110_000)], EXACT, PLAIN).as_json()
    assert list(found) == ["queues", "total", "cost"]
    assert found["queues"][0]["name"] == "mail"
    assert found["queues"][0]["message_bytes"] == 1024
    assert found["queues"][0]["seconds"] == found["total"]["seconds"]
    assert list(found["total"]["seconds_all_eta"]) == ["expected", "least", "most"]
    assert estimate([], EXACT, Assumptions(rate=1.0)).as_json()["total"]["seconds_all_eta"] is None
