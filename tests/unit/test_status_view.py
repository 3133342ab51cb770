"""The status as text, on screens of several widths."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from bridge import status_view
from tests.support.statuses import queue, status

FAULT = 'target queue "img" does not exist on the target'


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(told: dict[str, Any], width: int = 160, **how: Any) -> list[str]:
    out = io.StringIO()
    status_view.show(told, Console(file=out, width=width), **how)
    return out.getvalue().splitlines()


def rows(told: dict[str, Any], width: int = 160, **how: Any) -> list[str]:
    lines = shown(told, width, **how)
    return lines[next(index for index, line in enumerate(lines) if line.startswith("queue ")) :]


def bare(**changed: Any) -> dict[str, Any]:
    """A status without what only a newer daemon tells."""
    newer = ("now", "why_first", "old_side", "probe", "limit")
    told = {**status(queue("mail", limit=None)), "ladder": {"fault": None, "warning": None}, **changed}
    told["totals"] = {name: told["totals"][name] for name in ("in_flight", "rate", "moved", "converted")}
    return {name: value for name, value in told.items() if name not in newer}


def test_what_waits_and_why_comes_first() -> None:
    lines = shown(status(queue("mail"), why_first=f'queue "img" is faulted: {FAULT}'))
    assert lines[:2] == [
        f'queue "img" is faulted: {FAULT}',
        "bridge 0.1.0, instance main, pid 4711: active since 2026-11-22T10:00:00+00:00",
    ]


def test_the_head_has_the_sums_the_ladder_and_who_is_on_the_old_side() -> None:
    lines = shown(status(queue("mail"), queue("img", state="faulted", why=FAULT)))
    sums = "1 of 2 queues move, in 50/s, out 200/s, 6 in flight, confirmed in 1.5 ms (99 %: 9 ms)"
    assert lines[3:9] == [
        "limit: at most 1000/s, all queues together",
        f"{sums}; done in 1.5 min, at 12:01",
        "ladder: 42 wait in 2 levels; stuck: 3",
        "converted tasks had to wait: < 1 min ▂ 4  < 1 h █ 300  < 1 d ▄ 90  < 1 week ▂ 6  later ▁ 0",
        "old side: published to by shop (10.0.0.9:5000) and 2 more; messages are held by celery@old",
        "probe: 4 ms through the real path",
    ]


def test_a_source_that_grows_has_no_end() -> None:
    told = status(queue("mail"))
    told["totals"]["finish"] = {"seconds": None, "at": None, "grows": True, "why": "more comes than is moved"}
    assert any(line.endswith("; more comes than is moved") for line in shown(told))
    assert not any("done in" in line for line in shown(told))


def test_an_older_daemon_tells_less() -> None:
    lines = shown(bare())
    assert lines[3] == "1 of 1 queues move, out 201/s, 3 in flight"
    assert len(lines) == 4 + 3


def test_a_standby_says_so_first() -> None:
    lines = shown(bare(state="standby", standby="host h1, pid 4, is the active one since 10:00"))
    assert lines[0] == "on standby: host h1, pid 4, is the active one since 10:00"
    assert lines[1].startswith("bridge 0.1.0, instance main, pid 4711: standby since ")
    waiting = {"url": "amqp://u:***@old:5672/c", "connected": False, "reason": "not connected yet"}
    lines = shown(bare(standby="yes", source=waiting, ladder={"fault": "not verified yet"}))
    assert lines[2] == "target amqp://u:***@new:5672/q connected"
    assert lines[3].startswith("queue ")


def test_what_holds_for_all_queues_is_said_above() -> None:
    told = bare(
        target={"url": "amqp://u:***@new:5672/q", "connected": True, "reason": "memory"},
        legacy={"url": "amqp://u:***@old:5672/l", "connected": False, "reason": None},
        control={"fault": "the queue is full"},
        ladder={"fault": "no exit", "warning": "tasks enter by Celery's exchanges"},
        backup=None,
        reload_fault="route: found 'x'",
        lost_features=["discovery of new queues: source.api is not set"],
    )
    told |= {"limit": 500.0, "probe": {"fault": "none came back", "last_ms": 3.0}}
    assert shown(told)[2:11] == [
        "target amqp://u:***@new:5672/q connected, takes no publishes: memory",
        "legacy amqp://u:***@old:5672/l not connected: no reason known",
        "state is not saved: the queue is full",
        "ladder: no exit",
        "probe: none came back",
        "ladder: tasks enter by Celery's exchanges",
        "the file is not in force: route: found 'x'",
        "limit: at most 500/s, all queues together",
        "without: discovery of new queues: source.api is not set",
    ]


def test_each_queue_has_a_row_the_gravest_first_and_the_sum_has_one() -> None:
    told = status(
        queue("[b]img[/b]", target="b", limit=None),
        queue("old", route="legacy", state="idle", why="route legacy", limit=None),
        queue("mail", state="faulted", why=FAULT, limit=None, rates=None, rate=0.0, finish=None, depth=None),
    )
    found = rows(told)
    assert (
        found[0].split() == "queue route state old new in/s out/s left in flight ladder moved converted p99 ms".split()
    )
    assert found[1].split()[:12] == "mail quorum faulted ? ? ? 0 3 380 1200 400 9".split()
    assert found[1].endswith(FAULT)
    assert found[2].split() == "[b]img[/b] -> b quorum moving 70 3 50 200 1.5 min 3 380 1200 400 9".split()
    assert found[3].split()[:3] == ["old", "legacy", "idle"]
    assert found[3].endswith("route legacy")
    assert found[4].split() == "total 50 200 1.5 min 9 380 3600 1200 9".split()


@pytest.mark.parametrize("width", [60, 80, 100, 132])
def test_a_narrow_screen_loses_columns_and_no_text(width: int) -> None:
    name, why = "q" * 90, "the reason why it does not move at all, " * 4
    told = status(queue(name, state="faulted", why=why.strip()), queue("mail"))
    lines = rows(told, width)
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).count("q") >= 90
    assert " ".join(" ".join(lines).split()).count("the reason why") == 4
    heading = lines[0].split()
    assert heading[:5] == ["queue", "route", "state", "old", "new"]
    assert ("p99" in heading) is (width >= 132)


def test_a_screen_that_prints_no_blocks_gets_ascii() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    status_view.show(status(queue("mail")), Console(file=out, width=160))
    out.seek(0)
    assert "< 1 h # 300" in out.read()


@pytest.mark.parametrize(
    ("more", "remarks"),
    [
        ({"state": "paused", "why": "paused; the route is quorum"}, "paused; the route is quorum"),
        ({"state": "throttled", "why": "memory alarm", "limit": 5.0}, "memory alarm; at most 5/s"),
        (
            {"planned": {"verb": "cutover", "waits_for": "for 02:30", "refused": ""}},
            "cutover is planned: waits for 02:30",
        ),
        (
            {"planned": {"verb": "cutover", "waits_for": "", "refused": "no workers"}},
            "cutover is planned: due, refused so far: no workers",
        ),
        ({"waits_for": ["12 ready", "a consumer"], "drained": False}, "not drained: 12 ready and 1 more"),
        ({"waits_for": ["12 ready"], "drained": False}, "not drained: 12 ready"),
        ({"waits_for": [], "drained": True}, ""),
        ({"waits_for": ["the route quorum"], "drained": False, "route": "canary"}, ""),
        ({"finish": {"seconds": None, "at": None, "grows": True, "why": "more comes"}}, "more comes"),
        ({"by": "alice@h1", "changed_at": "2026-11-22T12:05:00+00:00"}, "by alice@h1, 11-22 12:05"),
        ({"by": "", "changed_at": None, "planned": None, "limit": None}, ""),
    ],
)
def test_what_else_is_set_stands_in_the_row(more: dict[str, Any], remarks: str) -> None:
    row = rows(status(queue("mail", **{"limit": None, "finish": None, **more})), 200)[1]
    assert row.split()[:3] == [
        "mail",
        more.get("route", "quorum"),
        "drained" if more.get("drained") else more.get("state", "moving"),
    ]
    # What stands behind the last number, the 99 % of the confirm times.
    assert row.partition("400       9")[2].strip() == remarks


def test_what_is_missing_to_be_drained_is_never_left_out_once_nothing_is_ready() -> None:
    missing = {"waits_for": ["worker a@h holds 12"], "limit": None, "finish": None}
    depth = {"old": {"ready": 0, "unacked": 12}, "new": {"ready": 0}}
    assert not any("not drained" in line for line in rows(status(queue("mail", **missing)), 80))
    assert rows(status(queue("mail", depth=depth, **missing)), 80)[2].strip() == "not drained: worker a@h holds 12"


def test_of_many_queues_those_that_stand_still_are_shown() -> None:
    many = [queue(f"q{number}") for number in range(1000)]
    for number in (7, 500, 999):
        many[number] |= {"state": "faulted", "why": FAULT, "limit": None}
    lines = rows(status(*many), queues=2)
    assert [line.split()[0] for line in lines] == ["queue", "q7", "q500", "total", "and"]
    assert lines[-1] == "and 998 more queues, 1 of them not moving: name them, or --only not-moving"
    assert len(rows(status(*many))) == 1002


def test_it_fits_the_height_of_a_screen() -> None:
    many = [queue(f"q{number}", state="faulted", why="a reason " * 20) for number in range(50)]
    told = status(*many)
    for height in (16, 24, 50):
        lines = shown(told, 80, lines=height)
        assert len(lines) <= height
        assert "more queues" in lines[-1]


def test_of_a_few_queues_the_gate_and_what_can_be_asked_are_told() -> None:
    checks = [
        {"check": "queue", "ok": True, "text": "it is there", "hint": ""},
        {"check": "workers", "ok": False, "text": "0 consumers, 1 are wanted", "hint": "start workers"},
        {"check": "alarm", "ok": False, "text": "memory", "hint": ""},
    ]
    finish = {"seconds": None, "at": None, "why": "route legacy: nothing is moved", "grows": False}
    told = status(queue("mail"), queue("img", gate=checks, next=[], finish=finish), queue("b", gate=None, next=[]))
    assert [line.plain for line in status_view.details(told)] == [
        "mail: the gate is open",
        "mail: next: legacy, pause",
        "img: the gate is closed: 0 consumers, 1 are wanted (start workers)",
        "img: the gate is closed: memory",
        "img: no time to finish: route legacy: nothing is moved",
    ]


def test_names_patterns_and_states_choose_queues() -> None:
    told = status(
        queue("mail"),
        queue("rep.a"),
        queue("rep.b", state="waiting", why="no"),
        queue("end", state="idle", drained=True),
    )

    def names(*wanted: str, only: str | None = None) -> list[str]:
        return [one["name"] for one in status_view.chosen(told, wanted, only)["queues"]]

    assert names() == ["mail", "rep.a", "rep.b", "end"]
    assert names("mail", "rep*") == ["mail", "rep.a", "rep.b"]
    assert names("rep*", only="not-moving") == ["rep.b"]
    assert names(only="moving") == ["mail", "rep.a"]
    assert names(only="drained") == ["end"]


def test_a_log_has_it_in_one_line() -> None:
    told = status(queue("mail"), why_first="on the way")
    assert status_view.line(told) == (
        "12:00:00 active: 1 of 1 queues move, in 50/s, out 200/s, 3 in flight, confirmed in 1.5 ms (99 %: 9 ms);"
        " done in 1.5 min, at 12:01; on the way"
    )
    older = bare(queues=[queue(f"q{number}", state="waiting") for number in range(5)])
    assert status_view.line(older).endswith("; not moving: q0, q1, q2 and 2 more")


def test_who_is_gone_is_gone_since_then() -> None:
    since = datetime(2026, 11, 22, 12, tzinfo=UTC)
    told = status_view.gone(since, "no daemon answers on /x", since + timedelta(seconds=90))
    assert told.plain == "the daemon does not answer since 12:00:00, 1.5 min: no daemon answers on /x"
