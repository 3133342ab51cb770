"""Looks at gates, on a target that answers from a table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.core.route import Route, State, Verb
from bridge.core.schedule import When
from bridge.errors import UnknownQueue, Unreachable
from bridge.gate_looks import AT_ONCE, GateLooks
from bridge.records import Plan
from tests.support.standing import FakeExits, Standing, controlled, standing


class Bench:
    """Queues, of which `mail` has workers on the target."""

    def __init__(self, *names: str) -> None:
        self.exits = FakeExits()
        self.exits.queues = {"mail": 2}
        self.asked = 0
        self.exits.asked = self._count
        self.queues: list[Standing] = standing(names or ("mail", "sms"), self.exits)
        self.control = controlled(self.queues)
        self.now = 0.0
        control = self.control
        self.looks = GateLooks(control.layout, control.links, control.records, lambda: self.queues, lambda: self.now)

    def _count(self) -> None:
        self.asked += 1

    def failed(self, queue: Standing) -> list[str]:
        return [row["check"] for row in self.looks.of(queue) or [] if not row["ok"]]


def test_queues_that_do_not_move_are_looked_at_and_nothing_is_bound() -> None:
    bench = Bench()
    mail, sms = bench.queues
    assert bench.looks.of(mail) is None
    bench.looks.look()
    assert bench.failed(mail) == []
    assert bench.failed(sms) == ["queue", "type", "exit", "workers"]
    assert bench.exits.bound == []
    mail._ahead.state = "moving"
    sms.suspend("another bridge is active")
    before = bench.asked
    bench.looks.look()
    assert bench.asked == before


def test_a_few_are_looked_at_a_time_each_in_its_turn() -> None:
    bench = Bench(*(f"q{number:03}" for number in range(2 * AT_ONCE + 5)))
    for turn in range(1, 4):
        bench.now = float(turn)
        bench.looks.look()
    assert bench.asked == 3 * AT_ONCE
    assert all(bench.looks.of(queue) is not None for queue in bench.queues)
    del bench.queues[1:]
    bench.looks.look()
    assert len(bench.looks._looks) == 1


def test_a_target_that_is_down_or_silent_is_left_alone() -> None:
    bench = Bench()
    bench.exits.silent = True
    bench.looks.look()
    assert bench.looks.of(bench.queues[0]) is None
    bench.exits.silent = False
    for links in (bench.looks._links, bench.queues[0]._links):
        links.forward.target.blocked = "low on memory"
    before = bench.asked
    bench.looks.look()
    assert bench.asked == before
    # Who asks is told so all the same.
    told = bench.looks.ask("mail")
    assert (told["verb"], told["ok"], told["checks"][0]["check"]) == ("cutover", False, "publishes")


def test_who_asks_is_answered_now() -> None:
    bench = Bench()
    bench.looks.ask("mail")
    bench.exits.queues["mail"] = 0
    told = bench.looks.ask("mail")
    assert [row["check"] for row in told["checks"] if not row["ok"]] == ["workers"]
    assert told["checks"][-1]["hint"].startswith("start workers on the target")
    bench.exits.silent = True
    with pytest.raises(Unreachable):
        bench.looks.ask("mail")
    with pytest.raises(UnknownQueue, match='queue "nobody": not in scope'):
        bench.looks.ask("nobody")
    with pytest.raises(UnknownQueue, match="no queue was named"):
        bench.looks.ask(None)


def test_the_verb_is_what_is_planned_or_what_the_configuration_waits_for_or_the_cutover() -> None:
    bench = Bench()
    mail = bench.queues[0]
    mail.hold(Route.CANARY, "not asked yet")
    assert bench.looks.ask("mail")["verb"] == "canary"
    plan = Plan(Verb.CUTOVER, When(None, 0), "me", "", datetime.now(UTC), force=True)
    bench.control.records.of(mail).plan = plan
    bench.exits.queues["mail"] = 0
    told = bench.looks.ask("mail")
    assert (told["verb"], told["ok"]) == ("cutover", True)
    plan.verb = Verb.REVERSE
    mail.back = "the old side is away"
    # What was looked at for another verb says nothing.
    assert bench.looks.of(mail) is None
    told = bench.looks.ask("mail")
    assert (told["verb"], [row["check"] for row in told["checks"]], told["ok"]) == (
        "rollback --reverse",
        ["way back"],
        False,
    )


def test_a_queue_on_its_way_asks_the_gate_of_the_target_again() -> None:
    bench = Bench()
    mail = bench.queues[0]
    mail.set_state(State(Route.QUORUM))
    mail._ahead.state, mail._ahead.why = "faulted", "nacked"
    told = bench.looks.ask("mail")
    assert [(row["check"], row["ok"]) for row in told["checks"]][:2] == [("not faulted", False), ("publishes", True)]
