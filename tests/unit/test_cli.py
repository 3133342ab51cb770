from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from bridge import __version__, cli
from bridge.errors import Refused

GOOD = (
    "source: {amqp: 'amqp://u:${PW}@old/c', api: 'http://old:15672'}\n"
    "target: {amqp: 'amqp://u:${PW}@new/q'}\n"
    "admin: {socket: /nowhere/bridge.sock}\n"
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIDGE_CONFIG", raising=False)
    monkeypatch.delenv("BRIDGE_DEBUG", raising=False)
    monkeypatch.setenv("PW", "s3cret")


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "bridge.yaml"
    file.write_text(GOOD)
    return str(file)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_lists_every_command_without_importing_the_lab() -> None:
    code = "import sys; from bridge import cli; cli.main(['--help']); assert 'bridge.lab' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("config", "lab", "run", "status"):
        assert f"\n  {command} " in done.stdout


def test_config_check_of_a_good_file(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", good]) == 0
    assert capsys.readouterr().out == f"{good}: no faults\n"
    assert cli.main(["-c", good, "config", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": good, "ok": True, "faults": []}


def test_config_check_of_a_bad_file(
    good: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(good).write_text(GOOD + "route: both\nrelay: {window: 0}\n")
    assert cli.main(["config", "check", good]) == 2
    assert capsys.readouterr().err == (
        f"error: {good}: route: found 'both'; allowed: legacy | canary | dual | quorum | reverse\n"
        f"error: {good}: relay.window: found 0; allowed: a whole number from 1 to 65535\n"
    )
    monkeypatch.setenv("BRIDGE_CONFIG", good)
    assert cli.main(["config", "check", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert [fault["path"] for fault in answer["faults"]] == ["route", "relay.window"]


def test_a_file_that_is_not_there_is_a_fault_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", "/nowhere.yaml"]) == 2
    assert capsys.readouterr().err == (
        "error: /nowhere.yaml: no such file or directory; allowed: a readable YAML file\n"
        "hint: name the file with -c FILE or BRIDGE_CONFIG\n"
    )


@pytest.mark.parametrize("arguments", [["run"], ["config", "check"], ["nonsense"], ["status", "--nonsense"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err


def test_config_check_starts_without_gevent_and_run_patches_before_any_socket(good: str) -> None:
    code = (
        "import sys; from bridge import cli\n"
        "light = {'socket', 'ssl', 'requests', 'pika', 'gevent', 'rich', 'pydantic'} & set(sys.modules)\n"
        "assert not light, light\n"
        f"assert cli.main(['config', 'check', {good!r}]) == 0\n"
        "assert 'gevent' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    code = (
        "import sys, types\n"
        "daemon = types.ModuleType('bridge.daemon')\n"
        "def run(path):\n"
        "    import socket\n"
        "    from gevent import monkey\n"
        "    assert monkey.is_module_patched('socket') and monkey.is_module_patched('ssl'), path\n"
        "    return 7\n"
        "daemon.run = run\n"
        "sys.modules['bridge.daemon'] = daemon\n"
        "import bridge; bridge.daemon = daemon\n"
        "from bridge import cli\n"
        f"sys.exit(cli.main(['-c', {good!r}, 'run']))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_status_without_a_daemon_ends_with_3(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ.pop("PW")
    assert cli.main(["-c", good, "status"]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: no daemon answers on /nowhere/bridge.sock"
    assert hint.startswith("hint: ")
    assert cli.main(["status", "--socket", "/nowhere/else.sock"]) == 3
    assert "/nowhere/else.sock" in capsys.readouterr().err


def test_schema_and_reference_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Config"
    assert cli.main(["config", "reference"]) == 0
    assert capsys.readouterr().out.startswith("# Configuration\n")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    box = types.SimpleNamespace(error=None)

    def invoke(*_arguments: object, **_options: object) -> None:
        raise box.error

    monkeypatch.setattr(cli.bridge, "main", invoke)
    return box


def test_an_error_of_ours_is_a_sentence_and_a_hint(
    failing: types.SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.error = Refused("amqp://u:s3cret@h/v is no target", hint="not amqp://u:s3cret@h/v")
    assert cli.main([]) == 1
    assert capsys.readouterr() == ("", "error: amqp://u:***@h/v is no target\nhint: not amqp://u:***@h/v\n")


def test_an_unexpected_error_is_a_line_and_no_traceback(
    failing: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing.error = ZeroDivisionError("by amqp://u:s3cret@h/v\nin two lines")
    assert cli.main([]) == 1
    assert capsys.readouterr().err == (
        "unexpected error: ZeroDivisionError: by amqp://u:***@h/v in two lines\n"
        "hint: BRIDGE_DEBUG=1 in the environment shows where it comes from\n"
    )
    monkeypatch.setenv("BRIDGE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_an_interrupt_ends_as_shells_have_it(failing: types.SimpleNamespace) -> None:
    failing.error = KeyboardInterrupt()
    assert cli.main([]) == 130


@pytest.mark.parametrize("missing", ["celery", "testcontainers.core.container"])
def test_a_missing_extra_is_said_plainly(
    missing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_module: str) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert cli.main(["lab", "up"]) == 1
    assert capsys.readouterr().err == (
        f"error: `bridge lab` needs the Python package {missing.partition('.')[0]}, which is not installed\n"
        "hint: pip install 'celery-quorum-bridge[lab]'\n"
    )


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "bridge", "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "-c FILE" in done.stderr
