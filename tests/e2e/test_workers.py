"""`bridge workers` with real workers: of our Celery with every run, of older ones by `make long`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celery
import pytest
import yaml
from kombu.connection import Connection

from bridge.admin_client import fetch
from bridge.config import load
from bridge.lab.deadline import until
from bridge.workers import Workers
from tests.support.celery_releases import RELEASES, python_with
from tests.support.daemon import running, takeover

if TYPE_CHECKING:
    from tests.support.brokers import Vhosts

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
#: Seconds for a worker to be there on two busy cores, and for the broker's statistics to show it.
THERE_WITHIN = 60.0
#: Celery 4.4 needs what Python 3.12 took away.
OLDER = [release for release in RELEASES if sys.version_info < (3, 12) or not release.startswith("4.")]


class Celery:
    """One worker and what is sent to it, both of one release."""

    def __init__(self, folder: Path, name: str, broker: str, python: str, serializer: str, quorum: bool) -> None:
        self.ran_file, self._log = folder / f"{name}.ran", folder / f"{name}.log"
        self.name = f"{name}@test"
        self._python = python
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "tests" / "support"),
            "C_FORCE_ROOT": "1",
            "PLAIN_BROKER": broker,
            "PLAIN_QUEUES": "q1,q2",
            "PLAIN_SERIALIZER": serializer,
            "PLAIN_QUORUM": "yes" if quorum else "",
            "PLAIN_RAN": str(self.ran_file),
        }

    def start(self) -> subprocess.Popen[bytes]:
        command = [self._python, "-m", "celery", "-A", "plain_celery", "worker", "-c1", "-n", self.name]
        command += ["--loglevel", "INFO"]
        with self._log.open("wb") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, env=self._environment, cwd=self.ran_file.parent)

    def ready(self) -> bool:
        return " ready." in self.log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def do(self, code: str) -> None:
        """Run a line of Python with the application as `app` and its task as `work`."""
        line = f"from plain_celery import app, work; {code}"
        ended = subprocess.run(
            [self._python, "-c", line], env=self._environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr

    @property
    def ran(self) -> set[str]:
        return set(self.ran_file.read_text().split()) if self.ran_file.exists() else set()


@contextmanager
def working(*workers: Celery) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [worker.start() for worker in workers]
    try:
        everybody = until(lambda: all(worker.ready() for worker in workers), THERE_WITHIN)
        assert everybody, "\n".join(worker.log[-2000:] for worker in workers)
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def bridge(file: Path, *words: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "bridge", "-c", str(file), "workers", *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def as_json(file: Path, *words: str) -> Any:
    code, said = bridge(file, *words, "--json")
    return {**json.loads(said), "exit": code}


def configured(vhosts: Vhosts, folder: Path) -> Path:
    file = folder / "bridge.yaml"
    file.write_text(yaml.safe_dump(takeover(vhosts, folder, queues={"include": ["q1", "q2"]})))
    return file


def depth(url: str, queue: str) -> int:
    with Connection(url) as connection:
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)


def listed(file: Path, name: str) -> Any:
    """The worker of that name as the command lists it, once the broker's statistics show what it holds."""
    workers = Workers.old(load(str(file), {}))

    def shown() -> bool:
        found = [one for one in workers.survey().workers if one.name == name]
        return bool(found and found[0].host and found[0].held.get("q1", {}).get("unacked") == 3)

    assert until(shown, THERE_WITHIN), workers.survey()
    return next(one for one in as_json(file, "list")["workers"] if one["name"] == name)


def whole_way(vhosts: Vhosts, folder: Path, python: str, release: str, serializer: str) -> None:
    file = configured(vhosts, folder)
    old = Celery(folder, "old", vhosts.old.amqp, python, serializer, quorum=False)
    new = Celery(folder, "new", vhosts.new.amqp, sys.executable, "json", quorum=True)
    with working(old, new) as (process, _):
        old.do(
            "[work.apply_async(queue='q1', countdown=3600) for _ in range(3)];"
            "app.control.revoke(['gone-%d' % number for number in range(3)])"
        )
        found = listed(file, old.name)
        assert (found["answered"], found["version"], found["queues"]) == ("yes", release, ["q1", "q2"])
        assert found["held"]["q1"] == {"unacked": 3, "eta": 3, "reserved": 0}
        assert found["revoked"] == 3

        # What was revoked on the old side does not run on the new one.
        told = as_json(file, "revoked", "--carry")
        assert (told["exit"], told["complete"]) == (0, True)
        assert told["carried"]["missing"] == {new.name: 0}
        new.do("work.apply_async(queue='q1', task_id='gone-1'); work.apply_async(queue='q1', task_id='wanted')")
        assert until(lambda: "wanted" in new.ran, 20), new.log
        assert new.ran == {"wanted"}

        # It stops consuming one queue, goes on with the other, and keeps what it holds.
        code, said = bridge(file, "cancel", "q1")
        assert code == 0, said
        assert "q1: nobody consumes any more (1 consumer before, 1 said ok)" in said
        assert f"bridge workers resume q1 --worker {old.name}" in said
        old.do("work.apply_async(queue='q1', task_id='waits'); work.apply_async(queue='q2', task_id='runs')")
        assert until(lambda: "runs" in old.ran, 20), old.log
        assert (depth(vhosts.old.amqp, "q1"), "waits" in old.ran) == (1, False)

        # And takes it up again.
        assert bridge(file, "resume", "q1", "--worker", old.name)[0] == 0
        assert until(lambda: "waits" in old.ran, 20), old.log

        # Who does not answer is named, and still consumes.
        process.send_signal(signal.SIGSTOP)
        try:
            told = as_json(file, "cancel", "q2", "--wait", "1s")
        finally:
            process.send_signal(signal.SIGCONT)
        (result,) = told["queues"]
        assert (told["exit"], result["left"], result["silent"]) == (1, 1, [old.name])
        assert [one["worker"] for one in result["consumers"]] == [old.name]


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_the_whole_way_with_our_celery(vhosts: Vhosts, tmp_path: Path) -> None:
    # Its answers are pickles, as they are where an application's tasks are.
    whole_way(vhosts, tmp_path, sys.executable, celery.__version__, "pickle")


@pytest.mark.long
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml"])
@pytest.mark.parametrize("release", OLDER)
@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_the_whole_way_with_an_older_celery(vhosts: Vhosts, tmp_path: Path, release: str, serializer: str) -> None:
    whole_way(vhosts, tmp_path, python_with(release), release, serializer)


@pytest.mark.long
@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_the_daemon_knows_who_is_there(vhosts: Vhosts, tmp_path: Path) -> None:
    old = Celery(tmp_path, "old", vhosts.old.amqp, sys.executable, "json", quorum=False)
    with working(old):
        old.do("[work.apply_async(queue='q1', countdown=3600) for _ in range(3)]")
        listed(configured(vhosts, tmp_path), old.name)
        with running(takeover(vhosts, tmp_path), tmp_path) as daemon:

            def told() -> Any:
                return fetch(daemon.socket, "old-side")

            assert until(lambda: told()["age_s"] is not None, 20)
            found = told()
            assert [one["worker"] for one in found["consumers"] if one["queue"] == "q1"] == [old.name]
            (holder,) = found["holders"]
            assert (holder["unacked"], holder["eta"], holder["worker"]) == (3, 3, old.name)
            seen = as_json(daemon.file, "list")["old_side"]
            assert seen["at"] == found["at"]
