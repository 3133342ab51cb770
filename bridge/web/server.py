"""Answers HTTP on a listening socket: limits on what one client can keep busy, and no traceback on standard error.

gevent's server prints tracebacks of what goes wrong below the application; the names it has for that are private, and a
test holds that they are still there.
"""

from __future__ import annotations

import errno
import logging
import socket
from types import TracebackType
from typing import Any

from flask import Flask
from gevent import pywsgi
from gevent import socket as gevent_socket

from bridge.web.access import PEER, peer_of
from bridge.web.app import LARGEST_BODY

log = logging.getLogger("bridge.web")

#: Connections at the same time; more wait in the listening socket.
CONNECTIONS = 64
#: Seconds that a client may be silent in the middle of a request, or between two.
PATIENCE = 30.0
#: A body that is too large is read to its end up to here, so that the client hears why it was refused.
_READ_OUT = 16 * LARGEST_BODY


class _Handler(pywsgi.WSGIHandler):
    """One connection."""

    def get_environ(self) -> dict[str, Any]:
        """What the application is told; here for the size of a body."""
        environ: dict[str, Any] = super().get_environ()
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        if chunked or (self.content_length or 0) > _READ_OUT:
            # Its end may never come: nothing of it is read, and nothing after it.
            self.close_connection = True
            self.wsgi_input = environ["wsgi.input"] = pywsgi.Input(self.rfile, 0)
            if chunked:
                # The application refuses it by its length, which is not known: it counts as too large.
                del environ["HTTP_TRANSFER_ENCODING"]
                environ["CONTENT_LENGTH"] = str(_READ_OUT)
        return environ

    def _handle_client_error(self, ex: Exception) -> Any:
        log.debug("a request that cannot be read: %s", ex)
        # Of what is no ValueError gevent would print the traceback: the client is gone, or silent for too long.
        return super()._handle_client_error(ex) if isinstance(ex, ValueError) else None  # type: ignore[misc]

    def _log_error(self, t: type[BaseException], v: BaseException, tb: TracebackType | None) -> None:
        if issubclass(t, OSError):
            log.debug("a client went away: %s", v)
            return
        log.error("unexpected error: %s: %s", t.__name__, v)
        log.debug("traceback", exc_info=(t, v, tb))


class _UnixHandler(_Handler):
    """One connection whose other end the kernel knows."""

    def get_environ(self) -> dict[str, Any]:
        """What the application is told; here with who asks."""
        environ = super().get_environ()
        environ[PEER] = peer_of(self.socket)
        return environ


class _Server(pywsgi.WSGIServer):
    """Answers on one listening socket."""

    def handle(self, sock: gevent_socket.socket, address: Any) -> None:
        """Serve one connection; called by gevent."""
        sock.settimeout(PATIENCE)
        try:
            super().handle(sock, address)
        except OSError as fault:
            if fault.errno not in (errno.EPIPE, errno.ECONNRESET):
                log.debug("a client went away: %s", fault)


def serve(listener: gevent_socket.socket, app: Flask) -> pywsgi.WSGIServer:
    """Answer requests from now on, without an access log."""
    unix = listener.family == socket.AF_UNIX
    server = _Server(
        listener,
        app,
        log=None,
        error_log=None,
        spawn=CONNECTIONS,
        handler_class=_UnixHandler if unix else _Handler,
        # Without it gevent would ask the DNS for the name of the address.
        environ={"SERVER_NAME": "bridge"},
    )
    server.start()
    return server
