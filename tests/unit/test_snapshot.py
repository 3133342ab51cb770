"""The answers of RabbitMQ 3.10.8, 4.0.5 and 4.3.6, cut to what is asked for, read into values."""

from __future__ import annotations

import pytest

from bridge import snapshot
from bridge.core.topology import Binding, Connection, Consumer, Exchange, Node, Permissions, Policy, Queue, Vhost

#: The ladder's lowest level with 40 messages that have no exit.
LEVEL = {
    "arguments": {"x-dead-letter-strategy": "at-least-once", "x-message-ttl": 1000, "x-queue-type": "quorum"},
    "auto_delete": False,
    "durable": True,
    "exclusive": False,
    "type": "quorum",
    "name": "celery_delayed_0",
    "consumers": 0,
    "effective_policy_definition": {},
    "policy": None,
    "operator_policy": None,
    "state": "running",
    "messages": 40,
    "messages_dlx": 40,
    "messages_ready": 0,
    "messages_unacknowledged": 0,
    "message_bytes": 400,
    "leader": "new-1@localhost",
    "members": ["new-1@localhost"],
    "online": ["new-1@localhost"],
    "message_stats": {"publish": 40},
}

CLASSIC_3_10 = {
    "arguments": {"x-max-priority": 10, "x-message-ttl": 60000},
    "auto_delete": False,
    "consumers": 1,
    "durable": True,
    "effective_policy_definition": {"max-length": 50},
    "exclusive": False,
    "head_message_timestamp": 1795346917,
    "message_bytes": 100,
    "messages": 1,
    "message_stats": {"publish": 7},
    "messages_ready": 0,
    "messages_unacknowledged": 1,
    "name": "mail",
    "operator_policy": "o1",
    "policy": "p1",
    "single_active_consumer_tag": None,
    "state": "running",
    "type": "classic",
}

#: Before its first report: no numbers, no policies; 4.x names the type among the arguments all the same.
FRESH_4_0 = {
    "arguments": {"x-queue-type": "classic"},
    "auto_delete": False,
    "durable": True,
    "exclusive": False,
    "name": "mail",
    "state": "running",
    "type": "classic",
}

#: With the metrics collector off: null where there is no answer.
BARE_STREAM = {
    "arguments": {"x-queue-type": "stream"},
    "auto_delete": False,
    "durable": True,
    "exclusive": None,
    "name": "st",
    "online": ["new-1@localhost"],
    "state": "running",
    "type": "stream",
}


def test_a_classic_queue():
    assert snapshot.queue(CLASSIC_3_10) == Queue(
        *("mail", "classic", True, False, False, {"x-max-priority": 10, "x-message-ttl": 60000}, {"max-length": 50}),
        unacked=1,
        consumers=1,
        policy_name="p1",
        operator_policy_name="o1",
        message_bytes=100,
        head_timestamp=1795346917,
        published=7,
    )


def test_a_level_of_the_ladder_says_what_is_due_and_stays():
    queue = snapshot.queue(LEVEL)
    assert (queue.dead_letters, queue.ready, queue.message_bytes, queue.published) == (40, 0, 400, 40)
    assert (queue.leader, queue.members, queue.online) == ("new-1@localhost",) + (("new-1@localhost",),) * 2


def test_a_queue_whose_type_is_left_out_has_the_one_it_was_declared_with():
    without = {name: value for name, value in LEVEL.items() if name != "type"}
    assert snapshot.queue(without).type == "quorum"
    assert snapshot.queue({**without, "arguments": {}}).type == "classic"


def test_a_queue_without_a_report_has_defaults():
    queue = snapshot.queue(FRESH_4_0)
    assert (queue.ready, queue.unacked, queue.consumers, queue.message_bytes, queue.published) == (0, 0, 0, 0, None)
    stream = snapshot.queue(BARE_STREAM)
    assert (stream.exclusive, stream.type, stream.online) == (False, "stream", ("new-1@localhost",))


