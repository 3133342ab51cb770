"""What is measured, on queues that stand still and a clock that is set; tests/e2e/test_status.py has real ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from bridge import subscription as subscription_room
from bridge.core.route import Layout, Route, State
from bridge.depths import Depth
from bridge.errors import UnknownQueue
from bridge.figures import POINT, STALE, YOUNG, Figures
from tests.support.standing import FakeExits, Standing, standing

#: When the clock begins, in UTC epoch seconds.
WALL = 1_700_000_000.0


class Looks:
    """Depths as the test says."""

    def __init__(self) -> None:
        self.olds: dict[str, Depth] = {}
        self.news: dict[str, Depth] = {}

    def old(self, queue: str) -> Depth | None:
        return self.olds.get(queue)

    def new(self, queue: str) -> Depth | None:
        return self.news.get(queue)


class Bench:
    """Queues `mail` and `sms`, looked at every second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, layout: Layout = Layout.TAKEOVER) -> None:
        self.now = 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now, time=self.wall)
        monkeypatch.setattr(subscription_room, "time", clock)
        self.queues: list[Standing] = standing(("mail", "sms"), FakeExits(), inline=layout is Layout.INLINE)
        self.mail = self.queues[0]
        self.looks = Looks()
        self.figures = Figures(layout, lambda: self.queues, clock=lambda: self.now, wall=self.wall)
        self.figures.depths = self.looks  # type: ignore[assignment]

    def wall(self) -> float:
        return WALL + self.now - 100.0

    def moves(self, queue: Standing, route: Route = Route.QUORUM) -> None:
        queue.set_state(State(route))
        mover = queue._behind if route is Route.REVERSE else queue._ahead
        mover.state = "moving"
        mover.since = datetime.fromtimestamp(self.wall(), UTC)

    def pass_(self, seconds: int, came: int = 0, went: int = 0, ready: int = 0) -> None:
        """So many seconds, in each of which so many are published into `mail` and moved from there."""
        counts = self.mail.counts
        for _ in range(seconds):
            self.now += 1.0
            counts.taken += went
            counts.moved += went
            before = self.looks.olds.get("mail")
            published = came + (0 if before is None else before.published or 0)
            self.looks.olds["mail"] = Depth(ready, 0, 1, self.now, published)
            for queue in self.queues:
                queue.sample()
            self.figures.sample()

    def told(self, queue: Standing | None = None) -> dict[str, Any]:
        queue = queue or self.mail
        now = datetime.fromtimestamp(self.wall(), UTC)
        return {"name": queue.queue, "route": queue.route.value, **self.figures.of_queue(queue, queue.rate(), now)}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_before_anything_was_looked_at_every_key_is_there(bench: Bench) -> None:
    told = bench.told()
    nothing = dict.fromkeys(("10s", "1m", "10m"))
    assert told["rates"] == {"in": nothing, "out": nothing}
    assert list(told["rates"]["out"]) == ["10s", "1m", "10m"]
    assert told["due"] == dict.fromkeys(("minute", "hour", "day", "week", "later"), 0)
    assert told["confirm"] == {"p50_ms": None, "p99_ms": None}
    assert told["ladder"] == {"waiting": 0}
    assert told["finish"] == {"seconds": None, "at": None, "why": "route legacy: nothing is moved", "grows": False}
    assert bench.figures.ladder() == {"levels": [], "messages": None, "stuck": [], "age_s": None}
    totals = bench.figures.totals([told])
    assert totals["rates"] == {"in": nothing, "out": nothing}
    assert totals["finish"]["why"] == "no queue is moved"
    assert bench.figures.totals([])["due"]["minute"] == 0


def test_rates_are_what_came_and_what_was_moved(bench: Bench) -> None:
    bench.moves(bench.mail)
    bench.pass_(2, came=50, went=200)
    assert bench.told()["rates"]["out"]["10s"] is None
    bench.pass_(70, came=50, went=200)
    rates = bench.told()["rates"]
    assert rates["in"] == {name: pytest.approx(50, rel=0.02) for name in ("10s", "1m", "10m")}
    assert rates["out"] == {name: pytest.approx(200, rel=0.02) for name in ("10s", "1m", "10m")}
    totals = bench.figures.totals([bench.told(), bench.told(bench.queues[1])])
    assert totals["rates"]["in"]["1m"] == pytest.approx(50, rel=0.02)
    assert totals["rates"]["out"]["1m"] == pytest.approx(200, rel=0.02)
    bench.pass_(15)
    assert bench.told()["rates"]["in"]["10s"] == 0.0
    assert 10 < bench.told()["rates"]["in"]["1m"] < 50


