"""Verbs, limits, plans and the journal on subscriptions that stand still."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import gevent
import pytest
from gevent.event import Event

from bridge.control import Answer, Control, Request
from bridge.core.route import Route, State, Verb
from bridge.errors import Refused, Standby, UnknownQueue
from bridge.terms import Share
from tests.support.standing import FakeExits, Standing, controlled, standing

SOON = timedelta(hours=1)


@pytest.fixture
def exits() -> FakeExits:
    exits = FakeExits()
    exits.queues = {"a.q1": 1, "q1": 2}
    return exits


@pytest.fixture
def subscriptions(exits: FakeExits) -> list[Standing]:
    return standing(("a.q1", "q1"), exits)


@pytest.fixture
def control(subscriptions: list[Standing]) -> Control:
    return controlled(subscriptions)


def ask(control: Control, verb: Verb, *queues: str, **how: Any) -> list[Answer]:
    return control.ask(Request(verb, queues or None, how.pop("by", "anna"), how.pop("door", "cli"), **how))


def route_of(subscription: Standing) -> Route:
    return subscription.route


def only(answers: list[Answer]) -> Answer:
    (answer,) = answers
    return answer


# -- verbs


def test_a_refused_queue_stays_and_says_why_the_others_move(
    control: Control, subscriptions: list[Standing], exits: FakeExits, caplog: pytest.LogCaptureFixture
) -> None:
    exits.queues = {"q1": 2}
    with caplog.at_level(logging.INFO):
        refused, moved = ask(control, Verb.CUTOVER, by="SIGUSR1", door="signal")
    assert (refused.queue, refused.outcome, refused.route) == ("a.q1", "refused", "legacy")
    assert refused.text == 'queue "a.q1": target queue "a.q1" does not exist'
    assert refused.hint
    assert (moved.queue, moved.outcome, moved.before, moved.route) == ("q1", "done", "legacy", "quorum")
    assert moved.text == "everything goes to the target"
    assert moved.next == ("canary", "legacy", "rollback --reverse", "pause")
    assert [subscription.route for subscription in subscriptions] == [Route.LEGACY, Route.QUORUM]
    assert 'queue "q1": legacy -> quorum (cutover by SIGUSR1)' in caplog.text
    assert 'cutover by SIGUSR1 refused, the route stays legacy: queue "a.q1": target queue' in caplog.text


def test_each_change_is_written_down_with_who_when_and_why(control: Control) -> None:
    told: list[str] = []
    control.on_change.append(lambda change: told.append(change.queue))
    ask(control, Verb.CUTOVER, "q1", reason="night of the move")
    ask(control, Verb.CUTOVER, "q1")
    (change,) = control.changes
    assert (change.queue, change.verb, change.before, change.after) == ("q1", "cutover", "legacy", "quorum")
    assert (change.by, change.door, change.reason, change.outcome) == ("anna", "cli", "night of the move", "done")
    assert datetime.now(UTC) - change.at < SOON
    assert told == ["q1"]
    shown = control.snapshot()["queues"][1]
    assert (shown["by"], shown["reason"], shown["paused"]) == ("anna", "night of the move", False)
    assert shown["changed_at"] == change.at.isoformat(timespec="seconds")
    assert control.snapshot()["changes"][-1]["reason"] == "night of the move"


def test_what_is_so_already_is_unchanged(control: Control) -> None:
    assert only(ask(control, Verb.LEGACY, "q1")).outcome == "unchanged"
    assert only(ask(control, Verb.LEGACY, "q1")).text == "the route is legacy already"
    assert only(ask(control, Verb.RESUME, "q1")).text == "it is not paused"
    ask(control, Verb.PAUSE, "q1")
    assert only(ask(control, Verb.PAUSE, "q1")).text == "it is paused already"


def test_a_dry_run_asks_the_gate_and_changes_nothing(
    control: Control, subscriptions: list[Standing], exits: FakeExits
) -> None:
    exits.queues = {"q1": 1}
    refused, would = ask(control, Verb.CUTOVER, dry_run=True)
    assert (refused.outcome, would.outcome, would.route) == ("refused", "would", "quorum")
    assert would.next == ("canary", "legacy", "rollback --reverse", "pause")
    assert {subscription.route for subscription in subscriptions} == {Route.LEGACY}
    assert list(control.changes) == []
    assert exits.bound == []


@pytest.mark.parametrize("queues", [("q1", "mial"), ("q2",), ("zzz",)])
def test_a_wrong_name_changes_nothing_at_all(
    control: Control, subscriptions: list[Standing], queues: tuple[str, ...]
) -> None:
    with pytest.raises(UnknownQueue, match="not in scope, nothing was changed") as wrong:
        ask(control, Verb.CUTOVER, *queues)
    assert all(f'"{name}"' in str(wrong.value) for name in queues if name != "q1")
    assert wrong.value.hint == ('did you mean "q1"?' if "q2" in queues else "in scope are 2 queues: see the status")
    assert {subscription.route for subscription in subscriptions} == {Route.LEGACY}
    for act in (control.cancel, lambda names, **who: control.set_rate(names, 1.0, **who)):
        with pytest.raises(UnknownQueue):
            act(queues, by="anna", door="cli")


def test_no_name_at_all_is_refused(control: Control) -> None:
    with pytest.raises(Refused, match="no queue was named"):
        control.ask(Request(Verb.CUTOVER, (), "anna", "cli"))


def test_a_name_given_twice_is_one_queue(control: Control) -> None:
    assert len(ask(control, Verb.PAUSE, "q1", "q1")) == 1


def test_a_standby_refuses_everything(control: Control, subscriptions: list[Standing]) -> None:
    control.standby = "host h1, pid 4, is the active one"
    who: dict[str, Any] = {"by": "anna", "door": "cli"}
    with pytest.raises(Standby, match="host h1"):
        ask(control, Verb.LEGACY)
    with pytest.raises(Standby):
        control.set_rate(None, 1.0, **who)
    with pytest.raises(Standby):
        control.cancel(None, **who)
    control.tick(datetime.now(UTC))
    assert control.snapshot()["standby"] == control.standby


def test_force_passes_the_worker_check_of_named_queues_only(control: Control, exits: FakeExits) -> None:
    exits.queues = {"q1": 0}
    assert "has 0 consumers, 1 are wanted" in only(ask(control, Verb.CUTOVER, "q1")).text
    with pytest.raises(Refused, match="named one by one"):
        ask(control, Verb.CUTOVER, force=True)
    missing, moved = ask(control, Verb.CUTOVER, "a.q1", "q1", force=True)
    assert (missing.outcome, moved.outcome) == ("refused", "done")
    assert "workers on the target were not asked for" in moved.text


def test_a_paused_queue_takes_a_route_and_stays_paused(control: Control, subscriptions: list[Standing]) -> None:
    assert only(ask(control, Verb.PAUSE, "q1")).paused
    answer = only(ask(control, Verb.CUTOVER, "q1"))
    assert (answer.outcome, answer.before, answer.route, answer.paused) == ("done", "legacy, paused", "quorum", True)
    assert answer.text.startswith("it stays paused, with the route quorum after resume")
    resumed = only(ask(control, Verb.RESUME, "q1"))
    assert (resumed.outcome, resumed.text) == ("done", "everything goes to the target")
    assert (subscriptions[1].route, subscriptions[1].paused) == (Route.QUORUM, False)


def test_dual_is_refused_in_takeover_and_asked_for_inline(control: Control, exits: FakeExits) -> None:
    answer = only(ask(control, Verb.DUAL, "q1"))
    assert answer.outcome == "refused"
    assert answer.text.startswith('queue "q1": dual is not possible in the takeover layout')
    inline = controlled(standing(("q1",), exits, inline=True), inline=True)
    assert only(ask(inline, Verb.DUAL, "q1")).text == "everything goes to the legacy side and to the target"


def test_reverse_has_a_gate_of_its_own(control: Control, subscriptions: list[Standing], exits: FakeExits) -> None:
    ask(control, Verb.CUTOVER, "q1")
    exits.silent = True  # what waits on the target is brought back without asking for its workers
    subscriptions[1].back = "the old broker is away"
    answer = only(ask(control, Verb.REVERSE, "q1"))
    assert answer.text == 'queue "q1": nothing can be brought back now: the old broker is away'
    subscriptions[1].back = ""
    assert only(ask(control, Verb.REVERSE, "q1")).text == "what waits on the target goes back into the old queue"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "no share is given for the canary, nor configured"),
        (Share(percent=10.0), "a canary of 10 % is not possible in the takeover layout"),
        (Share(tasks=("app.add",)), "a canary of the tasks app.add is not possible in the takeover layout"),
    ],
)
def test_a_canary_without_a_share_that_can_be_is_refused(control: Control, share: Share | None, text: str) -> None:
    answer = only(ask(control, Verb.CANARY, "q1", share=share))
    assert answer.outcome == "refused"
    assert text in answer.text
    assert answer.hint


def test_a_canary_takes_the_share_that_the_verb_gave(control: Control, subscriptions: list[Standing]) -> None:
    assert only(ask(control, Verb.CANARY, "q1", share=Share(rate=20.0))).outcome == "done"
    assert subscriptions[1].share == Share(rate=20.0)
    again = only(ask(control, Verb.CANARY, "q1"))
    assert (again.outcome, subscriptions[1].share) == ("done", Share(rate=20.0))


def test_a_target_that_does_not_answer_refuses(
    control: Control, subscriptions: list[Standing], exits: FakeExits
) -> None:
    exits.silent = True
    assert {answer.text for answer in ask(control, Verb.CUTOVER)} == {"target: no answer within 15 s"}
    assert {subscription.route for subscription in subscriptions} == {Route.LEGACY}


def test_going_back_asks_no_gate(control: Control, subscriptions: list[Standing], exits: FakeExits) -> None:
    for subscription in subscriptions:
        subscription.set_state(State(Route.QUORUM))
    exits.silent = True
    assert [(answer.route, answer.outcome) for answer in ask(control, Verb.LEGACY)] == [("legacy", "done")] * 2


def test_gates_of_many_queues_are_asked_together_and_answered_in_order(exits: FakeExits) -> None:
    names = [f"q{number:02}" for number in range(40)]
    exits.queues = dict.fromkeys(names, 1)
    asking, most, release = 0, 0, Event()

    def asked() -> None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        if asking == 16:
            release.set()
        release.wait()
        asking -= 1

    exits.asked = asked
    control = controlled(standing(names, exits))
    with gevent.Timeout(10):
        assert [answer.queue for answer in ask(control, Verb.CUTOVER)] == names
    assert most == 16


def test_a_verb_that_comes_while_a_gate_is_asked_is_not_overwritten(
    control: Control, subscriptions: list[Standing], exits: FakeExits
) -> None:
    there, release = Event(), Event()

    def asked() -> None:
        there.set()
        release.wait()

    exits.asked = asked
    cutover = gevent.spawn(ask, control, Verb.CUTOVER, "q1")
    assert there.wait(10)
    assert only(ask(control, Verb.LEGACY, "q1")).outcome == "unchanged"
    release.set()
    answer = only(cutover.get(timeout=10))
    assert answer.outcome == "refused"
    assert "while cutover was looked at, something else was asked; the route is legacy" in answer.text
    assert subscriptions[1].route is Route.LEGACY


# -- the configuration's route


def test_a_wanted_route_waits_for_its_gate(
    control: Control, subscriptions: list[Standing], exits: FakeExits, caplog: pytest.LogCaptureFixture
) -> None:
    subscription = subscriptions[0]
    exits.queues = {"a.q1": 0}
    control.appeared(subscription, Route.QUORUM)
    for _ in range(3):
        control.try_wanted(subscription, Verb.CUTOVER)
    assert (subscription.route, subscription.wanted) == (Route.LEGACY, Route.QUORUM)
    assert caplog.text.count("has 0 consumers, 1 are wanted: route quorum waits for this") == 1
    # Who is paused meanwhile, and resumed, waits on.
    ask(control, Verb.PAUSE, "a.q1")
    assert subscription.wanted is not None
    exits.queues = {"a.q1": 1}
    control.try_wanted(subscription, Verb.CUTOVER)
    assert (route_of(subscription), subscription.paused) == (Route.QUORUM, True)
    assert control.dump()["queues"]["a.q1"]["wanted"] is None
    assert list(control.changes)[-1].door == "config"


def test_a_verb_ends_the_waiting_for_the_configured_route(control: Control, subscriptions: list[Standing]) -> None:
    subscription = subscriptions[0]
    control.appeared(subscription, Route.QUORUM)
    would = only(ask(control, Verb.LEGACY, "a.q1", dry_run=True))
    assert (would.outcome, subscription.wanted) == ("would", Route.QUORUM)
    answer = only(ask(control, Verb.LEGACY, "a.q1"))
    assert answer.outcome == "done"
    assert "the configuration's route quorum is not waited for any more" in answer.text
    assert subscription.wanted is None
    control.try_wanted(subscription, Verb.CUTOVER)
    assert subscription.route is Route.LEGACY


@pytest.mark.parametrize("route", [Route.CANARY, Route.QUORUM, Route.REVERSE])
def test_each_route_of_the_configuration_passes_its_gate(exits: FakeExits, route: Route) -> None:
    (subscription,) = standing(("q1",), exits, share=Share(first=10))
    control = controlled([])
    control._subscriptions = lambda: [subscription]
    control.appeared(subscription, route)
    assert (subscription.route, subscription.wanted) == (Route.LEGACY, route)
    verb = {Route.CANARY: Verb.CANARY, Route.QUORUM: Verb.CUTOVER, Route.REVERSE: Verb.REVERSE}[route]
    control.try_wanted(subscription, verb)
    assert (subscription.route, subscription.wanted) == (route, None)


def test_a_reload_that_is_refused_is_tried_again_after_a_restart_only(
    control: Control, subscriptions: list[Standing], exits: FakeExits
) -> None:
    exits.queues = {}
    (answer,) = ask(control, Verb.CUTOVER, "q1", by="reload", door="reload")
    assert (answer.outcome, subscriptions[1].wanted) == ("refused", None)
    saved = json.loads(json.dumps(control.dump()))
    (subscription,) = standing(("q1",), exits)
    restarted = controlled([])
    restarted.load(saved)
    restarted.appeared(subscription, Route.QUORUM)
    assert subscription.wanted is Route.QUORUM


# -- limits


def test_a_limit_of_one_queue_and_of_all_together(control: Control, subscriptions: list[Standing]) -> None:
    who: dict[str, Any] = {"by": "anna", "door": "http"}
    would = only(control.set_rate(("q1",), 500.0, dry_run=True, **who))
    assert (would.outcome, would.text, subscriptions[1].limit) == ("would", "at most 500/s", None)
    done = only(control.set_rate(("q1",), 500.0, reason="slow database", **who))
    assert (done.outcome, done.queue, subscriptions[1].limit) == ("done", "q1", 500.0)
    assert only(control.set_rate(("q1",), 500.0, **who)).outcome == "unchanged"
    whole = only(control.set_rate(None, 0.5, **who))
    assert (whole.queue, whole.text) == ("*", "all queues together: at most 30/m")
    assert control.shared.limit.rate == 0.5
    told = control.snapshot()
    assert (told["limit"], told["queues"][1]["limit"]) == (0.5, 500.0)
    assert only(control.set_rate(None, None, **who)).text == "all queues together: no limit"
    assert [(change.verb, change.queue, change.after) for change in control.changes] == [
        ("rate", "q1", "at most 500/s"),
        ("rate", "*", "at most 30/m"),
        ("rate", "*", "no limit"),
    ]


# -- postponed


def test_a_postponed_cutover_is_carried_out_when_it_is_due(
    control: Control, subscriptions: list[Standing], exits: FakeExits, caplog: pytest.LogCaptureFixture
) -> None:
    at = datetime.now(UTC) + SOON
    would = only(ask(control, Verb.CUTOVER, "q1", at=at, dry_run=True))
    assert (would.outcome, control.records.of(subscriptions[1]).plan) == ("would", None)
    answer = only(ask(control, Verb.CUTOVER, "q1", at=at, reason="by night"))
    assert (answer.outcome, answer.route) == ("planned", "legacy")
    assert answer.next[-1] == "cancel"
    planned = control.snapshot()["queues"][1]["planned"]
    assert (planned["verb"], planned["by"], planned["waits_for"][:4]) == ("cutover", "anna", "for ")

    control.tick(at - timedelta(seconds=1))
    assert route_of(subscriptions[1]) is Route.LEGACY
    exits.queues = {"q1": 0}
    for seconds in range(11):
        control.tick(at + timedelta(seconds=seconds))
    assert route_of(subscriptions[1]) is Route.LEGACY
    planned = control.snapshot()["queues"][1]["planned"]
    assert "has 0 consumers, 1 are wanted" in planned["refused"]
    # It was tried three times, and said once.
    assert caplog.text.count("cutover by anna refused") == 1
    assert [change.outcome for change in control.changes] == ["planned", "refused"]

    exits.queues = {"q1": 1}
    control.tick(at + timedelta(seconds=15))
    assert route_of(subscriptions[1]) is Route.QUORUM
    shown = control.snapshot()["queues"][1]
    assert (shown["planned"], shown["by"], shown["reason"]) == (None, "anna", "by night")
    assert [(change.outcome, change.door) for change in control.changes][-1] == ("done", "schedule")


def test_a_verb_can_wait_for_few_messages_in_the_old_queue(control: Control, subscriptions: list[Standing]) -> None:
    unknown = only(ask(control, Verb.CUTOVER, "q1", when_backlog=100))
    assert (unknown.outcome, "is not known" in unknown.text) == ("refused", True)
    depth = 101
    control.depth = lambda _queue: depth
    assert only(ask(control, Verb.CUTOVER, "q1", when_backlog=100)).outcome == "planned"
    now = datetime.now(UTC)
    control.tick(now)
    assert "101 are now" in control.snapshot()["queues"][1]["planned"]["waits_for"]
    depth = 100
    control.tick(now)
    assert route_of(subscriptions[1]) is Route.QUORUM


def test_a_postponed_verb_can_be_taken_back(control: Control, subscriptions: list[Standing]) -> None:
    at = datetime.now(UTC) + SOON
    who: dict[str, Any] = {"by": "bert", "door": "http"}
    assert only(control.cancel(("q1",), **who)).text == "nothing is planned"
    ask(control, Verb.CUTOVER, "q1", at=at)
    assert only(control.cancel(("q1",), dry_run=True, **who)).outcome == "would"
    answer = only(control.cancel(("q1",), **who))
    assert answer.outcome == "done"
    assert answer.text.startswith("the cutover that anna planned at ")
    assert "cancel" not in answer.next
    control.tick(at)
    assert route_of(subscriptions[1]) is Route.LEGACY
    assert list(control.changes)[-1].verb == "cancel"


def test_any_other_verb_but_pause_takes_a_postponed_one_back(control: Control, subscriptions: list[Standing]) -> None:
    at = datetime.now(UTC) + SOON
    record = control.records.of(subscriptions[1])
    ask(control, Verb.CUTOVER, "q1", at=at)
    ask(control, Verb.PAUSE, "q1")
    assert record.plan is not None
    assert "is taken back" in only(ask(control, Verb.RESUME, "q1")).text
    assert record.plan is None
    ask(control, Verb.CUTOVER, "q1", at=at)
    # Even where the route is the one it has already: who says legacy now does not want the cutover.
    answer = only(ask(control, Verb.LEGACY, "q1"))
    assert (answer.outcome, record.plan) == ("done", None)
    ask(control, Verb.CUTOVER, "q1", at=at)
    assert "the cutover that anna planned" in only(ask(control, Verb.CANARY, "q1", at=at, share=Share(first=5))).text
    assert record.plan is not None
    assert record.plan.verb is Verb.CANARY


def test_a_plan_that_is_taken_back_while_its_gate_is_asked_is_not_carried_out(
    control: Control, subscriptions: list[Standing], exits: FakeExits
) -> None:
    at = datetime.now(UTC) + SOON
    ask(control, Verb.CUTOVER, "q1", at=at)

    def asked() -> None:
        control.cancel(("q1",), by="bert", door="cli")

    exits.asked = asked
    control.tick(at)
    assert route_of(subscriptions[1]) is Route.LEGACY


def test_a_plan_whose_route_came_about_otherwise_ends(control: Control, subscriptions: list[Standing]) -> None:
    at = datetime.now(UTC) + SOON
    ask(control, Verb.CUTOVER, "q1", at=at)
    subscriptions[1].set_state(State(Route.QUORUM))
    control.tick(at)
    assert control.records.of(subscriptions[1]).plan is None
    assert list(control.changes)[-1].outcome == "unchanged"


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "2020-01-01 00:00:00.00:00 is past"),
        ({"at": datetime(2100, 1, 1)}, "a time without its zone"),  # noqa: DTZ001
        ({"when_backlog": -1}, "a backlog of -1 messages"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(control: Control, how: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        ask(control, Verb.CUTOVER, **how)
    assert list(control.changes) == []


def test_what_can_never_be_is_refused_when_it_is_planned(control: Control) -> None:
    at = datetime.now(timezone(timedelta(hours=2))) + SOON
    assert only(ask(control, Verb.DUAL, "q1", at=at)).text.startswith('queue "q1": dual is not possible')
    assert only(ask(control, Verb.CANARY, "q1", at=at)).outcome == "refused"
    assert only(ask(control, Verb.LEGACY, "q1", at=at)).outcome == "unchanged"


# -- restart


def test_everything_survives_a_restart(control: Control, subscriptions: list[Standing], exits: FakeExits) -> None:
    at = datetime.now(UTC) + SOON
    ask(control, Verb.CANARY, "q1", share=Share(first=50), reason="carefully")
    ask(control, Verb.PAUSE, "q1")
    ask(control, Verb.CUTOVER, "a.q1", at=at, by="bert")
    control.set_rate(("q1",), 5.0, by="anna", door="cli")
    control.set_rate(None, 100.0, by="anna", door="cli")
    subscriptions[1].canary_taken = 7
    subscriptions[1].counts.taken = subscriptions[1].counts.confirmed = 12
    saved = json.loads(json.dumps(control.dump()))

    others = standing(("a.q1", "q1"), exits)
    restarted = controlled([])
    restarted.load(saved)
    restarted._subscriptions = lambda: others
    for subscription in others:
        restarted.appeared(subscription, Route.LEGACY)
    one = others[1]
    assert (one.route, one.paused, one.share, one.limit) == (Route.CANARY, True, Share(first=50), 5.0)
    assert (one.canary_taken, one.counts.taken, one.counts.confirmed) == (7, 12, 12)
    assert restarted.limit == 100.0
    assert [change.as_json() for change in restarted.changes] == [change.as_json() for change in control.changes]
    plan = restarted.records.of(others[0]).plan
    assert plan is not None
    assert (plan.verb, plan.when.at, plan.by) == (Verb.CUTOVER, at, "bert")
    assert restarted.dump() == saved
    restarted.tick(at)
    assert others[0].route is Route.QUORUM


def test_what_was_converted_and_what_waits_outlive_the_daemon(
    control: Control, subscriptions: list[Standing], exits: FakeExits
) -> None:
    subscriptions[0].counts.taken = subscriptions[0].counts.converted = 5
    subscriptions[0].counts.waits.update([30, 30, 7_200, 7_200, 10_000_000])
    saved = json.loads(json.dumps(control.dump()))
    again, other = standing(("a.q1", "q1"), exits)
    # An older version saved none of it.
    del saved["queues"]["q1"]["waiting"]
    restarted = controlled([])
    restarted.load(saved)
    restarted._subscriptions = lambda: (again, other)
    for subscription in (again, other):
        restarted.appeared(subscription, Route.LEGACY)
    assert restarted.snapshot()["queues"][0]["due"] == {"minute": 2, "hour": 0, "day": 2, "week": 0, "later": 1}
    now = time.time()
    assert [again.waiting.count(now + ahead) for ahead in (0, 60, 8_000, 2e7)] == [5, 3, 1, 0]
    assert other.waiting.empty


def test_a_route_that_the_configuration_changed_meanwhile_is_a_verb(control: Control, exits: FakeExits) -> None:
    ask(control, Verb.CUTOVER)
    saved = control.dump()
    again, other = standing(("a.q1", "q1"), exits)
    restarted = controlled([])
    restarted.load(saved)
    restarted.appeared(again, Route.LEGACY)
    # The route of the verb stays; another one in the file is asked for, and waits for its gate.
    assert (again.route, again.wanted) == (Route.QUORUM, None)
    restarted.appeared(other, Route.REVERSE)
    assert (other.route, other.wanted) == (Route.QUORUM, Route.REVERSE)


def test_a_configuration_that_says_legacy_now_is_obeyed_at_once(exits: FakeExits) -> None:
    (subscription,) = standing(("q1",), exits)
    control = controlled([])
    control._subscriptions = lambda: [subscription]
    control.appeared(subscription, Route.QUORUM)
    control.try_wanted(subscription, Verb.CUTOVER)
    saved = control.dump()
    (again,) = standing(("q1",), exits)
    restarted = controlled([])
    restarted.load(saved)
    exits.silent = True
    restarted.appeared(again, Route.LEGACY)
    assert (again.route, again.wanted) == (Route.LEGACY, None)


def test_a_wanted_route_is_still_wanted_after_a_restart(exits: FakeExits) -> None:
    (subscription,) = standing(("q1",), exits)
    control = controlled([])
    control._subscriptions = lambda: [subscription]
    control.appeared(subscription, Route.QUORUM)
    (again,) = standing(("q1",), exits)
    restarted = controlled([])
    restarted.load(control.dump())
    restarted.appeared(again, Route.QUORUM)
    assert (again.route, again.wanted) == (Route.LEGACY, Route.QUORUM)


def test_a_queue_that_goes_and_comes_keeps_its_route(control: Control, subscriptions: list[Standing]) -> None:
    ask(control, Verb.CUTOVER, "q1")
    control.gone(subscriptions.pop())
    assert control.dump()["queues"]["q1"]["route"] == "quorum"
    (again,) = standing(("q1",), FakeExits())
    subscriptions.append(again)
    control.appeared(again, Route.LEGACY)
    assert again.route is Route.QUORUM
    assert control.snapshot()["queues"][1]["by"] == "anna"


def test_queues_in_scope_take_a_loaded_state_over_at_once(control: Control, subscriptions: list[Standing]) -> None:
    saved = control.dump()
    ask(control, Verb.CUTOVER)
    subscriptions[1].counts.taken = 9
    control.load(saved)
    assert {subscription.route for subscription in subscriptions} == {Route.LEGACY}
    # What this daemon counted since then is not forgotten.
    assert subscriptions[1].counts.taken == 9
    assert list(control.changes) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda saved: saved.pop("queues"),
        lambda saved: saved.update(queues=[]),
        lambda saved: saved.update(limit="fast"),
        lambda saved: saved.update(changes=[{}]),
        lambda saved: saved["queues"]["q1"].update(route="sideways"),
        lambda saved: saved["queues"]["q1"].update(planned={"verb": "cutover"}),
        lambda saved: saved["queues"]["q1"].update(share="all"),
        lambda saved: saved["queues"]["q1"].pop("counts"),
        lambda saved: saved["queues"]["q1"].update(waiting=[[1]]),
    ],
)
def test_a_state_that_is_not_whole_changes_nothing(control: Control, subscriptions: list[Standing], spoil: Any) -> None:
    saved = control.dump()
    saved["queues"]["a.q1"]["route"] = "quorum"
    spoil(saved)
    with pytest.raises(Refused, match="the saved state cannot be read"):
        control.load(saved)
    assert {subscription.route for subscription in subscriptions} == {Route.LEGACY}
