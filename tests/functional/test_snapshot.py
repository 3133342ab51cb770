"""What the HTTP API tells of a vhost, on every version: all that was made is seen, what may not be seen is named."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from bridge.address import HttpAddress
from bridge.core.topology import Binding, Policy, Vhost
from bridge.errors import AccessRefused, Unreachable
from bridge.lab.brokers import Side
from bridge.lab.deadline import until
from bridge.management import CallFailed, Management, path
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, as_user, connect

pytestmark = pytest.mark.functional

#: Seconds in which the broker must have reported: its statistics come every 5 s.
REPORTED = 20.0
SECRET = "Zk3-secret"


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    """Of each world the new side: 3.10, 4.0, 4.3."""
    return vhosts.new


def management(url: str) -> Management:
    address = HttpAddress.parse(url)
    assert address.user is not None
    assert address.password is not None
    return Management("target", address, address.user, address.password, True, None)


@pytest.fixture
def api(side: Side) -> Iterator[Management]:
    made = management(side.api)
    yield made
    made.close()


@pytest.fixture
def user(side: Side) -> Iterator[Any]:
    """Make a user with some tags; returns the API as they see it."""
    admin, made = Admin(side.api), []

    def make(tags: str, **rights: str) -> Management:
        name = f"user-{secrets.token_hex(4)}"
        admin.make_user(name, SECRET, side.vhost, tags=tags, **rights)
        made.append((name, management(as_user(side.api, name, SECRET))))
        return made[-1][1]

    yield make
    for name, one in made:
        one.close()
        admin.drop_user(name)


def make_things(side: Side, api: Management, channel: Any) -> None:
    channel.queue_declare("cl", durable=True, arguments={"x-max-priority": 10, "x-message-ttl": 600_000})
    channel.queue_declare("qq", durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare("st", durable=True, arguments={"x-queue-type": "stream"})
    channel.queue_declare("gone soon", auto_delete=True, exclusive=True)
    channel.exchange_declare("t", exchange_type="topic", durable=True)
    channel.queue_bind("qq", "t", "a.b", {"x": 1})
    channel.exchange_bind("t", "amq.topic", "#")
    body = {"pattern": "^q", "apply-to": "queues", "priority": 3}
    api.put(path("policies", side.vhost, "ours"), {**body, "definition": {"max-length": 100, "expires": 3_600_000}})
    api.put(path("operator-policies", side.vhost, "theirs"), {**body, "definition": {"max-length": 50}})
    api.put(path("vhost-limits", side.vhost, "max-queues"), {"value": 5000})
    channel.confirm_delivery()
    for number in range(3):
        stamp = pika.BasicProperties(delivery_mode=2, timestamp=1_700_000_000 + number)
        channel.basic_publish("", "cl", bytes(100), stamp)
        channel.basic_publish("", "qq", bytes(50), stamp)
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("cl", lambda *_: None, consumer_tag="worker", arguments={"x-priority": 7})


def test_all_that_was_made_is_seen(side: Side, api: Management):
    with connect(side.amqp) as connection:
        make_things(side, api, connection.channel())
        seen: list[Vhost] = []

        def reported() -> bool:
            connection.process_data_events(0)
            seen[:] = [api.snapshot(side.vhost)]
            (vhost,) = seen
            classic, quorum = vhost.queues["cl"], vhost.queues["qq"]
            return (
                (classic.consumers, classic.unacked, classic.message_bytes, quorum.message_bytes > 0)
                == (1, 1, 300, True)
                and bool(vhost.consumers)
                and any(one.published == 6 for one in vhost.connections)
            )

        assert until(reported, REPORTED), seen
    (vhost,) = seen
    assert vhost.version == tuple(map(int, side.version.split(".")))
    assert vhost.unknown == ()

    classic, quorum, stream = (vhost.queues[name] for name in ("cl", "qq", "st"))
    assert (classic.type, quorum.type, stream.type) == ("classic", "quorum", "stream")
    assert (classic.arguments["x-max-priority"], classic.arguments["x-message-ttl"]) == (10, 600_000)
    assert (classic.ready, classic.published, classic.policy) == (2, 3, {})
    assert (quorum.policy, quorum.policy_name, quorum.operator_policy_name) == (
        {"max-length": 50, "expires": 3_600_000},
        "ours",
        "theirs",
    )
    assert (quorum.ready, len(quorum.members), quorum.members, quorum.state) == (3, 1, quorum.online, "running")
    assert vhost.queues["gone soon"].exclusive

    assert vhost.exchanges["t"].type == "topic"
    assert sorted(vhost.bindings, key=lambda binding: binding.source) == [
        Binding("amq.topic", "t", "exchange", "#"),
        Binding("t", "qq", "queue", "a.b", {"x": 1}),
    ]
    assert vhost.policies == (
        Policy("ours", "^q", "queues", {"max-length": 100, "expires": 3_600_000}, 3),
        Policy("theirs", "^q", "queues", {"max-length": 50}, 3, operator=True),
    )
    assert vhost.limits == {"max-queues": 5000}
    assert vhost.default_queue_type in (None, "classic")
    (consumer,) = vhost.consumers
    assert (consumer.queue, consumer.tag, consumer.prefetch, consumer.arguments) == (
        "cl",
        "worker",
        1,
        {"x-priority": 7},
    )
    (client,) = (one for one in vhost.connections if one.published == 6)
    assert (consumer.connection, consumer.user) == (client.name, client.user)
    assert (client.host, client.product) == ("127.0.0.1", "Pika Python Client Library")
    (node,) = vhost.nodes
    assert node.running
    assert node.memory_used is not None
    assert node.memory_limit is not None
    assert node.memory_used < node.memory_limit
    assert (node.disk_free or 0) > (node.disk_limit or 0) > 0
    assert vhost.feature_flags is not None
    assert "quorum_queue" in vhost.feature_flags
    assert vhost.permissions is not None
    assert (vhost.permissions.configure, vhost.permissions.tags) == (".*", ("administrator",))


def test_a_new_queue_s_policy_is_known_before_the_broker_reports_it(side: Side, api: Management):
    api.put(
        path("policies", side.vhost, "p"), {"pattern": "q", "apply-to": "queues", "definition": {"expires": 60_000}}
    )
    with connect(side.amqp) as connection:
        for name, kind in (("cq", "classic"), ("qq", "quorum")):
            connection.channel().queue_declare(name, durable=True, arguments={"x-queue-type": kind})
        queues = api.snapshot(side.vhost).queues
    assert [(queues[name].policy, queues[name].policy_name) for name in ("cq", "qq")] == [
        ({"expires": 60_000}, "p")
    ] * 2


def test_what_a_user_may_not_see_is_named(side: Side, api: Management, user: Any):
    with connect(side.amqp) as connection:
        connection.channel().queue_declare("q", durable=True)
        seen = user("management").snapshot(side.vhost)
    assert list(seen.queues) == ["q"]
    assert (seen.connections, seen.consumers, seen.permissions) == ((), (), None)
    unseen = {text.partition(":")[0].partition(" of user")[0] for text in seen.unknown}
    flags = {"feature flags"} if seen.version < (4,) else set()
    assert unseen == {
        "other users' connections and consumers",
        "memory, disk and partitions of the nodes",
        "permissions",
        *flags,
    }
    seen = user("monitoring").snapshot(side.vhost)
    assert seen.nodes[0].memory_limit is not None
    assert {text.partition(" of user")[0].partition(":")[0] for text in seen.unknown} == {"permissions", *flags}
    # An administrator sees what another user may do.
    other = user("management", configure="", write="^q$", read=".*")
    theirs = api.snapshot(side.vhost, other.user).permissions
    assert theirs is not None
    assert (theirs.configure, theirs.write, theirs.read, theirs.tags) == ("", "^q$", ".*", ("management",))


def test_alarms_are_seen_by_everyone(side: Side, api: Management, user: Any):
    (node,) = side.nodes
    limit = api.snapshot(side.vhost).nodes[0].memory_limit
    node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        everyone = user("management")
        assert until(lambda: any(n.memory_alarm for n in everyone.snapshot(side.vhost).nodes), REPORTED)
        assert until(lambda: any(n.memory_alarm for n in api.snapshot(side.vhost).nodes), REPORTED)
    finally:
        node.ctl("set_vm_memory_high_watermark", "absolute", str(limit))
    assert until(lambda: not any(n.memory_alarm for n in api.snapshot(side.vhost).nodes), REPORTED)


def test_who_may_not_look_is_told_so(side: Side, api: Management, user: Any):
    with pytest.raises(AccessRefused, match=r'refused user "user-.*" \(401\): '):
        user("").snapshot(side.vhost)
    with pytest.raises(Unreachable, match='knows no vhost "nowhere"'):
        api.snapshot("nowhere")
    elsewhere = user("management")
    Admin(side.api).call("DELETE", f"permissions/{side.vhost}/{elsewhere.user}")
    # 4.3 does not tell who may not enter a vhost that there is one.
    told = r"\(401\): User not authorised to access virtual host|knows no vhost .* that user .* may see"
    with pytest.raises(Unreachable, match=told):
        elsewhere.snapshot(side.vhost)


def test_changes_and_their_refusals(side: Side, api: Management, user: Any):
    where = path("queues", side.vhost, "a/b")
    api.put(where, {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    api.put(where, {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    with pytest.raises(CallFailed, match=r"target: PUT /api/queues/.*/a%2Fb was refused: .*inequivalent arg") as caught:
        api.put(where, {"durable": True, "arguments": {"x-queue-type": "classic"}})
    assert (caught.value.method, caught.value.path, caught.value.status) == ("PUT", where, 400)
    with pytest.raises(CallFailed, match="Access refused") as caught:
        user("management", configure="").put(path("queues", side.vhost, "other"), {"durable": True})
    assert (caught.value.status, "lacks the tag or the permission" in caught.value.hint) == (401, True)
    api.post(path("bindings", side.vhost, "e", "amq.topic", "q", "a/b"), {"routing_key": "k"})
    assert [b.routing_key for b in api.snapshot(side.vhost).bindings] == ["k"]
    api.delete(where)
    with pytest.raises(CallFailed) as caught:
        api.delete(where)
    assert caught.value.status == 404
