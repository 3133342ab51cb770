"""What an operator can get wrong: one clear line, the right exit code, no traceback, no password, and the old workers
are not disturbed.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Admin, Peer, Worker, as_user

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

INFO = {"level": "info", "format": "text"}
SECRET = "Zk3-secret"


@pytest.fixture
def old(vhosts: Vhosts) -> Iterator[Peer]:
    """The old side, whose worker gets every task before and after."""
    with Peer(vhosts.old.amqp) as peer:
        peer.classic("q1")
        with Worker(vhosts.old.amqp, "q1") as worker:
            peer.publish("q1", range(5))
            worker.wait_for(5)
            yield peer
            peer.publish("q1", range(5, 10))
            assert worker.wait_for(10) == list(range(10)), "the old worker was disturbed"


@pytest.fixture
def new(vhosts: Vhosts) -> Iterator[Peer]:
    with Peer(vhosts.new.amqp) as peer:
        yield peer


@pytest.fixture
def make_user(vhosts: Vhosts) -> Iterator[Callable[..., tuple[str, str]]]:
    """Make a user on one side; returns their AMQP and HTTP URLs."""
    made: list[tuple[Admin, str]] = []

    def make(side: str, **rights: str) -> tuple[str, str]:
        place = getattr(vhosts, side)
        api, name = Admin(place.api), f"user-{secrets.token_hex(4)}"
        api.make_user(name, SECRET, place.vhost, **rights)
        made.append((api, name))
        return as_user(place.amqp, name, SECRET), as_user(place.api, name, SECRET)

    yield make
    for api, name in made:
        api.drop_user(name)


def fails(config: dict[str, Any] | str, folder: Path) -> tuple[int, str]:
    """Start a daemon that is to end at once: its exit code, and what it said of it."""
    daemon = Daemon.start(config, folder, ready=False)
    code = daemon.ended(30)
    told = daemon.stderr
    assert "Traceback" not in told
    assert SECRET not in told
    return code, told


def errors(told: str) -> list[str]:
    return [line.removeprefix("error: ") for line in told.splitlines() if line.startswith("error: ")]


# -- what cannot start -------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def web_page() -> Iterator[str]:
    """URL of a web server that is not RabbitMQ's."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>It works!</html>")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_cannot_start_says_why_and_leaves_the_old_side_alone(
    old: Peer, vhosts: Vhosts, web_page: str, make_user: Any, tmp_path: Path
):
    """All at once: each ends within a second or two, and nobody waits for another."""
    port, api_port = closed_port(), urlsplit(vhosts.new.api).port
    untagged, untagged_api = make_user("old")
    good_source, good_target = ({"amqp": side.amqp, "api": side.api} for side in (vhosts.old, vhosts.new))
    login = f"amqp://bridge:{SECRET}@"
    #: Changed section, exit code, and what the one error says.
    table: dict[str, tuple[dict[str, Any] | str, int, str]] = {
        "wrong password of the source": (
            {"source": {**good_source, "amqp": as_user(vhosts.old.amqp, "bridge", SECRET)}},
            3,
            r'source: 127\.0\.0\.1:\d+ refused user "bridge": wrong user or password, or no access to vhost ".*"',
        ),
        "wrong password of the target": (
            {"target": {**good_target, "amqp": as_user(vhosts.new.amqp, "bridge", SECRET)}},
            3,
            r'target: 127\.0\.0\.1:\d+ refused user "bridge": wrong user or password, or no access to vhost ".*"',
        ),
        "unknown vhost": (
            {"target": {**good_target, "amqp": vhosts.new.amqp.rpartition("/")[0] + "/nowhere"}},
            3,
            r'target: vhost "nowhere" does not exist on 127\.0\.0\.1:\d+, or user "bridge" may not enter it',
        ),
        "nobody listens": (
            {"target": {**good_target, "amqp": f"{login}127.0.0.1:{port}/qhost"}},
            3,
            rf"target: cannot connect to 127\.0\.0\.1:{port}: connection refused",
        ),
        "host without an address": (
            {"source": {**good_source, "amqp": f"{login}nowhere.invalid/chost"}},
            3,
            r"source: cannot connect to nowhere\.invalid:5672: .*(not known|resolution).*",
        ),
        "the port of the API": (
            {"target": {**good_target, "amqp": f"{login}127.0.0.1:{api_port}/qhost"}},
            3,
            rf"target: 127\.0\.0\.1:{api_port} does not speak AMQP 0-9-1: .*",
        ),
        "an API that is another web server": (
            {"source": {**good_source, "api": web_page}},
            3,
            r"source: http://127.* answered 200 with text/html, not with the JSON of RabbitMQ's HTTP API",
        ),
        "an API that refuses the user": (
            {"source": {"amqp": untagged, "api": untagged_api}},
            3,
            r'source: the HTTP API at http://user-.* refused user "user-.*" \(401\): Not management user',
        ),
        "an API where nobody listens": (
            {"source": {**good_source, "api": f"http://127.0.0.1:{port}"}},
            3,
            rf"source: the HTTP API at http://127\.0\.0\.1:{port} does not answer: connection refused",
        ),
        "not YAML": ("source: [", 2, ".*bridge.yaml: .*"),
        "an empty file": ("", 2, ".*bridge.yaml: .*"),
        "a folder that cannot be made": (
            {"admin": {"socket": "/dev/null/admin.sock"}},
            1,
            r"admin\.socket: cannot listen on /dev/null/admin\.sock: (file exists|not a directory)",
        ),
    }

    def start(name: str) -> tuple[int, str]:
        changed, _, _ = table[name]
        # A short name: the path of a socket has at most 107 bytes.
        folder = tmp_path / str(list(table).index(name))
        folder.mkdir()
        if isinstance(changed, str):
            return fails(changed, folder)
        # Each is an instance of its own: they start at once, and none is another's standby.
        return fails(takeover(vhosts, folder, log=INFO, instance=f"n{folder.name}", **changed), folder)

    with ThreadPoolExecutor(4) as pool:
        ended = dict(zip(table, pool.map(start, table), strict=True))
    for name, (code, told) in ended.items():
        _, expected, pattern = table[name]
        assert code == expected, f"{name}: {told}"
        (error,) = errors(told)
        assert re.fullmatch(pattern, error), f"{name}: {error}"
        assert "hint: " in told or expected == 2, name


