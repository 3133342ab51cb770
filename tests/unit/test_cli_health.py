"""`bridge health` with a daemon that gives fixed answers; tests/image has a real one."""

from __future__ import annotations

import pytest

from bridge import admin_client
from bridge.cli import main
from bridge.errors import Exit, Unreachable


@pytest.mark.parametrize(
    ("arguments", "where", "code", "text", "exit_code", "out", "err"),
    [
        ([], "/livez", 200, "ok\nloop: 0.1 s ago\n", Exit.DONE, "ok\nloop: 0.1 s ago\n", ""),
        (["--ready"], "/readyz", 200, "ok\n", Exit.DONE, "ok\n", ""),
        (["--ready"], "/readyz", 503, "starting\n", Exit.REFUSED, "", "starting\n"),
        ([], "/livez", 404, "{}", Exit.REFUSED, "", "error: /livez: the daemon answered HTTP 404\n"),
    ],
)
def test_the_answer_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    where: str,
    code: int,
    text: str,
    exit_code: Exit,
    out: str,
    err: str,
) -> None:
    asked = []

    def fetch_text(path: str, asked_for: str) -> tuple[int, str]:
        asked.append((path, asked_for))
        return code, text

    monkeypatch.setattr(admin_client, "fetch_text", fetch_text)
    assert main(["health", "--socket", "s", *arguments]) == exit_code
    assert asked == [("s", where)]
    told = capsys.readouterr()
    assert told.out == out
    assert told.err.startswith(err)


def test_no_daemon_is_exit_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--socket", "/nowhere/admin.sock"]) == Unreachable.exit_code == Exit.UNREACHABLE
    assert "no daemon answers on /nowhere/admin.sock" in capsys.readouterr().err
