"""The status as it changes, told to whoever looks on: server-sent events (HTML standard, section 9.2).

1. Once a second one look, and one comparison and one text for all who look at the same; none while nobody looks on.
2. At most `MOST` look on: more are refused, so that the other connections stay free for commands.
3. A page looks at rows: of each queue what a list shows, and the whole of the one that it has open.
4. Who reads too slowly is dropped once `LATE` changes wait for him; he asks again and begins with the whole status.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from typing import Any, Self

import gevent
from gevent.event import Event
from gevent.queue import Empty, Full, Queue

from bridge.errors import BridgeError
from bridge.web.differences import around, changed_keys, listed, rows

log = logging.getLogger("bridge.web")

#: Streams at the same time, of both doors together.
MOST = 8
#: Seconds between two looks.
EVERY = 1.0
#: Changes that may wait for a reader.
LATE = 10
#: Seconds without a change after which a comment is sent, so that who went away is noticed.
HEARTBEAT = 15.0
#: Milliseconds after which a browser whose stream ended asks again.
_RETRY = 2000


class Crowded(BridgeError):
    """As many look on as may."""


class Events:
    """All streams of one daemon.

    Args:
        look: gives the whole status.
    """

    def __init__(self, look: Callable[[], dict[str, Any]]) -> None:
        self._look = look
        self._streams: set[Stream] = set()
        self._last: _Seen | None = None
        self._ended = Event()

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, *, rows: bool = False, queue: str | None = None) -> Stream:
        """Another stream; it begins with all there is to see.

        Args:
            rows: of each queue only what a list shows.
            queue: with rows, the queue of which everything is told, as events of its own.

        Raises:
            Crowded: there are as many as there may be, or the daemon ends.
        """
        if len(self._streams) >= MOST:
            raise Crowded(
                f"{MOST} streams of events are open; allowed: {MOST}", hint="close a page, or ask /api/status"
            )
        if self._ended.is_set():
            raise Crowded("the daemon is stopping", hint="ask again when it has been started")
        if self._last is None:
            self._last = _Seen(self._look())
            gevent.spawn(self._run, self._last)
        stream = Stream(rows, queue, self._last.whole(rows, queue), self._streams.discard)
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """End all streams."""
        self._ended.set()
        self._end()

    def _run(self, last: _Seen) -> None:
        """Look and tell what came since `last`, until nobody looks on."""
        try:
            while not self._ended.wait(EVERY) and self._streams:
                before, last = last, _Seen(self._look())
                self._last = last
                # With a thousand queues each step takes some milliseconds: messages pass in between.
                gevent.sleep(0)
                if any(stream.rows for stream in self._streams):
                    last.make_rows()
                    gevent.sleep(0)
                since = _Since(before, last)
                for stream in list(self._streams):
                    stream.tell(since.told(stream.rows, stream.queue))
        except Exception as fault:
            # The pages ask again, and hear what the status says then.
            log.error("live status: unexpected error: %s: %s", type(fault).__name__, fault)
            log.debug("traceback", exc_info=True)
            self._end()
        self._last = None

    def _end(self) -> None:
        for stream in list(self._streams):
            stream.end()


class _Seen:
    """A status, and what is made of it where somebody wants it."""

    def __init__(self, status: dict[str, Any]) -> None:
        self.status = status

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        return rows(self.status)

    def make_rows(self) -> None:
        """Make them now: they are needed soon."""
        _ = self.rows

    def queue(self, name: str) -> dict[str, Any] | None:
        return next((queue for queue in self.status["queues"] if queue["name"] == name), None)

    def whole(self, by_rows: bool, name: str | None) -> bytes:
        """The first event of a stream, and the queue that it has open."""
        if not by_rows:
            return _event("status", self.status)
        queue = None if name is None else self.queue(name)
        told = _event("status", {**self.status, "queues": self.rows})
        return told if queue is None else told + _event("queue", queue)


class _Since:
    """What came from one status to the next; a text is made once for all who are told the same."""

    def __init__(self, before: _Seen, after: _Seen) -> None:
        self._before = before
        self._after = after
        self._around = around(before.status, after.status)

    def told(self, by_rows: bool, name: str | None) -> bytes:
        if not by_rows:
            return self._all
        if name is None:
            return self._rows
        after = self._after.queue(name)
        changed = {} if after is None else changed_keys(self._before.queue(name) or {}, after)
        return self._rows + _event("queue", {"name": name, **changed}) if changed else self._rows

    @functools.cached_property
    def _all(self) -> bytes:
        queues = listed(self._before.status["queues"], self._after.status["queues"])
        return _event("change", {**self._around, **queues})

    @functools.cached_property
    def _rows(self) -> bytes:
        return _event("change", {**self._around, **listed(self._before.rows, self._after.rows)})


class Stream:
    """What one who looks on is sent, as WSGI takes it.

    Args:
        rows, queue: what it tells of queues, as `Events.open` has it.
        first: what it begins with.
        closed: called when it is over.
    """

    def __init__(self, rows: bool, queue: str | None, first: bytes, closed: Callable[[Stream], None]) -> None:
        self.rows = rows
        self.queue = queue
        self._closed = closed
        self._waiting: Queue[bytes | None] = Queue(LATE)
        self._waiting.put(b"retry: %d\n\n%b" % (_RETRY, first))

    def tell(self, event: bytes) -> None:
        """Send this when what came before is sent; too late a reader is dropped."""
        try:
            self._waiting.put_nowait(event)
        except Full:
            log.info("live status: a reader was too slow and is dropped")
            self.end()

    def end(self) -> None:
        """Send nothing more, not even what waits."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)
        self._closed(self)

    def close(self) -> None:
        """Called by the server when the other end is gone, or the stream is over."""
        self._closed(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            told = self._waiting.get(timeout=HEARTBEAT)
        except Empty:
            return b": still here\n\n"
        if told is None:
            raise StopIteration
        return told


def _event(name: str, data: Any) -> bytes:
    # JSON has no line ends of its own: it is one line of data.
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
