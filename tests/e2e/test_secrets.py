"""Everything that a run lets out, searched for its secrets: through start, traffic and faults."""

from __future__ import annotations

import base64
import contextlib
import io
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from bridge import cli
from tests.e2e.test_health import free_port
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Admin, Peer, as_user

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: What an operator asks while it runs, over the socket and of the brokers. Exit codes are not what is looked at.
COMMANDS = (
    *("status", "status --json", "changes --json", "duplicates --json", "health", "health --ready", "certify --json"),
    *("cutover mail --dry-run", "cutover nothing", "rate", "check --json", "plan --json", "permissions --json"),
    *("config check", "quarantine list --json", "workers list --json", "replay --dry-run --queue mail", "--version"),
)
PATHS = (
    *("/", "/api/status", "/api/duplicates", "/api/old-side", "/api/check", "/api/history"),
    *("/api/gate?queue=mail", "/api/openapi.json", "/metrics", "/livez", "/readyz", "/nothing"),
)


class Ear:
    """Hears datagrams, as statsd and systemd do."""

    def __init__(self, family: int, address: Any) -> None:
        self.heard = bytearray()
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self.heard += self.socket.recv(65536) + b"\n"

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.socket.close()


class Search:
    """The secrets, and where one was found."""

    def __init__(self, **known: str) -> None:
        self._known = known
        self.looked = 0

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Each secret as it is, as a URL has it, and as HTTP's basic authentication does."""
        for name, word in self._known.items():
            yield name, word.encode()
            yield name, quote(word, safe="").encode()
            yield name, quote(word).encode()
            for shift in range(3):
                # Three ways to stand in base64; the edges depend on what is beside it.
                yield name, base64.b64encode(b"x" * shift + word.encode())[4:-4]

    def look(self, where: str, text: str | bytes | bytearray) -> None:
        """It must be in none of this."""
        data = text.encode() if isinstance(text, str) else bytes(text)
        self.looked += len(data)
        for name, form in self.forms():
            assert form not in data, (
                f"the {name} stands in {where}: ...{data[max(0, data.index(form) - 200) :][:300]!r}"
            )


