"""The connection on a scripted broker, and the contract on the private names of pika that it stands on."""

from __future__ import annotations

import errno
import inspect
import logging
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import gevent
import pika
import pytest
from pika import spec
from pika.adapters import gevent_connection
from pika.adapters.utils import connection_workflow, io_services_utils

from bridge import amqp
from bridge.amqp import ChannelClosed, Connection, back_off
from bridge.errors import AccessRefused, Refused, Unreachable
from tests.support.broker import Broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as made:
        yield made


@pytest.fixture
def seen() -> list[bytes]:
    """What the fast path was given."""
    return []


@pytest.fixture
def connection(broker: Broker, seen: list[bytes]) -> Iterator[Connection]:
    """Open, with a fast path that takes deliveries of channel 5 and leaves all else to pika."""

    def receive(chunk: bytes) -> bytes:
        seen.append(chunk)
        return b"" if chunk[1:3] == b"\x00\x05" and chunk[7:11] == b"\x00\x3c\x00\x3c" else chunk

    made = Connection("target", [broker.parameters()], receive)
    made.open()
    yield made
    made.abort("the test ends")
    made.closed.wait(5)


DELIVERY = pika.frame.Method(5, spec.Basic.Deliver("bridge", 1, False, "", "q")).marshal()


# -- pika's private names ----------------------------------------------------------------------------------------------


def test_pika_is_of_the_minor_version_whose_private_names_are_known():
    assert version("pika").split(".")[:2] == ["1", "4"]


