from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest
import yaml

from bridge.core import remote_control
from bridge.core.remote_control import Unread, answer

REPLY_TO = ("reply.celery.pidbox", "oid")


def test_a_request_is_what_kombu_sends():
    body = json.loads(remote_control.request("cancel_consumer", {"queue": "q1"}, ["celery@w1"], "t1", REPLY_TO))
    assert body == {
        "method": "cancel_consumer",
        "arguments": {"queue": "q1"},
        "destination": ["celery@w1"],
        "pattern": None,
        "matcher": None,
        "ticket": "t1",
        "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "oid"},
    }
    told = json.loads(remote_control.request("hello", {}, None, "", None))
    assert (told["destination"], told["reply_to"], told["ticket"]) == (None, None, None)


TASK = {"eta": "2030-01-01T00:00:00", "priority": 6, "request": {"id": "a", "args": [1, 2.5, True]}}
SAID = {"celery@w1": [TASK], "celery@w2": {"ok": "amqp://u:********@h/ *x"}}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps(SAID).encode(), "application/json"),
        (yaml.safe_dump(SAID).encode(), "application/x-yaml"),
        *((pickle.dumps(SAID, protocol), "application/x-python-serialize") for protocol in range(6)),
    ],
)
def test_an_answer_in_each_serializer_that_is_read(body: bytes, content_type: str):
    assert answer(body, content_type) == SAID


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        raise_it = pytest.fail
        return raise_it, ("an answer was unpickled",)


def test_objects_in_a_pickle_are_nothing_and_nothing_runs():
    found = answer(
        pickle.dumps({"celery@w1": {"total": Counter(a=1), "pid": 7, "pair": (1, "x"), "trap": Trap(), 8: 9}, 5: 6}),
        "application/x-python-serialize",
    )
    assert found == {"celery@w1": {"total": None, "pid": 7, "pair": [1, "x"], "trap": None}}


def test_nesting_in_a_pickle_ends_somewhere():
    value: object = "end"
    for _ in range(50):
        value = [value]
    found = answer(pickle.dumps({"w": value}), "application/x-python-serialize")
    assert "end" not in json.dumps(found)


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (b"\x81", "application/x-msgpack", "in application/x-msgpack, which is not read"),
        (b"", "", "in no content type, which is not read"),
        (b"{", "application/json", r"in application/json, which could not be read \(JSONDecodeError\)"),
        (b"[1]", "application/json", "is no answer of a worker"),
        (pickle.dumps([1]), "application/x-python-serialize", "is no answer of a worker"),
        (b"." * (2**20 + 1), "application/x-python-serialize", "1048577 bytes: up to 1048576 are read"),
        (b"a: 1\n" + b" " * 2**18, "application/x-yaml", "262149 bytes: up to 262144 are read"),
        (b"a: &b [1]\nc: [*b, *b]\n", "application/x-yaml", "with aliases, which are not read"),
        (b"!!python/object/apply:os.system [ls]", "application/x-yaml", r"could not be read \(ConstructorError\)"),
    ],
)
def test_what_is_not_read_is_said(body: bytes, content_type: str, why: str):
    with pytest.raises(Unread, match=why):
        answer(body, content_type)


def test_json_has_a_cap_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_control, "MAX_JSON", 3)
    with pytest.raises(Unread, match="4 bytes: up to 3 are read"):
        answer(b"{} \n", "application/json")


def test_errors_of_workers():
    assert remote_control.error({"error": "KeyError(\n'x')"}) == "KeyError( 'x')"
    assert remote_control.error({"ok": "pong"}) == ""
    assert remote_control.error({"error": ""}) == ""
    assert remote_control.error(["x"]) == ""


def queue(name: str, exchange: object, key: str, *bindings: str) -> dict[str, object]:
    bound = [{"exchange": exchange, "routing_key": each} for each in bindings]
    return {"name": name, "exchange": exchange, "routing_key": key, "bindings": bound}


def test_queues_of_a_worker():
    said = [
        queue("q1", {"name": "tasks", "type": "topic"}, "one"),
        queue("q2", "tasks", "", "two", "zwei"),
        queue("q3", None, "q3"),
        {"name": None},
        "odd",
    ]
    found = remote_control.queues(said)
    assert [(one.name, one.exchange, sorted(one.routing_keys)) for one in found] == [
        ("q1", "tasks", ["one"]),
        ("q2", "tasks", ["two", "zwei"]),
        ("q3", "", ["q3"]),
    ]
    assert remote_control.queues(None) == ()


def info(exchange: str | None, key: str | None) -> dict[str, object]:
    return {"delivery_info": {"exchange": exchange, "routing_key": key}}


def test_tasks_are_counted_by_the_queue_that_they_came_from():
    consumed = remote_control.queues([queue("q1", {"name": "tasks"}, "one"), queue("q2", {"name": "tasks"}, "two")])
    said = [
        {"eta": "...", "request": info("", "q9")},
        {"eta": "...", "request": info("", "q1")},
        {"eta": "...", "request": info("tasks", "one")},
        info("tasks", "two"),
        # Its queue was cancelled: the worker does not list it any more, and its key is its name.
        info("tasks", "q9"),
        info("tasks", "unknown"),
        {"delivery_info": None},
        "odd",
    ]
    known = ("q1", "q2", "q9")
    assert remote_control.tasks(said, consumed, known) == {"q9": 2, "q1": 2, "q2": 1, "": 2}
    # A worker with one queue has everything from there; so it is said where nobody knows the queues.
    assert remote_control.tasks([info("tasks", "else")], consumed[:1], known) == {"q1": 1}
    assert remote_control.tasks([info("", "named")], (), ()) == {"named": 1}
    assert remote_control.tasks([info("", "gone")], (), known) == {"": 1}
    assert remote_control.tasks({"error": "x"}, ()) == {}


def test_ids_and_versions():
    assert remote_control.ids(["a", 1, "b"]) == ["a", "b"]
    assert remote_control.ids({"error": "x"}) == []
    report = "\nsoftware -> celery:4.4.7 (cliffs) kombu:4.6.11 py:3.11.7\n            billiard:3.6.4.0"
    assert remote_control.version({"ok": report}) == "4.4.7"
    assert remote_control.version({"ok": "celery:5.7.0rc1 (x)"}) == "5.7.0rc1"
    assert remote_control.version({"ok": "nothing"}) == ""
    assert remote_control.version({"ok": 3}) == ""
    assert remote_control.version("x") == ""
