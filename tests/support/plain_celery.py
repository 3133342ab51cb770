"""A Celery application that any release from 4.4 on can load: it imports nothing of ours.

What it is to be is in the environment: `PLAIN_BROKER`, `PLAIN_QUEUES` (comma between them), `PLAIN_SERIALIZER`,
`PLAIN_QUORUM` (not empty: quorum queues, and what RabbitMQ 4.3 asks for), `PLAIN_RAN` (the file that gets a line with
the id of every task that ran).
"""

import os
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

QUEUES = os.environ["PLAIN_QUEUES"].split(",")
QUORUM = bool(os.environ.get("PLAIN_QUORUM"))
EXCHANGE = Exchange("tasks", type="topic")

app = Celery("plain", broker=os.environ["PLAIN_BROKER"])
app.conf.update(
    task_queues=[
        Queue(name, EXCHANGE, routing_key=name, queue_arguments={"x-queue-type": "quorum"} if QUORUM else None)
        for name in QUEUES
    ],
    task_default_queue=QUEUES[0],
    task_default_exchange="tasks",
    task_default_exchange_type="topic",
    task_ignore_result=True,
    task_serializer=os.environ.get("PLAIN_SERIALIZER", "json"),
    accept_content=["json", "pickle", "yaml", "msgpack"],
)
if QUORUM:
    # RabbitMQ 4.3 denies transient queues that are not exclusive.
    app.conf.update(control_queue_exclusive=True, event_queue_exclusive=True)


@app.task(name="plain.work", bind=True)  # type: ignore[untyped-decorator]
def work(task: Any, *_arguments: Any) -> None:
    """Write down that it ran."""
    with open(os.environ["PLAIN_RAN"], "a") as file:  # noqa: PTH123 - as plain as the rest
        file.write(task.request.id + "\n")