def test_a_configuration_with_faults_names_them_all(vhosts: Vhosts, tmp_path: Path):
    config = takeover(vhosts, tmp_path, log=INFO, route="quorun", gate={"consumers": "many"}, relays={"window": 1})
    config["source"]["amqp"] = f"amqp://bridge:{SECRET}@old:5672"
    config["target"]["amqp"] = "amqp://bridge:${NOT_SET_ANYWHERE}@new/qhost"
    code, told = fails(config, tmp_path)
    assert code == 2
    assert len(errors(told)) == 5
    for fault in ("source.amqp", "NOT_SET_ANYWHERE", "route: found 'quorun'", "gate.consumers: found 'many'", "relays"):
        assert any(fault in error for error in errors(told)), fault


def test_an_admin_socket_that_another_daemon_has(old: Peer, vhosts: Vhosts, tmp_path: Path):
    config = takeover(vhosts, tmp_path, log=INFO)
    (tmp_path / "second").mkdir()
    with running(config, tmp_path) as first:
        code, told = fails(config, tmp_path / "second")
        (error,) = errors(told)
        assert code == 1
        assert error == f"admin.socket: another daemon listens on {first.socket}"
        assert first.status()["state"] == "active"
        assert Path(first.socket).exists()


# -- targets that cannot take anything ---------------------------------------------------------------------------------


def test_a_target_queue_that_is_missing_or_classic_stops_only_its_own(vhosts: Vhosts, new: Peer, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("classic", "good", "missing")
        new.quorum("good")
        new.classic("classic")
        for queue in ("classic", "good", "missing"):
            old.publish(queue, range(10))
        with running(takeover(vhosts, tmp_path, route="quorum", log=INFO), tmp_path) as daemon:
            status = daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
            assert 'target queue "classic" is a classic queue, not a quorum queue' in queue_of(status, "classic")["why"]
            assert 'target queue "missing" does not exist' in queue_of(status, "missing")["why"]
            for queue in ("classic", "missing"):
                assert old.look(queue) == (10, 0)
                assert queue_of(status, queue)["route"] == "legacy"
                assert f'queue "{queue}": target queue "{queue}"' in daemon.stderr

            new.quorum("missing")
            daemon.wait_until(lambda status: queue_of(status, "missing")["moved"] == 10)


def test_a_target_queue_that_goes_while_its_messages_move(vhosts: Vhosts, new: Peer, tmp_path: Path):
    """The broker returns what it cannot route: nothing is acked, and it goes on when the queue is back."""
    with Peer(vhosts.old.amqp) as old:
        old.classic("q1")
        new.quorum("q1")
        with running(takeover(vhosts, tmp_path, route="quorum", log=INFO), tmp_path) as daemon:
            old.publish("q1", range(10))
            daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
            new.channel.queue_delete("q1")
            old.publish("q1", range(10, 30))
            status = daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "faulted")
            assert queue_of(status, "q1")["moved"] == 10
            daemon.wait_until(lambda status: 'target queue "q1" does not exist' in queue_of(status, "q1")["why"])
            assert until(lambda: old.look("q1") == (20, 0), 10)

            new.quorum("q1")
            daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] == 30, 40)
            assert new.take_all("q1") == [(number, False) for number in range(10, 30)]


