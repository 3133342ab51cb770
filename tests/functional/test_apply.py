"""`bridge plan` and `bridge apply` on real brokers: from an empty vhost, from half of one, without rights, and with the
Celery that it prints settings for.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from celery import Celery
from kombu.connection import Connection as KombuConnection

from bridge import cli
from bridge.applying import carry_out, survey, target_api
from bridge.config import Config, parse
from bridge.core.celery_settings import RELEASES
from bridge.errors import Exit, Unreachable
from bridge.lab.brokers import Side
from bridge.lab.deadline import until
from bridge.management import Changes, path
from tests.functional.ladders import declare_ladder
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, Peer, as_user

pytestmark = pytest.mark.functional

#: Seconds in which a broker's API must tell what was made, a worker be there, and its tasks have run.
TOLD_WITHIN, WORKER_WITHIN, RUN_WITHIN = 20.0, 60.0, 40.0


@pytest.fixture(autouse=True)
def old_side(vhosts: Vhosts) -> None:
    """Queues as Celery declares them, one with an argument, one with priorities, mirrored and limited by a policy."""
    with Peer(vhosts.old.amqp) as old:
        old.classic("celery", "a.q1")
        old.classic("mail", **{"x-message-ttl": 3_600_000, "x-max-priority": 10})
        old.channel.exchange_declare("celery", "direct", durable=True)
        for name in ("celery", "a.q1", "mail"):
            old.channel.queue_bind(name, "celery", name)
    definition = {"ha-mode": "all", "max-length": 100_000}
    Admin(vhosts.old.api).call(
        "PUT",
        path("policies", vhosts.old.vhost, "ha"),
        {"pattern": ".*", "definition": definition, "apply-to": "queues"},
    )


def config_of(vhosts: Vhosts, api: str | None = None) -> dict[str, Any]:
    return {
        "source": {"amqp": vhosts.old.amqp, "api": vhosts.old.api},
        "target": {"amqp": vhosts.new.amqp, "api": api or vhosts.new.api},
    }


@pytest.fixture
def config(vhosts: Vhosts) -> Config:
    """The configuration, once the source's API tells of the policy."""
    made = parse(json.dumps(config_of(vhosts)), {})
    assert until(lambda: any(pair.source.policy for pair in survey(made).pairs), TOLD_WITHIN)
    return made


@pytest.fixture
def file(config: Config, vhosts: Vhosts, tmp_path: Path) -> str:
    written = tmp_path / "bridge.yaml"
    written.write_text(yaml.safe_dump(config_of(vhosts)))
    return str(written)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(arguments)
    told = capsys.readouterr()
    return code, told.out, told.err