def said(file: Path, *words: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        cli.main(["-c", str(file), *words])
    return out.getvalue() + err.getvalue()


@pytest.fixture
def word() -> str:
    """Every character that may end a URL's password too early."""
    return f"p/a:s@s#w?o%2Frd&{secrets.token_hex(8)}"


def test_no_secret_is_let_out(vhosts: Vhosts, tmp_path: Path, word: str) -> None:
    token, wrong = secrets.token_hex(16), f"no/t@it#{secrets.token_hex(8)}"
    search = Search(password=word, token=token, wrong=wrong)
    name = f"secretive-{secrets.token_hex(4)}"
    admins = [(Admin(side.api), side) for side in (vhosts.old, vhosts.new)]
    statsd, systemd = Ear(socket.AF_INET, ("127.0.0.1", 0)), Ear(socket.AF_UNIX, str(tmp_path / "notify"))
    sides = [side for _, side in admins]
    for admin, side in admins:
        admin.make_user(name, word, side.vhost, tags="monitoring")
    try:
        source, target = ({"amqp": as_user(s.amqp, name, word), "api": as_user(s.api, name, word)} for s in sides)
        where = f"127.0.0.1:{free_port()}"
        config = takeover(
            vhosts,
            tmp_path,
            source=source,
            target=target,
            route="quorum",
            admin={"socket": str(tmp_path / "admin.sock"), "listen": where, "token": token},
            metrics={"statsd": f"127.0.0.1:{statsd.socket.getsockname()[1]}"},
            backup={"on": "target", "max_bytes": "64MiB"},
            probe={"every": "1s"},
            hooks={"on_cutover": "env"},
            log={"level": "debug", "format": "json"},
        )
        told = {"NOTIFY_SOCKET": str(systemd.socket.getsockname()), "WATCHDOG_USEC": "1000000"}
        with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
            old.classic("mail", "lost")
            new.quorum("mail")
            old.publish("mail", range(20))
            with running(config, tmp_path, environment=told) as daemon:
                daemon.wait_until(lambda status: status["totals"]["moved"] == 20 and status["probe"]["at"] is not None)
                for command in COMMANDS:
                    search.look(f"bridge {command}", said(daemon.file, *command.split()))
                _ask(search, where, token, wrong)
                _refuse(search, daemon, admins, name, word, wrong)
                systemctl = bytes(systemd.heard)
                assert b"STATUS=" in systemctl
                assert daemon.stop() == 0
        search.look("the log", daemon.stderr)
        _begin(search, config, tmp_path, as_user(vhosts.old.amqp, name, wrong), as_user("amqp://x:1@h:1/v", "u", wrong))
    finally:
        for ear in (statsd, systemd):
            ear.close()
        for admin, _ in admins:
            admin.drop_user(name)
    search.look("what systemd was told", systemd.heard)
    search.look("what statsd was told", statsd.heard)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix != ".yaml":
            search.look(str(file), file.read_bytes())
    assert search.looked > 100_000
    assert statsd.heard


def _ask(search: Search, where: str, token: str, wrong: str) -> None:
    """Over HTTP, with the token, without and with another one."""
    for path in PATHS:
        for bearer in (None, token, wrong):
            headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
            if bearer and path not in ("/api/status", "/nothing"):
                continue
            answer = requests.get(f"http://{where}{path}", headers=headers, timeout=60)
            search.look(f"GET {path}", answer.content + str(answer.headers).encode())
    for bearer in (token, wrong):
        for body in (b'{"all": true, "dry_run": true}', b"{", b'{"nothing": 1}'):
            headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
            answer = requests.post(f"http://{where}/api/legacy", data=body, headers=headers, timeout=60)
            search.look("POST /api/legacy", answer.content)


def _refuse(search: Search, daemon: Daemon, admins: list[Any], name: str, word: str, wrong: str) -> None:
    """The brokers do not know the password any more, and cut what is open."""
    for admin, _ in admins:
        admin.call("PUT", f"users/{name}", {"password": "another", "tags": "monitoring"})

    def refused(status: dict[str, Any]) -> bool:
        # A connection is listed some seconds after it was opened.
        for admin, _ in admins:
            for one in admin.call("GET", "connections"):
                if one.get("user") == name:
                    with contextlib.suppress(AssertionError):
                        admin.call("DELETE", f"connections/{quote(one['name'], safe='')}")
        return all("refused" in (status[side]["reason"] or "") for side in ("source", "target"))

    daemon.wait_until(refused, 40)
    for command in ("status", "status --json", "check --json", "cutover mail"):
        search.look(f"bridge {command}, refused", said(daemon.file, *command.split()))
    for admin, _ in admins:
        admin.call("PUT", f"users/{name}", {"password": word, "tags": "monitoring"})
    daemon.wait_until(lambda status: status["state"] == "active" and status["source"]["connected"], 60)
    # A file whose addresses are wrong is refused, and the daemon goes on.
    text = daemon.file.read_text()
    daemon.file.write_text(text.replace("amqp://", "amqp:/", 1).replace("http://", "htp://", 1))
    search.look("bridge config check", said(daemon.file, "config", "check"))
    search.look("bridge config check --json", said(daemon.file, "config", "check", "--json"))
    daemon.file.write_text(text)


def _begin(search: Search, config: dict[str, Any], folder: Path, wrong: str, nowhere: str) -> None:
    """Starts that end at once."""
    for number, address in enumerate((wrong, nowhere.replace("@h:1", "@127.0.0.1:1"), nowhere.replace("@", "@@"))):
        own = folder / f"start-{number}"
        own.mkdir()
        changed = {**config, "source": {**config["source"], "amqp": address}}
        daemon = Daemon.start(changed, own, ready=False)
        assert daemon.ended(40) != 0
        assert daemon.stderr
        search.look(f"a start with {number}", daemon.stderr)
