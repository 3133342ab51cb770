"""Messages that are not like the others, among ten thousand that are: the good ones all arrive, the odd ones are where
docs/recover says.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from bridge.core import envelope, frames
from bridge.core import properties as p
from bridge.discovery import FIRST_NUMBER
from tests.functional.cases import Message, iso, shortstr, task
from tests.functional.cases_content import DEATH, LARGEST
from tests.functional.passage import user_at
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, queue_of, running, takeover
from tests.support.peers import Peer
from tests.support.proxy import Proxy
from tests.support.raw_amqp import RawAmqp
from tests.support.rewriting import Rewriting

pytestmark = pytest.mark.e2e
in_one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)

GOOD = 10_000
#: A user of the old broker that the new one does not know.
STRANGER = "shop"
#: A body that stands in no other message.
MARK = b"the odd one"


@contextmanager
def among_good_ones(vhosts: Vhosts, *odd: Message, foreign: Message | None = None) -> Iterator[tuple[Peer, Peer]]:
    """Both queues, and odd messages in the middle of good ones in the old `q1`."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        old.publish("q1", range(GOOD // 2))
        with RawAmqp(vhosts.old.amqp) as raw:
            raw.publish_all("", "q1", [one.raw() for one in odd])
        if foreign is not None:
            user_at(vhosts.old, STRANGER)
            with RawAmqp(vhosts.old.amqp, user=STRANGER) as raw:
                raw.publish_all("", "q1", [foreign.raw()])
        old.publish("q1", range(GOOD // 2, GOOD))
        yield old, new


def all_good_arrived(new: Peer, odd: int, *, twice: int = 0) -> None:
    """Every good message is in the new `q1`, and so many odd ones, of which some came twice."""
    good: Counter[int] = Counter()
    others = 0
    with RawAmqp(new.url) as raw:
        raw.consume("q1")
        while (one := raw.receive(time.monotonic() + 1.0)) is not None:
            number = re.search(rb"number-(\d{10})", one.properties)
            if number:
                good[int(number[1])] += 1
            else:
                others += 1
    assert set(good) == set(range(GOOD))
    assert odd <= others <= odd + twice


def exported(folder: Path, queue: str = "q1") -> list[envelope.Message]:
    place = folder / "export" / quote(queue, safe="")
    return [envelope.unseal(file.read_bytes()) for file in sorted(place.iterdir())] if place.exists() else []


@in_one_world
def test_odd_ones_among_good_ones(vhosts: Vhosts, tmp_path: Path) -> None:
    """Too large for the target; of another user; with a copy for another queue; once through a ladder before."""
    large = task(os.urandom(LARGEST + 1))
    copied = task(MARK).but(headers={"CC": ["q2"]})
    through_a_ladder = task(MARK, eta=iso(time.time() + 8)).but(headers=DEATH)
    foreign = task(MARK).but({p.USER_ID: shortstr(STRANGER)})
    with among_good_ones(vhosts, large, copied, through_a_ladder, foreign=foreign) as (old, new):
        # The copy that the old broker made itself is q2's own.
        assert old.ready("q2") == 1
        config = takeover(vhosts, tmp_path, route="quorum", queues={"include": ["q1"]})
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: status["totals"]["moved"] == GOOD + 3, 60)
            assert status["totals"]["exported"] == 1
            assert status["totals"]["quarantined"] == 0
            assert queue_of(status, "q1")["state"] == "moving"
            with RawAmqp(vhosts.new.amqp) as raw:
                daemon.wait_until(lambda _: raw.depth("q1") == GOOD + 3, 20)
        assert new.ready("q2") == 0
        all_good_arrived(new, 3)
        [file] = exported(tmp_path)
        assert (file.reason, file.header[12:], file.body) == ("too-large", large.raw().properties, large.raw().body)


@in_one_world
def test_what_the_target_takes_and_the_backup_does_not_has_a_file_as_its_copy(vhosts: Vhosts, tmp_path: Path) -> None:
    """A body as large as the broker takes is larger than that in its envelope."""
    largest = task(os.urandom(LARGEST))
    with among_good_ones(vhosts, largest) as (old, new):
        config = takeover(vhosts, tmp_path, route="quorum", backup={"on": "target"}, queues={"include": ["q1"]})
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda _: old.ready("q1") == 0, 90)
            status = daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0, 30)
            totals = status["totals"]
            assert (totals["exported"], totals["backup_missed"]) == (0, 0)
            assert totals["copied"] >= GOOD
        # How much the backup takes is known when it has refused the copy; the target had the message then.
        all_good_arrived(new, 1, twice=1)
        assert totals["possible_duplicates"] >= 1
        [file] = exported(tmp_path)
        assert (file.reason, file.header[12:], file.body) == (
            "copy-too-large",
            largest.raw().properties,
            largest.raw().body,
        )


