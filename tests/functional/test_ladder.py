"""The ladder where it is of another kind, and our exits from it where they were taken away: semantics.md section 9, 19
and 20. That a missing ladder is made as kombu makes it is in the passage of all cases.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from kombu.transport.native_delayed_delivery import calculate_routing_key

from bridge.core.ladder import DELIVERY_EXCHANGE
from bridge.lab.deadline import until
from tests.functional.cases import iso, task
from tests.functional.ladders import bind_as_celery, declare_ladder, exits_of, ladder_of
from tests.functional.passage import LATE, LOST, QUORUM
from tests.support.daemon import running, takeover
from tests.support.raw_amqp import Arrived, RawAmqp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.brokers import Vhosts

pytestmark = pytest.mark.functional


def receive(new: RawAmqp, count: int, seconds: float) -> list[Arrived]:
    """The next `count` messages, fewer when they do not come within `seconds`."""
    deadline, found = time.monotonic() + seconds, []
    while len(found) < count and (message := new.receive(deadline)) is not None:
        found.append(message)
    return found


def make_queues(vhosts: Vhosts, *names: str) -> None:
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        for name in names:
            old.declare(name)
            new.declare(name, **QUORUM)


in_each_world = pytest.mark.parametrize(
    "world",
    ["3.10->4.3", *(pytest.param(name, marks=pytest.mark.long) for name in ("3.10->3.10", "3.10->4.0"))],
    indirect=True,
)


def all_moving(status: dict[str, Any]) -> bool:
    return bool(status["queues"]) and all(queue["state"] == "moving" for queue in status["queues"])


@in_each_world
def test_classic_ladder_is_used_with_a_warning(vhosts: Vhosts, tmp_path: Path) -> None:
    make_queues(vhosts, "q1")
    declare_ladder(vhosts.new, "classic")
    before = ladder_of(vhosts.new)
    config = takeover(vhosts, tmp_path, route="quorum")
    with running(config, tmp_path) as daemon, RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        status = daemon.wait_until(all_moving)
        assert status["ladder"]["fault"] is None
        assert "classic" in status["ladder"]["warning"]
        assert ladder_of(vhosts.new) == before
        new.consume("q1")
        due = time.time() + 2.9
        old.publish("", "q1", task(eta=iso(due)).raw())
        arrived = receive(new, 1, 2.9 + LOST)
        assert [due - 1 <= message.at <= due + LATE for message in arrived] == [True]
        assert daemon.queue("q1")["converted"] == 1


@in_each_world
def test_missing_exit_is_bound_before_anything_is_delayed(vhosts: Vhosts, tmp_path: Path) -> None:
    """40 messages without an exit would stop every other task of their level."""
    make_queues(vhosts, "q1")
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon:
            daemon.wait_until(all_moving)
            daemon.signal(signal.SIGUSR2)
            daemon.wait_until(lambda status: status["queues"][0]["state"] == "idle")
            new.unbind("q1", DELIVERY_EXCHANGE, "#.bridge:q1")
            assert exits_of(vhosts.new) == []
            due = time.time() + 4.9
            for _ in range(40):
                old.publish("", "q1", task(eta=iso(due)).raw())
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: status["totals"]["converted"] == 40, 4)
            # Another application's task, by Celery's own means, in the level from which those 40 leave.
            new.declare("other", **QUORUM)
            new.declare_exchange("celery", "topic")
            bind_as_celery(vhosts.new, "other", "celery")
            new.consume("q1")
            new.consume("other")
            native = time.time() + 5
            new.publish("celery_delayed_27", calculate_routing_key(5, "other"), task(eta=iso(native)).raw())
            arrived = receive(new, 41, 5 + LOST)
    _assert_in_time([one for one in arrived if one.queue == "q1"], due, 40)
    _assert_in_time([one for one in arrived if one.queue == "other"], native, 1)


# What broker it is makes no difference to when we look; the look comes every 30 s.
@pytest.mark.parametrize("world", ["3.10->3.10"], indirect=True)
def test_exit_that_is_taken_away_comes_back(vhosts: Vhosts, tmp_path: Path) -> None:
    make_queues(vhosts, "q1")
    with RawAmqp(vhosts.new.amqp) as new, running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
        daemon.wait_until(all_moving)
        new.unbind("q1", DELIVERY_EXCHANGE, "#.bridge:q1")
        assert until(lambda: exits_of(vhosts.new) == [("q1", "#.bridge:q1")], 40)
        assert all_moving(daemon.status())


def _assert_in_time(arrived: Sequence[Arrived], due: float, count: int) -> None:
    assert len(arrived) == count
    assert all(due - 1 <= message.at <= due + LATE for message in arrived)
