"""A Celery application of the new side whose one task retries: run by `celery -A tests.support.retrying worker`.

A worker process gets its part from the environment and writes down, a line of JSON each, what it was delivered and what
it ran.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.lab.celery_app import application
from bridge.lab.fingerprint import parse
from bridge.lab.wiretap import Delivery, listen

if TYPE_CHECKING:
    from celery import Celery

#: The one task: `again` seconds after its first run it is tried once more; None is never.
TASK = "tests.again"
#: Names the worker's part: its broker, its queues (the first is Celery's default), the file it writes to.
VARIABLE = "BRIDGE_TESTS_RETRYING"


def environment(broker: str, queues: tuple[str, ...], file: Path) -> dict[str, str]:
    """Return the environment variables that give a worker process its part."""
    part = {"broker": broker, "queues": queues, "file": str(file)}
    return {VARIABLE: json.dumps(part), "C_FORCE_ROOT": "1"}  # Celery refuses pickle as root otherwise


def _play(broker: str, queues: list[str], file: str) -> Celery:
    made: Celery = application("new", broker, tuple(queues))

    def write(what: str, **entry: Any) -> None:
        with Path(file).open("a") as out:
            out.write(json.dumps({"what": what, "at": time.time(), **entry}) + "\n")

    def delivered(delivery: Delivery) -> None:
        if delivery.queue in queues:
            write(
                "delivered",
                id=delivery.task_id,
                queue=delivery.queue,
                exchange=delivery.exchange,
                headers=[name for name in parse(delivery.properties) if name.startswith("headers.")],
            )

    @made.task(name=TASK, bind=True, max_retries=1)  # type: ignore[untyped-decorator]
    def again(task: Any, *given: Any, again: float | None = None) -> None:
        request = task.request
        write("ran", id=request.id, retries=request.retries, given=list(given))
        if again is not None and not request.retries:
            raise task.retry(countdown=again)

    listen(delivered)
    return made


if VARIABLE in os.environ:
    app = _play(**json.loads(os.environ[VARIABLE]))