def nothing_to_do(file: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether a plan has no step; what was just made takes the API a moment to list."""
    seen = ""

    def none() -> bool:
        nonlocal seen
        code, seen, err = run(capsys, "-c", file, "plan")
        assert (code, err) == (0, "")
        return "nothing to do" in seen

    return until(none, TOLD_WITHIN) or pytest.fail(seen)


class Shape(NamedTuple):
    """All of a vhost that a plan makes."""

    queues: Any
    exchanges: Any
    bindings: Any
    policies: Any


def shape(side: Side) -> Shape:
    told = Admin(side.api).call("GET", path("definitions", side.vhost))
    return Shape(*(sorted(map(str, (_bare(entry) for entry in told[kind]))) for kind in Shape._fields))


def _bare(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(
        (key, value) for key, value in entry.items() if key not in ("vhost", "type") or "routing_key" in entry
    )


# -- apply


def test_on_an_empty_vhost_then_nothing(file: str, vhosts: Vhosts, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "-c", file, "apply", "--dry-run")
    assert (code, err) == (0, "")
    assert not shape(vhosts.new).queues
    planned = len(json.loads(run(capsys, "-c", file, "plan", "--json")[1])["steps"])
    code, out, err = run(capsys, "-c", file, "apply")
    assert (code, err) == (0, "")
    assert out.startswith(f"done: {planned} steps\n")
    assert nothing_to_do(file, capsys)
    assert 'vhost "' in run(capsys, "-c", file, "apply")[1]
    # The policy is in force on the sister, and on nothing else.
    api = Admin(vhosts.new.api)

    def limited() -> set[str]:
        queues = api.call("GET", path("queues", vhosts.new.vhost))
        return {queue["name"] for queue in queues if (queue.get("policy") or "").startswith("bridge.main.")}

    assert until(lambda: limited() == {"celery", "a.q1", "mail"}, TOLD_WITHIN), limited()


def test_what_the_application_declares_gets_no_406(
    config: Config, vhosts: Vhosts, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = survey(config)
    assert carry_out(seen.plan("main"), target_api(config), seen.target.permissions).exit_code == Exit.DONE
    for release in RELEASES:
        code, text, err = run(capsys, "-c", file, "plan", "--celery", "--celery-version", release)
        assert (code, err) == (0, "")
        app = application(text)
        with KombuConnection(vhosts.new.amqp) as connection:
            for declared in app.amqp.queues.values():
                declared(connection.default_channel).declare()
    declare_ladder(vhosts.new, "quorum")
    assert nothing_to_do(file, capsys)


class Stopping:
    """The target's API, which is gone after some calls."""

    def __init__(self, changes: Changes, calls: int) -> None:
        self._changes = changes
        self._left = calls

    def _count(self) -> None:
        if not self._left:
            raise Unreachable("target: gone")
        self._left -= 1

    def put(self, path: str, body: Mapping[str, object]) -> None:
        self._count()
        self._changes.put(path, body)

    def post(self, path: str, body: Mapping[str, object]) -> None:
        self._count()
        self._changes.post(path, body)

    def delete(self, path: str) -> None:
        raise AssertionError(path)


@pytest.mark.parametrize("world", ["3.10->4.0"], indirect=True)
def test_interrupted_again_and_again_it_ends_the_same(
    config: Config, vhosts: Vhosts, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = len(survey(config).plan("main").steps)
    # Whatever is left is planned anew from what the broker tells, in between sometimes a little less than there is.
    ended = [False]

    def step(calls: int) -> None:
        seen = survey(config)
        outcome = carry_out(seen.plan("main"), Stopping(target_api(config), calls), seen.target.permissions)
        assert not outcome.skipped
        assert isinstance(outcome.fault, Unreachable | None)
        ended[0] = outcome.fault is None

    for _ in range(16):
        step(1)
    rounds = 0
    while not ended[0]:
        rounds += 1
        assert rounds < whole
        step(9)
    assert nothing_to_do(file, capsys)
    interrupted = shape(vhosts.new)
    Admin(vhosts.new.api).call("DELETE", path("vhosts", vhosts.new.vhost))
    vhosts.new.cluster.make_vhost(vhosts.new.vhost)
    assert until(lambda: len(survey(config).plan("main").steps) == whole, TOLD_WITHIN)
    assert run(capsys, "-c", file, "apply")[0] == 0
    assert shape(vhosts.new) == interrupted


# -- in the way, and not allowed


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_what_is_in_the_way_is_said_and_left(file: str, vhosts: Vhosts, capsys: pytest.CaptureFixture[str]) -> None:
    with Peer(vhosts.new.amqp) as new:
        new.classic("mail")
        new.channel.exchange_declare("celery", "direct", durable=True)
    before = shape(vhosts.new)
    assert until(lambda: run(capsys, "-c", file, "plan")[0] == 1, TOLD_WITHIN)
    code, _, err = run(capsys, "-c", file, "apply")
    assert code == 1
    assert 'error: exchange "celery": is there as direct, wanted is topic' in err
    assert 'error: queue "mail": is there as a classic queue' in err
    assert shape(vhosts.new) == before


@pytest.fixture
def user(vhosts: Vhosts) -> Iterator[str]:
    """A user of the target who may look and nothing else; the API as they see it."""
    admin, name = Admin(vhosts.new.api), f"looker-{secrets.token_hex(4)}"
    admin.make_user(name, "p", vhosts.new.vhost, configure="^$", write="^$", read="^$", tags="management")
    yield as_user(vhosts.new.api, name, "p")
    admin.drop_user(name)


@pytest.mark.parametrize("everywhere", [True, False])
def test_without_rights_a_person_imports_what_is_left(
    file: str, vhosts: Vhosts, user: str, everywhere: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file).write_text(yaml.safe_dump(config_of(vhosts, user)))
    code, out, err = run(capsys, "-c", file, "apply")
    assert code == 1
    assert "not done: " in out
    assert "was refused" in err
    assert "bridge plan --definitions" in err
    document = json.loads(run(capsys, "-c", file, "plan", "--definitions")[1])
    where = "definitions" if everywhere else path("definitions", vhosts.new.vhost)
    Admin(vhosts.new.api).call("POST", where, document)
    code, out, err = run(capsys, "-c", file, "apply")
    assert (code, err) == (0, "")
    imported = shape(vhosts.new)
    # The same as an apply by someone who may.
    Path(file).write_text(yaml.safe_dump(config_of(vhosts)))
    assert until(lambda: not _steps(file, capsys) - {"vhost"}, TOLD_WITHIN)
    assert run(capsys, "-c", file, "apply")[0] == 0
    assert shape(vhosts.new) == imported
    assert nothing_to_do(file, capsys)


def _steps(file: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    steps = json.loads(run(capsys, "-c", file, "plan", "--json")[1])["steps"]
    return {step["resource"]["kind"] for step in steps}


def test_description_and_tags_of_the_vhost_stay(
    config: Config, file: str, vhosts: Vhosts, capsys: pytest.CaptureFixture[str]
) -> None:
    admin, name = Admin(vhosts.new.api), path("vhosts", vhosts.new.vhost)
    admin.call("PUT", name, {"description": "orders", "tags": "eu"})
    assert run(capsys, "-c", file, "apply")[0] == 0
    told = admin.call("GET", name)
    assert (told["description"], told["tags"]) == ("orders", ["eu"])
    old = survey(config).target.version < (4, 0)
    assert told["default_queue_type"] == ("undefined" if old else "quorum")


# -- Celery

APPLICATION = """
import json, os, sys
from celery import Celery
app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.config_from_object("settings")

def write(task, word):
    info = task.request.delivery_info
    with open(os.environ["SHOP_FILE"], "a") as file:
        file.write(json.dumps([word, info["exchange"], info["routing_key"]]) + "\\n")

@app.task(name="shop.note", bind=True, ignore_result=True)
def note(task, word):
    write(task, word)

@app.task(name="shop.later", bind=True, ignore_result=True)
def later(task, word):
    note.apply_async([word], countdown=3, queue="a.q1")
    note.apply_async([word + " by default"], countdown=2)
"""


def application(text: str) -> Celery:
    settings: dict[str, Any] = {}
    exec(compile(text, "settings", "exec"), settings)
    app = Celery("shop", set_as_current=False)
    app.conf.update({name: value for name, value in settings.items() if name.islower() and name[0] != "_"})
    return app


@contextmanager
def worker(broker: str, settings: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """A worker of all queues with these settings and no other; what it ran is in one file, what it said in another."""
    (folder / "settings.py").write_text(settings)
    (folder / "shop.py").write_text(APPLICATION)
    told, log = folder / "told.jsonl", folder / "worker.log"
    surroundings = {"SHOP_BROKER": broker, "SHOP_FILE": str(told), "PYTHONPATH": str(folder)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "solo", "--loglevel", "info"],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **surroundings},
        )
    try:
        assert until(lambda: " ready." in log.read_text() or process.poll() is not None, WORKER_WITHIN), log.read_text()
        yield told, log
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_worker_with_the_printed_settings(
    file: str, vhosts: Vhosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "-c", file, "apply")[0] == 0
    code, text, _ = run(capsys, "-c", file, "plan", "--celery")
    assert code == 0
    app = application(text)
    app.conf.broker_url = vhosts.new.amqp
    with worker(vhosts.new.amqp, text, tmp_path) as (told, log):
        app.send_task("shop.note", ["at once"], queue="mail")
        app.send_task("shop.note", ["in a while"], queue="mail", countdown=2)
        app.send_task("shop.later", ["by the worker"])

        def ran() -> dict[str, tuple[str, str]]:
            lines = told.read_text().splitlines() if told.exists() else []
            return {word: (exchange, key) for word, exchange, key in map(json.loads, lines)}

        assert until(lambda: len(ran()) == 4, RUN_WITHIN), (ran(), log.read_text())
        words = ran()
    said = log.read_text()
    for bad in ("PRECONDITION_FAILED", "NOT_FOUND", "ACCESS_REFUSED", "Traceback", "CRITICAL"):
        assert bad not in said, said
    assert words["at once"][1] == "mail"
    # 28 bits and a key: these came down the ladder.
    for word in ("in a while", "by the worker", "by the worker by default"):
        assert words[word][1].count(".") >= 28, words
    assert nothing_to_do(file, capsys)
