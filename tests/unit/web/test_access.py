from __future__ import annotations

import os
import pwd
import socket
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from bridge.address import HostPort
from bridge.config_sections import Secret
from bridge.web.access import PEER, Access, Denied, peer_of

TOKEN = "s3cret-of-many-letters"
OPEN = Access(HostPort("127.0.0.1", 8642), Secret(TOKEN))
LOCKED = Access(HostPort("127.0.0.1", 8642))


def asked(method: str = "POST", host: str = "127.0.0.1:8642", peer: str | None = None, **headers: str) -> Request:
    environ = EnvironBuilder(method=method, headers=headers).get_environ()
    environ |= {"HTTP_HOST": host, "REMOTE_ADDR": "10.0.0.5"} | ({PEER: peer} if peer else {})
    return Request(environ)


def denied(access: Access, **how: Any) -> Denied:
    with pytest.raises(Denied) as caught:
        access.asker(asked(**how))
    assert caught.value.hint
    assert TOKEN not in f"{caught.value} {caught.value.hint}"
    return caught.value


def test_the_user_at_the_unix_socket_may_change_things() -> None:
    asker = LOCKED.asker(asked(peer="alice@h1", host="bridge"))
    assert (asker.by, asker.door, asker.trusted) == ("alice@h1", "http", True)
    assert LOCKED.asker(asked(peer="alice@h1", **{"User-Agent": "bridge-cli/0.1"})).door == "cli"


def test_over_the_unix_socket_too_a_page_of_another_host_is_refused() -> None:
    for origin in ("http://evil.example:9000", "https://evil.example", "null", "", "file://"):
        refused = denied(OPEN, peer="alice@h1", host="evil.example:9000", Origin=origin)
        assert (refused.code, str(refused)) == (403, "the request comes from a page of another host")
    for origin in ("http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000"):
        assert LOCKED.asker(asked(peer="alice@h1", host="localhost:9000", Origin=origin)).trusted


def test_no_header_makes_a_request_one_of_the_unix_socket() -> None:
    for name in (PEER, "bridge_peer", "Bridge-Peer"):
        assert denied(LOCKED, **{name: "root@h1"}).code == 403


def test_who_bears_the_token_may_change_things() -> None:
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        asker = OPEN.asker(asked(Authorization=header))
        assert (asker.by, asker.door, asker.trusted) == ("token@10.0.0.5", "http", False)


def test_without_it_nothing_is_changed() -> None:
    nothing = denied(OPEN)
    assert (nothing.code, str(nothing)) == (401, "a token is needed to change things")
    for header in ("Bearer another-one-of-many", f"Basic {TOKEN}", TOKEN, "Bearer", "", f"Bearer {TOKEN}x", "Bearer ü"):
        wrong = denied(OPEN, Authorization=header)
        assert (wrong.code, str(wrong)) == (403, "the token is not this daemon's")


def test_without_a_configured_token_only_the_unix_socket_changes_things() -> None:
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        refused = denied(LOCKED, **headers)
        assert (refused.code, str(refused)) == (
            403,
            "no admin.token is configured: only the unix socket may change things",
        )


@pytest.mark.parametrize("access", [OPEN, LOCKED])
def test_everybody_may_look(access: Access) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert access.asker(asked(method)).by == "10.0.0.5"
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        assert denied(access, method=method).code in (401, 403)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8642", "127.0.0.1", "localhost:8642", "LOCALHOST", "[::1]:8642", "192.168.1.5:80"]
)
def test_the_daemon_is_asked_by_an_address(host: str) -> None:
    assert OPEN.asker(asked("GET", host=host))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "[evil]:1", "", "localhost.x"]
)
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    refused = denied(OPEN, method="GET", host=host)
    assert (refused.code, str(refused)) == (403, "the host in the request is not this daemon's address")


def test_what_is_no_browser_needs_no_host() -> None:
    request = asked("GET")
    del request.environ["HTTP_HOST"]
    assert OPEN.asker(Request(request.environ)).by == "10.0.0.5"


def test_the_name_it_listens_on_is_its_own_and_the_token_opens_under_any() -> None:
    named = Access(HostPort("Bridge.internal", 8642), Secret(TOKEN))
    assert named.asker(asked("GET", host="bridge.internal:8642"))
    assert named.asker(asked("GET", host="bridge.ns.svc", Authorization=f"Bearer {TOKEN}"))


def test_the_kernel_knows_the_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_of(one) == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"

        def unknown(_uid: int) -> None:
            raise KeyError

        monkeypatch.setattr(pwd, "getpwuid", unknown)
        assert peer_of(one) == f"uid {os.getuid()}@{socket.gethostname()}"
