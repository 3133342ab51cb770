"""The pairs of connections that the ways of the queues go over."""

from __future__ import annotations

from collections.abc import Callable

from bridge.link import Link, out_of_use
from bridge.queue_look import QueueLook
from bridge.way import Kind


class Links:
    """One pair for each kind of way; that for the way back is opened when it is first wanted.

    Args:
        make: makes a pair; `apart` is one for a queue of its own.
        inline: whether there is a legacy side.
    """

    def __init__(self, make: Callable[[Kind, bool], Link], *, inline: bool) -> None:
        self._make = make
        self.forward = make(Kind.FORWARD, False)
        self.legacy = make(Kind.LEGACY, False) if inline else None
        #: The queues that the way back writes to.
        self.old = QueueLook(self.forward.source if self.legacy is None else self.legacy.target)
        self._back: Link | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._on_alert: Callable[[set[int]], None] = lambda _numbers: None

    @property
    def all(self) -> list[Link]:
        """Those that there are now."""
        return [link for link in (self.forward, self.legacy, self._back) if link is not None]

    @property
    def back(self) -> Link:
        """The way back; its connections are opened, and kept open, from the first time on."""
        if self._back is None:
            self._back = link = self._make(Kind.BACK, False)
            link.queues = self.forward.queues
            link.on_change, link.on_alert = self._on_change, self._on_alert
            link.start()
        return self._back

    def back_down(self) -> str | None:
        """Why nothing can be brought back now; None when it can, as far as is known before the first try."""
        if self._back is not None:
            return self._back.down()
        return out_of_use(self.forward.target, written=False) or out_of_use(self.old.connection)

    def apart(self, kind: Kind) -> Link:
        """A pair for one queue alone."""
        return self._make(kind, True)

    def told(self, on_change: Callable[[], None], on_alert: Callable[[set[int]], None]) -> None:
        """Who is told of changes and of relays that want to be looked at (`Link`)."""
        self._on_change, self._on_alert = on_change, on_alert
        for link in self.all:
            link.on_change, link.on_alert = on_change, on_alert

    def shared_by(self, queues: int) -> None:
        """So many queues share what may be in flight."""
        for link in self.all:
            link.queues = queues

    def open(self) -> None:
        """Open what must be there at the start.

        Raises:
            BridgeError: a connection cannot be opened.
        """
        for link in self.all:
            link.open()

    def start(self) -> None:
        """Keep the connections open from now on."""
        for link in self.all:
            link.start()

    def close(self) -> None:
        """Close all."""
        for link in self.all:
            link.close()
