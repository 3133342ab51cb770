from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from amqp.basic_message import Message
from rich.console import Console

from bridge.lab.notified import Protocol
from bridge.lab.records import Received, Sent, Started, Truth, as_text
from bridge.lab.report import Books, Moments, Report, longest_gap, measure, percentile, show

FLIP = 1000.0
MOMENTS = Moments(before=(990.0, 1000.0), flip=FLIP, moved=1005.0, after=(1030.0, 1040.0))
BOOKS = Books(moved=10, converted=3, moved_per_s=5000.0, cpu_us_per_message=12.345)


def properties(**values: Any) -> str:
    return as_text(Message("", **values)._serialize_properties())


class Story:
    """Sent, received and started tasks, told one by one."""

    def __init__(self, folder: Path) -> None:
        self.truth = Truth(folder)

    def task(
        self,
        task: str,
        at: float,
        *starts: float,
        eta: float | None = None,
        live: bool = True,
        queue: str = "web",
        exchange: str = "",
        out_of: str = "",
        **read: Any,
    ) -> None:
        sent = Sent(task, at, queue, eta, live, "plain", "body", properties(priority=0))
        self.truth.sent[task] = sent
        if not starts:
            self.truth.waiting[task] = sent
        for moment in starts:
            side = "old" if moment < FLIP else "new"
            seen = {"queue": out_of or queue, "body": "body", "properties": sent.properties, **read}
            self.truth.received.append(
                Received(
                    id=task,
                    at=moment,
                    side=side,
                    worker=side,
                    exchange=exchange,
                    routing_key="",
                    redelivered=False,
                    **seen,
                )
            )
            self.truth.started.setdefault(task, []).append(Started(task, moment, side, side))

    def report(self, *, capped: bool = False) -> Report:
        return measure(self.truth, MOMENTS, BOOKS, capped=capped)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_all_is_well(story: Story) -> None:
    story.task("a", 995.0, 995.002)
    story.task("b", 1031.0, 1031.004)
    story.task("c", 995.0, 1032.01, eta=1032.0, exchange="celery_delayed_delivery")
    report = story.report()
    assert report.verdict() == ""
    assert report.faults == {}
    assert report.as_json() == {
        "lost": 0,
        "executed_twice": 0,
        "early": 0,
        "changed": 0,
        "moved": 10,
        "converted": 3,
        "moved_per_s": 5000.0,
        "cpu_us_per_message": 12.35,
        "flip": {"longest_gap_ms": 15000.0 - 2.0},
        "latency_ms": {"before": {"p50": 2.0, "p99": 2.0}, "after": {"p50": 4.0, "p99": 4.0}},
        "eta_error_ms": {"p50": 10.0, "p99": 10.0, "max": 10.0},
        "notify": None,
    }
    assert (report.started_old, report.started_new) == (1, 2)


def test_what_could_not_be_measured_is_null(story: Story) -> None:
    figures = measure(story.truth, MOMENTS, Books(0, 0, None, None), capped=False).as_json()
    assert figures["moved_per_s"] is figures["latency_ms"]["before"]["p50"] is figures["eta_error_ms"]["max"] is None


def test_lost(story: Story) -> None:
    story.task("a", 995.0)
    report = story.report()
    assert report.verdict() == "the rehearsal failed: 1 task was lost"
    assert report.faults == {"lost": ["a (live, plain, queue web, due at once)"]}


def test_executed_twice_is_counted_and_does_not_fail(story: Story) -> None:
    story.task("a", 995.0, 995.1, 1001.0)
    report = story.report()
    assert (report.executed_twice, report.verdict()) == (1, "")
    assert report.faults["executed twice"] == [
        "a (live, plain, queue web, due at once): on old 0.100 s after it was sent, on new 6.000 s after it was sent"
    ]


