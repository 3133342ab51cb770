"""`bridge lab` as it is typed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from bridge.errors import LabError
from bridge.lab import brokers
from bridge.lab.commands import broker_options, lab

SIDE = {"version": "3.10.8", "amqp": "amqp://u:p@h:1/v", "api": "http://u:p@h:2", "nodes": []}
SIDES = {"old": SIDE, "new": {**SIDE, "nodes": [{"name": "n", "amqp": "amqp://u:p@h:3/v", "api": "http://u:p@h:4"}]}}


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(lab, arguments, standalone_mode=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []

    def up(name: str, old: str, new: str, *, nodes: int, same_broker: bool, progress: Any) -> Any:
        asked.append((name, old, new, nodes, same_broker))
        progress("n", "booting")
        return SimpleNamespace(env=lambda: SIDES, brokers=SimpleNamespace(fresh=len(asked) == 1))

    monkeypatch.setattr(brokers.Lab, "up", up)
    monkeypatch.setattr(brokers.Lab, "attach", lambda name: SimpleNamespace(env=lambda: SIDES))
    monkeypatch.setattr(brokers, "take_down", lambda name: name == "a")
    return asked


def test_up_prints_the_addresses(asked: list[Any]):
    shown = typed("up")
    assert asked == [("default", "3.10", "4.0", 1, False)]
    assert shown.stdout == ("old: RabbitMQ 3.10.8\nnew: RabbitMQ 3.10.8\n  amqp://u:p@h:3/v\n  http://u:p@h:4\n")
    assert shown.stderr == "    0 s  n: booting\n"
    assert 'lab "default" was up already' in typed("up").stderr


def test_up_takes_what_the_design_says(asked: list[Any]):
    shown = typed("up", "--old", "3.10", "--new", "4.3", "--nodes", "3", "--name", "x", "--json")
    assert asked == [("x", "3.10", "4.3", 3, False)]
    assert json.loads(shown.stdout) == SIDES


def test_one_broker_has_one_release(asked: list[Any]):
    typed("up", "--same-broker")
    typed("up", "--same-broker", "--old", "4.3", "--new", "4.3")
    assert asked == [("default", "3.10", "3.10", 1, True), ("default", "4.3", "4.3", 1, True)]
    refused = typed("up", "--same-broker", "--new", "4.0")
    assert isinstance(refused.exception, click.UsageError)
    assert "--old 3.10 and --new 4.0 differ" in refused.exception.message


def test_env(asked: list[Any]):
    assert json.loads(typed("env", "--json").stdout) == SIDES


def test_down_is_fine_twice(asked: list[Any]):
    assert typed("down", "--name", "a").stderr == 'lab "a" is down\n'
    again = typed("down", "--name", "b")
    assert again.stderr == 'lab "b" was not up\n'
    assert again.return_value == 0


def test_what_goes_wrong_is_left_to_the_last_door(monkeypatch: pytest.MonkeyPatch):
    def attach(name: str) -> None:
        raise LabError("no")

    monkeypatch.setattr(brokers.Lab, "attach", attach)
    assert isinstance(typed("env").exception, LabError)


def test_other_commands_may_take_the_same_options():
    @click.command()
    @click.option("--tasks", default=5)
    @broker_options
    def rehearse(**chosen: Any) -> None:
        click.echo(json.dumps(chosen))

    shown = CliRunner().invoke(rehearse, ["--new", "4.3"])
    assert json.loads(shown.stdout) == {
        "tasks": 5, "old": "3.10", "new": "4.3", "nodes": 1, "same_broker": False, "name": "default",
    }  # fmt: skip


def test_the_rehearsal_is_among_the_commands():
    assert lab.list_commands(click.Context(lab)) == ["down", "env", "rehearse", "up"]


def test_env_exports_variables_for_a_shell(asked: list[Any]):
    assert typed("env", "--export").stdout == (
        "export OLD_AMQP=amqp://u:p@h:1/v\nexport OLD_API=http://u:p@h:2\n"
        "export NEW_AMQP=amqp://u:p@h:1/v\nexport NEW_API=http://u:p@h:2\n"
    )
    assert "exclude each other" in typed("env", "--export", "--json").exception.message  # type: ignore[union-attr]
