"""The routes, without a socket: what is asked of `Control`, and what becomes of its answers and refusals."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from bridge.address import HostPort
from bridge.asked import Answer, Request
from bridge.config_sections import Secret
from bridge.core.route import Verb
from bridge.errors import Refused, Standby, UnknownQueue, Unreachable
from bridge.web.access import PEER, Access
from bridge.web.app import LARGEST_BODY, app

DONE = Answer("mail", "done", "legacy", "quorum", False, "everything goes to the target", "", ("canary", "legacy"))
REFUSED = Answer("img", "refused", "legacy", "legacy", False, "no workers", "start them", ("cutover",))
TOKEN = "s3cret-of-many-letters"


class FakeControl:
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers = [DONE]
        self.fault: Exception | None = None

    def _told(self, what: Any) -> list[Answer]:
        self.asked.append(what)
        if self.fault is not None:
            raise self.fault
        return self.answers

    def ask(self, request: Request) -> list[Answer]:
        return self._told(request)

    def set_rate(self, queues: Any, rate: Any, **how: Any) -> list[Answer]:
        return self._told(("rate", queues, rate, how))

    def cancel(self, queues: Any, **how: Any) -> list[Answer]:
        return self._told(("cancel", queues, how))


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


def broken() -> Any:
    raise ZeroDivisionError("amqp://u:s3cret@old")


def away() -> Any:
    raise Unreachable("source: the HTTP API at http://u:s3cret@old does not answer", hint="is it up?")


@pytest.fixture
def client(control: FakeControl) -> FlaskClient:
    """The unix socket's."""
    looks = {"status": lambda: {"version": "1", "a": 2}, "certify": lambda: [1], "broken": broken, "away": away}
    made = app(control, looks, Access(HostPort("127.0.0.1", 8642), Secret(TOKEN))).test_client()
    made.environ_base[PEER] = "alice@h1"
    return made


@pytest.mark.parametrize("verb", ["cutover", "canary", "dual", "legacy", "rollback", "pause", "resume"])
def test_each_verb_is_asked_of_control(verb: str, client: FlaskClient, control: FakeControl) -> None:
    told = client.post(f"/api/{verb}", json={"queues": ["mail"], "reason": "why"})
    assert told.status_code == 200
    assert told.json == {
        "answers": [
            {
                "queue": "mail",
                "outcome": "done",
                "before": "legacy",
                "route": "quorum",
                "paused": False,
                "text": "everything goes to the target",
                "hint": "",
                "next": ["canary", "legacy"],
            }
        ]
    }
    assert control.asked == [Request(Verb(verb), ("mail",), "alice@h1", "http", reason="why")]


def test_limits_and_cancels_are_asked_too(client: FlaskClient, control: FakeControl) -> None:
    assert client.post("/api/rate", json={"all": True, "rate": "2/s"}).status_code == 200
    assert client.post("/api/cancel", json={"queues": ["a"], "dry_run": True}).status_code == 200
    how = {"by": "alice@h1", "door": "http", "reason": "", "dry_run": False}
    assert control.asked == [("rate", None, 2.0, how), ("cancel", ("a",), {**how, "dry_run": True})]


def test_one_refusal_makes_the_answer_a_conflict_and_the_others_stand(
    client: FlaskClient, control: FakeControl
) -> None:
    control.answers = [DONE, REFUSED]
    told = client.post("/api/cutover", json={"all": True})
    assert told.status_code == 409
    assert [answer["outcome"] for answer in told.json["answers"]] == ["done", "refused"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (UnknownQueue('queue "mial" is not in scope', hint="did you mean mail?"), 404),
        (Standby("host h1 is the active one", hint="ask it"), 503),
        (Refused("--force with all", hint="name them"), 409),
        (Unreachable("target: no answer", hint="wait"), 502),
    ],
)
def test_a_refusal_is_a_sentence_a_hint_and_a_status(
    fault: Any, code: int, client: FlaskClient, control: FakeControl
) -> None:
    control.fault = fault
    told = client.post("/api/cutover", json={"all": True})
    assert (told.status_code, told.json) == (code, {"error": str(fault), "hint": fault.hint})


@pytest.mark.parametrize(
    ("how", "code", "error"),
    [
        ({"data": b"{}"}, 400, "content-type: found nothing; allowed: application/json"),
        (
            {"data": b"all=1", "content_type": "application/x-www-form-urlencoded"},
            400,
            "content-type: found application",
        ),
        ({"data": b'{"all": true}', "content_type": "text/plain"}, 400, "content-type: found text/plain"),
        ({"data": b"all", "content_type": "application/json"}, 400, "the body is not JSON (line 1, column 1)"),
        ({"data": b"", "content_type": "application/json"}, 400, "the body is empty"),
        ({"json": {"everything": True}}, 400, "'everything': unknown to cutover"),
        (
            {"data": b" " * (LARGEST_BODY + 1), "content_type": "application/json; charset=utf-8"},
            413,
            "the body is larger than 65536 bytes",
        ),
    ],
)
def test_what_cannot_be_read_asks_nothing(
    how: dict[str, Any], code: int, error: str, client: FlaskClient, control: FakeControl
) -> None:
    told = client.post("/api/cutover", **how)
    assert told.status_code == code
    assert told.json["error"].startswith(error)
    assert told.json["hint"]
    assert control.asked == []


