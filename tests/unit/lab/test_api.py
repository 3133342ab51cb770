"""The lab's calls of the HTTP API, against a server that answers what it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bridge.errors import LabError
from bridge.lab.api import Api


class Broker(ThreadingHTTPServer):
    """Answers by method and path; what it has no answer for is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        #: Seconds until it answers.
        self.late = 0.0
        super().__init__(("127.0.0.1", 0), Conversation)


class Conversation(BaseHTTPRequestHandler):
    server: Broker

    def do_GET(self) -> None:
        call = f"{self.command} {self.path.removeprefix('/api/')}"
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((call, json.loads(self.rfile.read(length)) if length else None))
        threading.Event().wait(self.server.late)
        answer = self.server.answers.get(call)
        self.send_response(404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_PUT = do_GET  # noqa: N815 - http.server's names
    do_DELETE = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def api(broker: Broker) -> Api:
    return Api(f"http://127.0.0.1:{broker.server_port}", "bridge", "secret")


READY = {
    "GET health/checks/port-listener/5672": {"status": "ok"},
    "GET health/checks/virtual-hosts": {"status": "ok"},
    "GET nodes?columns=running": [{"running": True}, {"running": False}, {"running": True}],
}


def test_ready_is_listening_with_its_vhosts_and_members(broker: Broker, api: Api):
    broker.answers.update(READY)
    assert api.ready(5672, members=2)
    assert not api.ready(5672, members=3)


@pytest.mark.parametrize("missing", READY)
def test_each_part_of_ready_counts(broker: Broker, api: Api, missing: str):
    broker.answers.update(READY)
    del broker.answers[missing]
    assert not api.ready(5672, members=1)


def test_nobody_is_not_ready():
    assert not Api("http://127.0.0.1:1", "bridge", "secret").ready(5672, members=1)


def test_version(broker: Broker, api: Api):
    broker.answers["GET overview?columns=rabbitmq_version"] = {"rabbitmq_version": "3.10.8"}
    assert api.version() == "3.10.8"


def test_only_stable_features_that_are_off_are_enabled(broker: Broker, api: Api):
    broker.answers["GET feature-flags"] = [
        {"name": "on", "state": "enabled", "stability": "stable"},
        {"name": "off", "state": "disabled", "stability": "stable"},
        {"name": "new", "state": "disabled", "stability": "experimental"},
    ]
    broker.answers["PUT feature-flags/off/enable"] = {}
    api.enable_stable_features()
    assert [call for call, _ in broker.asked if call.startswith("PUT")] == ["PUT feature-flags/off/enable"]


def test_a_vhost_is_made_with_every_right(broker: Broker, api: Api):
    broker.answers.update({"PUT vhosts/a%2Fb": {}, "PUT permissions/a%2Fb/bridge": {}})
    api.make_vhost("a/b")
    assert broker.asked[1] == ("PUT permissions/a%2Fb/bridge", {"configure": ".*", "write": ".*", "read": ".*"})


def test_a_vhost_that_is_gone_may_be_dropped(broker: Broker, api: Api):
    api.drop_vhost("a")
    assert broker.asked == [("DELETE vhosts/a", None)]


def test_a_vhost_may_take_longer_to_drop_than_another_call(broker: Broker, api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bridge.lab.api._SECONDS", 0.05)
    broker.answers["DELETE vhosts/a"] = {}
    broker.late = 0.2
    api.drop_vhost("a")
    with pytest.raises(LabError, match="Read timed out"):
        api.make_vhost("a")


def test_a_refusal_says_what_was_asked_and_answered(broker: Broker, api: Api):
    with pytest.raises(LabError, match=r"answered 404 to PUT /api/vhosts/a: null"):
        api.make_vhost("a")


def test_no_answer_says_so_without_the_password():
    with pytest.raises(LabError, match=r"broker at http://127\.0\.0\.1:1 does not answer GET /api/overview") as fault:
        Api("http://127.0.0.1:1", "bridge", "secret").version()
    assert "secret" not in str(fault.value)
