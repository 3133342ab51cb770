from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge import admin_client
from bridge.admin_client import fetch_status, fetch_text, post
from bridge.errors import AccessRefused, Refused, Unreachable

Serve = Callable[[bytes | None], str]


def whole_request(end: socket.socket) -> bytes:
    """Head and body: they come in pieces."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += end.recv(4096)
    head, _, body = read.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    while len(body) < (int(length[1]) if length else 0):
        body += end.recv(4096)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A daemon's end that gives one fixed answer, or none at all, and keeps what it was asked."""
    listener = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []
    done = threading.Event()
    path = str(tmp_path / "admin.sock")

    def start(answer: bytes | None) -> str:
        listener.bind(path)
        listener.listen()

        def run() -> None:
            end, _ = listener.accept()
            with end:
                (tmp_path / "request").write_bytes(whole_request(end))
                if answer is None:
                    done.wait(10)
                else:
                    end.sendall(answer)

        threads.append(threading.Thread(target=run))
        threads[0].start()
        return path

    yield start
    done.set()
    for thread in threads:
        thread.join()
    listener.close()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


def test_the_status_is_asked_for_and_read(serve: Serve, tmp_path: Path) -> None:
    assert fetch_status(serve(answer(b'{"version": "1"}'))) == {"version": "1"}
    assert (tmp_path / "request").read_bytes().startswith(b"GET /api/status HTTP/1.1\r\nHost: bridge\r\n")


def test_what_is_no_json_comes_as_it_is(serve: Serve, tmp_path: Path) -> None:
    assert fetch_text(serve(answer(b"starting\n", "503 Service Unavailable")), "/readyz") == (503, "starting\n")
    assert (tmp_path / "request").read_bytes().startswith(b"GET /readyz HTTP/1.1\r\nHost: bridge\r\n")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (answer(b"<html>"), "is no status .HTTP 200"),
        (answer(b"[]"), "is no status"),
        (answer(b"{}", "500 Internal Server Error"), "is no status .HTTP 500"),
        (b"nonsense\r\n\r\n", "nonsense"),
        (b"", "closed connection without response"),
    ],
)
def test_another_answer_is_no_status(serve: Serve, given: bytes, why: str) -> None:
    with pytest.raises(Unreachable, match=why) as caught:
        fetch_status(serve(given))
    assert caught.value.hint


def test_a_refusal_of_the_daemon_is_its_own_sentence(serve: Serve) -> None:
    with pytest.raises(Refused, match="another is the active one") as caught:
        fetch_status(serve(answer(b'{"error": "another is the active one", "hint": "ask it"}', "503 Busy")))
    assert caught.value.hint == "ask it"


def test_a_verb_is_posted_as_json(serve: Serve, tmp_path: Path) -> None:
    refused = b'{"answers": [{"outcome": "refused"}]}'
    assert post(serve(answer(refused, "409 Conflict")), "cutover", {"all": True}) == [{"outcome": "refused"}]
    asked = (tmp_path / "request").read_bytes()
    assert asked.startswith(b"POST /api/cutover HTTP/1.1\r\nHost: bridge\r\n")
    assert b"Content-Type: application/json\r\n" in asked
    assert b"User-Agent: bridge-cli/" in asked


def test_an_answer_without_answers_is_none(serve: Serve) -> None:
    with pytest.raises(Unreachable, match=r"the answer is no cutover \(HTTP 200\)"):
        post(serve(answer(b"{}")), "cutover", {"all": True})


def test_a_verb_that_was_not_answered_may_have_been_done(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_client, "_PATIENCE_WITH_VERBS", 0.05)
    with pytest.raises(Unreachable, match=r"does not answer within 0\.05 s") as caught:
        post(serve(None), "cutover", {"all": True})
    assert "bridge changes" in caught.value.hint


def test_a_daemon_that_is_stuck_is_not_waited_for_long(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_client, "_PATIENCE", 0.05)
    with pytest.raises(Unreachable, match=r"does not answer within 0\.05 s"):
        fetch_status(serve(None))


def test_no_socket_and_nobody_behind_it_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with pytest.raises(Unreachable, match=f"no daemon answers on {path}"):
        fetch_status(str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with pytest.raises(Unreachable, match=f"no daemon answers on {path}"):
        fetch_status(str(path))


def test_a_socket_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_connection: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(admin_client._UnixConnection, "connect", refuse)
    with pytest.raises(AccessRefused, match="permission denied"):
        fetch_status(str(tmp_path / "admin.sock"))


def test_a_path_that_is_no_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        fetch_status(str(tmp_path))
