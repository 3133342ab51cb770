"""Looks at both sides, on an API that answers from a table; tests/functional/test_certify.py has real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bridge.core.topology import Queue
from bridge.depths import Depth, Depths, Place
from bridge.errors import Unreachable


class Api:
    """Answers from what it holds."""

    def __init__(self, *, statistics: bool = True) -> None:
        self.items: list[dict[str, Any]] = []
        self.fault: Unreachable | None = None
        self.asked: list[Mapping[str, str]] = []
        self._statistics = statistics

    def get(self, path: str, read: Callable[[Any], Any], columns: str = "") -> Any:
        assert path == "overview"
        return read({"rabbitmq_version": "3.10.8", "node": "a", "disable_stats": not self._statistics})

    def pages(
        self, path: str, read: Callable[[Any], Any], columns: str, more: Mapping[str, str], *, again: bool
    ) -> Iterator[tuple[str, Depth]]:
        if self.fault is not None:
            raise self.fault
        self.asked.append(more)
        return map(read, self.items)


def place(api: Api) -> Place:
    return Place(api, "v")  # type: ignore[arg-type]


def test_each_look_has_its_time():
    old, new, now = Api(), Api(), [10.0]
    old.items = [{"name": "q1", "messages_ready": 3, "messages_unacknowledged": 2, "consumers": 1}]
    new.items = [{"name": "q1", "message_stats": {"publish": 7}}]
    depths = Depths(place(old), place(new), lambda: now[0])
    assert depths.old("q1") is None
    assert depths.old_side.at is None
    depths.look()
    assert depths.old("q1") == Depth(3, 2, 1, 10.0, 0)
    assert depths.new("q1") == Depth(0, 0, 0, 10.0, 7)
    assert depths.new("q2") is None
    assert Depth(3, 2, 1, 10.0).age(12.5) == 2.5


def test_a_look_that_fails_leaves_what_was_seen_and_says_why():
    old, now = Api(), [10.0]
    old.items = [{"name": "q1", "messages_ready": 3}]
    depths = Depths(place(old), None, lambda: now[0])
    depths.look()
    old.fault, now[0] = Unreachable("source: does not answer"), 15.0
    depths.look()
    assert depths.old_side.fault == "source: does not answer"
    assert depths.old("q1") == Depth(3, 0, 0, 10.0, 0)
    assert depths.old_side.at == 10.0
    old.fault, old.items = None, []
    depths.look()
    assert (depths.old_side.fault, depths.old("q1")) == ("", None)


def test_a_look_for_something_else_is_one_as_well():
    given = {
        "type": "classic",
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "arguments": {},
        "policy": {},
    }
    queue = Queue("q1", **given, ready=3, unacked=2, consumers=1, dead_letters=4)  # type: ignore[arg-type]
    depths = Depths(place(Api()), None)
    depths.old_side.fault = "source: does not answer"
    depths.old_side.take([queue], 7.0)
    assert depths.old("q1") == Depth(3, 2, 1, 7.0, 0, 4)
    assert (depths.old_side.fault, depths.old_side.at) == ("", 7.0)


def test_without_an_api_nothing_is_known():
    depths = Depths(None, None)
    depths.look()
    assert depths.new("q1") is None
    assert depths.new_side.fault == "no HTTP API is configured for this side"


def test_a_broker_that_keeps_no_statistics_is_made_to_count_and_tells_of_no_publishes():
    old = Api(statistics=False)
    old.items = [{"name": "q1", "messages_ready": 3}]
    depths = Depths(place(old), None, lambda: 1.0)
    depths.look()
    assert depths.old("q1") == Depth(3, 0, 0, 1.0, None)
    assert old.asked[0]["enable_queue_totals"] == "true"
