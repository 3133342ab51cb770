"""Our exchanges before the ladder: declared, gone around where they may not be, and made again when they are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pika
import pytest
from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues

from bridge import sides
from bridge.amqp import Connection
from bridge.config_sections import Broker
from bridge.core import ladder
from bridge.delayed import Exits
from bridge.lab.deadline import until
from tests.functional.cases import iso, task
from tests.functional.passage import LATE, LOST, QUORUM
from tests.support.brokers import Side, Vhosts
from tests.support.daemon import running, takeover
from tests.support.peers import Admin, Peer, as_user
from tests.support.raw_amqp import Arrived, RawAmqp

pytestmark = pytest.mark.functional

WAY = [(f"bridge.delayed.{level}", f"celery_delayed_{level}", "") for level in range(28)]
#: The versions differ in how they keep exchanges and bindings, but from 3.10 to 4.3 all go by the same rules.
worlds = pytest.mark.parametrize(
    "world",
    [
        "3.10->4.0",
        pytest.param("3.10->3.10", marks=pytest.mark.long),
        pytest.param("3.10->4.3", marks=pytest.mark.long),
    ],
    indirect=True,
)
SLOWER = "tasks with an ETA enter the ladder by Celery's exchanges, which is slower: "


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    return vhosts.new


@pytest.fixture
def exits_for() -> Iterator[Callable[[str], Exits]]:
    """Exits of a user, over a connection of their own."""
    opened: list[Connection] = []

    def make(url: str) -> Exits:
        opened.append(Connection("target", [pika.URLParameters(url)]))
        opened[-1].open()
        return Exits(opened[-1], sides.ladder(Broker.model_validate({"amqp": url})))

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def peer(side: Side) -> Iterator[Peer]:
    with Peer(side.amqp) as peer:
        yield peer


def ways(side: Side) -> list[tuple[str, str, str]]:
    found = Admin(side.api).call("GET", f"bindings/{side.vhost}")
    ours = [one for one in found if one["source"].startswith("bridge.delayed.")]
    return sorted((one["source"], one["destination"], one["routing_key"]) for one in ours)


@worlds
def test_they_are_declared_and_what_is_lost_is_made_again(
    side: Side, peer: Peer, exits_for: Callable[[str], Exits]
) -> None:
    exits = exits_for(side.amqp)
    exits.ensure_ladder()
    assert (exits.fault, exits.warning, exits.entries) == (None, None, ladder.BY_BRIDGE)
    assert ways(side) == sorted(WAY)

    peer.channel.queue_unbind("celery_delayed_9", "bridge.delayed.9", "")
    exits.watch()
    assert (exits.fault, exits.entries, ways(side)) == (None, ladder.BY_BRIDGE, sorted(WAY))

    peer.channel.exchange_delete("bridge.delayed.5")
    exits.watch()
    assert (exits.fault, exits.entries, ways(side)) == (None, ladder.BY_BRIDGE, sorted(WAY))

    # A level that a worker made anew has nothing of ours.
    peer.channel.queue_delete("celery_delayed_7")
    with kombu.Connection(side.amqp, transport="pyamqp") as worker:
        declare_native_delayed_delivery_exchanges_and_queues(worker, "quorum")
    assert ways(side) != sorted(WAY)
    exits.watch()
    assert (exits.fault, exits.entries, ways(side)) == (None, ladder.BY_BRIDGE, sorted(WAY))


CELERYS = "^(?!bridge.delayed).*"
RIGHTS = [{right: CELERYS} for right in ("configure", "write", "read")]


@worlds
def test_where_they_may_not_be_had_celery_s_exchanges_are_used(
    side: Side, peer: Peer, exits_for: Callable[[str], Exits]
) -> None:
    admin = Admin(side.api)
    name = f"restricted-{side.vhost}"
    try:
        for rights in RIGHTS:
            admin.make_user(name, "x", side.vhost, **rights)
            restricted = exits_for(as_user(side.amqp, name, "x"))
            restricted.ensure_ladder()
            assert (restricted.fault, restricted.entries) == (None, ladder.BY_CELERY)
            assert restricted.warning is not None
            assert restricted.warning.startswith(f"{SLOWER}ACCESS_REFUSED - ")
            assert restricted.warning.endswith(r"; grant configure, write and read on bridge\.delayed\..* and restart")
        exits_for(side.amqp).ensure_ladder()
        admin.make_user(name, "x", side.vhost, configure=CELERYS)
        restricted = exits_for(as_user(side.amqp, name, "x"))
        restricted.ensure_ladder()
        assert (restricted.fault, restricted.warning, restricted.entries) == (None, None, ladder.BY_BRIDGE)
        # It is lost, and nobody with the right to make it is here.
        peer.channel.exchange_delete("bridge.delayed.5")
        restricted.watch()
        assert (restricted.fault, restricted.entries) == (None, ladder.BY_CELERY)

        peer.channel.exchange_declare("bridge.delayed.5", "topic", durable=True)
        exits = exits_for(side.amqp)
        exits.ensure_ladder()
        assert (exits.fault, exits.entries) == (None, ladder.BY_CELERY)
        assert exits.warning is not None
        assert exits.warning.startswith(f"{SLOWER}PRECONDITION_FAILED - inequivalent arg 'type'")
    finally:
        admin.drop_user(name)


def all_moving(status: dict[str, Any]) -> bool:
    return bool(status["queues"]) and all(queue["state"] == "moving" for queue in status["queues"])


def moved(vhosts: Vhosts, count: int, seconds: float) -> list[Arrived]:
    """So many tasks with an ETA so far ahead, through a daemon that is there already."""
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        new.consume("q1")
        due = time.time() + seconds
        for number in range(count):
            old.publish("", "q1", task(b"%d" % number, eta=iso(due)).raw())
        found: list[Arrived] = []
        deadline = time.monotonic() + seconds + LATE + LOST
        while len(found) < count and (arrived := new.receive(deadline)) is not None:
            found.append(arrived)
        early = [one.at for one in found if not due - 1 <= one.at <= due + LATE]
        assert early == []
        return found


def delete(peer: Peer) -> None:
    peer.channel.exchange_delete("bridge.delayed.3")


def unbind(peer: Peer) -> None:
    peer.channel.queue_unbind("celery_delayed_3", "bridge.delayed.3", "")


@pytest.mark.parametrize("lose", [delete, pytest.param(unbind, marks=pytest.mark.long)])
@worlds
def test_tasks_come_by_the_same_key_and_none_is_lost_with_an_entry(
    vhosts: Vhosts, tmp_path: Path, lose: Callable[[Peer], None]
) -> None:
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        old.declare("q1")
        new.declare("q1", **QUORUM)
    config = takeover(vhosts, tmp_path, route="quorum")
    with running(config, tmp_path) as daemon, Peer(vhosts.new.amqp) as peer:
        status = daemon.wait_until(all_moving)
        assert status["ladder"]["warning"] is None
        first = moved(vhosts, 5, 2.5)
        assert sorted(one.body for one in first) == [b"%d" % number for number in range(5)]
        for one in first:
            # It went on by Celery's exchanges; where it entered is written in its `x-death`.
            assert one.exchange == "celery_delayed_0"
            assert ladder.unconvert(one.routing_key) == (2, ladder.exit_word("q1"))
            assert b"bridge.delayed.1" in one.properties
        lose(peer)
        again = moved(vhosts, 50, 13)
        assert sorted(one.body for one in again) == sorted(b"%d" % number for number in range(50))
        assert until(lambda: ways(vhosts.new) == sorted(WAY), 30)
        assert all_moving(daemon.wait_until(all_moving))
        assert daemon.status()["ladder"]["warning"] is None
