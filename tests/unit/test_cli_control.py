"""The commands against a daemon's end that keeps what it was asked and answers as it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from bridge import cli
from bridge.cli_control import answer_line

DONE = {
    "queue": "mail",
    "outcome": "done",
    "before": "legacy",
    "route": "quorum",
    "paused": False,
    "text": "everything goes to the target",
    "hint": "",
    "next": ["canary", "legacy"],
}
REFUSED = {
    **DONE,
    "queue": "img",
    "outcome": "refused",
    "route": "legacy",
    "text": 'queue "img": target queue "img" has 0 consumers, 1 are wanted',
    "hint": "start workers",
    "next": ["cutover"],
}
CHANGES = [
    {
        "at": "2026-11-22T17:05:00+00:00",
        "queue": "mail",
        "verb": "cutover",
        "before": "legacy",
        "after": "quorum",
        "by": "alice@h1",
        "door": "cli",
        "reason": "the night",
        "outcome": "done",
        "text": "everything goes to the target",
    },
    {
        "at": "2026-11-22T17:06:00+00:00",
        "queue": "img",
        "verb": "cutover",
        "before": "legacy",
        "after": "legacy",
        "by": "SIGUSR1",
        "door": "signal",
        "reason": "",
        "outcome": "refused",
        "text": 'queue "img": no workers',
    },
    {
        "at": "2026-11-22T17:07:00+00:00",
        "queue": "*",
        "verb": "rate",
        "before": "no limit",
        "after": "at most 500/s",
        "by": "token@10.0.0.5",
        "door": "http",
        "reason": "",
        "outcome": "done",
        "text": "",
    },
]


class FakeDaemon:
    """Answers every POST with `code` and `told`, every GET with `status`."""

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.code = 200
        self.told: Any = {"answers": [DONE]}
        self.status: Any = {
            "changes": CHANGES,
            "limit": None,
            "queues": [{"name": "mail", "limit": 500.0}, {"name": "b"}],
        }
        self.agent = ""
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                daemon.agent = self.headers["User-Agent"]
                daemon.asked.append((self.path, json.loads(body)))
                self._answer(daemon.code, daemon.told)

            def do_GET(self) -> None:
                self._answer(200, daemon.status)

            def _answer(self, code: int, told: Any) -> None:
                body = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None: ...

        self.socket = str(path / "admin.sock")
        self._server = UnixStreamServer(self.socket, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("BRIDGE_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    made = FakeDaemon(tmp_path)
    yield made
    made.close()


def run(daemon: FakeDaemon, *words: str) -> int:
    return cli.main([words[0], "--socket", daemon.socket, *words[1:]])


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        ("cutover mail", "cutover", {"queues": ["mail"]}),
        ("cutover --all --reason why --dry-run", "cutover", {"all": True, "reason": "why", "dry_run": True}),
        ("cutover a b --force", "cutover", {"queues": ["a", "b"], "force": True}),
        ("cutover a --when-backlog 0", "cutover", {"queues": ["a"], "when_backlog": 0}),
        ("cutover -- -odd", "cutover", {"queues": ["-odd"]}),
        ("canary a", "canary", {"queues": ["a"]}),
        ("canary a --rate 20/s", "canary", {"queues": ["a"], "canary": {"rate": "20/s"}}),
        ("canary a --first 100", "canary", {"queues": ["a"], "canary": {"first": 100}}),
        ("canary a --percent 10%", "canary", {"queues": ["a"], "canary": {"percent": "10%"}}),
        ("canary a --task x --task y.*", "canary", {"queues": ["a"], "canary": {"tasks": ["x", "y.*"]}}),
        ("dual a", "dual", {"queues": ["a"]}),
        ("legacy --all", "legacy", {"all": True}),
        ("rollback a", "rollback", {"queues": ["a"]}),
        ("rollback a --reverse", "rollback", {"queues": ["a"], "reverse": True}),
        ("pause a", "pause", {"queues": ["a"]}),
        ("resume a", "resume", {"queues": ["a"]}),
        ("cancel a", "cancel", {"queues": ["a"]}),
        ("rate a b 500/s", "rate", {"queues": ["a", "b"], "rate": "500/s"}),
        ("rate --all 500/s", "rate", {"all": True, "rate": "500/s"}),
        ("rate a none", "rate", {"queues": ["a"], "rate": None}),
    ],
)
def test_what_is_typed_is_what_is_asked(words: str, path: str, body: dict[str, Any], daemon: FakeDaemon) -> None:
    assert run(daemon, *words.split()) == 0
    assert daemon.asked == [(f"/api/{path}", body)]
    assert daemon.agent.startswith("bridge-cli/")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("cutover", "name queues or give --all"),
        ("cutover a --all", "name queues or give --all, not both"),
        ("cutover a --at soon", "--at: found 'soon' (not a time); allowed: a time of the day such as 02:30"),
        ("cutover a --at 2025-01-01T00:00Z", "past, it is"),
        ("cutover a --when-backlog -1", "-1 is not in the range"),
        ("canary a --first 0", "0 is not in the range"),
        ("canary a --first 1 --rate 1/s", "--rate, --first, --percent and --task exclude each other"),
        ("legacy a --force", "No such option"),
        ("pause a --at 02:30", "No such option"),
        ("rate a", "the last word is the rate: found 'a' (not a number per s, m or h)"),
        ("rate 500/s", "name queues or give --all"),
        ("rate --all", "the last word is the rate: found ''"),
        ("rate a --all 500/s", "not both"),
    ],
)
def test_wrong_usage_asks_nothing(
    words: str, error: str, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(daemon, *words.split()) == 2
    assert error in capsys.readouterr().err
    assert daemon.asked == []


def test_a_line_for_each_queue_and_the_sum(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.code, daemon.told = 409, {"answers": [DONE, REFUSED]}
    assert run(daemon, "cutover", "--all") == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "mail: done legacy -> quorum: everything goes to the target; next: canary, legacy",
        'img: refused legacy: target queue "img" has 0 consumers, 1 are wanted (start workers); next: cutover',
    ]
    assert captured.err == "2 queues: 1 done, 1 refused\n"


def test_lines_of_other_outcomes() -> None:
    unchanged = {**DONE, "outcome": "unchanged", "before": "quorum", "text": "the route is quorum already"}
    assert answer_line(unchanged).startswith("mail: unchanged quorum: the route is quorum already; next: ")
    would = {**DONE, "outcome": "would", "paused": True}
    assert answer_line(would).startswith("mail: would legacy -> quorum, paused: everything")
    limited = {**DONE, "queue": "*", "before": "", "route": "", "next": []}
    limited["text"] = "all queues together: at most 500/s"
    assert answer_line(limited) == "all queues together: done: at most 500/s"
    paused = {**DONE, "before": "quorum, paused", "paused": True, "text": "", "outcome": "unchanged"}
    assert answer_line(paused) == "mail: unchanged quorum, paused; next: canary, legacy"


def test_the_instant_is_shown_and_sent_with_its_zone(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.told = {"answers": [{**DONE, "outcome": "planned", "route": "legacy", "text": "waits"}]}
    assert run(daemon, "cutover", "mail", "--at", "02:30") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first[:3] == "at "
    assert " 02:30:00 UTC (+00:00), in " in first
    assert second == "mail: planned legacy: waits; next: canary, legacy"
    at = daemon.asked[0][1]["at"]
    assert at[10:] == "T02:30:00+00:00"


def test_json_is_what_the_daemon_answered(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(daemon, "pause", "mail", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"answers": [DONE]}
    daemon.code, daemon.told = 404, {"error": "no such queue", "hint": "did you mean mail?"}
    assert run(daemon, "pause", "mial", "--json") == 1
    assert json.loads(capsys.readouterr().out) == daemon.told


@pytest.mark.parametrize(("code", "exit_code"), [(400, 2), (413, 2), (404, 1), (409, 1), (503, 1), (500, 1), (502, 3)])
def test_a_refusal_as_a_whole(
    code: int, exit_code: int, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.code, daemon.told = code, {"error": "this cannot be", "hint": "do that"}
    assert run(daemon, "cutover", "mail") == exit_code
    assert capsys.readouterr() == ("", "error: this cannot be\nhint: do that\n")


def test_no_daemon_is_3(tmp_path: Path) -> None:
    assert cli.main(["pause", "--socket", str(tmp_path / "none.sock"), "--all"]) == 3
    assert cli.main(["changes", "--socket", str(tmp_path / "none.sock")]) == 3


def test_nothing_in_scope_is_said(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.told = {"answers": []}
    assert run(daemon, "pause", "--all") == 0
    assert capsys.readouterr() == ("", "no queue is in scope\n")


def test_who_is_behind_sudo_is_said(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice-of-the-night")
    assert run(daemon, "pause", "--all") == 0
    assert daemon.asked[0][1]["by"] == "alice-of-the-night"


def test_changes_are_listed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(daemon, "changes") == 0
    lines = [line.split(" ", 3)[3] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "mail: cutover done legacy -> quorum, by alice@h1 (cli), because: the night",
        "img: cutover refused legacy, by SIGUSR1 (signal): no workers",
        "all queues together: rate done no limit -> at most 500/s, by token@10.0.0.5 (http)",
    ]
    assert run(daemon, "changes", "nothing") == 0
    assert capsys.readouterr() == ("", "no change is known\n")
    assert run(daemon, "changes", "img", "--json") == 0
    assert json.loads(capsys.readouterr().out) == CHANGES[1:2]


def test_limits_are_shown(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(daemon, "rate") == 0
    assert capsys.readouterr().out == "all queues together: no limit\nmail: at most 500/s\n"
    daemon.status["limit"] = 2.5
    assert run(daemon, "rate", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"all": 2.5, "queues": {"mail": 500.0}}
    assert daemon.asked == []
