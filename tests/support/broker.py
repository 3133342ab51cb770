"""A scripted broker's end on loopback, in greenlets: it shakes hands as RabbitMQ does, then answers what the test says.

    with Broker() as broker:
        broker.answers[spec.Queue.Declare] = lambda _: spec.Channel.Close(404, "NOT_FOUND - no queue", 50, 10)
        connection = Connection("target", [broker.parameters()])

Real brokers are in the functional tier; this one is for what they do once in a thousand days.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import gevent
import pika
import pika.frame
from gevent import socket as gevent_socket
from gevent import ssl as gevent_ssl
from gevent.event import Event
from pika import spec

#: Takes the client's method, returns the answer; None: silence.
Answer = Callable[[Any], Any]

#: Of "localhost", signed by itself; its key lies beside it, and opens nothing but tests.
CERTIFICATE = Path(__file__).parent / "tls" / "localhost.pem"
#: What pika asks for before it uses it.
CAPABLE = {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True}
_HELLO = 8  # bytes of the protocol header, AMQP 0-9-1, 4.2.2


def _handshake() -> dict[type, Answer]:
    return {
        spec.Connection.StartOk: lambda _: spec.Connection.Tune(channel_max=2047, frame_max=131072, heartbeat=0),
        spec.Connection.Open: lambda _: spec.Connection.OpenOk(),
        spec.Connection.Close: lambda _: spec.Connection.CloseOk(),
        spec.Channel.Open: lambda _: spec.Channel.OpenOk(),
        spec.Channel.Close: lambda _: spec.Channel.CloseOk(),
        spec.Confirm.Select: lambda _: spec.Confirm.SelectOk(),
        spec.Basic.Qos: lambda _: spec.Basic.QosOk(),
        spec.Basic.Consume: lambda asked: spec.Basic.ConsumeOk(asked.consumer_tag),
        spec.Basic.Cancel: lambda asked: spec.Basic.CancelOk(asked.consumer_tag),
        spec.Queue.Declare: lambda asked: spec.Queue.DeclareOk(asked.queue, 7, 3),
        spec.Queue.Bind: lambda _: spec.Queue.BindOk(),
        spec.Exchange.Declare: lambda _: spec.Exchange.DeclareOk(),
    }


class Broker:
    """The listening end; every connection to it gets the same answers.

    Attributes:
        answers: by the class of the client's method; a test replaces what it wants otherwise.
        asked: the client's methods, in order.
        version: what it says it is.
        greets: whether it answers the protocol header, or hangs up.
    """

    def __init__(self, version: str = "3.10.8", *, tls: bool = False) -> None:
        self.answers = _handshake()
        self.asked: list[Any] = []
        self.version = version
        self.greets = True
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
        self._talking: list[gevent_socket.socket] = []
        self._heard = Event()
        self._listener = gevent_socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._greenlets: list[Any] = [gevent.spawn(self._accept)]

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        gevent.killall(self._greenlets)
        for end in (self._listener, *self._talking):
            end.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def parameters(self, **changed: Any) -> pika.ConnectionParameters:
        """Return what a client connects with."""
        given = {"heartbeat": 0, "stack_timeout": 5, "blocked_connection_timeout": None, **changed}
        return pika.ConnectionParameters(*self._listener.getsockname(), **given)

    def say(self, method: Any, channel: int = 0) -> None:
        """Send a method to the client that connected last."""
        self.send(pika.frame.Method(channel, method).marshal())

    def send(self, data: bytes) -> None:
        """Send bytes to the client that connected last."""
        self._talking[-1].sendall(data)

    def hang_up(self) -> None:
        """End the connection of the client that connected last, without a word."""
        self._talking[-1].shutdown(socket.SHUT_RDWR)

    def wait_for(self, kind: type, seconds: float = 5.0) -> Any:
        """Return the client's first method of a kind, once it came.

        Raises:
            AssertionError: it did not.
        """
        with gevent.Timeout(seconds, AssertionError(f"the client did not send {kind.__name__}: {self.asked}")):
            while True:
                for method in self.asked:
                    if isinstance(method, kind):
                        return method
                self._heard.clear()
                self._heard.wait()

    def _accept(self) -> None:
        while True:
            end, _ = self._listener.accept()
            self._talking.append(end)
            self._greenlets.append(gevent.spawn(self._talk, end))

    def _talk(self, end: Any) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                end = self._context.wrap_socket(end, server_side=True, do_handshake_on_connect=False)
                self._talking.append(end)
                end.do_handshake()
            buffer = b""
            while len(buffer) < _HELLO:
                buffer += end.recv(4096)
            buffer = buffer[_HELLO:]
            if not self.greets:
                end.shutdown(socket.SHUT_RDWR)
                return
            start = spec.Connection.Start(
                server_properties={"version": self.version, "capabilities": {"connection.blocked": True, **CAPABLE}}
            )
            end.sendall(pika.frame.Method(0, start).marshal())
            while chunk := end.recv(65536):
                buffer += chunk
                while True:
                    used, frame = pika.frame.decode_frame(buffer)
                    if frame is None:
                        break
                    buffer = buffer[used:]
                    if isinstance(frame, pika.frame.Method):
                        self._hear(end, frame)

    def _hear(self, end: gevent_socket.socket, frame: pika.frame.Method[Any]) -> None:
        self.asked.append(frame.method)
        self._heard.set()
        answer = self.answers.get(type(frame.method))
        said = answer(frame.method) if answer else None
        if said is not None:
            channel = 0 if said.INDEX >> 16 == spec.Connection.INDEX else frame.channel_number
            end.sendall(pika.frame.Method(channel, said).marshal())
