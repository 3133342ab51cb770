"""The HTTP API on a web server that answers what it should not; the functional tier has real ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.address import HttpAddress
from bridge.errors import AccessRefused, Unreachable
from bridge.management import PAGE, Call, CallFailed, Changes, Management, Recorder, path

#: Path and query to status, content type, body.
Answer = Callable[[str, dict[str, list[str]]], tuple[int, str, bytes]]
Serve = Callable[[Answer], Management]


@pytest.fixture
def changes() -> list[tuple[str, str, object]]:
    """Method, path and body of every call that would change a broker."""
    return []


@pytest.fixture
def serve(changes: list[tuple[str, str, object]]) -> Iterator[Serve]:
    servers: list[HTTPServer] = []

    def start(answer: Answer) -> Management:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, kind, body = answer(parts.path, parse_qs(parts.query))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if 300 <= status < 400:
                    self.send_header("Location", "/login")
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                changes.append((self.command, self.path, json.loads(body) if body else None))
                self.do_GET()

            def do_POST(self) -> None:
                self.do_PUT()

            def do_DELETE(self) -> None:
                self.do_PUT()

            def log_message(self, *_arguments: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        address = HttpAddress.parse(f"http://127.0.0.1:{servers[-1].server_port}")
        made.append(Management("source", address, "bridge", "secret", True, None))
        return made[-1]

    made: list[Management] = []
    yield start
    for management in made:
        management.close()
    for server in servers:
        server.shutdown()
        server.server_close()


def item(name: str, **changed: object) -> dict[str, object]:
    return {"name": name, "durable": True, "auto_delete": False, "exclusive": False, "arguments": {}, **changed}


def as_json(value: object, status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(value).encode()


def test_every_page_is_read_and_names_are_encoded(serve: Serve):
    pages = {"1": ["q1", "a.q1"], "2": ["ü"]}
    asked: list[str] = []

    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        asked.append(path)
        assert query["page_size"] == [str(PAGE)]
        return as_json({"items": [item(name) for name in pages[query["page"][0]]], "page_count": 2})

    found = list(serve(answer).queues("a/b"))
    assert [queue.name for queue in found] == ["q1", "a.q1", "ü"]
    assert asked == ["/api/queues/a%2Fb"] * 2


def test_what_the_broker_says_of_a_queue(serve: Serve):
    said = item(
        "a/q",
        type="quorum",
        arguments={"x-queue-type": "quorum"},
        effective_policy_definition={"expires": 1000},
        messages_ready=3,
        messages_unacknowledged=2,
        consumers=1,
    )
    management = serve(lambda path, _query: as_json(said if path == "/api/queues/v/a%2Fq" else None))
    queue = management.queue("v", "a/q")
    assert queue is not None
    assert (queue.type, queue.policy, queue.ready, queue.unacked, queue.consumers) == (
        "quorum",
        {"expires": 1000},
        3,
        2,
        1,
    )


def test_what_old_versions_leave_out_has_its_default(serve: Serve):
    """No type before quorum queues; no numbers before the first statistics; [] for an empty policy."""
    management = serve(lambda _path, _query: as_json(item("q", effective_policy_definition=[])))
    queue = management.queue("v", "q")
    assert queue is not None
    assert (queue.type, queue.policy, queue.ready, queue.consumers) == ("classic", {}, 0, 0)


def test_a_queue_that_is_not_there_is_none(serve: Serve):
    assert serve(lambda _path, _query: as_json({"error": "Object Not Found"}, 404)).queue("v", "q") is None


def test_a_vhost_that_is_not_there_is_said(serve: Serve):
    management = serve(lambda _path, _query: as_json({"error": "Object Not Found"}, 404))
    with pytest.raises(Unreachable, match=r'source: the HTTP API at .* knows no vhost "v"') as caught:
        list(management.queues("v"))
    assert "source.amqp" in caught.value.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_user_without_the_tag_is_said(status: int, serve: Serve):
    management = serve(lambda _path, _query: as_json({"error": "not_authorised"}, status))
    with pytest.raises(AccessRefused, match=rf'refused user "bridge" \({status}\)') as caught:
        list(management.queues("v"))
    assert 'tag "management"' in caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, "text/html", b"<html>It works!</html>"), "answered 200 with text/html"),
        ((500, "text/plain", b"oops"), "answered 500 with text/plain"),
        ((302, "text/html", b""), "answered 302 with text/html"),
        (as_json({"error": "internal"}, 500), "answered 500 with application/json"),
        (as_json([1, 2]), "answered 200 with application/json"),
        (as_json({"status": "ok"}), "answered 200 with application/json"),
        (as_json({"items": [{"name": "q"}], "page_count": 1}), "answered 200 with application/json"),
    ],
)
def test_what_is_not_rabbitmq_s_api_is_said(answer: tuple[int, str, bytes], told: str, serve: Serve):
    management = serve(lambda _path, _query: answer)
    with pytest.raises(Unreachable, match=f"{told}, not with the JSON of RabbitMQ's HTTP API") as caught:
        list(management.queues("v"))
    assert "source.api" in caught.value.hint
    if answer[0] != 302:
        with pytest.raises(Unreachable, match=told):
            management.queue("v", "q")


def test_nobody_there_is_said(serve: Serve):
    management = Management("target", HttpAddress.parse("http://127.0.0.1:1"), "bridge", "secret", True, None)
    said = r"target: the HTTP API at http://127\.0\.0\.1:1 does not answer: connection refused"
    with pytest.raises(Unreachable, match=said):
        management.queue("v", "q")
    management.close()


def test_the_environment_s_proxy_is_not_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert list(serve(lambda _path, _query: as_json({"items": [], "page_count": 1})).queues("v")) == []


# -- a snapshot
# -------------------------------------------------------------------------------------------------------------

#: What a broker answers to an administrator; paths below /api.
ANSWERS: dict[str, object] = {
    "overview": {"rabbitmq_version": "4.3.6", "node": "n1"},
    "whoami": {"name": "bridge", "tags": ["administrator"]},
    "policies/v": [
        {"name": "p", "pattern": "^q", "apply-to": "queues", "definition": {"max-length": 9}, "priority": 1}
    ],
    "operator-policies/v": [],
    "queues/v": {"items": [item("q1")], "page_count": 1},
    "exchanges/v": {"items": [item("", type="direct"), item("t", type="topic")], "page_count": 1},
    "bindings/v": [],
    "consumers/v": [{"queue": {"name": "q1"}, "consumer_tag": "c"}],
    "vhosts/v/channels": [{"connection_details": {"name": "c1"}, "message_stats": {"publish": 3}}],
    "vhosts/v/connections": [{"name": "c1", "user": "celery"}],
    "nodes": [{"name": "n1", "running": True, "mem_alarm": True}],
    "health/checks/alarms": {"status": "ok"},
    "feature-flags": [{"name": "quorum_queue", "state": "enabled"}],
    "vhosts": [{"name": "v", "default_queue_type": "quorum", "description": "d", "tags": []}],
    "vhost-limits/v": [{"value": {"max-queues": 5}}],
    "permissions/v/bridge": {"user": "bridge", "configure": "", "write": ".*", "read": ".*"},
    "permissions/v/celery": {"user": "celery", "configure": ".*", "write": ".*", "read": ".*"},
    "users/celery": {"name": "celery", "tags": ["management"]},
}


def told(answers: dict[str, object], refused: tuple[str, ...] = ()) -> Answer:
    def answer(path: str, _query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        known = path.removeprefix("/api/")
        if known in refused:
            return as_json({"error": "not_authorised", "reason": "User not authorised"}, 401)
        return as_json(answers[known]) if known in answers else as_json({"error": "Object Not Found"}, 404)

    return answer


def test_a_snapshot_is_everything_that_is_told(serve: Serve):
    seen = serve(told(ANSWERS)).snapshot("v")
    assert (seen.version, seen.default_queue_type, seen.description, seen.limits) == (
        (4, 3, 6),
        "quorum",
        "d",
        {"max-queues": 5},
    )
    assert (seen.queues["q1"].policy_name, seen.queues["q1"].policy) == ("p", {"max-length": 9})
    assert list(seen.exchanges) == ["t"]
    assert seen.connections[0].published == 3
    assert (seen.consumers[0].queue, seen.nodes[0].memory_alarm, seen.feature_flags) == ("q1", True, {"quorum_queue"})
    assert seen.permissions is not None
    assert (seen.permissions.configure, seen.permissions.tags) == ("", ("administrator",))
    assert seen.unknown == ()


def test_permissions_of_another_user_than_the_api_s(serve: Serve):
    seen = serve(told(ANSWERS)).snapshot("v", "celery").permissions
    assert seen is not None
    assert (seen.user, seen.configure, seen.tags) == ("celery", ".*", ("management",))


def test_no_permissions_at_all_are_told_as_such(serve: Serve):
    answers = {name: said for name, said in ANSWERS.items() if name != "permissions/v/bridge"}
    seen = serve(told(answers)).snapshot("v").permissions
    assert seen is not None
    assert (seen.configure, seen.write, seen.read) == (None, None, None)


def test_what_a_user_may_not_see_is_named(serve: Serve):
    refused = ("nodes", "feature-flags", "permissions/v/bridge")
    answers = {**ANSWERS, "whoami": {"name": "bridge", "tags": ["management"]}}
    seen = serve(told(answers, refused)).snapshot("v")
    assert (seen.connections, seen.consumers, seen.feature_flags, seen.permissions) == ((), (), None, None)
    assert [node.name for node in seen.nodes] == ["n1"]
    assert [text.partition(":")[0] for text in seen.unknown] == [
        "other users' connections and consumers",
        "memory, disk and partitions of the nodes",
        "feature flags",
        'permissions of user "bridge"',
    ]


def test_what_a_version_does_not_tell_or_tells_otherwise_is_named(serve: Serve):
    answers = {name: said for name, said in ANSWERS.items() if name != "feature-flags"}
    answers |= {"vhost-limits/v": {"no": "list"}, "permissions/v/bridge": []}
    seen = serve(told(answers)).snapshot("v")
    assert seen.feature_flags is None
    limits, flags = sorted(text for text in seen.unknown if "permissions" not in text)[::-1]
    assert limits.startswith("the vhost's limits: source: ")
    assert flags == "feature flags: this version of RabbitMQ does not tell"
    assert any(text.startswith("permissions of user") for text in seen.unknown)


def test_a_broker_without_statistics_is_asked_to_count(serve: Serve):
    asked: dict[str, dict[str, list[str]]] = {}
    usual = told({**ANSWERS, "overview": {"rabbitmq_version": "4.0.5", "disable_stats": True}})

    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        asked[path] = query
        return usual(path, query)

    seen = serve(answer).snapshot("v")
    assert asked["/api/queues/v"]["enable_queue_totals"] == ["true"]
    assert any("no statistics" in text for text in seen.unknown)


def test_a_snapshot_of_a_vhost_that_is_not_there(serve: Serve):
    with pytest.raises(Unreachable, match='knows no vhost "w"'):
        serve(told(ANSWERS)).snapshot("w")


def test_a_snapshot_by_a_user_who_may_not(serve: Serve):
    with pytest.raises(AccessRefused, match=r"refused user \"bridge\" \(401\): User not authorised"):
        serve(told(ANSWERS, ("overview",))).snapshot("v")


# -- changes
# ----------------------------------------------------------------------------------------------------------------


def test_changes_go_to_the_broker(serve: Serve, changes: list[tuple[str, str, object]]):
    api: Changes = serve(lambda _path, _query: (204, "application/json", b""))
    api.put(path("queues", "/", "a/b"), {"durable": True})
    api.post("bindings/v/e/t/q/q1", {})
    api.delete(path("policies", "v", "p"))
    assert changes == [
        ("PUT", "/api/queues/%2F/a%2Fb", {"durable": True}),
        ("POST", "/api/bindings/v/e/t/q/q1", {}),
        ("DELETE", "/api/policies/v/p", None),
    ]


def test_a_dry_run_keeps_the_calls():
    recorder = Recorder()
    api: Changes = recorder
    api.put("a", {"x": 1})
    api.post("b", {})
    api.delete("c")
    assert recorder.calls == [Call("PUT", "a", {"x": 1}), Call("POST", "b", {}), Call("DELETE", "c")]


@pytest.mark.parametrize(("status", "hint"), [(400, ""), (401, "lacks the tag or the permission"), (404, "")])
def test_a_refused_change_says_which_and_why(status: int, hint: str, serve: Serve):
    api = serve(lambda _path, _query: as_json({"error": "bad_request", "reason": "inequivalent\n arg"}, status))
    with pytest.raises(
        CallFailed, match=rf"source: PUT /api/queues/v/q was refused: inequivalent arg \({status}\)"
    ) as caught:
        api.put("queues/v/q", {})
    fault = caught.value
    assert (fault.method, fault.path, fault.status, fault.reason) == ("PUT", "queues/v/q", status, "inequivalent arg")
    assert hint in fault.hint


def test_a_change_that_something_else_than_rabbitmq_answers(serve: Serve):
    with pytest.raises(Unreachable, match="answered 302 with text/html"):
        serve(lambda _path, _query: (302, "text/html", b"")).delete("queues/v/q")
    with pytest.raises(CallFailed, match="not authorised"):
        serve(lambda _path, _query: (403, "text/html", b"no")).delete("queues/v/q")


def test_the_same_answer_is_not_read_again_where_it_is_asked_for_again_and_again(serve: Serve) -> None:
    answers = [{"a": 1}, {"a": 1}, {"a": 2}, {"a": 1}]
    read: list[object] = []

    def reader(answer: object) -> object:
        read.append(answer)
        return answer

    api = serve(lambda _path, _query: as_json(answers[len(asked)]))
    asked: list[object] = []
    for answer in answers:
        assert api.get("overview", reader, again=True) == answer
        asked.append(answer)
    assert read == [{"a": 1}, {"a": 2}, {"a": 1}]
    asked.clear()
    for _ in range(2):
        assert api.get("overview", reader) == {"a": 1}
    assert len(read) == 5, "what is asked once is read whenever it is asked"


def test_pages_are_kept_apart_by_what_was_asked(serve: Serve) -> None:
    def answer(_path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        name = f"q{query['page'][0]}-{query.get('more', ['-'])[0]}-{query['columns'][0]}"
        return as_json({"items": [{"name": name}], "page_count": 2})

    api = serve(answer)
    for _ in range(2):
        for more in ({}, {"more": "m"}):
            for columns in ("name", "name,type"):
                found = api.pages("queues/v", lambda one: one["name"], columns, more, again=True)
                assert list(found) == [f"q{page}-{more.get('more', '-')}-{columns}" for page in (1, 2)]