def test_early_by_any_of_its_starts(story: Story) -> None:
    story.task("a", 995.0, 1005.0, 1004.999, eta=1005.0)
    story.task("b", 995.0, 1005.0, eta=1005.0)
    report = story.report()
    assert (report.early, report.verdict()) == (1, "the rehearsal failed: 1 task was executed early")
    assert "started 1.000 ms early" in report.faults["early"][0]


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ({"out_of": "a.web"}, "it came out of queue a.web"),
        ({"body": "other"}, "the body is another"),
        ({"properties": properties(priority=1)}, "priority: o 00 was sent, o 01 was read"),
    ],
)
def test_changed(story: Story, read: dict[str, Any], said: str) -> None:
    story.task("a", 995.0, 1001.0, **read)
    story.task("b", 995.0, 1001.0, **read)
    report = story.report()
    assert report.verdict() == "the rehearsal failed: 2 tasks were changed on the way"
    assert report.faults["changed"][0].endswith(said)


def test_a_capped_priority_is_no_change_where_the_target_needs_it(story: Story) -> None:
    story.task("a", 995.0, 1003.0, eta=1002.0, properties=properties(priority=4))
    story.truth.sent["a"] = Sent("a", 995.0, "web", 1002.0, True, "plain", "body", properties(priority=9))
    assert story.report(capped=True).changed == 0
    assert story.report(capped=False).changed == 1


def test_tasks_of_an_earlier_rehearsal_do_not_count(story: Story) -> None:
    story.task("a", 995.0, 995.1, 996.0)
    del story.truth.sent["a"]
    report = story.report()
    assert (report.executed_twice, report.changed, report.started_old) == (0, 0, 0)


def test_the_gap_is_that_of_live_due_tasks_around_the_flip(story: Story) -> None:
    for number in range(150):
        if not 48 <= number < 52:
            story.task(f"live-{number}", 995.0, 995.0 + number / 10)
    story.task("backlog", 995.0, 1000.1, live=False)
    story.task("eta", 995.0, 1000.15, eta=1000.1)
    story.task("much later", 1035.0, 1039.0)
    assert story.report().as_json()["flip"]["longest_gap_ms"] == pytest.approx(500.0)


def test_silence_at_the_end_is_a_gap_too() -> None:
    assert longest_gap([1.0, 2.0], 0.5, 9.0) == 7.0
    assert longest_gap([], 0.0, 3.0) == 3.0
    assert longest_gap([], 3.0, 3.0) is None


def test_eta_errors_leave_out_who_stood_in_line(story: Story) -> None:
    story.task("backlog", 980.0, 1010.0, live=False)
    for task, eta, late, queue, exchange in (
        ("before the move was over", 1004.0, 0.5, "mail", "celery_delayed_delivery"),
        ("after it", 1006.0, 0.01, "mail", "celery_delayed_delivery"),
        ("behind the backlog", 1020.0, 0.5, "web", "celery_delayed_delivery"),
        ("when it was executed", 1030.0, 0.02, "web", "celery_delayed_delivery"),
        ("not converted", 1031.0, 0.5, "mail", ""),
    ):
        story.task(task, 980.0, eta + late, eta=eta, queue=queue, exchange=exchange)
    assert sorted(story.report().eta_error) == pytest.approx([0.01, 0.02])


def test_a_service_manager_that_was_told_wrong_fails_the_rehearsal(story: Story) -> None:
    protocol = Protocol(1.23456, None, 3, 5.0, "active", ["STOPPING never came"])
    report = measure(story.truth, MOMENTS, BOOKS, capped=False, protocol=protocol)
    assert report.verdict() == "the rehearsal failed: the service manager was not told the truth"
    assert report.faults == {"notify": ["STOPPING never came"]}
    assert report.as_json()["notify"] == {
        "ready_s": 1.23,
        "reload_s": None,
        "signs": 3,
        "longest_s": 5.0,
        "allowed_s": 10.0,
        "status": "active",
        "faults": 1,
    }
    page = io.StringIO()
    show(report, "", Console(file=page, width=200))
    assert "at most 5.0 s apart, 10 allowed; ready after 1.2 s, no reload" in page.getvalue()


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([], 50) is None


def test_people_see_every_figure(story: Story) -> None:
    story.task("a", 995.0, 995.002)
    page = io.StringIO()
    show(story.report(), "RabbitMQ 3.10.8 -> 4.3.6", Console(file=page, width=200))
    text = page.getvalue()
    assert "RabbitMQ 3.10.8 -> 4.3.6" in text
    assert "5,000.0" in text
    assert "not measured" in text
    json.dumps(story.report().as_json())
