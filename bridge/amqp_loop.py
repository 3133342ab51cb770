"""gevent's loop as pika's connections use it."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from typing import Any

import gevent
from pika.adapters import gevent_connection

_loop: Any = None  # made when the first connection is


class _Told:
    """A failure that pika is told about in the next turn of the loop."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def __call__(self) -> None:
        if self._tell is not None:
            self._tell()

    def cancel(self) -> bool:
        """Do not tell it any more; whether there was still something to tell."""
        told, self._tell = self._tell, None
        return told is not None


class _Services(gevent_connection._GeventSelectorIOServicesAdapter):  # type: ignore[misc, unused-ignore]  # noqa: SLF001
    """A peer that resets right after it accepted is a failed try at once.

    A load balancer without a broker behind it does this. pika 1.4 takes a socket that is not connected any more for a
    mistake of its caller: it raises into the loop, whose traceback everybody sees, and waits out its time limit.
    """

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], Any],
        sock: Any,
        on_done: Callable[[Any], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Any:
        try:
            return super().create_streaming_connection(protocol_factory, sock, on_done, ssl_context, server_hostname)
        except ValueError:
            told = _Told(lambda: on_done(ConnectionResetError(errno.ECONNRESET, "connection reset by peer")))
            gevent.get_hub().loop.run_callback(told)
            return told


def io_services() -> Any:
    """One adapter of gevent's loop for all connections: pika opens a pipe for each adapter and never closes it."""
    global _loop
    if _loop is None:
        _loop = _Services(  # contract: tests/unit/test_amqp.py
            gevent_connection._GeventSelectorIOLoop(gevent.get_hub())  # noqa: SLF001
        )
    return _loop
