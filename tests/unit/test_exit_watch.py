"""Exits of quiet queues, on an API that answers from a list of bindings and counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.core.ladder import exit_pattern
from bridge.errors import Refused, Unreachable
from bridge.exit_watch import FRESH, ExitWatch


class Api:
    """Lists `bindings`; None: there is no exchange to list them of."""

    def __init__(self, *queues: str) -> None:
        self.bindings: list[dict[str, str]] | None = [binding(queue) for queue in queues]
        self.asked = 0

    def get(self, path: str, read: Callable[[Any], Any], columns: str, *, again: bool) -> Any:
        assert path == "exchanges/v%2F1/celery_delayed_delivery/bindings/source"
        assert columns == "destination,destination_type,routing_key"
        self.asked += 1
        return None if self.bindings is None else read(self.bindings)


def binding(queue: str, **changed: str) -> dict[str, str]:
    return {"destination": queue, "destination_type": "queue", "routing_key": exit_pattern(queue), **changed}


class Scene:
    """A watch, what it bound, and its clock."""

    def __init__(self, api: Api | None) -> None:
        self.now = 10.0
        self.bound: list[str] = []
        self.watch = ExitWatch(api, "v/1", self.bound.append, lambda: self.now)  # type: ignore[arg-type]

    def look(self, *queues: str) -> list[str]:
        """What is bound when these queues ask."""
        self.bound.clear()
        for queue in queues:
            self.watch.look(queue)
        return self.bound


def test_one_listing_answers_many_and_only_what_is_missing_is_bound():
    api = Api("q1", "a.q1", "q3")
    scene = Scene(api)
    assert scene.look("q1", "a.q1", "q2", "q3") == ["q2"]
    assert api.asked == 1


def test_what_is_missing_is_told_and_nothing_is_bound():
    scene = Scene(Api("q1", "q3"))
    assert scene.watch.missing(["q1", "q2", "q3"]) == {"q2"}
    assert Scene(None).watch.missing(["q1", "q2"]) == {"q1", "q2"}, "without an API nobody knows"
    assert scene.bound == []


def test_another_binding_of_the_queue_is_no_exit():
    api = Api()
    api.bindings = [
        binding("q1", routing_key="#.q1"),
        binding("q2", destination_type="exchange"),
        binding("q3", routing_key=exit_pattern("q4")),
    ]
    assert Scene(api).look("q1", "q2", "q3", "q4") == ["q1", "q2", "q3", "q4"]


def test_a_listing_does_not_answer_for_long():
    api = Api("q1")
    scene = Scene(api)
    assert scene.look("q1") == []
    api.bindings = []
    scene.now += FRESH / 2
    assert scene.look("q1") == []
    scene.now += FRESH / 2
    assert scene.look("q1") == ["q1"]
    assert api.asked == 2


def test_without_an_api_every_exit_is_bound():
    assert Scene(None).look("q1", "q1") == ["q1", "q1"]


def test_without_the_exchange_every_exit_is_bound():
    api = Api()
    api.bindings = None
    assert Scene(api).look("q1", "q2") == ["q1", "q2"]


def test_a_listing_that_fails_binds_every_exit_and_is_not_tried_again_for_each():
    class Busy(Api):
        def get(self, path: str, read: Callable[[Any], Any], columns: str, *, again: bool) -> Any:
            self.asked += 1
            raise Unreachable("target: no answer within 20 s")

    api = Busy("q1", "q2")
    scene = Scene(api)
    assert scene.look("q1", "q2") == ["q1", "q2"]
    assert api.asked == 1


def test_an_exit_that_cannot_be_bound_is_said():
    def refuse(queue: str) -> None:
        raise Refused(f'target queue "{queue}": its exit from the ladder cannot be bound: NOT_FOUND (404)')

    with pytest.raises(Refused, match='target queue "q1"'):
        ExitWatch(None, "v", refuse).look("q1")
