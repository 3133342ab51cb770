"""The connection on real brokers: what their refusals and limits look like to us."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pika
import pytest

from bridge.amqp import ChannelClosed, Connection
from bridge.errors import AccessRefused
from bridge.shared import TOO_LARGE as _TOO_LARGE
from tests.support.brokers import Side, Vhosts
from tests.support.peers import Admin, as_user

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]
#: Largest message of RabbitMQ 4 unless configured otherwise: 16 MiB (semantics.md, 6.1).
MAX_MESSAGE_4 = 16 * 1024 * 1024

Open = Callable[..., Connection]


@pytest.fixture(params=["old", "new"])
def side(request: pytest.FixtureRequest, vhosts: Vhosts) -> Side:
    given: Side = getattr(vhosts, request.param)
    return given


@pytest.fixture
def connect() -> Iterator[Open]:
    made: list[Connection] = []

    def opened(url: str, receive: Callable[[bytes], bytes] | None = None) -> Connection:
        made.append(Connection("target", [pika.URLParameters(url)], receive))
        made[-1].open()
        return made[-1]

    yield opened
    for connection in made:
        connection.close()


def test_what_is_negotiated(side: Side, connect: Open):
    connection = connect(side.amqp)
    assert ".".join(map(str, connection.server_version)) == side.version
    assert connection.frame_max == 131072
    assert connection.channel_max == 2047
    assert connection.user == "bridge"


def test_refusals_are_told_apart(side: Side, connect: Open):
    with pytest.raises(AccessRefused, match='refused user "bridge": wrong user or password'):
        connect(as_user(side.amqp, "bridge", "wrong"))
    with pytest.raises(AccessRefused, match='vhost "nowhere" does not exist on '):
        connect(side.amqp.rpartition("/")[0] + "/nowhere")
    api = Admin(side.api)
    api.call("PUT", "users/outsider", {"password": "x", "tags": ""})
    try:
        with pytest.raises(AccessRefused, match=r'or user "outsider" may not enter it|no access to vhost'):
            connect(as_user(side.amqp, "outsider", "x"))
    finally:
        api.drop_user("outsider")


def test_a_closed_channel_leaves_the_others_open(side: Side, connect: Open):
    connection = connect(side.amqp)
    with pika.BlockingConnection(pika.URLParameters(side.amqp)) as peer:
        peer.channel().queue_declare("q", durable=True)
    one, two = connection.channel(1), connection.channel(2)
    with pytest.raises(ChannelClosed) as caught:
        one.declare_passive("missing")
    assert caught.value.code == 404
    with pytest.raises(ChannelClosed):
        connection.channel(3).bind("missing", "amq.topic", "#")
    assert two.declare_passive("q") == (0, 0)
    two.bind("q", "amq.topic", "#.word")
    # A number can be used again once its channel is gone.
    assert connection.channel(1).declare_passive("q") == (0, 0)
    two.consume("q", "bridge", 1000)
    with pytest.raises(ChannelClosed):
        connection.channel(3).consume("missing", "bridge", 1000)
    assert connection.channel(1000).declare_passive("q") == (0, 1)


def test_a_message_above_the_limit_closes_the_channel_with_the_limit_in_its_text(vhosts: Vhosts, connect: Open):
    """The relay learns from this text what the target takes."""
    connection = connect(vhosts.new.amqp)
    with pika.BlockingConnection(pika.URLParameters(vhosts.new.amqp)) as peer:
        peer.channel().queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
    channel = connection.channel(5)
    channel.confirm_select()
    body = bytes(MAX_MESSAGE_4 + 1)
    publish = pika.frame.Method(5, pika.spec.Basic.Publish(routing_key="q", mandatory=True)).marshal()
    content = [pika.frame.Header(5, len(body), pika.BasicProperties()).marshal()]
    most = connection.frame_max - 8
    content += [pika.frame.Body(5, body[at : at + most]).marshal() for at in range(0, len(body), most)]
    connection.send(publish + b"".join(content))
    assert channel.closed.wait(20)
    assert isinstance(channel.error, ChannelClosed)
    found = _TOO_LARGE.search(channel.error.text)
    assert found is not None, channel.error.text
    assert int(found[1]) == MAX_MESSAGE_4
    assert not connection.closed.is_set()


def test_a_deleted_queue_cancels_its_consumer(side: Side, connect: Open):
    connection = connect(side.amqp)
    with pika.BlockingConnection(pika.URLParameters(side.amqp)) as peer:
        peer.channel().queue_declare("q", durable=True)
        channel = connection.channel(5)
        ended: list[bool] = []
        channel.on_end = lambda: ended.append(channel.cancelled)
        channel.consume("q", "bridge", 1000)
        peer.channel().queue_delete("q")
        with gevent.Timeout(10):
            while not ended:
                gevent.sleep(0.01)
    assert ended == [True]


def test_frames_of_other_channels_pass_the_fast_path(side: Side, connect: Open):
    """Everything that the fast path leaves comes to pika whole, whatever the chunks are."""
    chunks: list[int] = []

    def receive(chunk: bytes) -> bytes:
        chunks.append(len(chunk))
        return chunk

    connection = connect(side.amqp, receive)
    for number in range(2, 40):
        connection.channel(number).confirm_select()
    assert sum(chunks) > 0
    assert not connection.closed.is_set()
