"""Every case of the tables, in every world: at the quorum queue is what was sent, when it is due, and it is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kombu.transport.native_delayed_delivery import calculate_routing_key

from bridge.core import ladder
from bridge.lab.fingerprint import Item, parse
from tests.functional.cases import Case, Lands
from tests.functional.cases_content import BODIES, EXPIRY, HEADERS, PICKLE_RAN
from tests.functional.cases_routing import ROUTING
from tests.functional.passage import LATE, Passage, Seen, pass_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.brokers import MakesVhosts, World
    from tests.support.raw_amqp import Arrived, Raw

pytestmark = pytest.mark.functional

CASES = (*ROUTING, *BODIES, *HEADERS, *EXPIRY)

#: The passage of each world, or why there was none: it takes place once, for all cases.
_passages: dict[str, Passage | BaseException] = {}


@pytest.fixture
def passage(world: World, new_vhosts: MakesVhosts, tmp_path: Path) -> Passage:
    if world.name not in _passages:
        try:
            _passages[world.name] = pass_all(world, new_vhosts(), CASES, tmp_path)
        except BaseException as fault:
            _passages[world.name] = fault
            raise
    found = _passages[world.name]
    if isinstance(found, BaseException):
        pytest.fail(f"the passage failed before: {type(found).__name__}, see the first failure of this world")
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number:02}-{case.name[:24]}")
def test_case(passage: Passage, case: Case) -> None:
    seen = passage.seen[case.name]
    _assert_counted(case, seen, passage.release)
    assert seen.left == 0, "left in the old queue"
    assert seen.beside == dict.fromkeys(case.beside, 0), "another queue got a copy"
    due = case.due_at(seen.published)
    if case.lands is Lands.WAITS:
        assert seen.arrived == []
    elif case.lands is Lands.PERHAPS:
        assert len(seen.arrived) <= 1
    else:
        assert len(seen.arrived) == 1, "at its queue once"
        assert max(due - 1, seen.published) <= seen.arrived[0].at <= max(due, seen.published) + LATE
    if case.lands in (Lands.DELAYED, Lands.WAITS):
        _assert_entered(seen, due, case.name)
    elif case.lands is not Lands.SOON:
        assert seen.tapped == []
    for message in seen.arrived:
        _assert_unchanged(message, case, seen)


def test_no_pickle_was_loaded(passage: Passage) -> None:
    assert not PICKLE_RAN.exists()


def test_books_agree(passage: Passage) -> None:
    totals, queues = passage.status["totals"], passage.status["queues"]
    assert {queue["name"] for queue in queues} == set(passage.seen)
    for name in ("taken", "moved", "confirmed", "converted", "eta_unreadable"):
        assert totals[name] == sum(queue[name] for queue in queues)


def test_missing_ladder_is_made_as_kombu_makes_it(passage: Passage) -> None:
    """Semantics.md section 9, 20: a worker that declares it after us adds nothing and gets no 406."""
    made = passage.ladder
    assert {kind: len(found) for kind, found in made.items()} == {"queues": 28, "exchanges": 29, "bindings": 84}
    assert passage.declared_again == made
    told = passage.status["ladder"]
    assert (told["fault"], told["warning"]) == (None, None)


def test_every_queue_has_its_exit(passage: Passage) -> None:
    """Celery's own bindings lead to an exchange; one that leads to a queue is ours."""
    assert sorted(queue for queue, key in passage.exits) == sorted(passage.seen)


def _assert_counted(case: Case, seen: Seen, release: str) -> None:
    wanted = case.counted(release)
    if case.lands is Lands.PERHAPS:
        # The old broker may have dropped it before anybody could take it.
        assert seen.status["moved"] == seen.status["taken"] <= 1
        return
    assert {name: seen.status[name] for name in wanted} == wanted


def _assert_entered(seen: Seen, due: float, queue: str) -> None:
    """It went onto the ladder once, at the exchange of the highest bit, with kombu's key and our own suffix."""
    assert seen.tapped, "nothing went onto the ladder"
    entered = seen.tapped[0]
    bits, word = entered.routing_key[:56], entered.routing_key[56:]
    seconds = int(bits.replace(".", ""), 2)
    ahead = min(due - seen.published, ladder.MAX_DELAY)
    assert ahead - 2 < seconds <= ahead, "seconds on the ladder"
    assert calculate_routing_key(seconds, word) == entered.routing_key
    assert "." not in word
    if queue.isalnum():
        assert word == f"bridge:{queue}"
    assert entered.exchange == f"bridge.delayed.{seconds.bit_length() - 1}"
    fresh = [message for message in seen.tapped if "headers.x-death" not in parse(message.properties)]
    assert fresh == [entered], "published onto the ladder once"
    assert seen.straight_tap is not None
    _assert_same(entered, seen.straight_tap)


def _assert_unchanged(message: Arrived, case: Case, seen: Seen) -> None:
    assert seen.straight is not None
    if message.exchange == "" and case.expiration is None:
        assert message.routing_key == case.name
        _assert_same(message, seen.straight)
        return
    # Dead-lettering adds its headers, and an expiration went on running: all else is typed value for typed value.
    was, now = _typed(seen.straight), _typed(message)
    if case.expiration is not None:
        was.pop("expiration")
        left = int(now.pop("expiration").data)
        assert case.expiration[0] <= left <= case.expiration[1], "milliseconds that are left"
    assert now == was
    assert message.body == seen.straight.body


def _assert_same(message: Raw, other: Raw) -> None:
    """Byte for byte; the typed values first, for they can be read."""
    assert parse(message.properties) == parse(other.properties)
    assert message.properties == other.properties
    # Not in one assert: nobody reads the difference of two bodies of 16 MiB.
    same = message.body == other.body
    assert same, f"body of {len(message.body)} bytes differs from the {len(other.body)} that were sent"


def _typed(message: Raw) -> dict[str, Item]:
    brokers_own = ("headers.x-death", "headers.x-first-death-", "headers.x-last-death-")
    return {
        name: item
        for name, item in parse(message.properties).items()
        if name != "headers.x-death" and not name.startswith(brokers_own[1:])
    }
