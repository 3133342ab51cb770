"""Requests that nobody foresaw, made from the description: no 5xx but those it names, no traceback, no hang."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import requests
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from tests.e2e.test_health import free_port
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

TOKEN = "s3cret-of-many-letters"
QUEUES = ["mail", "img"]
#: Looks that begin a process, or ask brokers for as long as it takes: asked once, not again and again.
SLOW = ("/api/certify", "/api/check", "/api/events")
#: Seconds within which everything is answered.
ANSWERED = 20.0

Json = dict[str, Any]

_ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "queues": st.lists(st.sampled_from([*QUEUES, "nothing", "\u2603", "a" * 300]), max_size=4),
    "all": st.just(True),
    "reason": st.text(max_size=600) | st.none(),
    "by": st.text(max_size=20),
    "dry_run": st.booleans(),
    "force": st.booleans(),
    "reverse": st.booleans(),
    "at": st.sampled_from(["23:59", "2030-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
    | st.text(max_size=30),
    "when_backlog": st.integers(),
    "canary": st.fixed_dictionaries(
        {}, optional={"rate": st.sampled_from(["20/s", "0/s", "1e9/s"]), "first": st.integers(), "percent": st.floats()}
    ),
    "rate": st.sampled_from(["5/s", "300/m", "nan/s", "1e400/s", "-1/s"]) | st.none(),
}
_KINDS = [*["application/json"] * 4, "text/plain", "", "application/json; a=b"]
_TOKENS = [*[f"Bearer {TOKEN}"] * 4, "Bearer", "Basic x", f"Bearer {TOKEN}x", ""]
_HEADS = [
    *(b"Host: x", b"Host: 127.0.0.1", b"Content-Length: 3", b"Content-Length: -1", b"Transfer-Encoding: chunked"),
    *(b" folded", b"no colon", b"X: \x00", b"Expect: 100-continue", b"Connection: upgrade", b"Range: bytes=9-"),
]


@st.composite
def asked(draw: st.DrawFn, description: Json) -> Json:
    """A request, near to what the description wants or far from it."""
    paths = [path for path in description["paths"] if path not in SLOW]
    path = draw(st.sampled_from(paths) | st.text(max_size=30).map(lambda text: "/" + text))
    methods = list(description["paths"].get(path, {"get": None}))
    method = draw(st.sampled_from([*methods, *methods, *methods, "get", "post", "put", "delete", "options", "head"]))
    keys = list(description["paths"].get(path, {}).get("post", {}).get("requestBody", {}).get("content", {}))
    schema = description["paths"][path]["post"]["requestBody"]["content"][keys[0]]["schema"] if keys else {}
    known = {key: _VALUES[key] | _ODD if draw(st.booleans()) else _VALUES[key] for key in schema.get("properties", {})}
    wanted = draw(st.sampled_from(["all", "queues"]))
    body = {key: draw(value) for key, value in known.items() if key == wanted or draw(st.integers(0, 3)) == 0}
    body |= draw(st.just({}) | st.dictionaries(st.text(max_size=8), _ODD, max_size=2))
    raw = draw(st.just(json.dumps(body).encode()) | st.binary(max_size=200) | st.just(b"[" * 50_000))
    return {
        "method": method.upper(),
        "path": path,
        "params": draw(st.dictionaries(st.sampled_from(["queue", "again", "x"]), st.text(max_size=20), max_size=2)),
        "data": raw,
        "headers": {
            "Content-Type": draw(st.sampled_from(_KINDS)),
            "Authorization": draw(st.sampled_from(_TOKENS)),
        },
    }


@st.composite
def noise(draw: st.DrawFn) -> bytes:
    """Bytes that are nearly a request, or nothing like one."""
    line = draw(
        st.sampled_from([b"GET / HTTP/1.1", b"POST /api/cutover HTTP/1.1", b"GET /livez HTTP/1.0", b"\x16\x03"])
    )
    heads = draw(
        st.lists(
            st.sampled_from(_HEADS) | st.binary(max_size=20),
            max_size=6,
        )
    )
    return b"\r\n".join([line, *heads]) + b"\r\n\r\n" + draw(st.binary(max_size=50))


@contextmanager
def fuzzed(vhosts: Vhosts, folder: Path) -> Iterator[tuple[Daemon, str, Json]]:
    """A daemon with a token, where it answers, and its description; at its end its log is looked through."""
    where = f"127.0.0.1:{free_port()}"
    admin = {"socket": str(folder / "admin.sock"), "listen": where, "token": TOKEN}
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic(*QUEUES)
        new.quorum(*QUEUES)
        old.publish("mail", range(20))
        with running(takeover(vhosts, folder, admin=admin), folder) as daemon:
            description = requests.get(f"http://{where}/api/openapi.json", timeout=ANSWERED).json()
            held(requests.get(f"http://{where}{SLOW[0]}", timeout=60), SLOW[0], "get", description)
            yield daemon, where, description
            assert daemon.status()["pid"] == daemon.pid
    assert "unexpected error" not in daemon.stderr, daemon.quote()
    assert "Traceback" not in daemon.stderr
    assert TOKEN not in daemon.stderr


def held(answer: requests.Response, path: str, method: str, description: Json) -> None:
    """An answer is one that the description has."""
    assert "Content-Security-Policy" in answer.headers
    routes = description["paths"].get(path)
    if routes is None or method not in routes:
        assert answer.status_code < 500, answer.text
        return
    told = routes[method]["responses"].get(str(answer.status_code))
    assert told is not None, f"{answer.status_code}: {answer.text[:300]}"
    kind = answer.headers["Content-Type"].partition(";")[0]
    if kind == "application/json":
        schema = {**told["content"][kind]["schema"], "components": description["components"]}
        jsonschema.validate(answer.json(), schema)


def send(where: str, request: Json, description: Json) -> None:
    """Ask as a program does."""
    method = request["method"]
    path = quote(request["path"], safe="/%?#" if request["path"] in description["paths"] else "/")
    answer = requests.request(
        method,
        f"http://{where}{path}",
        params=request["params"],
        data=request["data"],
        headers=request["headers"],
        timeout=ANSWERED,
        allow_redirects=False,
    )
    if method != "HEAD":
        held(answer, request["path"], method.lower(), description)


def shout(where: str, noise: bytes) -> None:
    """Send bytes and hear what comes."""
    host, port = where.split(":")
    with socket.create_connection((host, int(port)), timeout=ANSWERED) as end:
        end.sendall(noise)
        end.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := end.recv(65536):
                answer += part
        except ConnectionResetError:
            pass  # what nobody read
    assert not answer.startswith(b"HTTP/1.1 5"), (noise, answer)
    assert b"Traceback" not in answer


def play(vhosts: Vhosts, folder: Path, count: int) -> None:
    """So many requests, and as many that are none."""
    with fuzzed(vhosts, folder) as (_, where, description):
        how = settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        how(given(asked(description))(lambda request: send(where, request, description)))()
        how(given(noise())(lambda made: shout(where, made)))()


def test_nothing_that_is_asked_is_too_much(vhosts: Vhosts, tmp_path: Path) -> None:
    play(vhosts, tmp_path, 120)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_nor_is_more_of_it(vhosts: Vhosts, tmp_path: Path) -> None:
    play(vhosts, tmp_path, 1500)
