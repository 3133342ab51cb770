"""Requests as bytes: what the application is told, and what a client that does not behave comes to."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from flask import Flask, request
from gevent import pywsgi
from gevent import socket as gevent_socket
from gevent.event import Event

from bridge.address import HostPort
from bridge.web import server, tcp
from bridge.web import socket as unix
from bridge.web.access import PEER, peer_of
from bridge.web.app import LARGEST_BODY
from bridge.web.headers import HEADERS

Serve = Callable[[gevent_socket.socket], None]


@pytest.fixture
def flask() -> Flask:
    made = Flask("test")
    made.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY

    @made.route("/", methods=["GET", "POST"])
    def told() -> dict[str, object]:
        return {"peer": request.environ.get(PEER), "remote": request.remote_addr, "body": len(request.get_data())}

    return made


@pytest.fixture
def serve(flask: Flask) -> Iterator[Serve]:
    servers: list[pywsgi.WSGIServer] = []
    yield lambda listener: servers.append(server.serve(listener, flask))
    for one in servers:
        one.stop(timeout=0)


@pytest.fixture
def port(serve: Serve) -> int:
    listener = tcp.listen(HostPort("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    serve(listener)
    return port


def talk(address: tuple[str, int] | str, request: bytes) -> bytes:
    """Send bytes and read until the other end closes."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with gevent.Timeout(10), gevent_socket.socket(family, socket.SOCK_STREAM) as end:
        end.connect(address)
        end.sendall(request)
        parts = []
        try:
            while part := end.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass  # what we sent and nobody read
    return b"".join(parts)


def trickle(address: tuple[str, int], request: bytes, then: bytes, every: float) -> tuple[bytes, float]:
    """Send `then` byte by byte, so many seconds between two; what came, and after how many seconds it was over."""
    began = time.monotonic()
    with gevent.Timeout(10), gevent_socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.connect(address)
        try:
            end.sendall(request)
            for byte in then:
                gevent.sleep(every)
                end.sendall(bytes([byte]))
            answer = end.recv(65536)
        except ConnectionError:
            answer = b""
    return answer, time.monotonic() - began


def answers_in(answer: bytes) -> int:
    return len(re.findall(rb"HTTP/1\.1 [0-9]", answer))


def body_of(answer: bytes) -> dict[str, object]:
    read: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return read


def test_the_kernel_says_who_is_at_the_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    serve(unix.listen(path))
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        me = peer_of(one)
    told = talk(path, b"GET / HTTP/1.0\r\nBridge.Peer: root\r\nBridge-Peer: root\r\n\r\n")
    assert body_of(told) == {"peer": me, "remote": None, "body": 0}


def test_over_tcp_nobody_says_it(port: int) -> None:
    told = talk(("127.0.0.1", port), b"GET / HTTP/1.0\r\nbridge.peer: root\r\nBridge-Peer: root\r\n\r\n")
    assert body_of(told) == {"peer": None, "remote": "127.0.0.1", "body": 0}


def test_a_body_that_is_too_large_is_refused_and_a_huge_one_is_not_read(port: int) -> None:
    address = ("127.0.0.1", port)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    whole = LARGEST_BODY + 1
    assert talk(address, head % whole + b"x" * whole).startswith(b"HTTP/1.1 413 ")
    # Nothing follows the head: it is answered and closed without a byte of the body.
    assert talk(address, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n").startswith(
        b"HTTP/1.1 413 "
    )
    assert talk(address, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").startswith(
        b"HTTP/1.1 413 "
    )
    assert body_of(talk(address, head % 3 + b"abc"))["body"] == 3


