from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import gevent
import pytest

from bridge import admin_client
from bridge.errors import Refused
from bridge.web import app
from bridge.web.socket import listen, serve


def test_only_the_owner_may_open_it(tmp_path: Path):
    path = tmp_path / "run" / "admin.sock"
    with listen(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_a_daemon_left_behind_is_taken_over(tmp_path: Path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with listen(str(path)):
        assert path.exists()


def test_another_daemon_s_socket_is_left_to_it(tmp_path: Path):
    path = str(tmp_path / "admin.sock")
    with listen(path):
        with pytest.raises(Refused, match=r"admin\.socket: another daemon listens on ") as caught:
            listen(path)
        assert caught.value.hint
        assert Path(path).exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(Refused, match="is there and is not a socket"):
        listen(str(path))
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"cannot listen on .*: not a directory") as caught:
        listen(str(tmp_path / "file" / "run" / "admin.sock"))
    assert "admin.socket" in caught.value.hint


def test_the_status_is_answered(tmp_path: Path):
    path = str(tmp_path / "admin.sock")
    listener = listen(path)
    server = serve(listener, app(lambda: {"version": "1", "queues": []}, lambda: {"total": 0, "listed": []}))

    def ask(request: bytes) -> bytes:
        with gevent.socket.socket(socket.AF_UNIX) as end:
            end.connect(path)
            end.sendall(request)
            parts = []
            while part := end.recv(4096):
                parts.append(part)
        return b"".join(parts)

    told = ask(b"GET /api/status HTTP/1.0\r\nHost: bridge\r\n\r\n")
    assert json.loads(told.partition(b"\r\n\r\n")[2]) == {"version": "1", "queues": []}
    told = ask(b"GET /api/duplicates HTTP/1.0\r\nHost: bridge\r\n\r\n")
    assert json.loads(told.partition(b"\r\n\r\n")[2]) == {"total": 0, "listed": []}
    assert ask(b"POST /api/status HTTP/1.0\r\nContent-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 405 ")
    assert ask(b"GET /nothing HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    # The command asks from a process of its own, here from a thread.
    answer = gevent.get_hub().threadpool.apply(admin_client.fetch_status, (path,))
    assert answer["version"] == "1"
    server.stop()
    listener.close()
