"""What goes into one call of a hook, and what it is told."""

from __future__ import annotations

import json

import pytest

from bridge.core.hooked import GATHER, QUIET, STEADY, WAITING, Call, Calls, Faults, Happened

AT = "2024-05-01T02:30:00+00:00"


def moved(queue: str, event: str = "cutover", by: str = "ann") -> Happened:
    return Happened(event, AT, queue, "legacy", "quorum", by, "cli", "tonight")


def told(calls: Calls) -> list[tuple[str, list[str]]]:
    found = []
    while len(calls):
        call = calls.take()
        found.append((call.event, [each.queue for each in call.happened]))
    return found


def test_a_verb_over_many_queues_is_one_call() -> None:
    calls = Calls()
    for number in range(1000):
        calls.add(number / 1000, moved(f"q{number}"))
    assert told(calls) == [("cutover", [f"q{number}" for number in range(1000)])]


def test_what_somebody_else_did_is_another_call() -> None:
    calls = Calls()
    for happened in (moved("a"), moved("b", by="bob"), moved("c"), moved("d", "legacy")):
        calls.add(0.0, happened)
    assert told(calls) == [("cutover", ["a", "c"]), ("cutover", ["b"]), ("legacy", ["d"])]


def test_the_last_thing_told_of_a_queue_is_the_last_that_happened() -> None:
    calls = Calls()
    for happened in (moved("a"), moved("a", "legacy"), moved("a")):
        calls.add(0.0, happened)
    calls.add(0.0, moved("b"))
    assert told(calls) == [("cutover", ["a"]), ("legacy", ["a"]), ("cutover", ["a", "b"])]


def test_a_call_waits_until_no_other_follows_soon_but_not_for_ever() -> None:
    calls = Calls()
    assert calls.due(0.0) is None
    calls.add(1.0, moved("a"))
    assert calls.due(1.2) == pytest.approx(QUIET - 0.2)
    calls.add(1.3, moved("b"))
    assert calls.due(1.4) == pytest.approx(QUIET - 0.1)
    calls.add(1.4, moved("c", "legacy"))
    assert calls.due(1.4) == pytest.approx(QUIET - 0.1), "another kind is another call"
    assert calls.due(9.0) == 0.0
    for step in range(100):
        calls.add(1.3 + step * 0.1, moved(f"d{step}"))
    assert calls.due(1.5) == pytest.approx(GATHER - 0.5)


def test_the_oldest_is_given_up_when_too_many_wait() -> None:
    calls = Calls()
    for number in range(WAITING + 3):
        calls.add(0.0, moved("a", by=str(number)))
    assert (len(calls), calls.given_up) == (WAITING, 3)
    assert calls.take().happened[0].by == "3"


def test_the_facts_of_one_queue_are_in_the_environment() -> None:
    call = Call(0.0, 0.0, [moved("mail")])
    assert call.environment("blue") == {
        "BRIDGE_EVENT": "cutover",
        "BRIDGE_INSTANCE": "blue",
        "BRIDGE_QUEUES": "1",
        "BRIDGE_QUEUE": "mail",
        "BRIDGE_BEFORE": "legacy",
        "BRIDGE_ROUTE": "quorum",
        "BRIDGE_BY": "ann",
        "BRIDGE_DOOR": "cli",
        "BRIDGE_REASON": "tonight",
        "BRIDGE_WHY": "",
        "BRIDGE_AT": AT,
    }


def test_what_differs_between_queues_is_in_the_json_alone() -> None:
    call = Call(0.0, 0.0, [moved("mail"), moved("reports")])
    environment = call.environment("blue")
    assert (environment["BRIDGE_QUEUES"], environment["BRIDGE_QUEUE"]) == ("2", "")
    assert environment["BRIDGE_ROUTE"] == "quorum"
    assert json.loads(call.document("blue")) == {
        "event": "cutover",
        "at": AT,
        "instance": "blue",
        "by": "ann",
        "door": "cli",
        "reason": "tonight",
        "queues": [
            {"queue": queue, "before": "legacy", "route": "quorum", "why": "", "at": AT}
            for queue in ("mail", "reports")
        ],
    }


def test_the_daemon_itself_is_no_queue() -> None:
    call = Call(0.0, 0.0, [Happened("active", AT)])
    assert call.environment("blue")["BRIDGE_QUEUES"] == "0"
    assert json.loads(call.document("blue"))["queues"] == []


def test_no_value_breaks_the_environment() -> None:
    environment = Call(0.0, 0.0, [Happened("faulted", AT, "a\0b", why="x" * 100_000)]).environment("blue")
    assert environment["BRIDGE_QUEUE"] == "a\N{REPLACEMENT CHARACTER}b"
    assert len(environment["BRIDGE_WHY"]) == 2000


def test_a_fault_is_told_once_and_its_end_when_it_lasts() -> None:
    faults = Faults()
    assert not faults.saw(0.0, "a", "moving")
    assert faults.saw(1.0, "a", "faulted")
    for at in (2.0, 4.0, 8.0):
        assert not faults.saw(at, "a", "moving")
        assert not faults.saw(at + 1, "a", "faulted")
        assert list(faults.over(at + STEADY)) == []
    assert not faults.saw(20.0, "a", "moving")
    assert list(faults.over(20.0 + STEADY - 1)) == []
    assert list(faults.over(20.0 + STEADY)) == ["a"]
    assert list(faults.over(50.0)) == []
    assert faults.saw(60.0, "a", "faulted")


@pytest.mark.parametrize(("state", "new"), [("idle", True), ("paused", True), ("waiting", False), ("leaving", False)])
def test_a_queue_that_should_not_move_any_more_has_no_fault(state: str, new: bool) -> None:
    faults = Faults()
    assert faults.saw(0.0, "a", "faulted")
    assert not faults.saw(1.0, "a", "moving")
    assert not faults.saw(2.0, "a", state)
    assert list(faults.over(60.0)) == []
    assert faults.saw(61.0, "a", "faulted") is new
