"""`bridge certify` with a daemon that gives fixed answers; tests/e2e/test_end.py has a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bridge import admin_client
from bridge.cli import main
from bridge.errors import Exit, Unreachable

YES = {"name": "drained", "ok": True, "number": 0, "age_s": 1.2, "text": "2 of 2", "todo": "", "note": False}
NO = {
    "name": "unacked",
    "ok": False,
    "number": 3,
    "age_s": 1.0,
    "text": "3 unacked",
    "todo": "stop them",
    "note": False,
}
NOTE = {"name": "revoked", "ok": True, "number": None, "age_s": None, "text": "memory", "todo": "", "note": True}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str]]]:
    def give(*conditions: dict[str, Any]) -> list[tuple[str, str]]:
        asked = []

        def fetch(path: str, what: str, *, patience: float) -> dict[str, Any]:
            assert patience > 20, "the daemon looks at two brokers meanwhile"
            asked.append((path, what))
            ok = all(one["ok"] for one in conditions)
            return {"ok": ok, "vhost": "chost", "at": "2030-01-01T00:00:00+00:00", "conditions": list(conditions)}

        monkeypatch.setattr(admin_client, "fetch", fetch)
        return asked

    return give


def test_yes_is_exit_0_and_no_is_exit_1(answers: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers(YES, NOTE)
    assert main(["certify", "--socket", "s"]) == Exit.DONE
    assert asked == [("s", "certify")]
    assert 'yes: vhost "chost" can be deleted, as of 2030' in capsys.readouterr().out
    answers(NOTE, YES, NO)
    assert main(["certify", "--socket", "s"]) == Exit.REFUSED
    out = capsys.readouterr().out
    lines = [line.split()[:2] for line in out.splitlines()]
    assert lines[1:4] == [["no", "unacked"], ["yes", "drained"], ["note", "revoked"]], "what hinders comes first"
    assert "stop them" in out
    assert 'no: vhost "chost" cannot be deleted, 1 condition is not met' in out
    answers(NO, {**NO, "name": "scope"})
    assert main(["certify", "--socket", "s"]) == Exit.REFUSED
    assert "2 conditions are not met" in capsys.readouterr().out


def test_json_is_what_the_daemon_answered(answers: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    answers(NO)
    assert main(["certify", "--json", "--socket", "s"]) == Exit.REFUSED
    assert json.loads(capsys.readouterr().out)["conditions"] == [NO]


def test_without_a_daemon_it_is_exit_3(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "--socket", str(tmp_path / "none")]) == Exit.UNREACHABLE
    assert "no daemon answers" in capsys.readouterr().err
    with pytest.raises(Unreachable):
        admin_client.fetch(str(tmp_path / "none"), "certify", patience=1.0)
