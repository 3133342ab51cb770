from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.lab.celery_app import VARIABLE, Part, application

BROKER = "amqp://guest:guest@localhost//"


def test_the_old_side_has_classic_queues_on_the_direct_exchange() -> None:
    app = application("old", BROKER, ("q1", "a.q1"))
    queue = app.amqp.queues["a.q1"]
    assert (queue.exchange.name, queue.exchange.type, queue.routing_key, queue.queue_arguments) == (
        "celery",
        "direct",
        "a.q1",
        None,
    )
    assert not app.conf.broker_transport_options


def test_the_new_side_is_what_native_delayed_delivery_asks_for() -> None:
    app = application("new", BROKER, ("q1",))
    queue = app.amqp.queues["q1"]
    assert queue.exchange.type == "topic"
    assert queue.queue_arguments == {"x-queue-type": "quorum"}
    assert app.conf.broker_transport_options == {"confirm_publish": True}
    assert app.conf.control_queue_exclusive


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_protocols(protocol: int) -> None:
    assert application("old", BROKER, ("q1",), protocol=protocol).conf.task_protocol == protocol


def test_settings_of_a_file_take_the_place_of_the_sides(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text(
        "from kombu import Exchange, Queue\n"
        "task_queues = (Queue('q1', Exchange('x', type='topic'), routing_key='k'),)\n"
        "task_default_queue = 'q1'\n"
    )
    app = application("new", BROKER, ("else",), prefetch=7, settings=str(file))
    assert [(q.name, q.exchange.name) for q in app.amqp.queues.values()] == [("q1", "x")]
    assert app.conf.worker_prefetch_multiplier == 7


def test_a_part_travels_in_the_environment(tmp_path: Path) -> None:
    part = Part("old-live", "old", BROKER, ("web", "mail"), str(tmp_path))
    values = json.loads(part.environment()[VARIABLE])
    assert Part(**{**values, "queues": tuple(values["queues"])}) == part
    assert part.ready == tmp_path / "ready-old-live"
