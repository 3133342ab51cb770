"""The backup stream on real brokers: made, found, refused; what goes through it comes out byte for byte; retention."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pika import spec

from bridge import backup, config, sides
from bridge.backup import STREAM, Stream
from bridge.core import envelope
from bridge.core.copies import EXCHANGE
from bridge.errors import Refused, Unreachable
from bridge.lab.brokers import Side
from tests.functional.cases import task
from tests.functional.cases_content import LARGEST
from tests.functional.test_republish import ODD
from tests.support.brokers import Vhosts
from tests.support.copies import copy, deliveries, parts
from tests.support.daemon import takeover
from tests.support.peers import Admin, as_user
from tests.support.raw_amqp import Closed, RawAmqp

pytestmark = pytest.mark.functional

MIB = 1024**2


def settings(**given: Any) -> config.Backup:
    return config.Backup.model_validate(given)


def stream_at(vhosts: Vhosts, side: str, tmp_path: Path, user: str | None = None, **given: Any) -> Stream:
    """A stream with an open connection of its own."""
    tree = takeover(vhosts, tmp_path)
    if user is not None:
        tree[side]["amqp"] = as_user(tree[side]["amqp"], user, "secret")
    made = config.parse(yaml.safe_dump(tree), {})
    connection = sides.connection("backup", getattr(made, side), "test")()
    connection.open()
    return Stream(connection, settings(**given))


def side_of(vhosts: Vhosts, side: str) -> Side:
    return {"source": vhosts.old, "target": vhosts.new}[side]


@pytest.fixture(params=["source", "target"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def amqp(vhosts: Vhosts, side: str) -> Iterator[RawAmqp]:
    with RawAmqp(side_of(vhosts, side).amqp) as made:
        yield made


def test_what_is_missing_is_made_and_copies_come_out_byte_for_byte(
    vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path
):
    stream = stream_at(vhosts, side, tmp_path, max_bytes="1GiB")
    assert stream.fault == "the backup stream was not looked at yet"
    stream.ensure()
    assert (stream.fault, stream.warning) == (None, None)
    stream.ensure()
    sent = [("q%1", message.raw()) for message in ODD.values()]
    # As large as a broker of 4.0 or later takes with the envelope around it.
    room = LARGEST - len(copy("ü", task(b"").raw()).body) - 8
    sent.append(("ü", task(os.urandom(room)).raw()))
    for queue, message in sent:
        amqp.publish(EXCHANGE, queue, copy(queue, message, 1.5))
    came = deliveries(side_of(vhosts, side))
    for (queue, message), one in zip(sent, came, strict=True):
        same = envelope.unseal(one.body) == envelope.Message(queue, 1.5, "", *parts(message))
        assert same, queue
        assert (one.exchange, one.routing_key) == (EXCHANGE, queue)
        assert one.offset is not None
    stream.connection.close()
    assert stream.fault == "backup is not connected: Normal shutdown (200)"


@pytest.mark.parametrize("world", ["3.10->4.0", "3.10->4.3"], indirect=True)
@pytest.mark.parametrize("side", ["target"], indirect=True)
def test_a_copy_that_is_too_large_closes_the_channel(vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path):
    stream_at(vhosts, side, tmp_path).ensure()
    with pytest.raises(Closed, match=f"max size {LARGEST}"):
        amqp.publish(EXCHANGE, "q", copy("q", task(os.urandom(LARGEST)).raw()))


def test_a_stream_that_goes_is_made_again_when_it_is_doubted(vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path):
    stream = stream_at(vhosts, side, tmp_path)
    stream.ensure()
    amqp.call(spec.Queue.Delete(queue=STREAM))
    with pytest.raises(AssertionError, match="NO_ROUTE"):
        amqp.publish(EXCHANGE, "q", copy("q", task().raw()))
    stream.doubt("no stream took a copy")
    assert stream.fault == "the backup stream is in doubt: no stream took a copy"
    stream.ensure()
    assert stream.fault is None
    with RawAmqp(side_of(vhosts, side).amqp) as other:
        other.publish(EXCHANGE, "q", copy("q", task().raw()))
    # After a reconnect nothing is known any more.
    stream.connection.close()
    stream.connection.open()
    assert stream.fault == "the backup stream was not looked at since the connection was opened"
    stream.ensure()
    assert stream.fault is None
    stream.connection.close()
    with pytest.raises(Unreachable):
        stream.ensure()


@pytest.mark.parametrize("side", ["source", "target"], indirect=True)
def test_a_stream_with_other_arguments_is_used_as_it_is(
    vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    amqp.declare(STREAM, **{"x-queue-type": "stream", "x-max-age": "1h"})
    stream = stream_at(vhosts, side, tmp_path, max_age="2d", max_bytes="1GiB")
    stream.ensure()
    assert stream.fault is None
    assert stream.warning is not None
    assert '{"max-age": "172800s", "max-length-bytes": 1073741824}' in stream.warning
    stream.doubt("somebody asked")
    stream.ensure()
    assert len([record for record in caplog.records if record.name == "bridge.backup"]) == 1
    amqp.publish(EXCHANGE, "q", copy("q", task().raw()))


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_of_another_kind_is_no_stream(vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path, kind: str):
    amqp.declare(STREAM, **{"x-queue-type": kind})
    stream = stream_at(vhosts, side, tmp_path)
    with pytest.raises(Refused, match=r'backup: stream "bridge\.backup" cannot be declared') as refused:
        stream.ensure()
    assert "which is no stream" in refused.value.hint
    assert stream.fault == str(refused.value)
    amqp.call(spec.Queue.Delete(queue=STREAM))
    stream.ensure()
    assert stream.fault is None


def test_an_exchange_of_another_type_is_refused(vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path):
    amqp.declare_exchange(EXCHANGE, "direct")
    with pytest.raises(Refused, match=r'exchange "bridge\.backup" cannot be declared'):
        stream_at(vhosts, side, tmp_path).ensure()


@pytest.fixture
def publisher(vhosts: Vhosts, side: str) -> Iterator[str]:
    """A user who may write and read `bridge.backup`, and declare nothing."""
    where = side_of(vhosts, side)
    admin, name = Admin(where.api), f"backup-{secrets.token_hex(4)}"
    rights = {"configure": "^$", "write": "^bridge\\.backup$", "read": "^bridge\\.backup$"}
    admin.make_user(name, "secret", where.vhost, **rights)
    yield name
    admin.drop_user(name)


def test_what_may_not_be_declared_is_used_if_it_is_there(
    vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path, publisher: str
):
    stream = stream_at(vhosts, side, tmp_path, user=publisher)
    with pytest.raises(Refused, match=r'exchange "bridge\.backup" may not be declared: ACCESS_REFUSED') as refused:
        stream.ensure()
    assert "bridge permissions" in refused.value.hint
    amqp.declare_exchange(EXCHANGE, "topic")
    with pytest.raises(Refused, match=r'queue "bridge\.backup" may not be declared: ACCESS_REFUSED'):
        stream.ensure()
    amqp.declare(STREAM, **backup.arguments(settings()))
    stream.ensure()
    assert stream.fault is None
    amqp.publish(EXCHANGE, "q", copy("q", task().raw()))


def test_what_is_too_much_or_too_old_goes(vhosts: Vhosts, side: str, amqp: RawAmqp, tmp_path: Path):
    """Retention in small steps: at most a segment more than is to be kept, and a policy wins over the arguments."""
    stream_at(vhosts, side, tmp_path, max_bytes=64 * MIB, max_age="1h").ensure()
    message = copy("q", task(os.urandom(500_000)).raw())
    for _ in range(100):
        # What comes at once is written as one piece, however large.
        amqp.publish_all(EXCHANGE, "q", [message] * 2)
    until = time.monotonic() + 20
    # The broker looks beside its work.
    while (kept := len(deliveries(side_of(vhosts, side))) * len(message.body)) > 68 * MIB:
        assert time.monotonic() < until, f"{kept} bytes stay"
    assert kept > 60 * MIB
    where = side_of(vhosts, side)
    policy = {"pattern": "^bridge\\.backup$", "definition": {"max-age": "1s"}, "apply-to": "queues"}
    Admin(where.api).call("PUT", f"policies/{where.vhost}/bridge-backup", policy)
    newer = copy("q", task(os.urandom(500_000)).raw())
    until = time.monotonic() + 30
    while any(one.body == message.body for one in deliveries(side_of(vhosts, side))):
        # Only the beginning of another segment makes the broker look.
        amqp.publish_all(EXCHANGE, "q", [newer] * 5)
        assert time.monotonic() < until, "old copies stay"
