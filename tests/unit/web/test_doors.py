from __future__ import annotations

import contextlib
import http.client
import json
import time
from pathlib import Path
from typing import Any, cast

import gevent
import pytest
from gevent import socket

from bridge import admin_client
from bridge.address import HostPort
from bridge.config_sections import Admin, Secret
from bridge.errors import Refused
from bridge.web.app import Verbs
from bridge.web.doors import Doors

TOKEN = "s3cret-of-many-letters"


def free_port() -> int:
    from bridge.web import tcp

    with tcp.listen(HostPort("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def over_tcp(port: int, method: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, Any]:
    """Asked from a thread, as another process would."""

    def ask() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(method, "/api/status" if method == "GET" else "/api/cutover", body, headers)
        answer = connection.getresponse()
        told = answer.status, json.loads(answer.read())
        connection.close()
        return told

    return cast("tuple[int, Any]", gevent.get_hub().threadpool.apply(ask))


class Asked:
    def ask(self, request: Any) -> list[Any]:
        return []


def test_both_doors_answer_the_same_and_are_gone_at_the_end(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "admin.sock"
    doors = Doors(Admin.model_construct(socket=str(path), listen=HostPort("127.0.0.1", port), token=Secret(TOKEN)))
    doors.answer(cast("Verbs", Asked()), {"status": lambda: {"version": "1"}})
    assert gevent.get_hub().threadpool.apply(admin_client.fetch_status, (str(path),)) == {"version": "1"}
    assert over_tcp(port, "GET", {}) == (200, {"version": "1"})
    json_body = {"content-type": "application/json"}
    assert over_tcp(port, "POST", json_body, b'{"all": true}')[0] == 401
    bearer = json_body | {"Authorization": f"Bearer {TOKEN}"}
    assert over_tcp(port, "POST", bearer, b'{"all": true}') == (200, {"answers": []})
    doors.close()
    assert not path.exists()
    with pytest.raises(ConnectionRefusedError):
        over_tcp(port, "GET", {})
    Doors(Admin.model_construct(socket=str(path), listen=HostPort("127.0.0.1", port))).close()


def test_a_place_that_is_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "admin.sock"
    first = Doors(Admin.model_construct(socket=str(path), listen=HostPort("127.0.0.1", port)))
    other = tmp_path / "other.sock"
    with pytest.raises(Refused, match=r"admin\.listen: cannot listen on .*: address already in use"):
        Doors(Admin.model_construct(socket=str(other), listen=HostPort("127.0.0.1", port)))
    assert not other.exists()
    with pytest.raises(Refused, match=r"admin\.socket: another daemon"):
        Doors(Admin.model_construct(socket=str(path)))
    assert path.exists()
    first.close()


def test_streams_of_both_doors_end_with_the_daemon_at_once(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "admin.sock"
    doors = Doors(Admin.model_construct(socket=str(path), listen=HostPort("127.0.0.1", port), token=Secret(TOKEN)))
    doors.answer(cast("Verbs", Asked()), {"status": lambda: {"totals": {}, "queues": []}})
    ends = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)]
    for end, where in zip(ends, (str(path), ("127.0.0.1", port)), strict=True):
        end.settimeout(5)
        end.connect(where)
        end.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        told = b""
        while b"event: status" not in told:
            told += end.recv(65536)
        assert b"200 OK" in told
        assert b"text/event-stream" in told
    began = time.monotonic()
    doors.close()
    for end in ends:
        with contextlib.suppress(ConnectionResetError):
            while end.recv(65536):
                pass
        end.close()
    assert time.monotonic() - began < 4