@pytest.mark.parametrize("nothing", [[], None])
def test_nothing_comes_in_several_forms(nothing: object):
    queue = snapshot.queue({**CLASSIC_3_10, "arguments": nothing, "effective_policy_definition": nothing})
    assert (queue.arguments, queue.policy) == ({}, {})


@pytest.mark.parametrize(
    "how", [{"single_active_consumer_tag": "ctag1"}, {"arguments": {"x-single-active-consumer": True}}]
)
def test_a_single_active_consumer_is_seen_by_its_argument_or_its_tag(how: dict[str, object]):
    assert snapshot.queue({**FRESH_4_0, **how}).single_active_consumer


def vhost_with(*policies: Policy) -> Vhost:
    return Vhost("v", (4, 0, 5), policies=policies)


OURS = Policy("p", "^ma", "queues", {"expires": 9, "max-length": 100})
THEIRS = Policy("o", ".*", "queues", {"max-length": 50}, operator=True)


def test_policies_count_before_the_broker_reports_them():
    read = snapshot.in_vhost(vhost_with(OURS, THEIRS))
    for late in (FRESH_4_0, {**FRESH_4_0, "policy": None, "effective_policy_definition": {}}):
        queue = read(late)
        assert (queue.policy, queue.policy_name, queue.operator_policy_name) == (
            {"expires": 9, "max-length": 50},
            "p",
            "o",
        )
    assert read({**FRESH_4_0, "name": "sms"}).policy_name is None
    assert read(BARE_STREAM) == snapshot.queue(BARE_STREAM)


def test_a_policy_that_is_gone_does_not_count_though_it_is_still_reported():
    queue = snapshot.in_vhost(vhost_with())(CLASSIC_3_10)
    assert (queue.policy, queue.policy_name) == ({}, None)


def test_the_report_counts_where_the_pattern_is_read_otherwise():
    unread = Policy("p1", "(?C1)mail", "queues", {"max-length": 50})
    assert snapshot.in_vhost(vhost_with(unread))(CLASSIC_3_10) == snapshot.queue(CLASSIC_3_10)


@pytest.mark.parametrize(
    ("text", "numbers"), [("3.10.8", (3, 10, 8)), ("4.3.0-rc.1", (4, 3, 0)), ("4.0.5+2.gabc", (4, 0, 5))]
)
def test_versions(text: str, numbers: tuple[int, ...]):
    assert snapshot.version(text) == numbers


def test_the_overview():
    assert snapshot.overview({"rabbitmq_version": "4.3.6", "node": "n", "disable_stats": True}) == (
        (4, 3, 6),
        "n",
        False,
    )
    assert snapshot.overview({"rabbitmq_version": "3.10.8"}) == ((3, 10, 8), "", True)


@pytest.mark.parametrize("tags", [["administrator", "x"], "administrator,x", "administrator, x"])
def test_tags_are_a_list_or_a_text(tags: object):
    assert snapshot.whoami({"name": "bridge", "tags": tags}) == ("bridge", ("administrator", "x"))


def test_no_tags():
    assert snapshot.tags({"tags": ""}) == snapshot.tags({"tags": []}) == ()


def test_exchanges_bindings_and_policies():
    given = {"arguments": {}, "auto_delete": False, "durable": True, "internal": False, "name": "t", "type": "topic"}
    assert snapshot.exchange(given) == Exchange("t", "topic")
    default = {"source": "", "destination": "q", "destination_type": "queue", "routing_key": "q", "arguments": {}}
    ours = {**default, "source": "t", "routing_key": "a.b", "arguments": {"x": 1}}
    assert snapshot.bindings([default, ours]) == (Binding("t", "q", "queue", "a.b", {"x": 1}),)
    given = {"name": "p1", "pattern": "^q", "apply-to": "queues", "definition": {"max-length": 100}, "priority": 1}
    assert snapshot.policy(given) == Policy("p1", "^q", "queues", {"max-length": 100}, 1)
    assert snapshot.operator_policy(given) == Policy("p1", "^q", "queues", {"max-length": 100}, 1, True)


