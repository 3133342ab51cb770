"""Requests as bytes: what the application is told, and what a client that does not behave comes to."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from flask import Flask, request
from gevent import pywsgi
from gevent import socket as gevent_socket

from bridge.address import HostPort
from bridge.web import server, tcp
from bridge.web import socket as unix
from bridge.web.access import PEER, peer_of
from bridge.web.app import LARGEST_BODY

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


def talk(address: object, request: bytes) -> bytes:
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


def test_the_private_names_that_we_stand_on_are_there() -> None:
    for name in ("_handle_client_error", "_log_error", "get_environ", "wsgi_input", "content_length"):
        assert hasattr(pywsgi.WSGIHandler, name), name
