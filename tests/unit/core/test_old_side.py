from __future__ import annotations

import json
from dataclasses import replace

from bridge.core.old_side import (
    ConnectionSeen,
    Consumer,
    Flow,
    Holder,
    OldSide,
    Publisher,
    QueueSeen,
    consumers,
    is_ours,
    mailboxes,
    named,
    per_second,
    summed,
    worker_of,
)
from tests.unit.core.old_looks import BEGAN, BRIDGE, CONNECTIONS, EVENTS, WEB, WORKER, connection, consumer, look


def test_who_consumes_by_name_and_which_is_ours():
    queues = [QueueSeen("q1"), QueueSeen("celery@w1.celery.pidbox", tasks=False)]
    seen = look(
        queues,
        consumers=[
            consumer("q1", WORKER, tag="None4"),
            consumer("q1", BRIDGE, tag="bridge-1", priority=1000),
            # A tag alone makes nobody ours, nor does the name of the connection.
            consumer("q1", WEB, tag="bridge-1"),
            consumer("q1", BRIDGE, tag="None1"),
            consumer("celery@w1.celery.pidbox", WORKER, 2),
            consumer("not listed", WORKER),
        ],
    )
    workers = mailboxes(seen, "celery")
    assert workers == {WORKER: "celery@w1"}
    found = consumers(seen, "main", workers)
    assert [(one.queue, one.host, one.tag, one.ours, one.worker) for one in found] == [
        ("q1", "10.0.0.2:4001", "bridge-1", False, None),
        ("q1", "10.0.0.4:4003", "None4", False, "celery@w1"),
        ("q1", "10.0.0.9:5000", "None1", False, None),
        ("q1", "10.0.0.9:5000", "bridge-1", True, None),
    ]
    assert found[3].priority == 1000
    assert not any(one.ours for one in consumers(seen, "other", workers))


def test_a_mailbox_is_the_worker_s_and_a_reply_queue_is_nobody_s():
    assert worker_of("celery@w1.celery.pidbox", "celery") == "celery@w1"
    assert worker_of("celery@w1.mine.pidbox", "celery") is None
    assert worker_of("0a1b.reply.celery.pidbox", "celery") is None
    assert worker_of("q1", "celery") is None
    # One whose channel is not known yet is on no connection.
    assert mailboxes(look([], consumers=[consumer("celery@w1.celery.pidbox", "")]), "celery") == {}


def test_a_mailbox_on_a_connection_of_its_own_is_told_by_its_host():
    queues = [QueueSeen("q1"), QueueSeen("celery@w1.celery.pidbox", tasks=False)]
    mailbox, beside = consumer("celery@w1.celery.pidbox", EVENTS), consumer("q1", WORKER)
    assert mailboxes(look(queues, consumers=[mailbox, beside, consumer("q1", WEB)]), "celery") == {
        EVENTS: "celery@w1",
        WORKER: "celery@w1",
    }
    # A bridge on the worker's host is not meant.
    bridge = BRIDGE.replace("10.0.0.9", "10.0.0.4")
    seen = look(queues, consumers=[mailbox, beside, consumer("q1", bridge)])
    seen = replace(seen, connections={**CONNECTIONS, bridge: connection(bridge, "bridge other source")})
    assert mailboxes(seen, "celery") == {EVENTS: "celery@w1", WORKER: "celery@w1"}
    # Two workers on a host, or two that consume there: it cannot be told.
    another = consumer("celery@w2.celery.pidbox", EVENTS.replace("4004", "4005"))
    assert WORKER not in mailboxes(look(queues, consumers=[mailbox, another, beside]), "celery")
    second = consumer("q1", WORKER.replace("4003", "4006"))
    assert WORKER not in mailboxes(look(queues, consumers=[mailbox, beside, second]), "celery")


def test_what_a_connection_says_of_itself():
    assert connection(WEB).client == "py-amqp 5.4.2"
    assert connection(WEB, "shop").client == "shop (py-amqp 5.4.2)"
    assert ConnectionSeen(WEB, given="shop").client == "shop"
    assert connection(WEB).address == "10.0.0.2"
    assert is_ours(CONNECTIONS[BRIDGE], "main")
    assert not is_ours(CONNECTIONS[BRIDGE], "mai")
    gone = named(look([]), "10.9.9.9:1 -> 10.0.0.1:5672", "app")
    assert (gone.host, gone.user, gone.client) == ("10.9.9.9:1", "app", "")


def test_messages_a_second():
    assert per_second(None, 3, 10.0, 5.0) == 0.0
    # One look: what the broker says, if it does.
    assert per_second(100, None, None, 2.5) == 2.5
    assert per_second(100, None, None, None) == 0.0
    # Two looks: their counts, of one that is new from nothing.
    assert per_second(100, 40, 30.0, 9.9) == 2.0
    assert per_second(30, None, 30.0, 9.9) == 1.0
    # A broker that was restarted counts anew.
    assert per_second(15, 4000, 30.0, 9.9) == 0.5
    assert summed([("a", 1.0), ("b", 0.0), ("a", 0.5)]) == {"a": 1.5}


def old() -> OldSide:
    publishers = (
        Publisher("", WEB, "10.0.0.2:4001", "py-amqp", "app", 9.0),
        Publisher("", "c2", "10.0.0.3:1", "py-amqp", "app", 1.0),
    )
    return OldSide(
        BEGAN,
        flows=(Flow(None, {"q1": 6.0, "q2": 4.0}, publishers), Flow("x", {"q2": 0.25}, (), unnamed=0.25)),
        consumers=(Consumer("q2", WORKER, "10.0.0.4:4003", "", "app", "None1", False, 0, "celery@w1"),),
        holders=(Holder("q1", WORKER, "10.0.0.4:4003", "", "app", 7, 5, "celery@w1"),),
        workers={"celery@w1": WORKER},
        unexplained={"q2": 3},
    )


def test_publishers_are_named_for_every_queue_that_they_may_publish_into():
    found = old().publishers
    assert [(one.queue, one.connection, one.rate) for one in found] == [
        ("q1", WEB, 6.0),
        ("q1", "c2", 1.0),
        ("q2", WEB, 4.0),
        ("q2", "c2", 1.0),
    ]
    assert old().unnamed == 0.25


def test_one_queue_of_it():
    of_first, of_second, of_none = old().of("q1"), old().of("q2"), old().of("q3")
    assert {one.queue for one in of_first.publishers} == {"q1"}
    assert (of_first.consumers, len(of_first.holders), of_first.unexplained, of_first.unnamed) == ((), 1, {}, 0)
    assert (len(of_second.consumers), of_second.holders, of_second.unexplained) == (1, (), {"q2": 3})
    assert of_second.unnamed == 0.25
    assert (of_none.flows, of_none.consumers, of_none.holders) == ((), (), ())


def test_as_json_a_publisher_stands_once():
    told = json.loads(json.dumps(old().as_json()))
    assert told["publishes"][0]["queues"] == {"q1": 6.0, "q2": 4.0}
    assert told["publishes"][0]["publishers"][1] == {
        "connection": "c2",
        "host": "10.0.0.3:1",
        "client": "py-amqp",
        "user": "app",
        "rate": 1.0,
        "certain": False,
    }
    assert told["publishes"][1] == {"exchange": "x", "queues": {"q2": 0.25}, "publishers": [], "unnamed": 0.25}
    assert told["holders"][0]["eta"] == 5
    assert told["at"] == "2026-03-01T12:00:00+00:00"