def test_the_time_to_finish_is_that_of_the_net_rate(bench: Bench) -> None:
    bench.moves(bench.mail)
    bench.pass_(12, came=50, went=150, ready=2_000)
    finish = bench.told()["finish"]
    assert finish["seconds"] == pytest.approx(20, rel=0.05)
    at = datetime.fromtimestamp(bench.wall(), UTC) + timedelta(seconds=finish["seconds"])
    assert abs(datetime.fromisoformat(finish["at"]) - at) <= timedelta(seconds=1)
    assert bench.figures.totals([bench.told(), bench.told(bench.queues[1])])["finish"] == finish
    # For a while the last ten seconds count, then the last minute.
    bench.pass_(int(YOUNG), came=50, went=150, ready=2_000)
    bench.pass_(10, came=50, went=250, ready=2_000)
    assert 15 < bench.told()["finish"]["seconds"] < 20


def test_nothing_is_told_of_the_end_while_the_source_grows(bench: Bench) -> None:
    bench.moves(bench.mail)
    bench.pass_(12, came=150, went=150, ready=2_000)
    found = bench.told()["finish"]
    assert (found["seconds"], found["at"], found["grows"]) == (None, None, True)
    assert found["why"].startswith("the source grows as fast or faster: 150.0/s come")
    assert bench.figures.grows(bench.mail, datetime.fromtimestamp(bench.wall(), UTC)) == found["why"]
    total = bench.figures.totals([bench.told()])["finish"]
    assert total["seconds"] is None
    assert total["why"].startswith('queue "mail": the source grows')
    assert bench.figures.grows(bench.queues[1], datetime.now(UTC)) == ""


def test_what_is_not_known_has_its_reason(bench: Bench) -> None:
    bench.moves(bench.mail)
    bench.pass_(12, went=10, ready=5)
    # A broker that keeps no statistics counts no publishes.
    bench.looks.olds["mail"] = Depth(5, 0, 1, bench.now, None)
    for _ in range(6):
        bench.now += 1
        bench.mail.sample()
        bench.figures.sample()
    assert bench.told()["rates"]["in"] == dict.fromkeys(("10s", "1m", "10m"))
    assert bench.told()["finish"]["why"] == "how much is published into the old queue is not known"
    bench.now += STALE
    assert bench.told()["finish"]["why"] == "how many wait is not known"
    bench.mail._ahead.state = "faulted"
    assert bench.told()["finish"]["why"] == "nothing is moved now"


def test_of_a_queue_that_is_brought_back_the_target_is_what_finishes(bench: Bench) -> None:
    bench.moves(bench.mail, Route.REVERSE)
    assert bench.told()["finish"]["why"] == "how many wait is not known"
    for second in range(21):
        bench.looks.news["mail"] = Depth(1_000 - 20 * second, 0, 0, bench.now, 0)
        bench.mail.back_counts.to_legacy += 25
        bench.pass_(1)
    finish = bench.told()["finish"]
    assert finish["seconds"] == pytest.approx(600 / 20, rel=0.15)
    bench.moves(bench.mail)
    bench.pass_(6)
    bench.moves(bench.mail, Route.REVERSE)
    assert bench.told()["finish"]["why"] == "how many wait is not known"


def test_inline_what_comes_is_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Layout.INLINE)
    bench.moves(bench.mail)
    bench.pass_(20, came=7, went=30)
    assert bench.told()["rates"]["in"]["10s"] == pytest.approx(30, rel=0.05)
    assert "in the inline layout" in bench.told()["finish"]["why"]


