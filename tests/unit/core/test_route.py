"""Every cell of the table, and every check of the gate."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from bridge.core.route import TABLE, VERB_OF, Facts, Moved, Refused, Route, Verb, gate, step

GOOD = Facts("mail", "mail-v2", consumers=2, type="quorum", exit_fault="", consumers_wanted=1)
BAD = dataclasses.replace(GOOD, consumers=0)


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(itertools.product(Route, Verb))
    assert set(VERB_OF) == set(Route)


@pytest.mark.parametrize("route", Route)
@pytest.mark.parametrize("verb", Verb)
def test_every_cell(route: Route, verb: Verb) -> None:
    after = {Verb.CUTOVER: Route.QUORUM, Verb.CANARY: Route.CANARY, Verb.LEGACY: Route.LEGACY}[verb]
    assert step(route, verb, lambda: GOOD) == Moved(after)
    if after.moves and not (route.moves and after is not Route.QUORUM) and route is not after:
        assert isinstance(step(route, verb, lambda: BAD), Refused)
    else:
        assert step(route, verb, lambda: BAD) == Moved(after)


@pytest.mark.parametrize("route", Route)
def test_the_way_back_needs_no_gate(route: Route) -> None:
    worst = Facts("mail", "mail", None, None, "not bound", 1, "alarm")
    assert step(route, Verb.LEGACY, lambda: worst) == Moved(Route.LEGACY)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"alarm": "memory"}, "takes no publishes now: memory"),
        ({"consumers": None}, "does not exist"),
        ({"type": "classic"}, "is a classic queue"),
        ({"exit_fault": "celery_delayed_3 is missing"}, "has no exit from the ladder: celery_delayed_3 is missing"),
        ({"consumers": 0}, "has 0 consumers, 1 are wanted"),
    ],
)
def test_each_check_says_what_failed_and_what_to_do(changed: dict[str, object], text: str) -> None:
    refused = gate(dataclasses.replace(GOOD, **changed))  # type: ignore[arg-type]
    assert refused is not None
    assert 'queue "mail": target queue "mail-v2"' in refused.text
    assert text in refused.text
    assert refused.hint


def test_an_unknown_type_passes() -> None:
    assert gate(dataclasses.replace(GOOD, type=None)) is None


def test_which_routes_move() -> None:
    assert [route for route in Route if route.moves] == [Route.CANARY, Route.QUORUM]
