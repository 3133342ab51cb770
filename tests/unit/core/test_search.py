"""The search by halves against a simulated broker that closes the channel on some messages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.envelope import fingerprint
from bridge.core.search import IN_A_ROW, SURE, SURE_WITHOUT_A_WORD, Search
from tests.support import wire

MESSAGES = [wire.task(b"[[], {}, {}]", id=f"{number}") for number in range(500)]
MARKS = [fingerprint(message) for message in MESSAGES]
WINDOW = 500


class Simulated:
    """A queue of `count` messages, moved until it is empty; how often the channel closed, and what was set apart."""

    def __init__(self, count: int, poison: set[int], seed: int, *, said: bool = True) -> None:
        self.search = Search()
        self.closes = 0
        self.apart: list[int] = []
        self.poison = poison
        self.said = said
        self.queue = list(range(count))
        self.chance = random.Random(seed)
        while self.queue:
            self.subscribe(self.search.prefetch or WINDOW)
            assert self.closes < 200, "no end"

    def subscribe(self, prefetch: int) -> None:
        """One subscription: it ends with the channel, with the search, or with the queue."""
        while self.queue:
            self.set_apart(prefetch)
            flight = self.queue[:prefetch]
            bad = next((at for at, one in enumerate(flight) if one in self.poison), None)
            if bad is not None:
                # What stands before it is published, and may or may not be confirmed by then; what comes after is not.
                confirmed = self.chance.randint(0, bad)
                del self.queue[:confirmed]
                self.search.passed(confirmed)
                self.closes += 1
                self.search.closed([MESSAGES[one] for one in flight[confirmed:]], said=self.said)
                return
            del self.queue[: len(flight)]
            if self.search.passed(len(flight)):
                return

    def set_apart(self, prefetch: int) -> None:
        """What is found is held when it comes."""
        for one in [one for one in self.queue[:prefetch] if MARKS[one] in self.search.found]:
            self.queue.remove(one)
            self.apart.append(one)
            self.search.apart(MARKS[one])


def test_one_message_anywhere_among_five_hundred() -> None:
    for position in range(0, 500, 7):
        seen = Simulated(500, {position}, seed=position)
        assert seen.apart == [position]
        # Nine halvings of 500, and once more to be sure.
        assert seen.closes <= 9 + SURE
        assert seen.search.prefetch is None, "the search ended"


@given(st.integers(1, 500), st.sets(st.integers(0, 499), min_size=1, max_size=3), st.integers(), st.booleans())
def test_none_of_the_others_is_ever_taken_for_it(count: int, positions: set[int], seed: int, said: bool) -> None:
    poison = {position % count for position in positions}
    seen = Simulated(count, poison, seed, said=said)
    assert sorted(seen.apart) == sorted(poison)
    assert seen.closes <= len(poison) * (9 + (SURE if said else SURE_WITHOUT_A_WORD))


@pytest.mark.parametrize(("said", "times"), [(True, SURE), (False, SURE_WITHOUT_A_WORD)])
def test_a_message_must_have_been_alone_more_than_once(said: bool, times: int) -> None:
    search = Search()
    found = [search.closed([MESSAGES[0]], said=said) for _ in range(times)]
    assert found == [False] * (times - 1) + [True]
    assert search.found == {MARKS[0]}
    assert search.prefetch == 1


def test_different_messages_alone_are_each_counted_for_themselves() -> None:
    search = Search()
    assert not any(search.closed([message]) for message in MESSAGES[:50])
    assert search.found == set()


def test_a_channel_that_closes_on_nothing_starts_no_search() -> None:
    search = Search()
    assert not search.closed([])
    assert search.prefetch is None
    assert not search.passed(10)


def test_half_of_them_are_tried_next_until_all_are_through() -> None:
    search = Search()
    assert not search.closed(MESSAGES[:100])
    assert search.prefetch == 50
    assert not search.passed(50)
    assert not search.closed(MESSAGES[50:80])
    assert search.prefetch == 15
    # 50 of the 100 are through, so 50 are suspect still: the smaller number that was in flight this time says nothing.
    assert not search.passed(49)
    assert search.prefetch == 15
    assert search.passed(1)
    assert search.prefetch is None
    assert not search.passed(1)


def test_when_all_went_through_nobody_is_suspect_any_more() -> None:
    search = Search()
    search.closed([MESSAGES[0]])
    assert search.passed(1)
    assert not search.closed([MESSAGES[0]]), "the channel closed once, and once again long after"


def test_a_message_that_changes_on_its_way_is_the_same() -> None:
    search = Search()
    search.closed([wire.task(**{"x-delivery-count": 1})])
    assert search.closed([wire.task()])
    assert fingerprint(wire.task(**{"x-delivery-count": 3})) in search.found


def test_when_nothing_goes_through_it_is_not_the_messages() -> None:
    """A target, or something before it, that closes on whatever comes: the queue is not set apart as a whole."""
    search = Search()
    found = 0
    for message in MESSAGES[: IN_A_ROW + 5]:
        for _ in range(SURE):
            if search.closed([message]):
                found += 1
                search.apart(fingerprint(message))
    assert found == IN_A_ROW
    assert search.given_up
    search.passed(1)
    assert not search.given_up
    assert [search.closed([MESSAGES[-1]]) for _ in range(SURE)] == [False, True]


def test_what_was_set_apart_is_forgotten() -> None:
    search = Search()
    search.closed([MESSAGES[0]])
    search.closed([MESSAGES[0]])
    search.apart(MARKS[0])
    search.apart(MARKS[0])
    assert search.found == set()
