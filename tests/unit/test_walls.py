"""Rules about the whole tree that no single test sees."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import config_reference

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "bridge"
#: A room that passes this is split.
LINES = 500
#: Source files, or whole folders, without a test file of their own at `tests/unit/<same path>`: where their tests are.
COVERED_BY: dict[str, str] = {
    "bridge/__main__.py": "tests/unit/test_cli.py",
    "bridge/config_reference.py": "tests/unit/test_walls.py",
    "bridge/cli_shared.py": "tests/unit/test_cli.py",
    "bridge/amqp_faults.py": "tests/unit/test_amqp.py",
    "bridge/amqp_loop.py": "tests/unit/test_amqp.py",
    "bridge/setting.py": "tests/unit/test_config.py",
    "bridge/daemon.py": "tests/e2e/test_signals.py",
    "bridge/delayed.py": "tests/functional/test_ladder.py",
    "bridge/discovery.py": "tests/e2e/test_takeover.py",
    "bridge/ending.py": "tests/functional/test_certify.py",
    "bridge/checking.py": "tests/functional/test_checking.py",
    "bridge/probe.py": "tests/functional/test_probe.py",
    "bridge/cli_quarantine.py": "tests/functional/test_quarantine_commands.py",
    "bridge/quarantine.py": "tests/functional/test_quarantine.py",
    "bridge/quarantine_stock.py": "tests/functional/test_quarantine_commands.py",
    "bridge/link.py": "tests/e2e/test_takeover.py",
    "bridge/links.py": "tests/e2e/test_takeover.py",
    "bridge/mover.py": "tests/e2e/test_takeover.py",
    "bridge/spawned.py": "tests/unit/test_hooks.py",
    "bridge/shared.py": "tests/e2e/test_takeover.py",
    "bridge/way.py": "tests/e2e/test_takeover.py",
    "bridge/state.py": "tests/functional/test_state.py",
    "bridge/standing.py": "tests/faults/test_standby.py",
    "bridge/round_trip.py": "tests/e2e/test_round_trip.py",
    "bridge/session.py": "tests/e2e/test_takeover.py",
    "bridge/outflow.py": "tests/e2e/test_takeover.py",
    "bridge/two_sides.py": "tests/e2e/test_inline.py",
    "bridge/terms.py": "tests/e2e/test_takeover.py",
    "bridge/throttle.py": "tests/e2e/test_throttle.py",
    "bridge/prefetch.py": "tests/e2e/test_read_ahead.py",
    "bridge/core/acked.py": "tests/unit/core/test_relay.py",
    "bridge/core/closely.py": "tests/unit/core/test_relay.py",
    "bridge/core/counts.py": "tests/unit/core/test_relay.py",
    "bridge/core/destination.py": "tests/unit/core/test_relay.py",
    "bridge/core/heads.py": "tests/unit/core/test_relay.py",
    "bridge/core/outbox.py": "tests/unit/core/test_relay.py",
    "bridge/apart.py": "tests/e2e/test_odd_ones.py",
    "bridge/doubles.py": "tests/unit/test_status.py",
    "bridge/asked.py": "tests/unit/test_control.py",
    "bridge/changes.py": "tests/unit/test_control.py",
    "bridge/postponed.py": "tests/unit/test_control.py",
    "bridge/verbs.py": "tests/unit/test_control.py",
    "bridge/wording.py": "tests/unit/test_control.py",
    "bridge/ladder_back.py": "tests/e2e/test_reverse.py",
    "bridge/ladder_whole.py": "tests/functional/test_delayed.py",
    "bridge/ladder_look.py": "tests/e2e/test_reverse.py",
    "bridge/metrics_reference.py": "tests/unit/test_docs.py",
    "bridge/status_rows.py": "tests/unit/test_status_view.py",
    "bridge/settling.py": "tests/e2e/test_reverse.py",
    "bridge/queue_look.py": "tests/e2e/test_reverse.py",
    "bridge/republish.py": "tests/functional/test_republish.py",
    "bridge/backup.py": "tests/functional/test_backup.py",
    "bridge/config_faults.py": "tests/unit/test_config.py",
    "bridge/remote.py": "tests/functional/test_old_side.py",
    "bridge/workers.py": "tests/functional/test_old_side.py",
    "bridge/workers_told.py": "tests/functional/test_old_side.py",
    "bridge/cli_workers.py": "tests/e2e/test_workers.py",
}

SOURCES = sorted(BRIDGE.rglob("*.py"))
CORE = sorted((BRIDGE / "core").rglob("*.py"))


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that `file` imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(file.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            base = ".".join(part for part in (package, node.module) if part)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def within(imported: str, banned: str) -> bool:
    return imported == banned or imported.startswith(f"{banned}.")


@pytest.mark.parametrize("file", CORE, ids=name)
def test_the_core_imports_nothing_that_touches_anything(file: Path) -> None:
    rules = tomllib.loads((BRIDGE / "core" / "ruff.toml").read_text())
    banned = rules["lint"]["flake8-tidy-imports"]["banned-api"]
    broken = [
        f"{name(file)}:{line}: {imported}: {rule['msg']}"
        for line, imported in imports(file)
        for module, rule in banned.items()
        if within(imported, module)
    ]
    broken += [
        f"{name(file)}:{line}: {imported}: the core knows only the core"
        for line, imported in imports(file)
        if within(imported, "bridge") and not within(imported, "bridge.core")
    ]
    assert broken == []


@pytest.mark.parametrize("file", CORE, ids=name)
def test_the_core_reaches_nothing_by_a_back_door(file: Path) -> None:
    doors = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    assert [
        (call.lineno, call.func.id) for call in calls if isinstance(call.func, ast.Name) and call.func.id in doors
    ] == []


@pytest.mark.parametrize("file", [file for file in SOURCES if file.name != "__init__.py"], ids=name)
def test_every_source_file_has_its_test_file(file: Path) -> None:
    path = file.relative_to(BRIDGE)
    own = ROOT / "tests" / "unit" / path.parent / f"test_{path.name.strip('_')}"
    folder = f"{file.parent.relative_to(ROOT).as_posix()}/"
    elsewhere = COVERED_BY.get(name(file)) or (None if own.exists() else COVERED_BY.get(folder))
    if elsewhere is None:
        assert own.exists(), f"write {name(own)}, or name in COVERED_BY what tests {name(file)} on real brokers"
    else:
        assert (ROOT / elsewhere).exists(), f"{elsewhere}, which is to cover {name(file)}, does not exist"
        assert not own.exists(), f"{name(file)} has a test file of its own: take it out of COVERED_BY"


def test_no_row_of_the_table_is_left_over() -> None:
    assert [source for source in COVERED_BY if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_no_room_is_too_long(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LINES


def test_the_reference_of_the_configuration_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "config.md").read_text()
    assert page == config_reference.reference(), "run: .venv/bin/bridge config reference > docs/reference/config.md"


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        # Unpacked without its history: then what is here is what there is.
        files = [file for folder in ("bridge", "config", "docs", "tests") for file in (ROOT / folder).rglob("*")]
    else:
        files = [ROOT / path for path in listed.stdout.decode().split("\0") if path]
    place = str(ROOT).encode()
    here = [place + b"/", b"/" + b"work/", b"/" + b"root/"]
    found = [
        name(file)
        for file in files
        if file.is_file() and any(path in file.read_bytes() for path in here if len(path) > 4)
    ]
    assert found == []