def test_what_was_converted_is_counted_by_its_delay_and_waits_until_it_is_due(bench: Bench) -> None:
    bench.mail.counts.waits.update([30, 30, 7_200])
    assert bench.told()["due"] == {"minute": 2, "hour": 0, "day": 1, "week": 0, "later": 0}
    bench.pass_(int(POINT) + 1)
    assert bench.told()["ladder"] == {"waiting": 3}
    bench.mail.counts.waits.update([30])
    bench.pass_(1)
    assert not bench.mail.counts.waits
    bench.pass_(40)
    assert bench.told()["ladder"] == {"waiting": 1}
    assert bench.figures.totals([bench.told()])["ladder"] == {"waiting": 1}
    assert bench.figures.totals([bench.told()])["due"]["minute"] == 3


def test_what_was_brought_back_out_of_the_ladder_waits_no_more(bench: Bench) -> None:
    brought = {"mail": 2, "sms": 0}
    bench.figures.brought = brought.__getitem__
    bench.mail.counts.waits.update([600] * 5)
    bench.pass_(6)
    assert bench.told()["ladder"] == {"waiting": 5}
    brought["mail"] = 5
    bench.pass_(6)
    assert bench.told()["ladder"] == {"waiting": 2}


def test_a_queue_in_which_nothing_happens_costs_nothing_and_goes_on_as_if_it_had_been_looked_at(bench: Bench) -> None:
    bench.moves(bench.mail)
    bench.pass_(700, ready=3)
    of = bench.figures._of["mail"]
    assert of.still
    assert len(bench.figures.history("mail")["points"]) == 140
    of.went = of.came = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        bench.pass_(6, went=1)
    fresh = Bench(pytest.MonkeyPatch())
    fresh.moves(fresh.mail)
    fresh.pass_(701, ready=3)
    fresh.pass_(5, came=100, went=60, ready=3)
    rates = fresh.told()["rates"]
    assert rates["in"]["10s"] == pytest.approx(50, rel=0.25)
    assert rates["out"]["1m"] == pytest.approx(5, rel=0.25)
    assert list(points(fresh, "mail"))[-2][1] == 3


def test_confirm_times_are_of_the_last_minute(bench: Bench) -> None:
    bench.mail.counts.lags += [0.002] * 90 + [0.5] * 10
    bench.queues[1].back_counts.lags.append(0.1)
    bench.pass_(int(POINT) + 1)
    confirm = bench.told()["confirm"]
    assert confirm["p50_ms"] == pytest.approx(2, rel=0.07)
    assert confirm["p99_ms"] == pytest.approx(500, rel=0.07)
    assert bench.told(bench.queues[1])["confirm"]["p50_ms"] == pytest.approx(100, rel=0.07)
    assert bench.figures.totals([bench.told()])["confirm"]["p50_ms"] == pytest.approx(2, rel=0.07)
    assert not bench.mail.counts.lags
    bench.pass_(70)
    assert bench.told()["confirm"] == {"p50_ms": None, "p99_ms": None}


def points(bench: Bench, queue: str | None = None) -> Iterator[list[float | None]]:
    return iter(bench.figures.history(queue)["points"])


def test_the_history_has_a_point_every_few_seconds_of_each_queue_and_of_all(bench: Bench) -> None:
    bench.moves(bench.mail)
    bench.mail.counts.lags.append(0.004)
    bench.looks.olds["sms"] = Depth(7, 0, 0, 1e9, 0)
    bench.pass_(31, came=100, went=200, ready=900)
    told = bench.figures.history("mail")
    assert (told["every_s"], told["queue"], len(told["points"])) == (5, "mail", 7)
    assert [point[0] - told["points"][0][0] for point in told["points"]] == [0, 5, 10, 15, 20, 25, 30]
    assert told["points"][0][1:] == [900, None, 0, None, None, pytest.approx(4, rel=0.07)]
    assert told["points"][-1][1:] == [900, None, 0, pytest.approx(100, rel=0.03), pytest.approx(200, rel=0.03), None]
    assert list(points(bench))[-1][1:3] == [907, None]
    assert bench.figures.history("")["queue"] is None
    with pytest.raises(UnknownQueue, match='queue "nobody": not in scope'):
        bench.figures.history("nobody")


def test_a_queue_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.pass_(6)
    gone = bench.queues.pop()
    bench.pass_(6)
    assert gone.queue not in bench.figures._of
    bench.figures.forget()
    assert bench.told()["rates"]["in"]["10s"] is None
