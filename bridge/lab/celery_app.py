"""The sample Celery application of a rehearsal, as an old and as a new installation would configure it.

One task, two configurations: `old` has classic queues on Celery's default direct exchange; `new` is what Celery's
documentation asks for with quorum queues and native delayed delivery (topic exchange, publisher confirms), or what
`bridge plan --celery` printed. A worker
process gets its part from the environment variable `BRIDGE_LAB_PART`, and writes down what it received and started.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.app.defaults import DEFAULTS
from kombu.entity import Exchange, Queue

from bridge.lab.records import Journal, Received, Started, as_text, digest
from bridge.lab.wiretap import Delivery, listen

#: Where a worker process finds its `Part`.
VARIABLE = "BRIDGE_LAB_PART"

#: The one task; its only argument is how many seconds it takes.
TASK = "lab.work"


@dataclass(frozen=True)
class Part:
    """What one worker process plays.

    Its name, its side (`old` or `new`), the broker, its queues, where it writes, and the file with its settings where
    they are not those of its side.
    """

    name: str
    side: str
    broker: str
    queues: tuple[str, ...]
    folder: str
    prefetch: int = 4
    settings: str = ""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give a worker process this part."""
        return {VARIABLE: json.dumps(asdict(self)), "C_FORCE_ROOT": "1"}  # Celery refuses pickle as root otherwise

    @property
    def ready(self) -> Path:
        """The file that appears when this worker consumes."""
        return Path(self.folder, f"ready-{self.name}")


def application(
    side: str, broker: str, queues: tuple[str, ...], *, protocol: int = 2, prefetch: int = 4, settings: str = ""
) -> Celery:
    """Return the Celery application of one side, its queues as the file `settings` has them if there is one."""
    app = Celery("lab", broker=broker, set_as_current=False)
    app.conf.update(_from_file(settings) if settings else _of_side(side, queues))
    app.conf.update(
        task_protocol=protocol,
        task_ignore_result=True,
        accept_content=["json", "pickle", "msgpack", "yaml"],
        worker_prefetch_multiplier=prefetch,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
    )
    return app


def _from_file(settings: str) -> dict[str, Any]:
    made = runpy.run_path(settings)
    return {name: value for name, value in made.items() if name in DEFAULTS}


def _of_side(side: str, queues: tuple[str, ...]) -> dict[str, Any]:
    quorum = side == "new"
    exchange = Exchange("celery", type="topic" if quorum else "direct")
    arguments = {"x-queue-type": "quorum"} if quorum else None
    declared = [Queue(name, exchange, routing_key=name, queue_arguments=arguments) for name in queues]
    common: dict[str, Any] = {
        "task_queues": declared,
        "task_default_queue": queues[0],
        "task_default_exchange_type": exchange.type,
    }
    if not quorum:
        return common
    return {
        **common,
        "task_default_queue_type": "quorum",
        "broker_transport_options": {"confirm_publish": True},
        # RabbitMQ 4.3 denies transient queues that are not exclusive.
        "control_queue_exclusive": True,
        "event_queue_exclusive": True,
    }


def _play(part: Part) -> Celery:
    app = application(part.side, part.broker, part.queues, prefetch=part.prefetch, settings=part.settings)
    folder = Path(part.folder)
    received, started = Journal(folder, Received), Journal(folder, Started)
    mine = frozenset(part.queues)

    @app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]
    def work(task: Any, seconds: float = 0, **_: Any) -> None:
        started.append(Started(task.request.id, time.time(), part.side, part.name))
        if seconds:
            time.sleep(seconds)  # noqa: TID251 - this is the task's work, nothing waits for it

    def write_down(delivery: Delivery) -> None:
        if delivery.queue not in mine:
            return  # remote control
        received.append(
            Received(
                id=delivery.task_id,
                at=time.time(),
                side=part.side,
                worker=part.name,
                queue=delivery.queue,
                exchange=delivery.exchange,
                routing_key=delivery.routing_key,
                redelivered=delivery.redelivered,
                body=digest(delivery.body),
                properties=as_text(delivery.properties),
            )
        )

    def on_ready(**_: Any) -> None:
        part.ready.write_text(socket.gethostname())

    listen(write_down)
    signals.worker_ready.connect(on_ready, weak=False)
    return app


if VARIABLE in os.environ:
    _settings = json.loads(os.environ[VARIABLE])
    app = _play(Part(**{**_settings, "queues": tuple(_settings["queues"])}))
