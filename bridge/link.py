"""The pair of connections and what flows between them: kept open, and opened again with back-off when it breaks."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable

import gevent
from gevent.event import Event
from gevent.lock import RLock

from bridge.amqp import Connection, back_off
from bridge.core.pace import Budget
from bridge.core.relay import Outbox
from bridge.core.wires import SourceWire, TargetWire
from bridge.errors import BridgeError

log = logging.getLogger("bridge.link")


#: Seconds between two tries to connect again, at most: what a broker that is back has to wait for.
RECONNECT = 5.0
#: Bytes up to which parts are joined for one write. A larger message is not copied again.
JOINED = 65536


class Link:
    """Source and target connection, and those of the second live side and the backup if there are any, with the relays'
    frames between them.

    `on_change` is called from any greenlet or the hub whenever a connection opened, closed, was blocked or unblocked;
    `on_alert` with the channel numbers whose relay wants to be looked at.

    Args:
        make_source: makes the source's connection; `receive` is its argument. The others likewise.
        budget: bytes that may be in flight.
        make_leg: makes the connection of the second live side, if there is one.
        backup_required: whether nothing moves while copies cannot be made.
        apart: whether the connections are one queue's own.
    """

    def __init__(
        self,
        make_source: Callable[..., Connection],
        make_target: Callable[..., Connection],
        make_backup: Callable[..., Connection] | None = None,
        budget: Budget | None = None,
        *,
        make_leg: Callable[..., Connection] | None = None,
        backup_required: bool = False,
        apart: bool = False,
    ) -> None:
        self.apart = apart
        self._backup_required = backup_required
        self.out = Outbox()
        self.budget = budget or Budget(1 << 62)
        self.source_wire = SourceWire()
        self.target_wire = TargetWire()
        self.backup_wire = TargetWire()
        self.leg_wire = TargetWire()
        self.source = make_source(receive=self._from_source)
        self.target = make_target(receive=self._from_target)
        self.backup = None if make_backup is None else make_backup(receive=self._from_backup)
        self.leg = None if make_leg is None else make_leg(receive=self._from_leg)
        self.on_change: Callable[[], None] = lambda: None
        self.on_alert: Callable[[set[int]], None] = lambda _channels: None
        for connection in self.connections:
            connection.on_blocked = self._changed
        #: Queues in scope: they share what may be in flight.
        self.queues = 1
        self._ending = Event()
        self._opening: defaultdict[Connection, RLock] = defaultdict(RLock)
        self._kept: list[Connection] = []

    @property
    def connections(self) -> list[Connection]:
        """All of them, in the order in which they are closed."""
        return [one for one in (self.source, self.target, self.leg, self.backup) if one is not None]

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

    def _from_backup(self, chunk: bytes) -> bytes:
        others = self.backup_wire.receive(chunk, time.monotonic())
        self.flush()
        return others

    def _from_leg(self, chunk: bytes) -> bytes:
        others = self.leg_wire.receive(chunk, time.monotonic())
        self.flush()
        return others

    def flush(self) -> None:
        """Send what the relays want sent, and report those that want to be looked at."""
        out = self.out
        if out.to_target:
            _send(self.target, out.to_target)
        if out.to_leg and self.leg is not None:
            _send(self.leg, out.to_leg)
        if out.to_backup and self.backup is not None:
            _send(self.backup, out.to_backup)
        if out.to_source:
            self.source.send(b"".join(out.to_source))
            out.to_source.clear()
        if out.alerts:
            channels = set(out.alerts)
            out.alerts.clear()
            self.on_alert(channels)

    def open(self) -> None:
        """Open once the connections that are not open yet.

        Raises:
            BridgeError: one of them cannot be opened.
        """
        for connection in self.connections:
            try:
                self._reopen(connection)
            except BridgeError as fault:
                if connection is not self.backup or self._backup_required:
                    raise
                log.warning("%s; messages move without copies meanwhile", fault)
                connection.reason = str(fault)

    def keep(self, connection: Connection) -> None:
        """Keep one connection open until `close`: runs in a greenlet of its own."""
        while not self._ending.is_set():
            connection.closed.wait()
            if self._ending.is_set():
                return
            self.on_change()
            for wait in back_off(most=RECONNECT):
                if self._ending.wait(wait):
                    return
                try:
                    self._reopen(connection)
                    break
                except BridgeError as fault:
                    if str(fault) != connection.reason:
                        log.warning("%s; tried again with back-off", fault)
                    connection.reason = str(fault)
                    self.on_change()
            self.on_change()

    def _reopen(self, connection: Connection) -> None:
        """Open a connection unless it is open: whoever keeps it open and whoever needs it now may come at once.

        Two of one kind would both be handed messages, and nobody looks after those of the first.
        """
        with self._opening[connection]:
            if connection.closed.is_set():
                self._fresh(connection)
                connection.open()

    def _fresh(self, connection: Connection) -> None:
        """A new connection begins with no half of an old frame."""
        if connection is self.source:
            self.source_wire = SourceWire()
        elif connection is self.target:
            self.target_wire = TargetWire()
        elif connection is self.leg:
            self.leg_wire = TargetWire()
        else:
            self.backup_wire = TargetWire()

    def forget(self, number: int) -> None:
        """The channels of this number are gone, on all connections."""
        for wire in (self.source_wire, self.target_wire, self.leg_wire, self.backup_wire):
            wire.forget(number)

    def start(self, *only: Connection) -> None:
        """Keep the connections open from now on: `only` these, or all that are not kept open yet."""
        for connection in only or self.connections:
            if connection not in self._kept:
                self._kept.append(connection)
                gevent.spawn(self.keep, connection)

    def down(self, *, leg: bool = False) -> str | None:
        """Why nothing can flow now, with `leg` to the second side as well; None when it can."""
        needed = [self.source, self.target, self.backup if self._backup_required else None, self.leg if leg else None]
        for connection in needed:
            written = connection is not self.source
            if connection is not None and (text := out_of_use(connection, written=written)) is not None:
                return text
        return None

    def leg_down(self) -> str | None:
        """Why the second side takes nothing now; None when it does."""
        return None if self.leg is None else out_of_use(self.leg)

    def close(self) -> None:
        """Close all, the source first: what is unacked is back in its queue before the target is let go."""
        self._ending.set()
        for connection in self.connections:
            connection.close()


def out_of_use(connection: Connection, *, written: bool = True) -> str | None:
    """Why a connection cannot be used now, whether it is written to or only read; None when it can."""
    if connection.closed.is_set():
        return f"{connection.name} is not connected: {connection.reason}"
    if written and connection.blocked is not None:
        return f"{connection.name} takes no publishes now: {connection.blocked}"
    return None


def _send(connection: Connection, parts: list[bytes]) -> None:
    """Send and clear `parts`: small ones joined, since each write costs a call of the system."""
    if sum(map(len, parts)) <= JOINED:
        connection.send(b"".join(parts))
    else:
        small: list[bytes] = []
        size = 0
        for part in parts:
            if len(part) < JOINED:
                small.append(part)
                size += len(part)
                if size < JOINED:
                    continue
            if small:
                connection.send(b"".join(small))
                small.clear()
                size = 0
            if len(part) >= JOINED:
                connection.send(part)
        if small:
            connection.send(b"".join(small))
    parts.clear()
