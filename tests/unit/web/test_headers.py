from __future__ import annotations

from bridge.web.headers import HEADERS, missing


def test_an_answer_gets_what_it_does_not_have() -> None:
    assert dict(missing([])) == HEADERS
    given = [("cache-control", "no-cache"), ("X-Frame-Options", "DENY"), ("Content-Type", "text/html")]
    assert {name for name, _ in missing(given)} == HEADERS.keys() - {"Cache-Control", "X-Frame-Options"}


def test_a_page_may_run_and_ask_only_what_comes_from_here() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
    assert not any(name.startswith("Access-Control") for name in HEADERS)
