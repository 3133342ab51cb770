"""The Celery application of a soak's workers: `celery -A tests.soak.app worker`, its `Part` in the environment.

As `bridge.lab.celery_app`, with a task that may retry and writes down which try it is.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, signals

from bridge.lab.celery_app import Part, application
from bridge.lab.records import Journal, as_text, digest
from bridge.lab.wiretap import Delivery, listen
from tests.soak.records import Got, Ran, retries_in

#: Where a worker process finds its `Part`: not the lab's own variable, which would make its application play as well.
VARIABLE = "BRIDGE_SOAK_PART"

#: The one task. `again`: seconds after its first run in which it is tried once more; None is never.
TASK = "soak.work"


def environment(part: Part) -> dict[str, str]:
    """Return the environment variables that give a worker process its part."""
    (value,) = (text for text in part.environment().values() if text.startswith("{"))
    return {VARIABLE: value, "C_FORCE_ROOT": "1"}  # Celery refuses pickle as root otherwise


def _play(part: Part) -> Celery:
    app = application(part.side, part.broker, part.queues, prefetch=part.prefetch)
    # Retries are published by the worker: without an answer they would be lost with the connection.
    app.conf.broker_transport_options = {"confirm_publish": True}
    got, ran = Journal(Path(part.folder), Got), Journal(Path(part.folder), Ran)
    mine = frozenset(part.queues)

    @app.task(name=TASK, bind=True, max_retries=1)  # type: ignore[untyped-decorator]
    def work(task: Any, again: float | None = None, **_: Any) -> None:
        ran.append(Ran(task.request.id, time.time(), part.side, part.name, task.request.retries))
        if again is not None and not task.request.retries:
            raise task.retry(countdown=again)

    def write_down(delivery: Delivery) -> None:
        if delivery.queue not in mine:
            return  # remote control
        got.append(
            Got(
                id=delivery.task_id,
                at=time.time(),
                side=part.side,
                worker=part.name,
                queue=delivery.queue,
                redelivered=delivery.redelivered,
                retries=retries_in(delivery.properties),
                body=digest(delivery.body),
                properties=as_text(delivery.properties),
            )
        )

    def on_ready(**_: Any) -> None:
        part.ready.touch()

    listen(write_down)
    signals.worker_ready.connect(on_ready, weak=False)
    return app


if VARIABLE in os.environ:
    _part = json.loads(os.environ[VARIABLE])
    app = _play(Part(**{**_part, "queues": tuple(_part["queues"])}))
