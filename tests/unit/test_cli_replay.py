"""What `bridge replay` asks for before it does anything; the rest is in tests/functional/test_replay.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import cli

MINIMAL = """
source: {amqp: "amqp://u:p@127.0.0.1:1/old"}
target: {amqp: "amqp://u:p@127.0.0.1:1/new"}
queues: {include: [mail]}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    written = tmp_path / "bridge.yaml"
    written.write_text(MINIMAL)
    return str(written)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "say which copies: --queue, --task, --id, --since, --until, or --all"),
        (["--limit", "3"], "say which copies"),
        (["--all", "--queue", "mail"], "exclude each other"),
        (["--since", "soon"], 'found "soon"; allowed: 2026-05-01T12:00 (UTC), or 2h: so long ago'),
        (["--all", "--limit", "0"], "'--limit'"),
        (["--all", "--to", "nowhere"], "'--to'"),
    ],
)
def test_usage(file: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", file, "replay", *options]) == 2
    assert said in capsys.readouterr().err


def test_where_nobody_can_be_asked_it_takes_yes(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", file, "replay", "--all"]) == 1
    captured = capsys.readouterr()
    assert "may have run already" in captured.err
    assert "--dry-run first, then add --yes" in captured.err


def test_without_a_backup_section_it_is_refused(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", file, "replay", "--all", "--dry-run"]) == 1
    assert "the configuration has no backup: section" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--dry-run"], ["--yes"]])
def test_a_broker_that_is_away(file: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(file).write_text(MINIMAL + "backup: {on: source}\n")
    assert cli.main(["-c", file, "replay", "--all", *options]) == 3
    assert "cannot connect to 127.0.0.1:1" in capsys.readouterr().err
