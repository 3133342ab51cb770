"""The doors of a running daemon: the commands over its socket, HTTP with a token, and what is asked wrongly."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bridge import admin_client, cli
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Peer
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

TOKEN = "s3cret-of-many-letters"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ME = f"{getpass.getuser()}@{socket.gethostname()}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(daemon: Daemon, *words: str) -> tuple[int, str, str]:
    """Run `bridge -c FILE ...`: in this process, which spares a second of imports each time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["-c", str(daemon.file), *words])
    return code, out.getvalue(), err.getvalue()


def started_command(daemon: Daemon, *words: str) -> tuple[int, str, str]:
    """The same as an operator does it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "-c", str(daemon.file), *words], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sides(vhosts: Vhosts) -> Iterator[tuple[Peer, Peer]]:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "img", "lost")
        new.quorum("mail", "img")
        yield old, new


def test_an_operator_steers_by_command(vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path) -> None:
    old, new = sides
    with running(takeover(vhosts, tmp_path), tmp_path) as daemon:
        # Nothing is changed by a dry run, a wrong name or a wrong route.
        code, told, _ = command(daemon, "cutover", "mail", "--dry-run")
        assert (code, told.split(":")[0:2]) == (0, ["mail", " would legacy -> quorum"])
        code, _, error = started_command(daemon, "cutover", "mail", "mial")
        assert code == 1
        assert error.startswith('error: queue "mial"')
        assert '"mail"' in error.partition("hint: ")[2]
        code, told, _ = command(daemon, "dual", "mail")
        assert code == 1
        assert told.startswith("mail: refused legacy: dual is not possible in the takeover layout")
        code, told, _ = command(daemon, "cutover", "lost")
        assert (code, told.startswith('lost: refused legacy: target queue "lost" does not exist (')) == (1, True)
        assert {queue["route"] for queue in daemon.status()["queues"]} == {"legacy"}

        code, told, _ = command(daemon, "cutover", "mail", "img", "--reason", "the night")
        assert (code, len(told.splitlines())) == (0, 2)
        assert told.startswith("mail: done legacy -> quorum: everything goes to the target; next: canary, ")
        old.publish("mail", range(10))
        status = daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
        row = queue_of(status, "mail")
        assert (row["route"], row["by"], row["reason"]) == ("quorum", ME, "the night")
        assert command(daemon, "cutover", "mail")[1].startswith("mail: unchanged quorum")

        assert command(daemon, "pause", "mail")[0] == 0
        daemon.wait_until(lambda status: queue_of(status, "mail")["state"] == "paused")
        assert command(daemon, "resume", "mail")[1].startswith("mail: done quorum, paused -> quorum: ")
        daemon.wait_until(lambda status: queue_of(status, "mail")["state"] == "moving")

        assert command(daemon, "rate", "mail", "5/s")[0] == 0
        assert command(daemon, "rate")[1] == "all queues together: no limit\nmail: at most 5/s\n"
        assert command(daemon, "rate", "mail", "none")[0] == 0

        code, told, _ = command(daemon, "legacy", "--all", "--json")
        assert code == 0
        assert {answer["outcome"] for answer in json.loads(told)["answers"]} == {"done", "unchanged"}
        assert " mail: cutover done legacy -> quorum, by " in command(daemon, "changes")[1]
        listed = json.loads(command(daemon, "changes", "mail", "--json")[1])
        assert [change["verb"] for change in listed][-4:] == ["resume", "rate", "rate", "legacy"]
        assert {(change["by"], change["door"]) for change in listed} == {(ME, "cli")}
        assert new.ready("mail") == 10
        code, shown, _ = command(daemon, "status")
        assert (code, f"by {ME}" in shown) == (0, True)


def test_a_cutover_is_postponed_and_taken_back(vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path) -> None:
    old, _ = sides
    old.publish("img", range(5))
    port = free_port()
    admin = {"socket": str(tmp_path / "admin.sock"), "listen": f"127.0.0.1:{port}"}
    with running(takeover(vhosts, tmp_path, admin=admin), tmp_path) as daemon:
        # Without a token HTTP is to look at.
        told = requests.post(f"http://127.0.0.1:{port}/api/cutover", json={"all": True}, headers=BEARER, timeout=10)
        assert (told.status_code, told.json()["error"]) == (
            403,
            "no admin.token is configured: only the unix socket may change things",
        )
        assert requests.get(f"http://127.0.0.1:{port}/api/status", timeout=10).ok
        assert {queue["route"] for queue in daemon.status()["queues"]} == {"legacy"}

        code, lines, _ = command(daemon, "cutover", "mail", "--at", "2:30")
        first, second = lines.splitlines()
        assert (code, first.startswith("at "), " 02:30:00 " in first) == (0, True, True)
        assert second.startswith("mail: planned legacy")
        assert daemon.queue("mail")["planned"]["verb"] == "cutover"
        assert "cutover is planned: waits for " in command(daemon, "status")[1]
        assert command(daemon, "cancel", "mail")[0] == 0
        assert daemon.queue("mail")["planned"] is None
        assert command(daemon, "cutover", "img", "--when-backlog", "10")[0] == 0
        daemon.wait_until(lambda status: queue_of(status, "img")["route"] == "quorum", 40)
        assert command(daemon, "cutover", "mail", "--at", "yesterday")[0] == 2


def test_over_tcp_the_token_changes_things(vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path) -> None:
    port = free_port()
    admin = {"socket": str(tmp_path / "admin.sock"), "listen": f"127.0.0.1:{port}", "token": TOKEN}
    url = f"http://127.0.0.1:{port}/api"
    with running(takeover(vhosts, tmp_path, admin=admin), tmp_path) as daemon:

        def post(what: str, **how: Any) -> tuple[int, str]:
            told = requests.post(f"{url}/{what}", timeout=10, **how)
            body = told.json()
            assert set(body) <= {"answers", "error", "hint"}, body
            return told.status_code, body.get("error", "")

        mail = {"queues": ["mail"]}
        before = daemon.status()["changes"]
        assert post("cutover", json=mail) == (401, "a token is needed to change things")
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        assert post("cutover", json=mail, headers=wrong) == (403, "the token is not this daemon's")
        assert post("cutover", data="mail", headers=BEARER)[0] == 400
        assert post("cutover", data="{", headers={**BEARER, "Content-Type": "application/json"})[0] == 400
        assert post("cutover", json={"queue": "mail"}, headers=BEARER) == (400, "'queue': unknown to cutover")
        assert post("cutover", json={**mail, "by": "the boss"}, headers=BEARER)[0] == 400
        assert post("cutover", json={"queues": ["m" * 70_000]}, headers=BEARER)[0] == 413
        assert post("cutover", json={"queues": ["mial"]}, headers=BEARER)[0] == 404
        assert post("dual", json=mail, headers=BEARER)[0] == 409
        assert post("cutovr", json=mail, headers=BEARER)[0] == 404
        assert requests.get(f"{url}/status", headers={"Host": "evil.example"}, timeout=10).status_code == 403
        refused = [change for change in daemon.status()["changes"] if change not in before]
        assert [(change["verb"], change["outcome"]) for change in refused] == [("dual", "refused")]
        assert daemon.queue("mail")["route"] == "legacy"

        assert requests.get(f"{url}/status", timeout=10).json()["instance"] == "main"
        assert post("cutover", json={**mail, "reason": "a script"}, headers=BEARER) == (200, "")
        row = daemon.queue("mail")
        assert (row["route"], row["by"], row["reason"]) == ("quorum", "token@127.0.0.1", "a script")
        assert post("rate", json={"all": True, "rate": "100/s"}, headers=BEARER) == (200, "")
        assert daemon.status()["limit"] == 100.0

        # Another daemon that wants one of the places does not start, and disturbs nothing.
        other = tmp_path / "other"
        other.mkdir()
        second = Daemon.start(
            takeover(vhosts, other, admin={**admin, "socket": str(other / "admin.sock")}), other, ready=False
        )
        assert second.ended(30) == 1
        assert f"error: admin.listen: cannot listen on 127.0.0.1:{port}: address already in use" in second.stderr
        assert not (other / "admin.sock").exists()
        assert daemon.queue("mail")["route"] == "quorum"
    assert TOKEN not in daemon.stderr


def test_a_gate_that_takes_its_time_holds_nothing_up(vhosts: Vhosts, sides: tuple[Peer, Peer], tmp_path: Path) -> None:
    with Proxy(vhosts.new.api) as api:
        config = takeover(vhosts, tmp_path)
        config["target"]["api"] = api.url
        with running(config, tmp_path) as daemon:
            api.stall()
            told: list[dict[str, Any]] = []
            body = {"queues": ["mail"]}
            asking = threading.Thread(target=lambda: told.extend(admin_client.post(daemon.socket, "cutover", body)))
            asking.start()
            # It is at the gate: nothing else waits for it.
            for _ in range(20):
                assert daemon.status()["state"] == "active"
            assert command(daemon, "pause", "img")[0] == 0
            assert told == []
            api.restore()
            asking.join(60)
            assert [answer["outcome"] for answer in told] == ["done"]
            assert daemon.queue("mail")["route"] == "quorum"
