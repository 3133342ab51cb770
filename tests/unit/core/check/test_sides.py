"""Brokers and vhosts: versions, alarms, room, limits, rights."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.core.topology import Connection, Permissions, Probes, Trial
from tests.unit.core.check.worlds import (
    ALL,
    NODES,
    WORLD,
    Case,
    holds,
    ids,
    more_old,
    node,
    old,
    queue,
    source,
    target,
    texts,
    without,
)

MIB = 1024**2
BACKLOG = old(queue("mail", ready=1_000_000, message_bytes=10 * 1024 * MIB))
NOTHING = Permissions("bridge", "^$", "^$", "^$")
UUID = "1b671a64-40d5-491e-99b0-da01ff1f3341"


def transient(name: str, **more: bool) -> object:
    return queue(name, durable=False, auto_delete=True, **more)


def tried(world: object = WORLD, **changed: object) -> object:
    return dataclasses.replace(world, probes=Probes(**changed))


CASES = [
    Case(
        "same-vhost",
        source(dataclasses.replace(WORLD, same_broker=True), name="qhost"),
        'vhost "qhost": source and target are this vhost',
        dataclasses.replace(WORLD, same_broker=True),
    ),
    Case("same-vhost", source(dataclasses.replace(WORLD, same_broker=True), name="qhost"), "", source(name="qhost")),
    Case("target-too-old", target(version=(3, 9, 29)), "RabbitMQ 3.9.29", target(version=(3, 10, 8))),
    Case("version-untested", source(version=(3, 8, 1)), 'source vhost "chost": RabbitMQ 3.8.1'),
    Case("version-untested", target(version=(5, 0, 0)), "RabbitMQ 5.0.0", target(version=(4, 3, 9))),
    Case("feature-flag", target(feature_flags=frozenset()), "quorum_queue is off", target(feature_flags=None)),
    Case(
        "feature-flag",
        target(dataclasses.replace(WORLD, backup="target"), feature_flags=frozenset({"quorum_queue"})),
        "stream_queue is off",
        target(feature_flags=frozenset({"quorum_queue"})),
    ),
    Case(
        "feature-flag",
        source(dataclasses.replace(WORLD, backup="source"), feature_flags=frozenset({"quorum_queue"})),
        'source vhost "chost": feature flag stream_queue is off',
        source(dataclasses.replace(WORLD, backup="target"), feature_flags=frozenset()),
    ),
    Case("feature-flag", target(feature_flags=frozenset()), "", target(version=(4, 0), feature_flags=frozenset())),
    Case(
        "target-alarm",
        target(nodes=(node("rabbit@a", memory_alarm=True, memory_used=None), *NODES[1:])),
        'target node "rabbit@a": memory alarm: ? of a limit of 8.0 GiB used',
    ),
    Case(
        "source-alarm",
        source(nodes=(node("rabbit@a", disk_alarm=True, disk_limit=None), *NODES[1:])),
        "disk alarm: 50.0 GiB of a limit of ? free",
    ),
    Case("partition", target(nodes=(node("rabbit@a", partitions=("rabbit@b",)), *NODES[1:])), 'not see "rabbit@b"'),
    Case("node-down", target(nodes=(node("rabbit@a", running=False), *NODES[1:])), "not running"),
    Case("few-nodes", target(nodes=NODES[:1]), "1 of 3 nodes", target(nodes=())),
    Case(
        "disk-room",
        target(BACKLOG, nodes=(node("rabbit@a", disk_free=2 * 1024 * MIB), *NODES[1:])),
        'target node "rabbit@a": 1000000 messages, 11.0 GiB, 3 replicas on 3 nodes: 11.5 GiB of disk needed here, '
        "1.0 GiB free above the limit",
        BACKLOG,
    ),
    Case(
        "disk-room",
        target(BACKLOG, nodes=(node("rabbit@a", disk_free=0), *NODES[1:])),
        "0 bytes free",
        target(BACKLOG, nodes=(node("rabbit@a", disk_free=None, memory_used=None), *NODES[1:])),
    ),
    Case(
        "disk-room",
        target(BACKLOG, nodes=(*NODES, node("rabbit@d", disk_free=9 * 1024 * MIB))),
        "3 replicas on 4 nodes: 8.7 GiB of disk needed here, 8.0 GiB free",
        target(BACKLOG, nodes=(node("rabbit@a", running=False, disk_free=0), *NODES[1:])),
    ),
    Case(
        "memory-room",
        target(BACKLOG, nodes=(node("rabbit@a", memory_limit=2 * 1024 * MIB), *NODES[1:])),
        "up to 1.5 GiB of memory needed here, 1.0 GiB left",
        BACKLOG,
    ),
    Case(
        "memory-room",
        target(
            old(queue("mail", ready=100_000_000, arguments={"x-message-ttl": 5000})),
            nodes=(node("rabbit@a", memory_limit=2 * 1024 * MIB), *NODES[1:]),
        ),
        "up to 6.0 GiB of memory",
        old(queue("mail", ready=0)),
    ),
    Case(
        "vhost-limit",
        target(without("mail"), limits={"max-queues": 30}),
        "max-queues 30: 30 there, 1 to come",
        target(without("mail"), limits={"max-queues": 31}),
    ),
    Case(
        "vhost-limit",
        source(limits={"max-connections": 1}, connections=(Connection("c", "app", "h"),)),
        'source vhost "chost": max-connections 1: 1 there',
        source(limits={"max-connections": 2}, connections=(Connection("c", "app", "h"),)),
    ),
    Case("vhost-limit", target(limits={"max-queues": 0}), "max-queues 0", target(limits={"max-queues": -1})),
    Case(
        "default-queue-type",
        target(default_queue_type="classic"),
        "default queue type classic",
        target(default_queue_type=None),
    ),
    Case(
        "transient-denied",
        target(more_old(transient("w@h.celery.pidbox"), transient("celeryev.1")), version=(4, 3)),
        'remote control: the source has "w@h.celery.pidbox", neither',
        target(more_old(queue("w@h.celery.pidbox", durable=False, exclusive=True)), version=(4, 3)),
    ),
    Case(
        "transient-denied",
        target(more_old(transient("celeryev.1"), transient(UUID), transient("tmp")), version=(4, 3)),
        'unknown use: the source has "tmp"',
        more_old(transient("celeryev.1")),
    ),
    Case(
        "permission",
        source(permissions=NOTHING),
        'source user "bridge": no read on "mail", needed to take messages (by the user\'s permissions)',
    ),
    Case(
        "permission",
        tried(source(permissions=None), trials=(Trial("source", "read", "queue", "mail", False, "access refused"),)),
        'source user "of the bridge": no read on "mail", needed to take messages (access refused)',
        tried(trials=(Trial("source", "read", "queue", "mail", True),)),
    ),
    Case(
        "permission",
        without("celery_delayed_27", world=target(permissions=Permissions("bridge", "^$", ".*", ".*"))),
        'no configure on "celery_delayed_27", needed to declare the ladder',
        target(permissions=Permissions("bridge", "^$", ".*", ".*")),
    ),
    Case(
        "permission-configure",
        target(permissions=Permissions("bridge", "^celery_delayed_", ".*", ".*")),
        'target user "bridge": no configure on "bridge.control.main", "bridge.quarantine", needed to keep',
        target(permissions=ALL),
    ),
    Case(
        "permission-entry",
        target(permissions=Permissions("bridge", "^(?!bridge.delayed)", ".*", ".*")),
        'target user "bridge": no configure on "bridge.delayed.0", "bridge.delayed.1", ',
        target(permissions=ALL),
    ),
    Case(
        "permission-probe",
        target(dataclasses.replace(WORLD, probe="bridge.probe"), permissions=Permissions("b", "^(?!bridge.p)", "", "")),
        'target user "b": no configure on "bridge.probe", needed to send the probe',
        target(permissions=ALL),
    ),
    Case("not-looked-at", source(unknown=("nodes: 403",)), 'source vhost "chost": nodes: 403'),
    Case("not-looked-at", dataclasses.replace(WORLD, probes=None), "nothing was tried over AMQP"),
    Case("not-looked-at", tried(unknown=("no connection",)), 'target vhost "qhost": no connection'),
    Case("not-looked-at", dataclasses.replace(WORLD, samples=None), "messages are never taken to be looked at"),
    Case(
        "not-looked-at",
        source(permissions=None),
        'source vhost "chost": whether there are the rights on "mail" is not known',
    ),
    Case(
        "not-looked-at",
        target(permissions=None),
        'target vhost "qhost": whether there are the rights on "amq.default"',
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_finding_is_raised_where_it_is_and_not_where_it_is_not(case: Case) -> None:
    holds(case)


def test_nothing_is_said_of_rights_that_were_not_tried() -> None:
    assert "permission" not in ids(dataclasses.replace(source(permissions=NOTHING), probes=None))


def test_each_kind_of_transient_queue_has_its_own_cure() -> None:
    world = target(more_old(transient("w.pidbox"), transient("celeryev.1"), transient(UUID)), version=(4, 3))
    assert [text.split(":")[1].strip() for text in texts(world, "transient-denied")] == [
        "events",
        "remote control",
        "results (rpc)",
    ]
