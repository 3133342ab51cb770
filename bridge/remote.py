"""Celery's remote control over AMQP: asks workers, collects what they answer, and knows who did not.

kombu carries the messages; what is in them is built and read by `core/remote_control.py`, so that no answer is ever
deserialised by what it says it is.

1. The exchange of the workers is only looked for (passive): declaring it would make it where nobody listens.
2. The queue for answers is ours alone (exclusive), and gone with the connection.
3. A request ends with the time in which answers are waited for: a worker that was busy does not carry it out later.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from amqp.exceptions import AccessRefused as AmqpAccessRefused
from amqp.exceptions import AMQPError, NotFound
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError
from kombu.message import Message
from kombu.messaging import Consumer, Producer

from bridge import sides
from bridge.config_sections import Broker
from bridge.core import remote_control
from bridge.errors import BridgeError, Refused, Unreachable, redact

#: Seconds for the connection.
CONNECT = 10.0
#: Seconds after which an answer of the broker is not waited for any more: one with an alarm reads nothing from a
#: connection that has published.
STUCK = 15.0
#: Seconds for the answers of workers; one that carries out a long task without a pool of processes cannot answer.
PATIENCE = 5.0
#: Seconds for those whose answer could not be read, when they are asked one by one.
ALONE = 2.0
#: Seconds without another answer after which no more are waited for, where nobody knows who is to answer.
QUIET = 1.5
#: Seconds after which the broker deletes our queue if nobody uses it.
EXPIRES = 60.0


@dataclass(slots=True)
class Answers:
    """What came back.

    Attributes:
        said: by worker.
        unread: worker, or an empty name where it is not known, to what was the matter with its answer.
        silent: workers that were expected to answer and did not.
    """

    said: dict[str, Any] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)


class Nobody(Refused):
    """No worker listens for remote control in the vhost, or under another name."""


class RemoteControl:
    """The workers of one vhost. Made by `opened`.

    Args:
        name: of the side.
        connection: to its broker.
        exchange: `control_exchange` of the workers.
    """

    def __init__(self, name: str, connection: Connection, exchange: str) -> None:
        self._name = name
        self._connection = connection
        self._exchange = f"{exchange}.pidbox"
        self._oid = str(uuid.uuid4())
        self._channel = connection.channel()
        replies = Exchange(f"reply.{exchange}.pidbox", "direct", durable=False, delivery_mode="transient")
        self._queue = Queue(
            f"{self._oid}.reply.{exchange}.pidbox",
            replies,
            routing_key=self._oid,
            durable=False,
            exclusive=True,
            auto_delete=True,
            expires=EXPIRES,
        )(self._channel)
        self._replies = replies.name
        self._producer = Producer(self._channel, auto_declare=False)
        self._queue.declare()
        #: Tickets that answers must bear, to the worker whose it is then; where they go, and when the last one came.
        self._awaited: dict[str, str] = {}
        self._answers = Answers()
        self._heard = 0.0
        # One consumer all the time: with its last one, an auto-delete queue goes.
        Consumer(self._channel, [self._queue], on_message=self._take, no_ack=True, auto_declare=False).consume()

    def ask(
        self,
        method: str,
        arguments: Mapping[str, object] | None = None,
        *,
        of: Sequence[str] | None = None,
        expected: Iterable[str] = (),
        patience: float = PATIENCE,
    ) -> Answers:
        """Have workers do something, and collect what they answer.

        Args:
            method: what.
            arguments: with which arguments.
            of: by these workers only; None: by all.
            expected: workers that should answer; those of `of` should anyway. When they have, nobody else is waited
                for; where none is expected, the wait ends when it has been quiet for a while.
            patience: seconds for all of it.

        Raises:
            Nobody: no worker has declared the exchange.
            Unreachable: the broker does not answer.
        """
        wanted = set(expected if of is None else of)
        answers = Answers()
        ticket = str(uuid.uuid4())
        self._awaited = {ticket: of[0] if of is not None and len(of) == 1 else ""}
        self._publish(method, arguments or {}, of, ticket, patience, answered=True)
        self._collect(answers, wanted, patience)
        missing = sorted(wanted - answers.said.keys() - answers.unread.keys())
        if missing and "" in answers.unread and method in QUESTIONS:
            self._ask_each(method, arguments or {}, missing, answers, min(patience, ALONE))
        answers.silent = sorted(wanted - answers.said.keys() - answers.unread.keys())
        if method in QUESTIONS:
            # What a worker does not know, or fails at, it does not tell either.
            for worker, said in list(answers.said.items()):
                if text := remote_control.error(said):
                    answers.unread[worker] = f"with an error: {text}"
                    del answers.said[worker]
        return answers

    def _ask_each(
        self, method: str, arguments: Mapping[str, object], workers: list[str], answers: Answers, patience: float
    ) -> None:
        """An answer that cannot be read does not say whose it is: put the question to each who is missing.

        Only questions are put twice; a command has been carried out when its answer came.
        """
        self._awaited = {str(uuid.uuid4()): worker for worker in workers}
        for ticket, worker in self._awaited.items():
            self._publish(method, arguments, [worker], ticket, patience, answered=True)
        self._collect(answers, {*workers, *answers.said}, patience)
        if any(answers.unread):
            del answers.unread[""]

    def _collect(self, answers: Answers, wanted: set[str], patience: float) -> None:
        """Take answers until all who are wanted gave one, or it is time."""
        self._answers, self._heard = answers, time.monotonic()
        deadline = self._heard + patience
        while not (wanted and wanted <= answers.said.keys() | answers.unread.keys()):
            now = time.monotonic()
            until = deadline if wanted else min(deadline, self._heard + QUIET)
            if now >= until:
                break
            try:
                self._connection.drain_events(timeout=until - now)
            except TimeoutError:
                break

    def _take(self, message: Message) -> None:
        """An answer; one that comes late bears the ticket of an earlier question, in a header since kombu 2.5."""
        ticket = (message.headers or {}).get("ticket")
        if ticket not in self._awaited:
            return
        self._heard = time.monotonic()
        try:
            said = remote_control.answer(_bytes(message.body), message.content_type or "")
        except remote_control.Unread as fault:
            self._answers.unread[self._awaited[ticket]] = str(fault)
        else:
            self._answers.said.update(said)

    def tell(self, method: str, arguments: Mapping[str, object], *, seconds: float) -> None:
        """Have all workers do something, and want no answer.

        Args:
            method: what.
            arguments: with which arguments.
            seconds: after which a worker that was busy till then does not do it any more.

        Raises:
            Nobody: no worker has declared the exchange.
        """
        self._publish(method, arguments, None, "", seconds, answered=False)

    def _publish(
        self,
        method: str,
        arguments: Mapping[str, object],
        of: Sequence[str] | None,
        ticket: str,
        patience: float,
        *,
        answered: bool,
    ) -> None:
        try:
            self._channel.exchange_declare(self._exchange, "fanout", passive=True)
        except NotFound:
            raise Nobody(
                f'{self._name}: no exchange "{self._exchange}", so no worker listens for remote control',
                hint="start the workers, or set celery.control_exchange to their `control_exchange`",
            ) from None
        self._producer.publish(
            remote_control.request(method, arguments, of, ticket, (self._replies, self._oid) if answered else None),
            exchange=self._exchange,
            routing_key="",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"clock": 0, "expires": time.time() + patience},
            expiration=patience,
            delivery_mode=1,
        )

    def consumers(self, queue: str) -> int | None:
        """How many consumers a queue has at this moment, ours among them; None when there is no such queue."""
        channel = self._connection.channel()
        try:
            found: int = channel.queue_declare(queue, passive=True).consumer_count
        except NotFound:
            return None
        finally:
            if channel.is_open:
                channel.close()
        return found


#: What a connection raises when it breaks, or is told what it does not understand.
FAULTS = (AMQPError, KombuError, OSError, ValueError)
#: What can be asked twice without doing anything.
QUESTIONS = frozenset({"active_queues", "scheduled", "reserved", "revoked", "report", "stats", "ping"})


@contextmanager
def opened(name: str, broker: Broker, control_exchange: str, instance: str) -> Iterator[RemoteControl]:
    """The workers of a side, for a block; its addresses are tried in turn.

    Args:
        name: of the side, `source`, `legacy` or `target`.
        broker: where it is.
        control_exchange: of its workers.
        instance: names this bridge in the broker's list of connections.

    Raises:
        Unreachable: no address answers, or the connection broke off on the way.
        Refused: the user may not do this.
    """
    connection = _connected(name, broker, instance)
    try:
        yield RemoteControl(name, connection, control_exchange)
    except BridgeError:
        raise
    except AmqpAccessRefused as fault:
        raise Refused(
            f'{name}: user "{broker.amqp[0].user}" may not use remote control: {fault.reply_text}',
            hint=f'grant configure, write and read on "^(.*\\.)?{re.escape(control_exchange)}\\.pidbox$"',
        ) from None
    except FAULTS as fault:
        raise Unreachable(f"{name}: remote control broke off: {_said(fault)}") from None
    finally:
        try:
            connection.release()
        except FAULTS:
            pass  # it is gone already


def _connected(name: str, broker: Broker, instance: str) -> Connection:
    faults = []
    for address in broker.amqp:
        options: dict[str, Any] = {"ssl": sides.kombu_tls(broker, address.host)} if address.tls else {}
        connection = Connection(
            **address.for_kombu(),
            connect_timeout=CONNECT,
            transport_options={
                "client_properties": {"connection_name": f"bridge {instance} workers"},
                "read_timeout": STUCK,
                "write_timeout": STUCK,
            },
            **options,
        )
        try:
            connection.connect()
            return connection
        except AmqpAccessRefused as fault:
            raise Refused(
                f'{name}: {address} refused user "{address.user}": {fault.reply_text}',
                hint=f"check user and password in {name}.amqp, and the user's permissions on the vhost",
            ) from None
        except FAULTS as fault:
            faults.append(f"{address}: {_said(fault)}")
            connection.release()
    raise Unreachable(f"{name}: no broker answers: {'; '.join(faults)}", hint=f"check {name}.amqp")


def _said(fault: Exception) -> str:
    text = getattr(fault, "reply_text", "") or getattr(fault, "strerror", "") or str(fault) or type(fault).__name__
    return redact(" ".join(str(text).split())).lower()


def _bytes(body: object) -> bytes:
    """py-amqp makes text of a body that says it is text."""
    return body if isinstance(body, bytes) else str(body).encode()
