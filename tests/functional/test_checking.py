"""`bridge check` as an operator has it: findings on real brokers, exit codes, bad inputs, and a thousand queues."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.functional.ladders import declare_ladder
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, Peer, as_user, connect

pytestmark = pytest.mark.functional

SECRET = "Zk3-secret"
#: Queues of a large installation, seconds in which they are checked, and the most memory that may take, in bytes.
MANY, SECONDS, MEMORY = 1000, 60.0, 150 * 1024**2

#: Runs the command and writes down its own highest memory (KiB). What the kernel tells a parent of its child begins
#: with the memory of the parent itself, from which it was forked.
MEASURED = """
import atexit, pathlib, re, runpy, sys
peak = pathlib.Path(sys.argv.pop(1))
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
runpy.run_module("bridge", run_name="__main__", alter_sys=True)
"""

one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)


class Ended(NamedTuple):
    """A finished `bridge check`."""

    code: int
    out: str
    told: str
    #: Seconds from start to end, and bytes of memory at most.
    seconds: float
    memory: int


def check(vhosts: Vhosts, folder: Path, *arguments: str, **changed: Any) -> Ended:
    """Run the command on a configuration of these vhosts, with some sections replaced."""
    config = {
        "source": {"amqp": vhosts.old.amqp, "api": vhosts.old.api},
        "target": {"amqp": vhosts.new.amqp, "api": vhosts.new.api},
        **changed,
    }
    file = folder / f"bridge-{secrets.token_hex(4)}.yaml"
    file.write_text(yaml.safe_dump(config))
    peak = folder / "peak"
    command = [sys.executable, "-c", MEASURED, str(peak), "-c", str(file), "check", *arguments]
    started = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    return Ended(ended.returncode, ended.stdout, ended.stderr, seconds, int(peak.read_text()) * 1024)


def test_what_is_missing_is_found_and_what_is_there_is_not(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("mail")
    ended = check(vhosts, tmp_path, "--json")
    said = json.loads(ended.out)
    assert (ended.code, ended.told) == (1, "")
    assert said["blockers"] > 0
    assert sorted(said) == ["blockers", "findings", "notes", "warnings"]
    assert all(sorted(one) == ["id", "seen", "severity", "subject", "todo"] for one in said["findings"])
    missing = [one["subject"] for one in said["findings"] if one["id"] == "target-missing"]
    assert missing == ['target queue "mail"']

    declare_ladder(vhosts.new, "quorum")
    with Peer(vhosts.new.amqp) as new:
        new.quorum("mail")
    ended = check(vhosts, tmp_path, "--json")
    said = json.loads(ended.out)
    assert (ended.code, said["blockers"]) == (0, 0), said
    assert "target-missing" not in {one["id"] for one in said["findings"]}


@one_world
def test_people_get_tables(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("mail")
    ended = check(vhosts, tmp_path)
    lines = ended.out.splitlines()
    assert "blocker" in lines[0]
    assert any('target queue "mail"' in line and "target-missing" in line for line in lines)
    assert lines[-1].split()[1::2] == ["blockers,", "warnings,", "notes"] or "blocker," in lines[-1]
    assert (ended.code, ended.told) == (1, "")


@one_world
def test_a_right_that_is_missing_is_found_by_trying(vhosts: Vhosts, tmp_path: Path):
    """The API is asked by an administrator, the bridge has a user of its own, who may not read the old queue."""
    with Peer(vhosts.old.amqp) as old:
        old.classic("mail")
    admin, user = Admin(vhosts.old.api), f"user-{secrets.token_hex(4)}"
    admin.make_user(user, SECRET, vhosts.old.vhost, read="^sms$")
    try:
        source = {"amqp": as_user(vhosts.old.amqp, user, SECRET), "api": vhosts.old.api}
        found = json.loads(check(vhosts, tmp_path, "--json", source=source).out)["findings"]
    finally:
        admin.drop_user(user)
    (one,) = [one for one in found if one["id"] == "permission"]
    assert (one["severity"], one["subject"]) == ("blocker", f'source user "{user}"')
    assert "no read on" in one["seen"]
    assert '"mail"' in one["seen"]


@one_world
def test_a_thousand_queues_are_checked_in_seconds(vhosts: Vhosts, tmp_path: Path):
    with connect(vhosts.old.amqp) as connection:
        channel = connection.channel()
        for number in range(MANY):
            # Pipelined: a thousand answers are not waited for one by one.
            channel._impl.queue_declare(f"tasks.{number}", durable=True, callback=lambda _frame: None)
        channel.queue_declare("last", durable=True)
    ended = check(vhosts, tmp_path, "--json")
    said = json.loads(ended.out)
    missing = {one["subject"] for one in said["findings"] if one["id"] == "target-missing"}
    assert (ended.code, len(missing)) == (1, MANY + 1)
    print(f"{MANY} queues: {ended.seconds:.1f} s, {ended.memory / 1024**2:.0f} MiB")
    assert ended.seconds < SECONDS
    assert ended.memory < MEMORY


# -- bad inputs
# -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_servers() -> Iterator[dict[str, str]]:
    """URLs of what is not RabbitMQ's API: a web page in the clear, and one behind a certificate that nobody signed."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>It works!</html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    certificates = Path(__file__).parents[1] / "support" / "tls"
    page, tls = HTTPServer(("127.0.0.1", 0), Page), HTTPServer(("127.0.0.1", 0), Page)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    tls.handle_error = lambda *_: None  # type: ignore[method-assign]
    threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in (page, tls)]
    for thread in threads:
        thread.start()
    yield {"page": f"http://127.0.0.1:{page.server_port}", "tls": f"https://127.0.0.1:{tls.server_port}"}
    for one, thread in zip((page, tls), threads, strict=True):
        one.shutdown()
        thread.join()
        one.server_close()