def header_frame(message: Message) -> bytes:
    """The frame as the bridge publishes it for `q1`."""
    raw = message.raw()
    payload = b"\x00\x3c\x00\x00" + len(raw.body).to_bytes(8, "big") + raw.properties
    return frames.header_frame(FIRST_NUMBER, payload)


def closing_the_channel(vhosts: Vhosts) -> tuple[Message, Proxy]:
    """A message of our own user that becomes one of nobody's on its way: 406."""
    message = task(MARK).but({p.USER_ID: shortstr("bridge")})
    sent = header_frame(message)
    return message, Rewriting(vhosts.new.amqp, sent, sent.replace(b"\x06bridge", b"\x06nobody"))


def closing_the_connection(vhosts: Vhosts) -> tuple[Message, Proxy]:
    """A message whose body is longer than its header says when it arrives: 501 or 505 for the whole connection."""
    message = task(MARK)
    sent = header_frame(message)
    return message, Rewriting(vhosts.new.amqp, sent, sent[:18] + b"\x01" + sent[19:])


@in_one_world
def test_what_closes_a_channel_is_found_and_quarantined(vhosts: Vhosts, tmp_path: Path) -> None:
    message, proxy = closing_the_channel(vhosts)
    with proxy, among_good_ones(vhosts, message) as (old, new):
        config = takeover(vhosts, tmp_path, route="quorum", log={"level": "info", "format": "text"})
        config["target"]["amqp"] = proxy.url
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: status["totals"]["quarantined"] == 1, 60)
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving" and old.ready("q1") == 0, 60)
            status = daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0)
            doubled(daemon, new, status)
        with RawAmqp(vhosts.new.amqp) as raw:
            raw.consume("bridge.quarantine")
            found = raw.receive(time.monotonic() + 5)
            assert found is not None
            assert (found.routing_key, found.body) == ("q1.closes-channel", MARK)
        all_good_arrived(new, 0)
        assert exported(tmp_path) == []


@in_one_world
def test_what_closes_the_connection_is_found_apart_and_stops_no_other_queue(vhosts: Vhosts, tmp_path: Path) -> None:
    message, proxy = closing_the_connection(vhosts)
    with proxy, among_good_ones(vhosts, message) as (old, new):
        config = takeover(vhosts, tmp_path, route="quorum", log={"level": "info", "format": "text"})
        config["target"]["amqp"] = proxy.url
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda _: "on connections of its own" in daemon.stderr, 30)
            old.publish("q2", range(100))
            daemon.wait_until(lambda status: queue_of(status, "q2")["moved"] == 100, 30)
            status = daemon.wait_until(lambda status: status["totals"]["exported"] == 1, 90)
            daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == "moving" and old.ready("q1") == 0, 60)
            status = daemon.wait_until(lambda status: status["totals"]["in_flight"] == 0)
            doubled(daemon, new, status)
        all_good_arrived(new, 0)
        [file] = exported(tmp_path)
        assert (file.reason, file.body) == ("closes-channel", MARK)


def doubled(daemon: Daemon, new: Peer, status: dict[str, object]) -> None:
    """What is there twice was counted."""
    totals = status["totals"]
    assert isinstance(totals, dict)
    assert new.ready("q1") - GOOD <= totals["possible_duplicates"], daemon.quote()