def test_a_full_target_queue_keeps_its_messages_at_the_source(vhosts: Vhosts, new: Peer, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("q1")
        new.quorum("q1", **{"x-max-length": 20, "x-overflow": "reject-publish"})
        old.publish("q1", range(500))
        with running(takeover(vhosts, tmp_path, route="quorum", log=INFO), tmp_path) as daemon:
            daemon.wait_until(lambda status: queue_of(status, "q1")["nacked"] > 0)
            daemon.wait_until(lambda status: "target rejected " in queue_of(status, "q1")["why"])
            with Worker(vhosts.new.amqp, "q1") as worker:
                worker.wait_until(lambda got: set(got) == set(range(500)), 60)
                assert len(worker.got) - 500 <= daemon.status()["totals"]["possible_duplicates"]


# -- permissions -------------------------------------------------------------------------------------------------------


def test_a_user_that_may_not_declare_the_ladder(vhosts: Vhosts, new: Peer, make_user: Any, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("q1")
        old.publish("q1", range(10))
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum", log=INFO)
        config["target"]["amqp"], config["target"]["api"] = make_user(
            "new", configure=r"^bridge\.control\.main$", tags="management"
        )
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: "ladder" in queue_of(status, "q1")["why"])
            assert "celery_delayed_" in status["ladder"]["fault"]
            assert "may not declare the ladder" in status["ladder"]["fault"]
            assert status["ladder"]["fault"] in daemon.stderr
            assert old.look("q1") == (10, 0)
            assert new.ready("q1") == 0
        assert SECRET not in daemon.stderr


def test_a_user_that_may_not_bind(vhosts: Vhosts, new: Peer, make_user: Any, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("q1")
        old.publish("q1", range(10))
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, route="quorum", log=INFO)
        config["target"]["amqp"], config["target"]["api"] = make_user(
            "new", write=r"^(amq\.default|celery_delayed_.*)$", tags="management"
        )
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: "cannot be bound" in queue_of(status, "q1")["why"])
            assert "ACCESS_REFUSED" in queue_of(status, "q1")["why"]
            assert "cannot be bound" in daemon.stderr
            assert old.look("q1") == (10, 0)
        assert SECRET not in daemon.stderr


def test_a_user_that_may_not_publish(vhosts: Vhosts, new: Peer, make_user: Any, tmp_path: Path):
    """The state is published to the default exchange, as the tasks are: nothing starts without that right."""
    with Peer(vhosts.old.amqp) as old:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(10))
        config = takeover(vhosts, tmp_path, route="quorum", log=INFO)
        config["target"]["amqp"], _ = make_user("new", write="^(q1|celery_delayed_.*)$")
        code, told = fails(config, tmp_path)
        (error,) = errors(told)
        assert code == 1
        assert error.startswith('target: control queue "bridge.control.main" cannot be used: ACCESS_REFUSED'), error
        assert "amq.default" in error
        assert "hint: the user needs" in told
        assert old.ready("q1") == 10


def test_a_user_that_may_not_consume(vhosts: Vhosts, new: Peer, make_user: Any, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old:
        old.classic("closed", "q1")
        new.quorum("closed", "q1")
        old.publish("q1", range(10))
        config = takeover(vhosts, tmp_path, route="quorum", log=INFO)
        config["source"]["amqp"], config["source"]["api"] = make_user("old", read="^q1$", tags="management")
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(
                lambda status: status["queues"] != [] and "ACCESS_REFUSED" in queue_of(status, "closed")["why"], 20
            )
            assert "closed" in queue_of(status, "closed")["why"]
            daemon.wait_until(lambda status: queue_of(status, "q1")["moved"] == 10)
            # A fault that stays is logged once, however often it is tried.
            assert daemon.stderr.count("ACCESS_REFUSED") == 1
        assert SECRET not in daemon.stderr


def test_least_permissions_are_enough(vhosts: Vhosts, new: Peer, make_user: Any, tmp_path: Path):
    """With a ladder that is there: nothing to configure, write to the default exchange, the ladder and the queue."""
    with Peer(vhosts.old.amqp) as old:
        old.classic("q1")
        old.publish("q1", range(10))
        new.quorum("q1")
        config = takeover(vhosts, tmp_path, log=INFO)
        with running(config, tmp_path):
            """It declares the ladder."""
        config["route"] = "quorum"
        config["source"]["amqp"], config["source"]["api"] = make_user(
            "old", configure="^$", write="^$", read="^q1$", tags="management"
        )
        config["target"]["amqp"], config["target"]["api"] = make_user(
            "new",
            configure="^$",
            write=r"^(amq\.default|celery_delayed_.*|q1)$",
            read=r"^(celery_delayed_delivery|bridge\.control\.main)$",
            tags="management",
        )
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 10)
