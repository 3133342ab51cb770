"""The ladder on real brokers: declared as Celery declares it, accepted as it is found, and our exits verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import kombu
import pika
import pytest
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from bridge import delayed, sides
from bridge.address import AmqpAddress
from bridge.amqp import Connection
from bridge.config_sections import Broker
from bridge.core import ladder
from bridge.delayed import CHANNEL, Exits
from bridge.errors import Refused, Unreachable
from bridge.exit_watch import ExitWatch
from bridge.ladder_whole import whole
from tests.support.brokers import Side, Vhosts
from tests.support.peers import Admin, Peer, as_user

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("world", ["3.10->3.10", "3.10->4.3"], indirect=True)]


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    return vhosts.new


@pytest.fixture
def opened() -> Iterator[Callable[[str], Connection]]:
    """Connections of ours."""
    made: list[Connection] = []

    def make(url: str) -> Connection:
        made.append(Connection("target", [pika.URLParameters(url)]))
        made[-1].open()
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def exits_for(opened: Callable[[str], Connection]) -> Callable[[str], Exits]:
    """Exits of a user, over a connection of their own."""
    return lambda url: Exits(opened(url), sides.ladder(Broker.model_validate({"amqp": url})))


@pytest.fixture
def exits(side: Side, exits_for: Callable[[str], Exits]) -> Exits:
    return exits_for(side.amqp)


def bindings(side: Side) -> set[tuple[str, str, str]]:
    found = Admin(side.api).call("GET", f"bindings/{side.vhost}")
    return {(one["source"], one["destination"], one["routing_key"]) for one in found if one["source"]}


def test_the_ladder_is_declared_as_celery_declares_it(side: Side, exits: Exits):
    exits.ensure_ladder()
    assert (exits.fault, exits.warning) == (None, None)
    # A worker that comes later declares the same once more: no difference, or this raises.
    with kombu.Connection(side.amqp, transport="pyamqp") as worker:
        declare_native_delayed_delivery_exchanges_and_queues(worker, "quorum")
    exits.ensure_ladder()
    assert (exits.fault, exits.warning) == (None, None)


def test_a_ladder_that_is_whole_is_not_declared_again(side: Side, opened: Callable[[str], Connection]):
    connection = opened(side.amqp)

    def look() -> bool:
        channel = connection.channel(CHANNEL)
        try:
            return whole(channel)
        finally:
            channel.close()

    assert not look()
    assert bindings(side) == set(), "looking makes nothing"
    delayed.declare(AmqpAddress.parse(side.amqp), None)
    declared = bindings(side)
    assert look()
    with Peer(side.amqp) as peer:
        peer.channel.exchange_unbind("celery_delayed_4", "celery_delayed_5", "*." * 22 + "0.#")
        peer.channel.queue_unbind("celery_delayed_5", "celery_delayed_5", "*." * 22 + "1.#")
        assert len(bindings(side)) == len(declared) - 2
        assert look()
        assert bindings(side) == declared
        peer.channel.queue_delete("celery_delayed_0")
        assert not look()
        assert len(bindings(side)) == len(declared) - 1
        peer.channel.queue_declare("celery_delayed_0", durable=True, arguments={"x-queue-type": "quorum"})
        assert not look()

    fresh = Exits(connection, lambda: pytest.fail("it is declared by kombu"))
    with Peer(side.amqp) as peer:
        peer.channel.queue_delete("celery_delayed_0")
    delayed.declare(AmqpAddress.parse(side.amqp), None)
    fresh.ensure_ladder()
    assert (fresh.fault, fresh.warning) == (None, None)


def test_a_classic_ladder_is_accepted_with_a_warning(side: Side, exits: Exits):
    with kombu.Connection(side.amqp, transport="pyamqp") as worker:
        declare_native_delayed_delivery_exchanges_and_queues(worker, "classic")
    exits.ensure_ladder()
    assert exits.fault is None
    assert exits.warning is not None
    assert exits.warning.startswith("the ladder on the target was declared otherwise and is used as it is: ")


def test_a_ladder_that_may_not_be_declared_is_used_when_it_is_whole(
    side: Side, exits: Exits, exits_for: Callable[[str], Exits]
):
    admin = Admin(side.api)
    admin.make_user("restricted", "x", side.vhost, configure="^$")
    try:
        restricted = exits_for(as_user(side.amqp, "restricted", "x"))
        restricted.ensure_ladder()
        assert restricted.fault is not None
        assert "is missing" in restricted.fault
        assert 'user "restricted" may not declare the ladder' in restricted.fault

        exits.ensure_ladder()
        restricted.ensure_ladder()
        assert restricted.fault is None
        with Peer(side.amqp) as peer:
            peer.channel.queue_delete(ladder.level_name(13))
        restricted.ensure_ladder()
        assert restricted.fault is not None
        assert f"{ladder.level_name(13)} is missing" in restricted.fault
    finally:
        admin.drop_user("restricted")


def test_a_broker_that_is_not_there_is_said(side: Side):
    nowhere = AmqpAddress.parse("amqp://bridge:s3cret@127.0.0.1:1/v")
    with pytest.raises(Unreachable, match="target: the ladder could not be declared: ") as caught:
        delayed.declare(nowhere, None)
    assert "s3cret" not in str(caught.value)


def test_an_exit_is_bound_once_and_beside_celery_s_own(side: Side, exits: Exits):
    exits.ensure_ladder()
    with Peer(side.amqp) as peer:
        peer.quorum("a.q1")
        peer.channel.exchange_declare("shop", "topic", durable=True)
        for _ in range(2):
            exits.bind("a.q1")
        with kombu.Connection(side.amqp, transport="pyamqp") as worker:
            exchange = kombu.Exchange("shop", "topic")
            queue = kombu.Queue("a.q1", exchange, routing_key="a.q1", queue_arguments={"x-queue-type": "quorum"})
            bind_queue_to_native_delayed_delivery_exchange(worker, queue)
        ours = (ladder.DELIVERY_EXCHANGE, "a.q1", ladder.exit_pattern("a.q1"))
        assert {one for one in bindings(side) if one[:2] == ours[:2]} == {ours}
        assert (ladder.DELIVERY_EXCHANGE, "shop", "#.a.q1") in bindings(side)


def test_exits_of_quiet_queues_are_listed_and_only_missing_ones_are_bound(side: Side, exits: Exits):
    exits.ensure_ladder()
    bound: list[str] = []

    def bind(queue: str) -> None:
        bound.append(queue)
        exits.bind(queue)

    with Peer(side.amqp) as peer:
        names = ("q1", "a.q1", "ünïq %2F #")
        for name in names:
            peer.quorum(name)
            exits.bind(name)
        broker = Broker.model_validate({"amqp": side.amqp, "api": side.api})
        api = sides.management("target", broker)
        watch = ExitWatch(api, side.vhost, bind)
        for name in names:
            watch.look(name)
        assert bound == []
        peer.channel.queue_unbind("a.q1", ladder.DELIVERY_EXCHANGE, ladder.exit_pattern("a.q1"))
        watch = ExitWatch(api, side.vhost, bind)
        for name in names:
            watch.look(name)
        assert bound == ["a.q1"]
        assert (ladder.DELIVERY_EXCHANGE, "a.q1", ladder.exit_pattern("a.q1")) in bindings(side)


def test_a_queue_or_a_ladder_that_is_missing_is_said_and_the_next_question_is_answered(side: Side, exits: Exits):
    with Peer(side.amqp) as peer:
        peer.quorum("q1")
        assert exits.consumers("missing") is None
        assert exits.consumers("q1") == 0
        with pytest.raises(Refused, match='target queue "q1": its exit from the ladder cannot be bound: NOT_FOUND'):
            exits.bind("q1")
        exits.ensure_ladder()
        with pytest.raises(
            Refused, match='target queue "missing": its exit from the ladder cannot be bound: NOT_FOUND'
        ):
            exits.bind("missing")
        exits.bind("q1")
        peer.channel.basic_consume("q1", lambda *_: None)
        assert exits.consumers("q1") == 1