def test_consumers():
    where = {"connection_name": "127.0.0.1:1 -> 127.0.0.1:2", "user": "celery"}
    given = {
        "arguments": {"x-priority": 5},
        "ack_required": True,
        "channel_details": where,
        "consumer_tag": "None1",
        "exclusive": False,
        "prefetch_count": 4,
        "queue": {"name": "mail"},
    }
    seen = Consumer("mail", "None1", 4, True, False, {"x-priority": 5}, where["connection_name"], "celery")
    assert snapshot.consumer(given) == seen
    # Its channel is not known yet.
    assert snapshot.consumer({**given, "channel_details": []}).user == ""


def test_what_a_connection_published_is_the_sum_of_its_channels():
    channels = [
        {"connection_details": {"name": "c1"}, "message_stats": {"publish": 3}},
        {"connection_details": {"name": "c1"}, "message_stats": {"publish": 4}},
        {"connection_details": {"name": "c2"}},
        {"message_stats": {"publish": 9}},
    ]
    counts = snapshot.published(channels)
    assert counts == {"c1": 7}
    client = {"product": "py-amqp", "version": "5.3.1", "connection_name": "beat"}
    answer = [{"name": "c1", "user": "u", "peer_host": "10.0.0.7", "client_properties": client}, {"name": "c2"}]
    read = snapshot.connections(counts)(answer)
    assert read == (
        Connection("c1", "u", "10.0.0.7", "py-amqp", "5.3.1", "beat", 7),
        Connection("c2", "", "", published=0),
    )
    assert snapshot.connections(None)(answer)[0].published is None


def test_nodes():
    up = {
        "name": "n1",
        "running": True,
        "mem_used": 5,
        "mem_limit": 10,
        "mem_alarm": False,
        "disk_free": 7,
        "disk_free_limit": "disk_free_monitoring_disabled",
        "disk_free_alarm": True,
        "partitions": ["n2"],
    }
    seen = Node("n1", True, 5, 10, False, 7, None, True, ("n2",))
    assert snapshot.nodes([up, {"name": "n2", "running": False}]) == (seen, Node("n2", running=False))


def test_alarms_that_everyone_may_see():
    assert snapshot.alarmed("n1")({"status": "ok"}) == (Node("n1"),)
    alarms = [{"node": "n2", "resource": "memory"}, {"node": "n2", "resource": "disk"}]
    answer = {"status": "failed", "reason": "there are alarms", "alarms": alarms}
    assert snapshot.alarmed("n1")(answer) == (Node("n1"), Node("n2", memory_alarm=True, disk_alarm=True))
    assert snapshot.alarmed("")({"status": "ok"}) == ()


def test_feature_flags_that_are_on():
    flags = [{"name": "quorum_queue", "state": "enabled"}, {"name": "khepri_db", "state": "disabled"}]
    assert snapshot.feature_flags(flags) == {"quorum_queue"}


@pytest.mark.parametrize(("said", "kind"), [("undefined", None), ("", None), (None, None), ("quorum", "quorum")])
def test_a_vhost_among_those_that_the_user_may_see(said: str | None, kind: str | None):
    others = [{"name": "other", "default_queue_type": "stream"}]
    mine = {"name": "v", "default_queue_type": said, "description": "tasks", "tags": ["a"]}
    assert snapshot.about("v")([*others, mine]) == (kind, "tasks", ("a",))
    assert snapshot.about("v")(others) == (None, "", ())


def test_limits_and_permissions():
    assert snapshot.limits([{"vhost": "v", "value": {"max-queues": 5000}}]) == {"max-queues": 5000}
    assert snapshot.limits([]) == {}
    given = {"user": "bridge", "vhost": "v", "configure": "", "write": ".*", "read": "^q$"}
    assert snapshot.permissions(("management",))(given) == Permissions("bridge", "", ".*", "^q$", ("management",))


@pytest.mark.parametrize("answer", [{"status": "ok"}, "text", None])
def test_what_should_be_a_list_and_is_not_is_an_error(answer: object):
    for read in (snapshot.nodes, snapshot.bindings, snapshot.limits, snapshot.feature_flags):
        with pytest.raises(TypeError, match="a list was expected"):
            read(answer)  # type: ignore[operator]
