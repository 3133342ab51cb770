"""The rights that `bridge permissions` prints are enough, and hold nothing more than what was asked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pika.exceptions import ChannelClosedByBroker

from bridge import cli
from bridge.management import path
from tests.functional.ladders import exits_of, ladder_of
from tests.support.brokers import Vhosts
from tests.support.daemon import running, takeover
from tests.support.peers import Admin, Peer, Worker, as_user

pytestmark = pytest.mark.functional

QUEUES = ("mail", "a.q1")


@pytest.fixture
def rights(
    request: pytest.FixtureRequest, vhosts: Vhosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What `bridge permissions --json` prints for two queues, with options if the test has some."""
    with Peer(vhosts.old.amqp) as old:
        old.classic(*QUEUES, "not ours")
    config = takeover(vhosts, tmp_path, queues={"include": list(QUEUES)}, probe={})
    (tmp_path / "asking.yaml").write_text(yaml.safe_dump(config))
    capsys.readouterr()
    assert cli.main(["-c", str(tmp_path / "asking.yaml"), "permissions", "--json", *getattr(request, "param", ())]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.fixture
def users(vhosts: Vhosts) -> Iterator[Any]:
    """Make a user of a side with what was printed; returns the side's AMQP and API URL as theirs."""
    made = []

    def make(side: str, grant: dict[str, str]) -> dict[str, str]:
        where = getattr(vhosts, side)
        name = f"bridge-{secrets.token_hex(4)}"
        words = {key: grant[key] for key in ("configure", "write", "read")}
        admin = Admin(where.api)
        admin.make_user(name, "secret", where.vhost, tags=grant["tag"], **words)
        made.append((admin, name))
        return {"amqp": as_user(where.amqp, name, "secret"), "api": as_user(where.api, name, "secret")}

    yield make
    for admin, name in made:
        admin.drop_user(name)


def all_moved(rights: dict[str, Any], users: Any, vhosts: Vhosts, folder: Path) -> dict[str, Any]:
    """A configuration that moves the queues, as users who have just these rights; their sisters are there."""
    with Peer(vhosts.new.amqp) as new:
        new.quorum(*QUEUES)
    return takeover(
        vhosts,
        folder,
        route="quorum",
        queues={"include": list(QUEUES)},
        probe={"every": "2s"},
        source=users("old", rights["source"]),
        target=users("new", rights["target"]),
    )


def test_the_daemon_moves_with_exactly_these(
    rights: dict[str, Any], users: Any, vhosts: Vhosts, tmp_path: Path
) -> None:
    config = all_moved(rights, users, vhosts, tmp_path)
    with running(config, tmp_path) as daemon, Peer(vhosts.old.amqp) as old:
        daemon.wait_until(lambda status: {queue["state"] for queue in status["queues"]} == {"moving"})
        assert daemon.status()["ladder"]["fault"] is None
        for number, queue in enumerate(QUEUES):
            old.publish(queue, [number * 10])
            old.publish(queue, [number * 10 + 1], eta=_soon())
        daemon.wait_until(lambda status: status["totals"]["moved"] == 4)
        daemon.wait_until(lambda status: status["probe"]["at"] is not None)
        assert daemon.status()["totals"]["converted"] == 2
        for number, queue in enumerate(QUEUES):
            with Worker(vhosts.new.amqp, queue) as worker:
                assert sorted(worker.wait_for(2)) == [number * 10, number * 10 + 1]
    assert len(ladder_of(vhosts.new)["queues"]) == 28
    assert {queue for queue, _ in exits_of(vhosts.new)} == {*QUEUES, "bridge.probe"}


def _soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=4)).isoformat()


@pytest.mark.parametrize("rights", [["--reverse"]], indirect=True)
def test_tasks_are_brought_back_with_exactly_these(
    rights: dict[str, Any], users: Any, vhosts: Vhosts, tmp_path: Path
) -> None:
    config = all_moved(rights, users, vhosts, tmp_path)
    with running(config, tmp_path) as daemon, Peer(vhosts.old.amqp) as old:
        old.publish("mail", [1])
        old.publish("mail", [2], eta=(datetime.now(UTC) + timedelta(hours=2)).isoformat())
        daemon.wait_until(lambda status: status["totals"]["moved"] == 2)
        daemon.ask("rollback", "mail", reverse=True)
        with Worker(vhosts.old.amqp, "mail") as worker:
            assert sorted(worker.wait_for(2)) == [1, 2]


def test_one_right_less_is_too_little(rights: dict[str, Any], users: Any, vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.new.amqp) as new:
        new.quorum(*QUEUES)
    less = {**rights["target"], "write": rights["target"]["write"].replace("|mail", "")}
    config = takeover(
        vhosts,
        tmp_path,
        route="quorum",
        queues={"include": ["mail"]},
        source=users("old", rights["source"]),
        target=users("new", less),
    )
    with running(config, tmp_path) as daemon:
        status = daemon.wait_until(lambda status: bool(status["queues"]) and "mail" in status["queues"][0]["why"])
        assert "ACCESS_REFUSED" in status["queues"][0]["why"]


def test_apply_makes_everything_with_exactly_these(
    rights: dict[str, Any], users: Any, vhosts: Vhosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = takeover(
        vhosts,
        tmp_path,
        queues={"include": list(QUEUES)},
        source=users("old", rights["source"]),
        target=users("new", rights["apply"]),
    )
    (tmp_path / "applying.yaml").write_text(yaml.safe_dump(config))
    capsys.readouterr()
    code = cli.main(["-c", str(tmp_path / "applying.yaml"), "apply", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["fault"], answer["left"], code) == (None, [], 0), answer["fault"]
    assert {step["resource"]["kind"] for step in answer["skipped"]} <= {"vhost"}
    queues = Admin(vhosts.new.api).call("GET", path("queues", vhosts.new.vhost))
    assert {queue["name"] for queue in queues} >= {*QUEUES, "bridge.quarantine", "bridge.control.main"}
    assert {queue for queue, _ in exits_of(vhosts.new)} == set(QUEUES)


def test_no_other_queue_can_be_read(rights: dict[str, Any], users: Any, vhosts: Vhosts) -> None:
    with Peer(users("old", rights["source"])["amqp"]) as theirs:
        theirs.channel.basic_consume("mail", lambda *_: None)
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            theirs.channel.basic_consume("not ours", lambda *_: None)
