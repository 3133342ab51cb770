"""The quarantine on every release: what is deposited, shown, taken out, and what a crash leaves."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
import pytest

from bridge import quarantine
from bridge.amqp import Connection
from bridge.core import frames
from bridge.core import properties as p
from bridge.errors import BridgeError, Refused
from bridge.lab.brokers import Side
from bridge.lab.deadline import until
from bridge.link import Link
from bridge.management import path
from tests.functional.cases import Message, shortstr, task
from tests.functional.cases_content import TAGS
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, as_user
from tests.support.raw_amqp import Arrived, Raw, RawAmqp

pytestmark = pytest.mark.functional

#: Bytes of the largest body that RabbitMQ 4 takes, less than what 3.10 does.
LARGEST = 16 * 1024**2
DEEP = {"deep": [{"floats": [1.5, -0.0], "all": list(TAGS.values())}]}
HOSTILE: dict[str, Message] = {
    "plain": task(),
    "floats": task(timelimit=[1.5, 300.25], double=2.5),
    "tags": task().but(headers=TAGS),
    "nested": task(**DEEP),
    "empty": task(b""),
    "no properties": Message({}, None, b"x"),
    "no headers": task().but({p.HEADERS: ...}),
    "odd body": task(bytes(range(256)) * 1000),
    "routed": task(CC=["else"], **{"x-death": [{"count": 1}]}),
}


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    """Of each world the new side: 3.10, 4.0, 4.3."""
    return vhosts.new


@contextmanager
def linked(side: Side, url: str | None = None) -> Iterator[Link]:
    """The daemon's connections, both to one side."""

    def make(name: str) -> Callable[..., Connection]:
        return lambda receive: Connection(name, [pika.URLParameters(url or side.amqp)], receive)

    link = Link(make("source"), make("target"))
    link.open()
    try:
        yield link
    finally:
        link.close()


def wire_of(raw: Raw, channel: int = 7, frame_max: int = 131072) -> bytes:
    """Header and body frames, as they came on some channel."""
    payload = b"\x00\x3c\x00\x00" + len(raw.body).to_bytes(8, "big") + raw.properties
    return frames.header_frame(channel, payload) + frames.body_frames(channel, raw.body, frame_max)


def taken(amqp: RawAmqp) -> Arrived:
    found = amqp.receive(time.monotonic() + 10)
    assert found is not None
    return found


def straight(amqp: RawAmqp, raw: Raw) -> Arrived:
    """The message published straight into a quorum queue: what it looks like then is the broker's doing alone."""
    amqp.declare("straight", **{"x-queue-type": "quorum"})
    amqp.publish("", "straight", raw)
    amqp.consume("straight")
    return taken(amqp)


# -- into the quarantine
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_deposited_is_there_as_it_was(name: str, side: Side) -> None:
    raw = HOSTILE[name].raw()
    with linked(side) as link, RawAmqp(side.amqp) as amqp:
        quarantine.deposit(link, "q.1", "closes-channel", wire_of(raw))
        quarantine.deposit(link, "q.1", "closes-channel", wire_of(raw, frame_max=4096))
        properties = straight(amqp, raw).properties
        amqp.consume("bridge.quarantine")
        for _ in range(2):
            found = taken(amqp)
            assert (found.routing_key, found.body) == ("q.1.closes-channel", raw.body)
            assert found.properties == properties


def test_what_would_keep_it_from_being_stored_is_cut(side: Side) -> None:
    odd = task().but({p.EXPIRATION: shortstr("1"), p.USER_ID: shortstr("someone")})
    ours = task().but({p.USER_ID: shortstr("bridge")})
    with linked(side) as link, RawAmqp(side.amqp) as amqp:
        for message in (odd, ours):
            quarantine.deposit(link, "q", "closes-channel", wire_of(message.raw()))
        amqp.consume("bridge.quarantine")
        first, second = taken(amqp), taken(amqp)
        assert first.properties == straight(amqp, task().raw()).properties
        assert p.spans(bytes(12) + second.properties).keys() == {*ours.properties, p.HEADERS}


@pytest.mark.parametrize("world", ["3.10->3.10"], indirect=True)
def test_a_large_message(side: Side) -> None:
    body = os.urandom(LARGEST)
    with linked(side) as link, RawAmqp(side.amqp) as amqp:
        quarantine.deposit(link, "q", "closes-channel", wire_of(task(body).raw()))
        amqp.consume("bridge.quarantine")
        assert taken(amqp).body == body


def test_what_it_does_not_take_is_an_error_and_harms_nobody(side: Side) -> None:
    too_large = 16 * 1024**2 + 1 if side.version >= "4" else 128 * 1024**2 + 1
    with linked(side) as link, RawAmqp(side.amqp) as amqp:
        refused = [
            ("x" * 250, task().raw(), "name is too long for a routing key"),
            ("q", Raw(b"\x00\x03", b""), "malformed content header"),
            ("q", task(argsrepr="x" * 140_000).raw(), "a frame of the target has 131072"),
            ("q", task(bytes(too_large)).raw(), "did not take a message"),
        ]
        for queue, raw, said in refused:
            with pytest.raises(Refused, match=said):
                quarantine.deposit(link, queue, "too-large", wire_of(raw))
        quarantine.deposit(link, "q", "closes-channel", wire_of(task().raw()))
        assert link.down() is None
        assert link.target_wire.relays == {}
        assert amqp.depth("bridge.quarantine") == 1


def test_what_is_nacked_or_lost_is_an_error(side: Side) -> None:
    with linked(side) as link:
        deposit(link)
        admin = Admin(side.api)
        admin.call(
            "PUT",
            path("policies", side.vhost, "full"),
            {"pattern": "^bridge.quarantine$", "definition": {"max-length": 1, "overflow": "reject-publish"}},
        )

        def rejected() -> bool:
            try:
                deposit(link)
            except Refused as fault:
                return "rejected it (basic.nack)" in str(fault)
            return False

        assert until(rejected, 15)
        link.target.abort("cut")
        with pytest.raises(BridgeError, match="connection lost: cut"):
            deposit(link)


def test_a_queue_that_was_declared_before_with_a_limit_is_used(side: Side) -> None:
    with linked(side) as link, RawAmqp(side.amqp) as amqp:
        amqp.declare("bridge.quarantine", **{"x-queue-type": "quorum"})
        deposit(link)
        assert amqp.depth("bridge.quarantine") == 1


def test_a_queue_of_another_kind_is_not(side: Side) -> None:
    with linked(side) as link, RawAmqp(side.amqp) as amqp:
        amqp.declare("bridge.quarantine")
        with pytest.raises(Refused, match=r'the quarantine "bridge.quarantine" cannot be used: .*x-queue-type') as said:
            deposit(link)
        assert "that is no quorum queue is in the way" in said.value.hint
        assert link.down() is None


def test_who_may_not_declare_uses_what_apply_made(side: Side) -> None:
    admin, user = Admin(side.api), f"user-{secrets.token_hex(4)}"
    with linked(side) as link:
        deposit(link)
    rights = {"configure": "", "write": "^bridge.quarantine$", "read": "^bridge.quarantine$"}
    admin.make_user(user, "secret", side.vhost, **rights)
    try:
        with linked(side, as_user(side.amqp, user, "secret")) as link, RawAmqp(side.amqp) as amqp:
            deposit(link)
            assert amqp.depth("bridge.quarantine") == 2
    finally:
        admin.drop_user(user)


def deposit(link: Link, message: Message | None = None, queue: str = "q", reason: str = "closes-channel") -> None:
    quarantine.deposit(link, queue, reason, wire_of((message or task()).raw()))
