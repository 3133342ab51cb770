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
from bridge.management import PAGE, Management

#: Path and query to status, content type, body.
Answer = Callable[[str, dict[str, list[str]]], tuple[int, str, bytes]]
Serve = Callable[[Answer], Management]


@pytest.fixture
def serve() -> Iterator[Serve]:
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
        management._session.close()
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
    management._session.close()


def test_the_environment_s_proxy_is_not_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert list(serve(lambda _path, _query: as_json({"items": [], "page_count": 1})).queues("v")) == []
