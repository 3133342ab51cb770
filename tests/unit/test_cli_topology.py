"""`bridge plan`, `apply` and `permissions` as an operator sees them, on vhosts that are only values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge import applying, cli
from bridge.core.topology import Exchange, Permissions, Vhost
from tests.support.topologies import Target, queue, vhost

SOURCE = vhost(
    "chost", queue("mail"), exchanges=(Exchange("celery", "direct"),), bindings=(("celery", "mail", "mail"),)
)


class Api(Target):
    """Tells of a vhost and takes its changes."""

    def snapshot(self, name: str, user: str | None = None) -> Vhost:
        assert name == self.vhost.name
        return self.vhost


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Api:
    new = Api(vhost("qhost", version=(4, 3, 6), default_queue_type="quorum"))
    old = Api(SOURCE)
    monkeypatch.setattr(applying.sides, "management", lambda name, _: old if name == "source" else new)
    return new


@pytest.fixture
def file(tmp_path: Path, target: Api) -> str:
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "source: {amqp: 'amqp://u:p@old/chost', api: 'http://old:15672'}\n"
        "target: {amqp: 'amqp://b o:p@new/qhost', api: 'http://new:15672'}\n".replace("b o", "b%20o")
    )
    return str(path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_plan_shows_sentences_and_calls(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "plan")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == f'vhost "qhost": {len(lines) // 2} steps; nothing is changed before `bridge apply`'
    assert lines[3] == '   2. declare quorum queue "mail"'
    body = '{"durable": true, "auto_delete": false, "arguments": {"x-queue-type": "quorum"}}'
    assert lines[4] == f"      PUT /api/queues/qhost/mail {body}"


def test_apply_then_nothing_is_to_be_done(file: str, target: Api, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "apply", "--dry-run")
    assert (code, target.calls) == (0, 0)
    assert out.startswith("would be done: ")
    code, out, _ = told(capsys, "-c", file, "apply")
    assert code == 0
    assert out.startswith(f"done: {target.calls} steps\n  declare exchange")
    for command in ("plan", "apply"):
        assert told(capsys, "-c", file, command) == (0, 'vhost "qhost": nothing to do\n', "")


def test_json_of_apply(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "apply", "--json", "--dry-run")
    answer: dict[str, Any] = json.loads(out)
    assert code == 0
    assert (answer["dry_run"], answer["left"], answer["fault"]) == (True, [], None)
    assert len(answer["done"]) == len(json.loads(told(capsys, "-c", file, "plan", "--json")[1])["steps"])


def test_what_is_in_the_way(file: str, target: Api, capsys: pytest.CaptureFixture[str]) -> None:
    target.vhost = vhost("qhost", queue("mail", ready=1), version=(4, 3), default_queue_type="classic")
    code, out, _ = told(capsys, "-c", file, "plan")
    assert code == 1
    assert 'in the way: queue "mail": is there as a classic queue with 1 messages\n' in out
    assert "(optional)\n" in out
    code, out, err = told(capsys, "-c", file, "apply")
    assert (code, target.calls) == (1, 0)
    assert out.startswith("not done: ")
    assert 'error: queue "mail": is there as a classic queue' in err
    assert told(capsys, "-c", file, "apply", "--json")[0] == 1


def test_rights_that_are_missing(file: str, target: Api, capsys: pytest.CaptureFixture[str]) -> None:
    rights = Permissions("bridge", "^$", "^$", "^$", ("management",))
    target.vhost = Vhost("qhost", (4, 3, 6), permissions=rights, default_queue_type="classic")
    code, _, err = told(capsys, "-c", file, "apply")
    assert code == 1
    assert 'declare quorum queue "mail"; needs configure on queue "mail"' in err
    assert "hint: let someone who may do this import it: bridge plan --definitions" in err


def test_a_remark_is_a_note(file: str, target: Api, capsys: pytest.CaptureFixture[str]) -> None:
    target.vhost = vhost("qhost", version=(3, 10, 8))
    for command in ("plan", "apply"):
        assert "\nnote: before RabbitMQ 4.0" in told(capsys, "-c", file, command)[1]


def test_definitions(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "plan", "--definitions")
    assert code == 0
    assert list(json.loads(out)) == ["queues", "exchanges", "bindings"]


def test_celery_settings(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "plan", "--celery", "--celery-version", "5.6")
    assert code == 0
    assert out.startswith('# Celery 5.6 on vhost "qhost", RabbitMQ 4.3.6: ')
    assert told(capsys, "-c", file, "plan", "--celery-version", "5.4")[0] == 2


def test_permissions(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "-c", file, "permissions")
    assert code == 0
    assert out.splitlines()[:2] == [
        "# source: the daemon; for the HTTP API the tag management",
        "rabbitmqctl set_permissions -p chost u '^$' '^$' '^mail$'",
    ]
    assert "set_permissions -p qhost 'b o' '^(celery_delayed_(" in out
    answer = json.loads(told(capsys, "-c", file, "permissions", "--json")[1])
    assert answer["source"] == {"configure": "^$", "write": "^$", "read": "^mail$", "tag": "management"}
    assert list(answer) == ["source", "target", "apply"]


@pytest.mark.parametrize(
    "arguments",
    [["plan"], ["apply"], ["permissions"], ["-c", "x", "plan", "--json", "--celery"], ["plan", "--nonsense"]],
)
def test_wrong_usage(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("BRIDGE_CONFIG", raising=False)
    assert told(capsys, *arguments)[0] == 2
