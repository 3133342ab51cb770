"""RabbitMQ's HTTP API, old and new: what it says of the queues that discovery asks about."""

from __future__ import annotations

import pytest

from bridge import management, sides
from bridge.config_sections import Broker
from bridge.core.scope import left_alone
from bridge.core.topology import Queue
from bridge.errors import AccessRefused, Unreachable
from bridge.lab.deadline import until
from bridge.management import Management
from tests.support.brokers import Side, Vhosts
from tests.support.peers import Admin, Peer, as_user

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]


@pytest.fixture(params=["old", "new"])
def side(request: pytest.FixtureRequest, vhosts: Vhosts) -> Side:
    given: Side = getattr(vhosts, request.param)
    return given


def api(side: Side, url: str | None = None) -> Management:
    made = sides.management("source", Broker.model_validate({"amqp": side.amqp, "api": url or side.api}))
    assert made is not None
    return made


def test_queues_are_what_they_were_declared_as(side: Side):
    with Peer(side.amqp) as peer:
        peer.classic("a/q ü", "orders")
        peer.quorum("quorum")
        peer.channel.queue_declare("stream", durable=True, arguments={"x-queue-type": "stream"})
        peer.channel.queue_declare("mine", exclusive=True)
        peer.channel.queue_declare("rpc", durable=True, auto_delete=True, arguments={"x-expires": 86400000})
        rule = {"pattern": "^orders$", "definition": {"expires": 86400000}, "apply-to": "queues"}
        Admin(side.api).call("PUT", f"policies/{side.vhost}/expiring", rule)
        # A policy is in the answer from the next statistics on, which come every five seconds.
        assert until(lambda: bool((queue := api(side).queue(side.vhost, "orders")) and queue.policy), 15)
        found = {queue.name: queue for queue in api(side).queues(side.vhost)}
        assert set(found) == {"a/q ü", "orders", "quorum", "stream", "mine", "rpc"}
        assert {name: queue.type for name, queue in found.items() if queue.type != "classic"} == {
            "quorum": "quorum",
            "stream": "stream",
        }
        assert [name for name, queue in found.items() if queue.exclusive] == ["mine"]
        assert [name for name, queue in found.items() if queue.auto_delete] == ["rpc"]
        assert found["rpc"].arguments["x-expires"] == 86400000
        assert found["orders"].policy == {"expires": 86400000}
        assert [name for name, queue in found.items() if left_alone(queue, named=False) is None] == ["a/q ü"]

        one = api(side).queue(side.vhost, "a/q ü")
        assert isinstance(one, Queue)
        assert (one.name, one.type, one.durable) == ("a/q ü", "classic", True)
        assert api(side).queue(side.vhost, "missing") is None


def test_more_queues_than_a_page_holds(side: Side, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(management, "PAGE", 3)
    names = {f"queue-{number}" for number in range(10)}
    with Peer(side.amqp) as peer:
        peer.classic(*names)
        found = [queue.name for queue in api(side).queues(side.vhost)]
    assert set(found) == names
    assert len(found) == len(names)


def test_refusals(side: Side):
    with pytest.raises(Unreachable, match='knows no vhost "nowhere"'):
        list(api(side).queues("nowhere"))
    with pytest.raises(AccessRefused, match=r'refused user "bridge" \(401\)'):
        list(api(side, as_user(side.api, "bridge", "wrong")).queues(side.vhost))
    admin = Admin(side.api)
    admin.make_user("untagged", "x", side.vhost)
    admin.call("PUT", "users/outsider", {"password": "x", "tags": "management"})
    try:
        with pytest.raises(AccessRefused, match='refused user "untagged" '):
            list(api(side, as_user(side.api, "untagged", "x")).queues(side.vhost))
        # 3.10 refuses who has no permission on the vhost; to 4.3 there is no such vhost for them.
        with pytest.raises(Unreachable, match=r'refused user "outsider" |knows no vhost '):
            list(api(side, as_user(side.api, "outsider", "x")).queues(side.vhost))
    finally:
        admin.drop_user("untagged")
        admin.drop_user("outsider")
