"""Single messages sent as the daemon sends them, and read byte-exactly: what a command can rely on."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pika import spec

from bridge import config, sides
from bridge.config import Config
from bridge.core import ladder
from bridge.core import properties as p
from bridge.errors import Refused, Unreachable
from bridge.reading import Reader
from bridge.republish import Republisher
from tests.functional.cases import ABSENT, Message, iso, shortstr, task
from tests.functional.cases_content import LARGEST
from tests.functional.passage import LOST, QUORUM
from tests.support.brokers import Vhosts
from tests.support.copies import parts
from tests.support.daemon import takeover
from tests.support.raw_amqp import Arrived, Raw, RawAmqp

pytestmark = pytest.mark.functional


def configured(vhosts: Vhosts, folder: Path, **changed: Any) -> Config:
    return config.parse(yaml.safe_dump(takeover(vhosts, folder, **changed)), {})


@pytest.fixture
def old(vhosts: Vhosts) -> Iterator[RawAmqp]:
    with RawAmqp(vhosts.old.amqp) as amqp:
        yield amqp


@pytest.fixture
def new(vhosts: Vhosts) -> Iterator[RawAmqp]:
    with RawAmqp(vhosts.new.amqp) as amqp:
        yield amqp


def send(republisher: Republisher, messages: Mapping[str, tuple[str, Raw]]) -> dict[str, str | None]:
    """Send messages by name, each to its queue, and return how each ended."""
    ended: dict[str, str | None] = {}

    def teller(name: str) -> Callable[[str | None], None]:
        return lambda text: ended.__setitem__(name, text)

    for name, (queue, message) in messages.items():
        republisher.put(queue, *parts(message), teller(name))
    republisher.flush(30)
    return ended


def received(amqp: RawAmqp, count: int) -> list[Arrived]:
    deadline = time.monotonic() + LOST
    found = [one for _ in range(count) if (one := amqp.receive(deadline)) is not None]
    assert amqp.receive(time.monotonic() + 0.1) is None
    return found


ODD: dict[str, Message] = {
    "no-headers": Message({p.DELIVERY_MODE: b"\x02"}, None, b"x"),
    "no-properties": Message({}, None, b""),
    "all-properties": task(b"all").but(
        {p.TYPE: shortstr("t"), p.APP_ID: shortstr("celery"), p.MESSAGE_ID: b"\x02m\xff"}
    ),
    "every-type": task(b"every").but(
        odd={
            "array": [None, 300.5, True, {"deep": [1]}],
            "bytes": b"x\x00\x00\x00\x02\xff\x00",
            "decimal": b"D\x02\x00\x00\x01\x2c",
            "short": b"s\xff\xff",
            "float": b"f\x3f\x80\x00\x00",
        }
    ),
    "large": task(os.urandom(300_000)),
}


def test_what_is_put_arrives_as_the_daemon_would_send_it(vhosts: Vhosts, new: RawAmqp, tmp_path: Path) -> None:
    soon, far = time.time() + 2.5, time.time() + 90_000.5
    for queue in ("q1", "q2-new"):
        new.declare(queue, **QUORUM)
        new.consume(queue)
    settings = {"settings": [{"match": "q2", "target": "q2-new"}]}
    messages = {name: ("q1", message.raw()) for name, message in ODD.items()}
    messages["other-queue"] = ("q2", task(b"other").raw())
    messages["soon"] = ("q1", task(b"soon", eta=iso(soon)).raw())
    messages["late"] = ("q1", task(b"late", eta=iso(time.time() - 60)).raw())
    messages["cut"] = (
        "q1",
        task(b"cut", CC=["q2-new"], **{"x-death": [{"count": 1}]}).but({p.USER_ID: b"\x03app"}).raw(),
    )
    with Republisher(configured(vhosts, tmp_path, queues=settings)) as republisher:
        entry = ladder.entry_name((90_000).bit_length() - 1)
        new.declare("tap")
        # The ladder is declared by the first message.
        assert send(republisher, messages) == dict.fromkeys(messages)
        new.bind("tap", entry, "")
        new.consume("tap")
        assert send(republisher, {"far": ("q1", task(b"far", eta=iso(far)).raw())}) == {"far": None}
    arrived = received(new, len(messages) + 1)
    by_body = {one.body: one for one in arrived}
    expected = {raw.body: (queue, raw.properties) for queue, raw in messages.values()}
    expected[b"cut"] = ("q1", task(b"cut").raw().properties)
    expected[b"other"] = ("q2-new", expected[b"other"][1])
    expected[b"far"] = ("tap", task(b"far", eta=iso(far)).raw().properties)
    assert by_body.keys() == expected.keys()
    new.declare("straight", **QUORUM)
    new.consume("straight")
    for body, (queue, listed) in expected.items():
        # 4.3 itself changes the order of headers of some: what a plain publish comes to is what is right.
        new.publish("", "straight", Raw(listed, body))
        [straight] = received(new, 1)
        came = by_body[body]
        # What came out of the ladder carries its `x-death`.
        assert (came.queue, body == b"soon" or came.properties) == (queue, body == b"soon" or straight.properties)
    assert by_body[b"far"].routing_key.endswith(ladder.exit_word("q1"))
    assert soon - 1 <= by_body[b"soon"].at <= soon + 5.0


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_each_message_that_is_not_safe_is_told_why(vhosts: Vhosts, new: RawAmqp, tmp_path: Path):
    new.declare("q1", **QUORUM)
    new.declare("full", **{"x-max-length": 3, "x-overflow": "reject-publish"})
    good = task(b"good").raw()
    header, body = parts(good)
    ended: dict[str, str | None] = {}
    with Republisher(configured(vhosts, tmp_path)) as republisher:
        assert send(republisher, {"a": ("q1", good), "b": ("nowhere", good), "c": ("q1", good)}) == {
            "a": None,
            "b": 'target: there is no queue "nowhere"',
            "c": None,
        }
        republisher.put("q1", header[:-3], body, lambda text: ended.__setitem__("cut short", text))
        republisher.put("q1", header, body + b"x", lambda text: ended.__setitem__("too long", text))
        republisher.flush(5)
        assert ended["cut short"] == "its content header is malformed: property 0x0200 passes the end of the header"
        assert ended["too long"] == "its content header announces a body of 4 bytes, it has 5"

        full = send(republisher, {str(number): ("full", good) for number in range(10)})
        assert [text is None for text in full.values()].count(True) == 3
        assert all(text is None or "basic.nack" in text for text in full.values())
        new.call(spec.Queue.Purge(queue="full"))
        # The limit counts what is in the queue: what follows arrives again.
        assert send(republisher, {"again": ("full", good)}) == {"again": None}

        new.call(spec.Queue.Delete(queue="q1"))
        gone = send(republisher, {str(number): ("q1", good) for number in range(5)})
        assert all(text is not None and 'queue "q1"' in text for text in gone.values()), gone
        new.declare("q1", **QUORUM)
        time_out = time.monotonic() + 10
        while send(republisher, {"back": ("q1", good)})["back"] is not None:
            assert time.monotonic() < time_out
    assert new.depth("q1") == 1


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_the_one_that_closes_the_channel_is_found_among_others(vhosts: Vhosts, new: RawAmqp, tmp_path: Path):
    new.declare("q1", **QUORUM)
    new.consume("q1")
    good = task(b"good").raw()
    messages = {str(number): ("q1", task(str(number).encode()).raw()) for number in range(20)}
    messages["large"] = ("q1", task(os.urandom(LARGEST + 1)).raw())
    messages |= {str(number): ("q1", task(str(number).encode()).raw()) for number in range(20, 40)}
    with Republisher(configured(vhosts, tmp_path)) as republisher:
        ended = send(republisher, messages)
        text = ended.pop("large")
        assert text is not None
        assert f"{LARGEST}" in text
        assert set(ended.values()) == {None}
        # From now on the limit is known: nothing is lost to it a second time.
        assert send(republisher, {"large": messages["large"], "good": ("q1", good)})["good"] is None
    deadline = time.monotonic() + LOST
    came = set()
    while len(came) < 41:
        one = new.receive(deadline)
        assert one is not None
        came.add(one.body)


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_back_to_the_source_an_eta_is_left_to_the_workers(vhosts: Vhosts, old: RawAmqp, tmp_path: Path):
    old.declare("q1")
    old.consume("q1")
    messages = {
        "eta": ("q1", task(b"eta", eta=iso(time.time() + 3600)).but({p.EXPIRATION: shortstr("7200000")}).raw()),
        "cut": ("q1", task(b"cut", CC=["q1"]).but({p.USER_ID: shortstr("app")}).raw()),
        "large": ("q1", task(os.urandom(300_000)).raw()),
    }
    with Republisher(configured(vhosts, tmp_path), to="source") as republisher:
        assert send(republisher, messages) == dict.fromkeys(messages)
        assert send(republisher, {"b": ("q2", task().raw())}) == {"b": 'source: there is no queue "q2"'}
    by_body = {one.body: one.properties for one in received(old, 3)}
    assert by_body == {
        **{raw.body: raw.properties for _, raw in messages.values()},
        b"cut": task(b"cut", CC=ABSENT).raw().properties,
    }


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_more_than_the_window_is_held_back_and_all_arrives(vhosts: Vhosts, new: RawAmqp, tmp_path: Path):
    new.declare("q1", **QUORUM)
    most = 0
    ended: list[str | None] = []
    with Republisher(configured(vhosts, tmp_path, relay={"window": 20})) as republisher:
        for number in range(2000):
            republisher.put("q1", *parts(task(str(number).encode()).raw()), ended.append)
            most = max(most, republisher.in_flight)
        republisher.flush(20)
        assert most <= 20
    assert ended == [None] * 2000
    assert new.depth("q1") == 2000


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_a_lost_connection_is_said_and_every_message_is_answered_for(vhosts: Vhosts, new: RawAmqp, tmp_path: Path):
    new.declare("q1", **QUORUM)
    ended: list[str | None] = []
    republisher = Republisher(configured(vhosts, tmp_path))

    put = []

    def put_until_it_breaks() -> None:
        for number in itertools.count(1):
            republisher.put("q1", *parts(task().raw()), ended.append)
            put.append(number)
            if number == 50:
                republisher._connection.abort("the test cuts it")

    with pytest.raises(Unreachable, match="target: connection lost: the test cuts it"):
        put_until_it_breaks()
    republisher.close()
    assert len(ended) == len(put)
    assert sum(text is None for text in ended) <= new.depth("q1")


def test_a_reader_takes_acks_and_leaves_the_rest(vhosts: Vhosts, old: RawAmqp, tmp_path: Path):
    old.declare("q1")
    sent = [message.raw() for message in ODD.values()]
    for message in sent:
        old.publish("", "q1", message)
    made = configured(vhosts, tmp_path)
    with Reader(sides.connection("source", made.source, "test"), "q1", prefetch=10) as reader:
        found = [one for _ in sent if (one := reader.take(5)) is not None]
        assert [(one.header, one.body) for one in found] == [parts(message) for message in sent]
        assert {(one.exchange, one.routing_key, one.redelivered) for one in found} == {("", "q1", False)}
        assert reader.take(0.2) is None
        reader.ack(found[1].tag, multiple=True)
    with Reader(sides.connection("source", made.source, "test"), "q1", prefetch=10) as reader:
        again = [one for _ in sent[2:] if (one := reader.take(5)) is not None]
        assert [(one.header, one.body, one.redelivered) for one in again] == [(*parts(raw), True) for raw in sent[2:]]
        old.call(spec.Queue.Delete(queue="q1"))
        with pytest.raises(Refused, match='source: queue "q1" was deleted'):
            reader.take(5)
    with pytest.raises(Refused, match='source: queue "q1" cannot be read: NOT_FOUND'):
        Reader(sides.connection("source", made.source, "test"), "q1")