def test_the_methods_that_are_overridden_or_called_have_the_parameters_that_are_relied_on():
    def parameters(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    kind = gevent_connection.GeventConnection
    assert parameters(kind._on_data_available) == ["self", "data_in"]
    assert parameters(kind._adapter_emit_data) == ["self", "data"]
    assert parameters(kind._terminate_stream) == ["self", "error"]
    assert "custom_ioloop" in parameters(kind.__init__)
    streaming = parameters(gevent_connection._GeventSelectorIOServicesAdapter.create_streaming_connection)
    assert streaming == ["self", "protocol_factory", "sock", "on_done", "ssl_context", "server_hostname"]
    assert parameters(gevent_connection._GeventSelectorIOServicesAdapter.__init__)[:2] == ["self", "native_loop"]
    assert parameters(gevent_connection._GeventSelectorIOLoop.__init__)[:2] == ["self", "gevent_hub"]


def test_the_transport_reads_as_much_at_once_as_it_is_told(connection: Connection):
    transport = connection._pika._transport
    kind = io_services_utils._AsyncPlaintextTransport
    assert isinstance(transport, kind)
    assert kind._MAX_RECV_BYTES == 4096
    assert transport._MAX_RECV_BYTES == amqp.RECEIVE
    assert transport._MAX_CONSUME_BYTES == 1
    source = inspect.getsource(io_services_utils._AsyncTransportBase._consume)
    assert "self._MAX_RECV_BYTES" in source
    assert "bytes_consumed < self._MAX_CONSUME_BYTES" in source
    assert not transport._tx_buffers
    assert transport._sock.gettimeout() == 0.0


class Narrow:
    """A transport whose socket takes so many bytes, then none."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""
        self._tx_buffers: list[bytes] = []
        self._sock = self

    def send(self, data: bytes) -> int:
        if self.room == 0:
            raise BlockingIOError
        part = data[: self.room]
        self.room -= len(part)
        self.taken += part
        return len(part)

    def write(self, data: bytes) -> None:
        self._tx_buffers.append(data)


@pytest.mark.parametrize("room", range(8))
def test_what_the_socket_does_not_take_follows_in_order(connection: Connection, room: int):
    fast = connection._pika
    real, fast._transport = fast._transport, (narrow := Narrow(room))
    try:
        for part in (b"ab", b"cd", b"ef"):
            fast.send(part)
    finally:
        fast._transport = real
    assert narrow.taken + b"".join(narrow._tx_buffers) == b"abcdef"
    assert len(narrow.taken) == min(room, 6)


def test_bytes_of_the_fast_path_count_as_a_sign_of_life(broker: Broker, connection: Connection, seen: list[bytes]):
    before = connection._pika.bytes_received
    broker.send(DELIVERY)
    until(lambda: seen != [])
    assert connection._pika.bytes_received == before + len(DELIVERY)
    assert "bytes_received" in inspect.getsource(pika.heartbeat.HeartbeatChecker)


def test_what_the_fast_path_leaves_goes_to_pika(broker: Broker, connection: Connection, seen: list[bytes]):
    assert connection._pika._frame_buffer == b"", "nothing of the handshake is left when the fast path begins"
    broker.say(spec.Connection.Blocked("low on memory"))
    until(lambda: connection.blocked is not None)
    assert connection.blocked == "low on memory"
    assert connection._pika._frame_buffer == b""


def test_half_a_frame_that_pika_holds_is_finished_by_pika(broker: Broker, connection: Connection, seen: list[bytes]):
    """Its buffer must be empty before the fast path may read on."""
    whole = pika.frame.Method(0, spec.Connection.Blocked("low on disk")).marshal()
    connection._pika._frame_buffer = whole[:9]
    broker.send(whole[9:])
    until(lambda: connection.blocked is not None)
    assert connection.blocked == "low on disk"
    assert seen == []


def test_one_adapter_of_the_loop_serves_all_connections(broker: Broker):
    """pika opens a pipe for each adapter and never closes it."""
    descriptors = []
    for _ in range(3):
        made = Connection("target", [broker.parameters()])
        made.open()
        made.close()
        gevent.sleep(0)
        descriptors.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
        broker._talking.pop().close()
    assert descriptors[0] >= descriptors[-1]


def test_no_other_file_uses_private_names_of_pika():
    """Whoever updates pika has one file to look at."""
    names = (
        "_on_data_available",
        "_frame_buffer",
        "_adapter_emit_data",
        "_terminate_stream",
        "_MAX_RECV_BYTES",
        "_tx_buffers",
    )
    folder = Path(amqp.__file__).parent
    users = {file.name for file in folder.rglob("*.py") if any(name in file.read_text() for name in names)}
    assert users == {"amqp.py"}


# -- opening and losing ------------------------------------------------------------------------------------------------


def test_it_knows_what_was_negotiated(connection: Connection):
    assert not connection.closed.is_set()
    assert connection.frame_max == 131072
    assert connection.channel_max == 2047
    assert connection.server_version == (3, 10, 8)
    assert connection.user == "guest"


def test_versions_with_words_in_them_are_read():
    with Broker("4.3.0-rc.1") as broker:
        made = Connection("target", [broker.parameters()])
        made.open()
        assert made.server_version == (4, 3, 0)
        made.close()


def test_wrong_credentials_are_told_from_a_missing_vhost(broker: Broker):
    made = Connection("target", [broker.parameters(virtual_host="qhost")])
    broker.answers[spec.Connection.StartOk] = lambda _: spec.Connection.Close(403, "ACCESS_REFUSED - refused", 0, 0)
    with pytest.raises(AccessRefused, match='refused user "guest": wrong user or password') as caught:
        made.open()
    assert "target.amqp" in caught.value.hint

    broker.answers[spec.Connection.StartOk] = lambda _: spec.Connection.Tune(2047, 131072, 0)
    broker.answers[spec.Connection.Open] = lambda _: spec.Connection.Close(530, "NOT_ALLOWED - not found", 10, 40)
    with pytest.raises(AccessRefused, match=r'vhost "qhost" does not exist on .*, or user "guest" may not enter it'):
        made.open()


def test_of_several_addresses_the_first_that_takes_us_is_used(broker: Broker):
    closed = pika.ConnectionParameters("127.0.0.1", 1, stack_timeout=5, heartbeat=0)
    made = Connection("source", [closed, broker.parameters()])
    made.open()
    assert not made.closed.is_set()
    made.close()

    with pytest.raises(Unreachable, match=r"source: cannot connect to 127\.0\.0\.1:1: connection refused"):
        Connection("source", [closed, closed]).open()


def test_a_name_that_does_not_resolve_is_said():
    nowhere = pika.ConnectionParameters("nowhere.invalid", 5672, stack_timeout=5)
    with pytest.raises(Unreachable, match=r"source: cannot connect to nowhere\.invalid:5672: .+"):
        Connection("source", [nowhere]).open()


def test_a_broker_that_says_nothing_is_not_waited_for_long(broker: Broker):
    broker.answers[spec.Connection.Open] = lambda _: None
    with pytest.raises(Unreachable, match="no answer in time"):
        Connection("target", [broker.parameters(stack_timeout=0.1)]).open()


def test_a_peer_that_resets_right_after_it_accepted_is_a_failed_try_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def reset(_socket: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    with socket.create_server(("127.0.0.1", 0)) as listener, monkeypatch.context() as context:
        there = pika.ConnectionParameters("127.0.0.1", listener.getsockname()[1], stack_timeout=60)
        context.setattr(connection_workflow.socket.socket, "getpeername", reset, raising=False)
        with gevent.Timeout(5), pytest.raises(Unreachable, match=r"cannot connect to .*: connection reset by peer"):
            Connection("target", [there]).open()
    assert "Traceback" not in capfd.readouterr().err


def test_the_port_of_something_else_is_said(broker: Broker):
    broker.answers[spec.Connection.StartOk] = lambda _: broker.hang_up()
    with pytest.raises(AccessRefused, match="wrong user or password"):
        # Before 0-9-1 had an answer for it, this was how a broker refused (AMQP 0-9-1, 1.4.2.2).
        Connection("target", [broker.parameters()]).open()
    broker.greets = False
    with pytest.raises(Unreachable, match=r"target: 127\.0\.0\.1:\d+ does not speak AMQP 0-9-1") as caught:
        Connection("target", [broker.parameters()]).open()
    assert "amqps://" in caught.value.hint


def test_a_lost_connection_says_why(broker: Broker, connection: Connection, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "bridge.amqp"):
        broker.hang_up()
        assert connection.closed.wait(5)
    assert connection.reason
    assert [record.levelname for record in caplog.records if record.name == "bridge.amqp"] == ["WARNING"]
    with pytest.raises(Unreachable, match="target: no connection: "):
        connection.channel(1)
    connection.send(DELIVERY)  # dropped: the channels went with the connection


def test_a_broker_that_stops_is_quoted(broker: Broker, connection: Connection):
    broker.say(spec.Connection.Close(320, "CONNECTION_FORCED - broker forced connection closure", 0, 0))
    assert connection.closed.wait(5)
    assert connection.reason == "CONNECTION_FORCED - broker forced connection closure (320)"


def test_a_farewell_that_is_not_answered_ends_all_the_same(
    broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    broker.answers[spec.Connection.Close] = lambda _: None
    monkeypatch.setattr(amqp, "FAREWELL", 0.1)
    connection.close()
    assert connection.closed.wait(5)


def test_a_stream_out_of_step_ends_the_connection(broker: Broker):
    def receive(_chunk: bytes) -> bytes:
        raise ValueError("no end octet")

    made = Connection("source", [broker.parameters()], receive)
    made.open()
    broker.send(DELIVERY)
    assert made.closed.wait(5)
    assert made.reason == "ValueError: no end octet"


def test_blocked_comes_and_goes_and_ends_with_the_connection(broker: Broker, connection: Connection):
    changes: list[str | None] = []
    connection.on_blocked = lambda: changes.append(connection.blocked)
    broker.say(spec.Connection.Blocked("low on memory"))
    until(lambda: len(changes) == 1)
    broker.say(spec.Connection.Unblocked())
    until(lambda: len(changes) == 2)
    assert changes == ["low on memory", None]

    broker.say(spec.Connection.Blocked("low on disk"))
    until(lambda: connection.blocked is not None)
    broker.hang_up()
    assert connection.closed.wait(5)
    assert connection.blocked is None


# -- channels ----------------------------------------------------------------------------------------------------------


def test_calls_wait_for_the_answer(broker: Broker, connection: Connection):
    channel = connection.channel(5)
    channel.confirm_select()
    channel.qos(100)
    channel.consume("q", "bridge", 1000)
    channel.cancel("bridge")
    channel.bind("q", "celery_delayed_delivery", "#.word")
    channel.exchange_passive("celery_delayed_27")
    assert channel.declare_passive("q") == (7, 3)
    channel.close()

    assert broker.wait_for(spec.Basic.Qos).prefetch_count == 100
    consume = broker.wait_for(spec.Basic.Consume)
    assert (consume.queue, consume.no_ack, consume.arguments) == ("q", False, {"x-priority": 1000})
    assert broker.wait_for(spec.Queue.Declare).passive
    assert broker.wait_for(spec.Exchange.Declare).passive


def test_the_broker_s_refusal_is_raised_and_stays(broker: Broker, connection: Connection):
    broker.answers[spec.Queue.Declare] = lambda _: spec.Channel.Close(404, "NOT_FOUND - no queue 'q'", 50, 10)
    channel = connection.channel(5)
    ended: list[bool] = []
    channel.on_end = lambda: ended.append(True)
    for _ in range(2):
        with pytest.raises(ChannelClosed, match=r"target: NOT_FOUND - no queue 'q' \(404\)") as caught:
            channel.declare_passive("q")
        assert caught.value.code == 404
    assert ended == [True]
    assert not connection.closed.is_set()


def test_a_connection_that_ends_ends_the_call_that_waits(broker: Broker, connection: Connection):
    broker.answers[spec.Queue.Declare] = lambda _: broker.hang_up()
    channel = connection.channel(5)
    with pytest.raises(Unreachable, match="target: connection lost: "):
        channel.declare_passive("q")


def test_a_silent_broker_loses_its_connection(broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(amqp, "ANSWER", 0.1)
    broker.answers[spec.Queue.Declare] = lambda _: None
    channel = connection.channel(5)
    with pytest.raises(Unreachable, match=r"target: no answer within 0 s on channel 5"):
        channel.declare_passive("q")
    assert connection.closed.wait(5)


def test_a_channel_that_does_not_open_is_said(broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(amqp, "ANSWER", 0.1)
    broker.answers[spec.Channel.Open] = lambda _: None
    with pytest.raises(Unreachable, match="no answer within"):
        connection.channel(5)


def test_channels_above_the_broker_s_limit_are_refused(connection: Connection):
    with pytest.raises(Refused, match=r"channel 2048 is above the broker's limit \(2047\)"):
        connection.channel(2048)


def test_a_cancelled_consumer_is_told(broker: Broker, connection: Connection):
    """A deleted queue, or a failed node (RabbitMQ, "consumer cancel notifications")."""
    channel = connection.channel(5)
    channel.consume("q", "bridge", 1000)
    broker.say(spec.Basic.Cancel("bridge", nowait=True), 5)
    until(lambda: channel.cancelled)


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_back_off_doubles_up_to_its_end_and_jitters():
    waits = back_off(0.5, 30.0)
    given = [next(waits) for _ in range(12)]
    bounds = [min(0.5 * 2**n, 30.0) for n in range(12)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(given, bounds, strict=True))


def test_addresses_are_shown_without_user_and_password():
    parameters = pika.URLParameters("amqp://bridge:secret@host:5673/chost")
    assert amqp.where(parameters) == "host:5673 vhost chost"


def until(condition: object, seconds: float = 5.0) -> None:
    """Turn the loop until the condition holds."""
    with gevent.Timeout(seconds, AssertionError("did not happen")):
        while not condition():  # type: ignore[operator]
            gevent.sleep(0.001)
