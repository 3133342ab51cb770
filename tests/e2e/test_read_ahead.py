"""What the source hands out before there is room for it: never in flight, and no end doubles or marks it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer
from tests.support.proxy import Proxy, Way

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

WINDOW, AHEAD, COUNT = 100, 1000, 40_000


#: Has each consuming channel of a vhost read an ack of what it never delivered, for which it closes (406).
_CLOSE_CONSUMING = """
[rabbit_channel:do(proplists:get_value(pid, I), {{'basic.ack', 1 bsl 40, false}})
 || I <- rabbit_channel:info_all([pid, vhost, consumer_count]),
    proplists:get_value(vhost, I) =:= <<"{vhost}">>, proplists:get_value(consumer_count, I) > 0].
"""


class Sides:
    """A backlog in `q1` of the old broker, both brokers behind proxies, and a daemon that is configured for them."""

    def __init__(self, vhosts: Vhosts, folder: Path, old: Peer, new: Peer, source: Proxy, target: Proxy) -> None:
        self.folder = folder
        self.old, self.new, self.source, self.target = old, new, source, target
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(COUNT))
        self.config: dict[str, Any] = takeover(vhosts, folder, relay={"window": WINDOW, "read_ahead": AHEAD})
        self.config["source"]["amqp"], self.config["target"]["amqp"] = source.url, target.url

    @contextmanager
    def reading_ahead(self) -> Iterator[Daemon]:
        """A daemon that moves the queue and has read ahead of its window."""
        with running(self.config, self.folder) as daemon:
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: status["queues"][0]["read_ahead"] > WINDOW, 20)
            yield daemon

    def all_moved(self, daemon: Daemon) -> tuple[int, int]:
        """Wait until all is on the target; how many are doubled there, and how many the daemon says may be."""
        daemon.wait_until(lambda status: not status["totals"]["in_flight"] and not self.old.ready("q1"), 40)
        came = Counter(number for number, _ in self.new.take_all("q1"))
        assert sorted(came) == list(range(COUNT))
        return came.total() - COUNT, daemon.status()["totals"]["possible_duplicates"]


@pytest.fixture
def sides(vhosts: Vhosts, tmp_path: Path) -> Iterator[Sides]:
    with (
        Peer(vhosts.old.amqp) as old,
        Peer(vhosts.new.amqp) as new,
        Proxy(vhosts.old.amqp) as source,
        Proxy(vhosts.new.amqp) as target,
    ):
        yield Sides(vhosts, tmp_path, old, new, source, target)


def test_a_kill_doubles_no_more_than_the_window(sides: Sides) -> None:
    with sides.reading_ahead() as daemon:
        sides.target.stall()
        status = daemon.wait_until(lambda status: status["totals"]["in_flight"] == WINDOW)
        assert status["queues"][0]["read_ahead"] > WINDOW
        daemon.kill()
    sides.target.restore()
    with running(sides.config, sides.folder) as daemon:
        doubled, told = sides.all_moved(daemon)
        assert doubled <= told <= WINDOW


def test_an_orderly_end_takes_what_was_read_ahead_along(sides: Sides) -> None:
    with sides.reading_ahead() as daemon:
        daemon.ask("rollback", "q1")
        status = daemon.wait_until(lambda status: status["queues"][0]["state"] == "idle")
        assert status["totals"]["given_back"] == status["totals"]["possible_duplicates"] == 0
        moved = status["totals"]["moved"]
    # In order, none twice, and no worker sees a mark on what stayed.
    assert [number for number, _ in sides.new.take_all("q1")] == list(range(moved))
    assert sides.old.take_all("q1") == [(number, False) for number in range(moved, COUNT)]


def test_a_source_that_is_cut_off_doubles_no_more_than_it_may_not_have_heard(sides: Sides) -> None:
    with sides.reading_ahead() as daemon:
        sides.source.cut()
        doubled, told = sides.all_moved(daemon)
        assert doubled <= 2 * WINDOW, "those in flight, and those of which the acks were on their way"
        assert doubled <= told


def test_what_a_source_had_not_heard_when_it_closed_the_channel_is_told(sides: Sides, vhosts: Vhosts) -> None:
    """The connection stays; what is acked behind the close is dropped by the source without a word."""
    with sides.reading_ahead() as daemon:
        sides.source.stall(Way.TO_SERVER)
        vhosts.old.nodes[0].ctl("eval", _CLOSE_CONSUMING.format(vhost=vhosts.old.vhost))
        daemon.wait_until(lambda status: status["queues"][0]["state"] != "moving")
        sides.source.restore()
        doubled, told = sides.all_moved(daemon)
        assert 0 < doubled <= told <= 2 * WINDOW


@pytest.mark.long
def test_a_source_that_hears_nothing_is_left_before_all_is_doubled(sides: Sides) -> None:
    """Its deliveries come, our acks get lost: what was read ahead must not go on for ever."""
    with sides.reading_ahead() as daemon:
        sides.source.deafen(Way.TO_SERVER)
        before = daemon.wait_until(lambda status: status["queues"][0]["state"] != "moving", 60)["totals"]
        assert before["in_flight"] == 0
        sides.source.restore()
        doubled, told = sides.all_moved(daemon)
        assert doubled <= 2 * WINDOW
        assert doubled <= told
