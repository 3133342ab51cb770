"""Every cell of the table, and what holds on every path through it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from bridge.core.gate import Facts, Gate
from bridge.core.route import (
    FLOWS,
    TABLE,
    VERB_OF,
    Act,
    Cell,
    Effect,
    Flow,
    Layout,
    Moved,
    Refused,
    Route,
    State,
    Unchanged,
    Verb,
    cell,
    contradiction,
    flows,
    next_verbs,
    sentence,
    step,
    walk,
)

GOOD = Facts("mail", "mail-v2", consumers=2, type="quorum", exit_fault="", consumers_wanted=1)
#: Facts with which each gate stays closed.
CLOSED = dataclasses.replace(GOOD, consumers=0, back_fault="disk alarm")
TO = {
    Verb.CUTOVER: Route.QUORUM,
    Verb.CANARY: Route.CANARY,
    Verb.DUAL: Route.DUAL,
    Verb.LEGACY: Route.LEGACY,
    Verb.ROLLBACK: Route.LEGACY,
    Verb.REVERSE: Route.REVERSE,
}
#: Where more than before goes to the target; the other way round for the way back.
GATED = {
    (Route.LEGACY, Verb.CUTOVER),
    (Route.LEGACY, Verb.CANARY),
    (Route.LEGACY, Verb.DUAL),
    (Route.CANARY, Verb.CUTOVER),
    (Route.CANARY, Verb.DUAL),
    (Route.DUAL, Verb.CUTOVER),
    (Route.REVERSE, Verb.CUTOVER),
    (Route.REVERSE, Verb.CANARY),
    (Route.REVERSE, Verb.DUAL),
    (Route.LEGACY, Verb.REVERSE),
    (Route.CANARY, Verb.REVERSE),
    (Route.QUORUM, Verb.REVERSE),
}


def refused(route: Route, verb: Verb, layout: Layout) -> str:
    if verb is Verb.DUAL and layout is Layout.TAKEOVER:
        return "would come back into the queue it was read from"
    if verb is Verb.REVERSE and route is Route.DUAL:
        return "every task is on both sides"
    return ""


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("route", Route)
@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("verb", Verb)
def test_every_cell(layout: Layout, route: Route, paused: bool, verb: Verb) -> None:
    before = State(route, paused)
    outcome = step("mail", before, verb, layout, lambda: GOOD)
    if why := refused(route, verb, layout):
        assert isinstance(outcome, Refused)
        assert outcome.text.startswith('queue "mail": ')
        assert why in outcome.text
        assert outcome.hint
        return
    if verb in (Verb.PAUSE, Verb.RESUME):
        after = State(route, verb is Verb.PAUSE)
    else:
        after = State(TO[verb], paused)
    if after == before and verb is not Verb.CANARY:
        assert outcome == Unchanged(before)
        return
    assert isinstance(outcome, Moved)
    assert outcome.state == after
    assert walk(flows(before, layout), outcome.effects) == set(flows(after, layout))
    gated = (route, verb) in GATED
    assert isinstance(step("mail", before, verb, layout, lambda: CLOSED), Refused) is gated
    if not gated:
        # A queue leaves a target that does not answer.
        assert step("mail", before, verb, layout, lambda: pytest.fail("asked")) == outcome


def test_the_table_has_each_pair_but_the_one_that_is_refused() -> None:
    assert set(itertools.product(Route, TO)) - set(TABLE) == {(Route.DUAL, Verb.REVERSE)}
    assert {verb: route for route, verb in VERB_OF.items()}.items() <= TO.items()
    assert set(VERB_OF) == set(Route)
    assert set(FLOWS) == set(itertools.product(Layout, Route))


def states(layout: Layout) -> set[State]:
    """Those that verbs lead to."""
    found = {State(Route.LEGACY)}
    while True:
        more = {
            wanted.state
            for state, verb in itertools.product(found, Verb)
            if isinstance(wanted := cell(state, verb, layout), Cell)
        }
        if more <= found:
            return found
        found |= more


def test_every_state_is_reached_that_the_layout_has() -> None:
    assert states(Layout.INLINE) == {State(route, paused) for route in Route for paused in (False, True)}
    assert {state.route for state in states(Layout.TAKEOVER)} == set(Route) - {Route.DUAL}


@pytest.mark.parametrize("layout", Layout)
def test_no_sequence_of_verbs_moves_both_ways_at_once_or_takes_before_it_left(layout: Layout) -> None:
    """All sequences of four verbs from every state; `walk` looks after every single effect."""

    def on_from(state: State, flowing: frozenset[Flow], left: int) -> None:
        assert flowing == set(flows(state, layout))
        assert contradiction(flowing) is None
        for verb in Verb if left else ():
            outcome = step("mail", state, verb, layout, lambda: GOOD)
            if isinstance(outcome, Moved):
                acts = [effect.act for effect in outcome.effects]
                assert acts == sorted(acts)  # leave < take
                on_from(outcome.state, walk(flowing, outcome.effects), left - 1)

    for start in states(layout):
        on_from(start, frozenset(flows(start, layout)), 4)


@pytest.mark.parametrize("layout", Layout)
def test_a_verb_on_a_paused_queue_leaves_it_paused_and_resume_makes_it_move(layout: Layout) -> None:
    cut = step("mail", State(Route.LEGACY, paused=True), Verb.CUTOVER, layout, lambda: GOOD)
    assert cut == Moved(State(Route.QUORUM, paused=True), ())
    on = step("mail", State(Route.QUORUM, paused=True), Verb.RESUME, layout, lambda: CLOSED)
    assert on == Moved(State(Route.QUORUM), (Effect(Act.TAKE, Flow.FORWARD),))


def test_a_canary_that_is_asked_for_again_begins_anew() -> None:
    again = step("mail", State(Route.CANARY), Verb.CANARY, Layout.TAKEOVER, lambda: CLOSED)
    assert again == Moved(State(Route.CANARY), (Effect(Act.LEAVE, Flow.SHARE), Effect(Act.TAKE, Flow.SHARE)))


def test_inline_new_messages_go_on_to_the_legacy_side_while_what_waits_is_brought_back() -> None:
    back = step("mail", State(Route.LEGACY), Verb.REVERSE, Layout.INLINE, lambda: GOOD)
    assert back == Moved(State(Route.REVERSE), (Effect(Act.TAKE, Flow.BACK_ASIDE),))


@pytest.mark.parametrize(
    ("layout", "route", "verb", "closed"),
    [
        (Layout.TAKEOVER, Route.CANARY, Verb.CUTOVER, True),
        (Layout.INLINE, Route.DUAL, Verb.CUTOVER, True),
        # What is wrong with the way back or with the legacy side is a reason to go to the target, not against it.
        (Layout.TAKEOVER, Route.REVERSE, Verb.CUTOVER, False),
        (Layout.INLINE, Route.LEGACY, Verb.CUTOVER, False),
        (Layout.TAKEOVER, Route.QUORUM, Verb.REVERSE, False),
        (Layout.TAKEOVER, Route.QUORUM, Verb.LEGACY, False),
    ],
)
def test_a_queue_that_is_faulted_on_its_way_to_the_target_is_not_sent_more(
    layout: Layout, route: Route, verb: Verb, closed: bool
) -> None:
    facts = dataclasses.replace(GOOD, fault="target rejected 3 messages (unroutable)")
    outcome = step("mail", State(route), verb, layout, lambda: facts)
    if closed:
        assert isinstance(outcome, Refused)
        assert outcome.text == 'queue "mail" is faulted: target rejected 3 messages (unroutable)'
        assert outcome.hint
    else:
        assert isinstance(outcome, Moved)


def test_two_flows_that_may_not_be_together_are_found() -> None:
    assert contradiction([Flow.FORWARD, Flow.BACK]) == "FORWARD and BACK are both directions at once"
    assert contradiction([Flow.BACK, Flow.FORWARD]) == "BACK and FORWARD are both directions at once"
    assert contradiction([Flow.ASIDE, Flow.FORWARD]) == "ASIDE and FORWARD both read the source"
    with pytest.raises(ValueError, match="both directions"):
        walk([Flow.FORWARD], [Effect(Act.TAKE, Flow.BACK), Effect(Act.LEAVE, Flow.FORWARD)])


@pytest.mark.parametrize("layout", Layout)
def test_the_next_verbs_are_those_that_change_something(layout: Layout) -> None:
    for state in states(layout):
        offered = next_verbs(state, layout)
        for verb in Verb:
            outcome = step("mail", state, verb, layout, lambda: GOOD)
            changes = isinstance(outcome, Moved) and outcome.state != state
            assert (verb in offered) is (changes and verb is not Verb.ROLLBACK)
    assert [verb.typed for verb in next_verbs(State(Route.QUORUM), Layout.TAKEOVER)] == [
        "canary",
        "legacy",
        "rollback --reverse",
        "pause",
    ]


def test_every_state_has_its_sentence() -> None:
    told = {(layout, state): sentence(state, layout) for layout in Layout for state in states(layout)}
    assert all(told.values())
    assert told[Layout.TAKEOVER, State(Route.CANARY)] == "a share goes to the target, the old workers have the rest"
    assert told[Layout.TAKEOVER, State(Route.LEGACY)] == "the bridge takes nothing, the old workers have this queue"
    assert "the old workers have what is in the old queue" in told[Layout.TAKEOVER, State(Route.QUORUM, paused=True)]
    assert "messages wait in the source queue" in told[Layout.INLINE, State(Route.QUORUM, paused=True)]


def test_a_state_is_shown_as_an_operator_says_it() -> None:
    assert str(State(Route.QUORUM)) == "quorum"
    assert str(State(Route.QUORUM, paused=True)) == "quorum, paused"


def test_which_routes_move() -> None:
    assert [route for route in Route if not route.moves] == [Route.LEGACY]


def test_each_gate_is_asked_somewhere() -> None:
    assert {which for _, which in TABLE.values()} == set(Gate)
