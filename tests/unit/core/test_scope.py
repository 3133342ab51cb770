"""Scope: which queues hold tasks, by their properties first."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.core.scope import left_alone
from bridge.core.topology import Queue

TASKS = Queue("mail", "classic", durable=True, exclusive=False, auto_delete=False, arguments={}, policy={})


def test_a_plain_durable_queue_is_in_scope() -> None:
    assert left_alone(TASKS, named=False) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"type": "quorum"}, "a quorum queue"),
        ({"type": "stream"}, "a stream queue"),
        ({"exclusive": True}, "exclusive"),
        ({"auto_delete": True}, "auto-delete"),
        ({"durable": False}, "not durable"),
        ({"arguments": {"x-expires": 86400000}}, "x-expires"),
        ({"policy": {"expires": 60000}}, "x-expires"),
        ({"name": "w@host.celery.pidbox"}, "pidbox"),
        ({"name": "celeryev.4c1f"}, "events"),
        ({"name": "bcast.4c1f"}, "Broadcast"),
        ({"name": "amq.gen-abc"}, "named by the broker"),
        ({"name": "celery_delayed_0"}, "ladder"),
        ({"name": "celery_delayed_27"}, "ladder"),
        ({"name": "shop_celery_delayed_5"}, "ladder"),
        ({"name": "bridge.quarantine", "type": "quorum"}, "the bridge's own"),
        ({"name": "bridge.probe", "arguments": {"x-expires": 86400000}}, "the bridge's own"),
        ({"name": "mqtt-subscription-x"}, "MQTT"),
        ({"name": "federation: x"}, "federation"),
        ({"name": "w@host.dq2"}, "dq2"),
    ],
)
def test_what_is_left_alone_and_why(changed: dict[str, object], reason: str) -> None:
    queue = dataclasses.replace(TASKS, **changed)  # type: ignore[arg-type]
    why = left_alone(queue, named=False)
    assert why is not None
    assert reason in why


@pytest.mark.parametrize("name", ["celery", "a.q1", "celery_delayed_28", "my.pidbox.tasks", "bridges", "x.dq2.y"])
def test_names_that_only_look_alike(name: str) -> None:
    assert left_alone(dataclasses.replace(TASKS, name=name), named=False) is None


def test_a_direct_queue_moves_when_it_is_named() -> None:
    assert left_alone(dataclasses.replace(TASKS, name="w@host.dq2"), named=True) is None


def test_a_name_never_overrules_a_property() -> None:
    assert left_alone(dataclasses.replace(TASKS, auto_delete=True), named=True) is not None