def test_the_largest_body_is_taken(client: FlaskClient) -> None:
    body = b'{"all": true}'.ljust(LARGEST_BODY)
    assert client.post("/api/pause", data=body, content_type="application/json").status_code == 200


def test_what_may_be_read_is_read(client: FlaskClient) -> None:
    assert client.get("/api/status").text.split() == '{"version":"1","a":2}'.split()
    assert client.get("/api/certify").json == [1]
    assert client.head("/api/status").status_code == 200


def test_a_place_that_is_none_and_a_method_that_is_none_are_said(client: FlaskClient) -> None:
    told = client.get("/api/nothing")
    assert (told.status_code, told.json["error"]) == (404, "there is nothing at /api/nothing")
    assert "/api/cutover" in told.json["hint"]
    told = client.get("/api/cutover")
    assert (told.status_code, told.json["error"]) == (405, "/api/cutover takes POST, not GET")
    assert client.delete("/api/status").json["error"] == "/api/status takes GET, not DELETE"
    assert client.post("/api/reverse", json={"all": True}).status_code == 404


def test_the_unexpected_is_logged_and_not_told(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        told = client.get("/api/broken")
    assert (told.status_code, told.json) == (500, {"error": "unexpected error", "hint": "see the daemon's log"})
    (record,) = caplog.records
    assert record.getMessage().startswith("GET '/api/broken': unexpected error: ZeroDivisionError: ")
    assert record.exc_info is None


def test_a_broker_that_does_not_answer_is_not_our_fault(client: FlaskClient) -> None:
    told = client.get("/api/away")
    assert told.status_code == 502
    assert told.json == {"error": "source: the HTTP API at http://u:***@old does not answer", "hint": "is it up?"}


def test_over_tcp_the_token_decides(control: FakeControl, caplog: pytest.LogCaptureFixture) -> None:
    access = Access(HostPort("127.0.0.1", 8642), Secret(TOKEN))
    client = app(control, {"status": dict}, access).test_client()
    told = client.post("/api/cutover", json={"all": True})
    assert (told.status_code, told.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert told.json["error"] == "a token is needed to change things"
    wrong = client.post("/api/cutover", json={"all": True}, headers={"Authorization": "Bearer wrong-wrong-wrong"})
    assert (wrong.status_code, "WWW-Authenticate" in wrong.headers) == (403, False)
    assert "POST '/api/cutover' from 127.0.0.1 denied: the token is not this daemon's" in caplog.text
    assert "wrong-wrong" not in caplog.text
    client.post("/api/x%0aerror: forged", json={})
    assert caplog.records[-1].getMessage().splitlines() == [caplog.records[-1].getMessage()]
    assert control.asked == []
    assert client.get("/api/status").status_code == 200
    assert client.get("/api/status", headers={"Host": "evil.example"}).status_code == 403

    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/cutover", json={"all": True}, headers=bearer).status_code == 200
    assert control.asked[0].by == "token@127.0.0.1"
    told = client.post("/api/cutover", json={"all": True, "by": "the boss"}, headers=bearer)
    assert (told.status_code, told.json["error"][:3]) == (400, "by:")


def test_no_page_elsewhere_is_let_in(client: FlaskClient) -> None:
    for method in (client.get, client.options):
        told = method("/api/status", headers={"Origin": "http://evil.example"})
        assert not [name for name in told.headers.keys() if name.startswith("Access-Control-")]  # noqa: SIM118


def test_texts_are_answered_as_they_are(control: FakeControl) -> None:
    texts = {
        "/metrics": lambda: (200, "text/plain; version=0.0.4", "a 1\n"),
        "/livez": lambda: (503, "text/plain", "stuck\n"),
    }
    client = app(control, {}, Access(None, None), texts).test_client()
    told = client.get("/metrics", headers={"Host": "127.0.0.1"})
    assert (told.status_code, told.content_type, told.text) == (200, "text/plain; version=0.0.4", "a 1\n")
    assert client.get("/livez", headers={"Host": "127.0.0.1"}).status_code == 503


def test_a_look_at_the_history_is_told_the_queue(control: FakeControl) -> None:
    client = app(control, {"history": lambda queue: {"queue": queue}}, Access(None, None)).test_client()
    assert client.get("/api/history?queue=a%20b", headers={"Host": "127.0.0.1"}).json == {"queue": "a b"}
    assert client.get("/api/history", headers={"Host": "127.0.0.1"}).json == {"queue": None}
