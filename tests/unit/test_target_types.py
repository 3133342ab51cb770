"""Types of target queues, on an API that answers from a table and counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bridge.core.topology import Queue
from bridge.errors import Unreachable
from bridge.target_types import FRESH, SOON, TargetTypes


class Api:
    """Answers from `types`, and writes down what it is asked for: a name, or `*`."""

    def __init__(self, **types: str) -> None:
        self.types = types
        self.asked: list[str] = []

    def queue(self, vhost: str, name: str) -> Queue | None:
        self.asked.append(name)
        kind = self.types.get(name)
        return None if kind is None else Queue(name, kind, True, False, False, {}, {}, 0, 0, 0)

    def pages(self, path: str, read: Callable[[Any], Any], columns: str) -> Iterator[Any]:
        assert (path, columns) == ("queues/v", "name,type")
        self.asked.append("*")
        return map(read, [{"name": name, "type": kind} for name, kind in self.types.items()])


def types_of(api: Api, now: list[float]) -> TargetTypes:
    return TargetTypes(api, "v", lambda: now[0])  # type: ignore[arg-type]


def test_one_question_is_one_call():
    api, now = Api(q1="quorum", q2="classic"), [10.0]
    types = types_of(api, now)
    assert types.of("q1") == "quorum"
    now[0] += SOON
    assert types.of("q2") == "classic"
    now[0] += SOON
    assert types.of("q3") is None
    assert api.asked == ["q1", "q2", "q3"]


def test_many_questions_are_one_listing():
    api, now = Api(q1="quorum", q2="quorum", q3="quorum"), [10.0]
    types = types_of(api, now)
    assert [types.of(name) for name in ("q1", "q2", "q3")] == ["quorum"] * 3
    assert api.asked == ["q1", "*"]


def test_a_listing_that_fails_keeps_no_gate_closed():
    class Busy(Api):
        def pages(self, path: str, read: Callable[[Any], Any], columns: str) -> Iterator[Any]:
            self.asked.append("*")
            raise Unreachable("target: no answer within 10 s")

    api, now = Busy(q1="quorum", q2="quorum", q3="quorum"), [10.0]
    types = types_of(api, now)
    assert [types.of(name) for name in ("q1", "q2", "q3")] == ["quorum"] * 3
    assert api.asked == ["q1", "*", "q2", "q3"], "and is not tried again for each queue"


def test_what_would_close_a_gate_is_looked_up_again():
    api, now = Api(q1="quorum", q2="classic"), [10.0]
    types = types_of(api, now)
    assert [types.of(name) for name in ("q1", "q1", "q2", "q3")] == ["quorum", "quorum", "classic", None]
    api.types["q2"] = api.types["q3"] = "quorum"
    assert [types.of(name) for name in ("q2", "q3")] == ["quorum"] * 2
    assert api.asked == ["q1", "*", "q2", "q3", "q2", "q3"]


def test_a_listing_does_not_answer_for_long():
    api, now = Api(q1="quorum"), [10.0]
    types = types_of(api, now)
    assert [types.of("q1") for _ in range(2)] == ["quorum"] * 2
    api.types["q1"] = "classic"
    now[0] += FRESH - SOON / 2
    assert types.of("q1") == "quorum"
    now[0] += SOON / 2
    assert types.of("q1") == "classic"


def test_without_an_api_nothing_is_known():
    assert TargetTypes(None, "v").of("q1") is None