def test_a_client_that_falls_silent_is_let_go(
    port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.05)
    for begun in (
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    ):
        assert b" 200 " not in talk(("127.0.0.1", port), begun)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_what_is_no_http_leaves_no_traceback(port: int, nonsense: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert b" 200 " not in talk(("127.0.0.1", port), nonsense)
    assert capfd.readouterr() == ("", "")


def test_what_breaks_below_the_application_is_a_line_in_the_log(
    serve: Serve,
    flask: Flask,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(_environ: object, _start: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(flask, "wsgi_app", broken)
    listener = tcp.listen(HostPort("127.0.0.1", 0))
    port = listener.getsockname()[1]
    serve(listener)
    with caplog.at_level(logging.INFO):
        assert talk(("127.0.0.1", port), b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert [record.getMessage() for record in caplog.records] == ["unexpected error: ZeroDivisionError: by zero"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("head", "then"),
    [
        (b"", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n", b"x" * 300),
    ],
    ids=["head", "body"],
)
def test_a_client_that_sends_byte_by_byte_has_no_longer_than_one_that_is_silent(
    head: bytes, then: bytes, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    answer, lasted = trickle(("127.0.0.1", port), head, then, 0.01)
    assert b" 200 " not in answer
    assert lasted < 1.5
    assert capfd.readouterr() == ("", "")


def test_a_client_that_does_not_read_its_answer_is_let_go(
    serve: Serve, flask: Flask, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    flask.add_url_rule("/large", "large", lambda: bytes(64 * 1024 * 1024))
    listener = tcp.listen(HostPort("127.0.0.1", 0))
    serve(listener)
    with gevent.Timeout(10), gevent_socket.socket() as end:
        end.connect(("127.0.0.1", listener.getsockname()[1]))
        end.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        gevent.sleep(0.6)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while part := end.recv(1 << 20):
                got += len(part)
    assert got < 64 * 1024 * 1024
    assert capfd.readouterr() == ("", "")


def test_silent_connections_starve_nobody(
    serve: Serve, flask: Flask, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 6)
    monkeypatch.setattr(server, "SPARE", 2)
    listener = tcp.listen(HostPort("127.0.0.1", 0))
    serve(listener)
    address = ("127.0.0.1", listener.getsockname()[1])
    silent = []
    for begun in (b"", b"GET /", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc") * 10:
        end = gevent_socket.create_connection(address)
        end.sendall(begun)
        silent.append(end)
    for _ in range(10):
        assert talk(address, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    for end in silent:
        end.close()
    assert capfd.readouterr() == ("", "")


_POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /\r\nHost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\tgoes on\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 101 + b"\r\n",
        _POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Content-Length: 3, 3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Content-Length: +3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Content-Length: 0_3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Content-Length: -3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Content-Length: 0x3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Content-Length:\r\n\r\n" + _SMUGGLED,
        _POST + b"Content-Length\x0b: 3\r\n\r\nabc" + _SMUGGLED,
    ],
)
def test_what_two_servers_could_read_differently_is_refused_and_nothing_after_it_is_read(
    request_: bytes, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = talk(("127.0.0.1", port), request_)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answers_in(answer) == 1
    assert body_of(answer)["error"] == "the request cannot be read as HTTP"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_",
    [
        _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + _SMUGGLED,
        _POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
        _POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc" + _SMUGGLED,
        _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    ],
)
def test_a_body_without_a_length_ends_the_connection(request_: bytes, port: int) -> None:
    answer = talk(("127.0.0.1", port), request_)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answers_in(answer) == 1


def test_an_upgrade_is_answered_as_what_it_was_before(port: int) -> None:
    asked = _POST + b"Connection: close\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc" + _SMUGGLED
    answer = talk(("127.0.0.1", port), asked)
    assert (body_of(answer)["body"], answers_in(answer)) == (3, 1)


def test_more_headers_than_are_read_are_refused(port: int) -> None:
    address = ("127.0.0.1", port)
    one = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * server.LARGEST_HEAD + b"\r\n\r\n"
    many = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X: %0400d\r\n" % n for n in range(60)) + b"\r\n"
    for request_ in (one, many):
        assert talk(address, request_).startswith(b"HTTP/1.1 431 ")
    assert talk(address, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 414 ")


def test_every_answer_tells_a_browser_what_it_may_do(port: int, serve: Serve, flask: Flask) -> None:
    flask.add_url_rule("/own", "own", lambda: ("", 200, {"cache-control": "no-cache"}))

    @flask.route("/broken")
    def broken() -> str:
        raise ZeroDivisionError

    told = {
        path: talk(("127.0.0.1", port), b"%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        for path in (b"GET /", b"GET /nothing", b"DELETE /", b"GET /broken", b"GET nothing", b"GET /" + b"a" * 9000)
    }
    assert [answer.split(b" ")[1] for answer in told.values()] == [b"200", b"404", b"405", b"500", b"400", b"414"]
    for answer in told.values():
        for name, value in HEADERS.items():
            assert answer.count(f"{name}: {value}\r\n".encode()) == 1
        assert b"Access-Control" not in answer
    own = talk(("127.0.0.1", port), b"GET /own HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").lower()
    assert own.count(b"cache-control") == 1
    assert b"cache-control: no-cache" in own


def test_an_answer_that_is_not_whole_at_the_end_is_no_error(flask: Flask, caplog: pytest.LogCaptureFixture) -> None:
    asked, listener = Event(), tcp.listen(HostPort("127.0.0.1", 0))

    @flask.route("/long")
    def long() -> str:
        asked.set()
        Event().wait()
        return ""

    served = server.serve(listener, flask)
    request_ = b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n"
    client = gevent.spawn(talk, listener.getsockname(), request_)
    assert asked.wait(5)
    with caplog.at_level(logging.INFO):
        served.stop(timeout=0)
        client.join(5)
    assert caplog.records == []


def test_the_private_names_that_we_stand_on_are_there() -> None:
    for name in (
        *("_handle_client_error", "_log_error", "get_environ", "wsgi_input", "content_length", "handle_one_request"),
        *("_sendall", "MessageClass", "read_request", "start_response"),
    ):
        assert hasattr(pywsgi.WSGIHandler, name), name
    assert callable(pywsgi.headers_factory)  # type: ignore[attr-defined, unused-ignore]
    assert callable(pywsgi.Input.read)