@one_world
def test_what_cannot_be_looked_at_is_one_clear_line(vhosts: Vhosts, other_servers: dict[str, str], tmp_path: Path):
    admin = Admin(vhosts.new.api)
    plain, tagged = (f"user-{secrets.token_hex(4)}" for _ in range(2))
    admin.make_user(plain, SECRET, vhosts.new.vhost)
    admin.make_user(tagged, SECRET, vhosts.new.vhost, tags="management")
    good = {"amqp": vhosts.new.amqp, "api": vhosts.new.api}
    login = f"://bridge:{SECRET}@"
    nowhere = vhosts.new.amqp.rpartition("/")[0] + "/nowhere"
    #: Changed target, exit code, and what the one error says.
    table: dict[str, tuple[dict[str, Any], int, str]] = {
        "no API": ({"amqp": good["amqp"]}, 2, "target.api: missing; allowed: the URL of the management API"),
        "API absent": ({**good, "api": "http://127.0.0.1:1"}, 3, "does not answer: connection refused"),
        "HTML": (
            {**good, "api": other_servers["page"].replace("://", login)},
            3,
            "answered 200 with text/html, not with the JSON of RabbitMQ's HTTP API",
        ),
        "TLS of a stranger": (
            {**good, "api": other_servers["tls"].replace("://", login)},
            3,
            "target: TLS with https://",
        ),
        "no TLS": ({**good, "api": other_servers["page"].replace("http://", f"https{login}")}, 3, "target: TLS with"),
        "wrong password": (
            {**good, "api": as_user(vhosts.new.api, "bridge", SECRET)},
            3,
            'refused user "bridge" (401)',
        ),
        "no tag": (
            {**good, "api": as_user(vhosts.new.api, plain, SECRET)},
            3,
            f'refused user "{plain}" (401): Not management user',
        ),
        "unknown vhost": ({**good, "amqp": nowhere}, 3, 'knows no vhost "nowhere"'),
        "AMQP refuses": (
            {"amqp": as_user(vhosts.new.amqp, "bridge", SECRET), "api": vhosts.new.api},
            3,
            'refused user "bridge": wrong user or password',
        ),
    }
    try:
        for case, (target, code, said) in table.items():
            ended = check(vhosts, tmp_path, target=target)
            errors = [line for line in ended.told.splitlines() if not line.startswith("hint: ")]
            assert (ended.code, len(errors), ended.out) == (code, 1, ""), (case, ended)
            assert errors[0].startswith("error: "), (case, ended)
            assert said in errors[0], (case, ended)
            assert SECRET not in ended.told, case
        # Who may see less still gets an answer, and it says what was not seen.
        target = {"amqp": vhosts.new.amqp, "api": as_user(vhosts.new.api, tagged, SECRET)}
        ended = check(vhosts, tmp_path, "--json", target=target)
        unseen = [one["seen"] for one in json.loads(ended.out)["findings"] if one["id"] == "not-looked-at"]
        assert any("other users' connections and consumers" in text for text in unseen)
    finally:
        for user in (plain, tagged):
            admin.drop_user(user)
