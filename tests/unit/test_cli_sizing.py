"""`bridge plan --time` as an operator sees it, on vhosts that are only values; on brokers: tests/functional."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import admin_client, applying, cli, sizing_look
from bridge.applying import Survey
from bridge.core import sizing
from bridge.core.pairs import Pair
from bridge.core.topology import Node
from bridge.sizing_look import Traffic
from tests.support.topologies import queue, vhost

MAIL = replace(queue("mail", ready=110_000), message_bytes=110_000 * (1024 - sizing.ENVELOPE))
RATES: dict[str, Traffic] = {}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    target = replace(vhost("qhost", version=(4, 3, 6)), nodes=(Node("a"), Node("b"), Node("c")))
    seen = Survey(vhost("chost", MAIL), target, (Pair(MAIL, "mail"), Pair(queue("quiet"), "quiet")))
    monkeypatch.setattr(applying, "survey", lambda _config: seen)
    monkeypatch.setattr(sizing_look, "traffic", lambda _api, name: RATES if name == "chost" else None)
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "source: {amqp: 'amqp://u:p@old/chost', api: 'http://old:15672'}\n"
        "target: {amqp: 'amqp://u:p@new/qhost', api: 'http://new:15672'}\n"
    )
    return str(path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_and_what_it_rests_on(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "plan", "--time", "--rate", "1100/s")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[1] == "mail 110000 1 KiB 0/s 0/s 1100/s 1.7 min (1.3 min to 2.1 min) never".split()
    assert lines[2] == "together 110000 1 KiB 0/s 1100/s 1.7 min (1.3 min to 2.1 min)".split()
    assert "rests on the rate that was given, 1100 messages a second; the range is for 0.8 to 1.25 times as fast" in out
    assert "network: 107 MiB from the source, 107 MiB from the bridge, 215 MiB between the target's nodes" in out
    assert "\nnote: the old workers do not work the backlog down" in out
    assert "ladder" not in out
    assert "not listed: 1 queue in which nothing waits and nothing comes in" in out


def test_a_queue_without_messages_of_which_some_come(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RATES, "quiet", Traffic(5.0, 5.0))
    out = told(capsys, "-c", file, "plan", "--time", "--rate", "1100/s")[1]
    assert out.splitlines()[2].split() == "quiet 0 ? 5/s 5/s 1100/s 0 s 0 s".split()
    assert "not listed" not in out


def test_options_are_read(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--eta-share", "100%", "--eta-ahead", "1h", "--bandwidth", "1MiB/s", "--json")
    code, out, _ = told(capsys, "-c", file, "plan", "--time", *options)
    found = json.loads(out)
    assert code == 0
    assert list(found) == ["basis", "assumed", "queues", "total", "cost", "notes"]
    assert {key: found["assumed"][key] for key in ("eta_share", "ahead", "bandwidth", "nodes", "version")} == {
        "eta_share": 1.0,
        "ahead": 3600,
        "bandwidth": 1024 * 1024,
        "nodes": 3,
        "version": [4, 3, 6],
    }
    assert found["total"]["rate"] == pytest.approx(1024)
    assert found["cost"]["hops"] == 110_000 * 6
    assert "ladder: 660000 hops" in told(capsys, "-c", file, "plan", "--time", *options[:-1])[1]


def test_never_is_a_refusal(file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, "mail", Traffic(5000.0, 10.0))
    code, out, _ = told(capsys, "-c", file, "plan", "--time", "--rate", "50/s")
    assert code == 1
    assert "note: the backlog never ends: 5000/s come in, 50/s are expected to be moved" in out


def test_rates_that_are_not_known(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing_look, "traffic", lambda *_: None)
    out = told(capsys, "-c", file, "plan", "--time", "--rate", "1100/s")[1]
    assert out.splitlines()[1].split() == "mail 110000 1 KiB ? ? 1100/s 1.7 min (1.3 min to 2.1 min) ?".split()


def test_a_backup_costs_its_disk(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Path(file).open("a") as more:
        more.write("backup: {on: source}\n")
    out = told(capsys, "-c", file, "plan", "--time")[1]
    assert "backup: 107 MiB on each node that keeps the stream" in out
    assert "215 MiB from the bridge" in out


def test_measured_asks_the_daemon(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    one: dict[str, Any] = {"name": "mail", "route": "quorum", "state": "moving", "rate": 2200.0, "limit": None}

    def fetch_status(path: str) -> dict[str, Any]:
        asked.append(path)
        return {"limit": None, "queues": [{**one, "moved": 4, "converted": 0}]}

    monkeypatch.setattr(admin_client, "fetch_status", fetch_status)
    code, out, _ = told(capsys, "-c", file, "plan", "--time", "--measured", "--socket", "s")
    assert (code, asked) == (0, ["s"])
    assert "rests on what the daemon moves now, 2200 messages a second of a queue" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "5"],
        ["--bandwidth", "12MB"],
        ["--bandwidth", "0MB/s"],
        ["--bandwidth", "fast/s"],
        ["--eta-share", "101%"],
        ["--eta-share", "some"],
        ["--eta-ahead", "0s"],
        ["--eta-ahead", "soon"],
        ["--measured", "--rate", "5/s"],
        ["--socket", "s"],
        ["--celery"],
        ["--definitions"],
    ],
)
def test_wrong_usage(arguments: list[str], file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, "-c", file, "plan", "--time", *arguments)
    assert (code, out) == (2, "")
    assert "rror:" in err


@pytest.mark.parametrize("arguments", [["--rate", "5/s"], ["--measured"], ["--eta-share", "5%"]])
def test_what_goes_only_with_time(arguments: list[str], file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, "-c", file, "plan", *arguments)
    assert code == 2
    assert f"{arguments[0]} goes with --time" in err
