"""Real Celery at both ends: tasks of an old application run and retry on the new side, semantics.md section 9, 13, 23,
44 and 46.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.lab.celery_app import application
from bridge.lab.deadline import until
from tests.functional.passage import LOST, QUORUM
from tests.support.daemon import running, takeover
from tests.support.raw_amqp import RawAmqp
from tests.support.retrying import TASK, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.brokers import Vhosts

pytestmark = pytest.mark.functional

REPOSITORY = Path(__file__).parents[2]
#: Celery's default queue, where a retry goes that does not know better, and the queue of our tasks.
DEFAULT, OURS = "first", "second"
#: Seconds that the bridge's clock is ahead.
AHEAD = 3.0
SKEWED = f"import time\n_right = time.time\ntime.time = lambda: _right() + {AHEAD}\n"
#: Seconds in which a worker must be there, and in which all tasks must have run.
WORKER_WITHIN, RUN_WITHIN = 40.0, 40.0


@dataclass(frozen=True)
class Told:
    """What a worker wrote down: deliveries and runs in their order, by task id."""

    delivered: dict[str, list[dict[str, Any]]]
    ran: dict[str, list[dict[str, Any]]]


def read(file: Path) -> Told:
    told = Told({}, {})
    # The last line may be half written.
    for line in file.read_text().rpartition("\n")[0].splitlines() if file.exists() else ():
        entry = json.loads(line)
        getattr(told, entry["what"]).setdefault(entry["id"], []).append(entry)
    return told


@contextmanager
def worker(broker: str, folder: Path) -> Iterator[Path]:
    """A worker of queue OURS alone; what it is delivered and runs is in the file."""
    file, log = folder / "told.jsonl", folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.support.retrying", "worker", "-P", "solo", "-Q", OURS]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, **environment(broker, (DEFAULT, OURS), file)},
        )
    try:
        yield file
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_tasks_run_when_due_and_retry_where_they_were(vhosts: Vhosts, tmp_path: Path) -> None:
    with RawAmqp(vhosts.new.amqp) as new:
        new.declare_exchange("celery", "topic")
        for queue in (DEFAULT, OURS):
            new.declare(queue, **QUORUM)
            new.bind(queue, "celery", queue)
    (tmp_path / "sitecustomize.py").write_text(SKEWED)
    config = takeover(vhosts, tmp_path, route="quorum", gate={"consumers": 1}, queues={"include": [OURS]})
    ids: dict[str, str] = {}
    etas: dict[str, float] = {}

    def send(name: str, app: Any, again: float | None = None, countdown: float | None = None, **options: Any) -> None:
        result = app.send_task(TASK, [name], {"again": again}, queue=OURS, countdown=countdown, **options)
        ids[name] = result.id
        etas[name] = time.time() + (countdown or 0) - 0.5  # sending takes its time as well

    with worker(vhosts.new.amqp, tmp_path) as file:
        old = application("old", vhosts.old.amqp, (DEFAULT, OURS))
        old_v1 = application("old", vhosts.old.amqp, (DEFAULT, OURS), protocol=1)
        send("due, retries now", old, again=0)
        send("due, retries later", old, again=2)
        send("compressed", old, compression="gzip", expires=600)
        send("protocol 1", old_v1)
        with running(config, tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as daemon:
            daemon.wait_until(lambda status: status["totals"].get("moved") == 4, WORKER_WITHIN)
            send("eta", old, countdown=7)
            send("eta, retries now", old, again=0, countdown=5)
            send("eta of protocol 1", old_v1, countdown=6)
            # It never met the bridge: what a retry looks like without one.
            send("native", application("new", vhosts.new.amqp, (DEFAULT, OURS)), again=0)
            # What came through the ladder and retries with a countdown goes to Celery's default queue, as every task
            # that was delayed by Celery itself does (semantics.md, 3.5).
            send("eta, retries later", old, again=1, countdown=5)
            wanted = {"due, retries now": 2, "due, retries later": 2, "eta, retries now": 2, "native": 2}

            def done() -> bool:
                ran = read(file).ran
                return all(len(ran.get(ids[name], ())) == wanted.get(name, 1) for name in ids)

            everything = until(done, RUN_WITHIN)
            converted = daemon.status()["totals"]["converted"]
    told = read(file)
    runs = {name: [run["retries"] for run in told.ran.get(ids[name], ())] for name in ids}
    assert everything, runs
    assert runs == {name: list(range(wanted.get(name, 1))) for name in ids}
    assert converted == 4
    for name, task_id in ids.items():
        deliveries, first = told.delivered[task_id], told.ran[task_id][0]
        assert first["given"] == [name]
        assert first["at"] >= etas[name], f"{name}: ran early"
        assert {delivery["queue"] for delivery in deliveries} == {OURS}
        if name.startswith("eta"):
            # By a clock that is ahead a task is at its worker too early, and held there.
            assert etas[name] - AHEAD - 1 <= deliveries[0]["at"] <= etas[name] - 1
            assert first["at"] <= etas[name] + 2
    retried = told.delivered[ids["native"]][1]["headers"]
    for name in ("due, retries now", "due, retries later", "eta, retries now"):
        again = [header for header in told.delivered[ids[name]][1]["headers"] if "death" not in header]
        assert sorted(again) == sorted(retried), f"{name}: a header in its retry that no task has by itself"
    with RawAmqp(vhosts.new.amqp) as new, RawAmqp(vhosts.old.amqp) as before:
        new.consume(DEFAULT)
        strayed = [new.receive(time.monotonic() + seconds) for seconds in (LOST, 0.5)]
        assert [one is not None and ids["eta, retries later"].encode() in one.properties for one in strayed] == [
            True,
            False,
        ]
        assert before.depth(OURS) == 0
