"""The pair of connections and what flows between them: kept open, and opened again with back-off when it breaks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent
from gevent.event import Event

from bridge.amqp import Connection, back_off
from bridge.core.relay import Outbox
from bridge.core.wires import SourceWire, TargetWire
from bridge.errors import BridgeError

log = logging.getLogger("bridge.link")


class Link:
    """Source and target connection with the relays' frames between them.

    `on_change` is called from any greenlet or the hub whenever a connection opened, closed, was blocked or unblocked;
    `on_alert` with the channel
    numbers whose relay wants to be looked at.
    """

    def __init__(self, make_source: Callable[..., Connection], make_target: Callable[..., Connection]) -> None:
        self.out = Outbox()
        self.source_wire = SourceWire()
        self.target_wire = TargetWire()
        self.source = make_source(receive=self._from_source)
        self.target = make_target(receive=self._from_target)
        self.on_change: Callable[[], None] = lambda: None
        self.on_alert: Callable[[set[int]], None] = lambda _channels: None
        self.target.on_blocked = self._changed
        #: Queues in scope: they share what may be in flight.
        self.queues = 1
        self._ending = Event()

    def _changed(self) -> None:
        self.on_change()

    def _from_source(self, chunk: bytes) -> bytes:
        others = self.source_wire.receive(chunk, time.time(), time.monotonic())
        self.flush()
        return others

    def _from_target(self, chunk: bytes) -> bytes:
        others = self.target_wire.receive(chunk, time.monotonic())
        self.flush()
        return others

    def flush(self) -> None:
        """Send what the relays want sent, and report those that want to be looked at."""
        out = self.out
        if out.to_target:
            self.target.send(b"".join(out.to_target))
            out.to_target.clear()
        if out.to_source:
            self.source.send(b"".join(out.to_source))
            out.to_source.clear()
        if out.alerts:
            channels = set(out.alerts)
            out.alerts.clear()
            self.on_alert(channels)

    def open(self) -> None:
        """Open both connections once.

        Raises:
            BridgeError: one of them cannot be opened.
        """
        self.source.open()
        self.target.open()

    def keep(self, connection: Connection) -> None:
        """Keep one connection open until `close`: runs in a greenlet of its own."""
        while not self._ending.is_set():
            connection.closed.wait()
            if self._ending.is_set():
                return
            self.on_change()
            for wait in back_off():
                if self._ending.wait(wait):
                    return
                self._fresh(connection)
                try:
                    connection.open()
                    break
                except BridgeError as fault:
                    if str(fault) != connection.reason:
                        log.warning("%s; tried again with back-off", fault)
                    connection.reason = str(fault)
                    self.on_change()
            self.on_change()

    def _fresh(self, connection: Connection) -> None:
        """A new connection begins with no half of an old frame."""
        if connection is self.source:
            self.source_wire = SourceWire()
        else:
            self.target_wire = TargetWire()

    def start(self) -> None:
        """Keep both connections open from now on."""
        for connection in (self.source, self.target):
            gevent.spawn(self.keep, connection)

    def down(self) -> str | None:
        """Why nothing can flow now; None when it can."""
        for connection in (self.source, self.target):
            if connection.closed.is_set():
                return f"{connection.name} is not connected: {connection.reason}"
        if self.target.blocked is not None:
            return f"target takes no publishes now: {self.target.blocked}"
        return None

    def close(self) -> None:
        """Close both, the source first: what is unacked is back in its queue before the target is let go."""
        self._ending.set()
        self.source.close()
        self.target.close()
