"""Answers HTTP on a listening socket: limits on what one client can keep busy, and no traceback on standard error.

1. Whoever is slow is let go: a head has `PATIENCE` to be whole, a body, and each part of an answer to be taken,
   however many bytes come or go meanwhile.
2. Where connections become scarce, the one that has kept us waiting for longest makes room: silent ones starve nobody.
3. What two servers could read differently is refused (RFC 9112, sections 5 and 6.3): behind a proxy, nobody's bytes
   become somebody else's request.

gevent's server prints tracebacks of what goes wrong below the application; the names it has for that are private, and a
test holds that they are still there.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any

import gevent
from flask import Flask
from gevent import pywsgi
from gevent import socket as gevent_socket

from bridge.web.access import PEER, peer_of
from bridge.web.app import LARGEST_BODY
from bridge.web.headers import HEADERS, missing

log = logging.getLogger("bridge.web")

#: Connections at the same time; more wait in the listening socket.
CONNECTIONS = 64
#: Of these, so many are kept free: who waits for us longest has to go before.
SPARE = 8
#: Seconds for a whole head, a whole body, and for each part of an answer to be taken; and between two requests.
PATIENCE = 30.0
#: Bytes of all header lines of a request.
LARGEST_HEAD = 16 * 1024
#: A body that is too large is read to its end up to here, so that the client hears why it was refused.
_READ_OUT = 16 * LARGEST_BODY
#: Method, path and version (RFC 9112, section 3); only the form that names a path of ours.
_REQUEST_LINE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[!-~\x80-\xff]* HTTP/1\.[01]\r?\n")
#: A header line (RFC 9112, section 5): no white space before the colon, none that goes on in the next line.
_HEADER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r?\n")
#: What is said of a request that never came to the application.
_REFUSALS = {
    HTTPStatus.BAD_REQUEST: ("the request cannot be read as HTTP", "ask with HTTP/1.1 and one Host header"),
    HTTPStatus.REQUEST_URI_TOO_LONG: ("the request line is longer than 8192 bytes", "ask for a shorter path"),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"the headers are longer than {LARGEST_HEAD} bytes",
        "send fewer headers",
    ),
}


class _TooSlow(OSError):
    """The other end took longer than it may."""


class _TooLong(ValueError):
    """More header bytes than are read."""


class _Head:
    """The header lines of one request as the parser reads them, each looked at, up to `LARGEST_HEAD` bytes."""

    def __init__(self, rfile: Any) -> None:
        self._rfile = rfile
        self._left = LARGEST_HEAD

    def readline(self, _limit: int = -1) -> bytes:
        line: bytes = self._rfile.readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise _TooLong("headers")
        if line not in (b"\r\n", b"\n") and not _HEADER_LINE.fullmatch(line):
            raise ValueError(f"a header line {line[:80]!r}")
        return line


class _Body(pywsgi.Input):  # type: ignore[misc, unused-ignore]
    """The body of one request: all of it has to be there in `PATIENCE` from the head on."""

    def __init__(self, handler: _Handler, length: int | None) -> None:
        expects = handler.headers.get("expect", "").lower() == "100-continue"
        super().__init__(handler.rfile, length, socket=handler.socket if expects else None)
        self._handler = handler
        self._until = time.monotonic() + PATIENCE

    def read(self, length: int | None = None) -> Any:
        with self._in_time():
            return super().read(length)

    def readline(self, size: int | None = None) -> Any:
        with self._in_time():
            return super().readline(size)

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            with self._handler.waited_for(), gevent.Timeout(max(0.0, self._until - time.monotonic()), _TooSlow("body")):
                yield
        except OSError:
            # What is left of it must not be read as a request.
            self._handler.close_connection = True
            raise


class _Handler(pywsgi.WSGIHandler):
    """One connection."""

    server: _Server
    _reading: gevent.Timeout | None = None

    def handle_one_request(self) -> Any:
        """Read a request and answer it; called by gevent, again and again."""
        self._reading = gevent.Timeout.start_new(PATIENCE, _TooSlow("head"))
        self.server.waiting[self] = None
        try:
            answer = super().handle_one_request()
        except _TooSlow:
            return None
        finally:
            self._read()
        if isinstance(answer, tuple):
            # Of gevent's own making, without a word on what is wrong.
            return answer[0], _refusal(HTTPStatus(int(answer[0])))
        return answer

    def _read(self) -> None:
        """The head is there, or nothing will come."""
        if self._reading is not None:
            self._reading.close()
        self.server.waiting.pop(self, None)

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """The other end keeps us waiting meanwhile."""
        self.server.waiting[self] = None
        try:
            yield
        finally:
            self.server.waiting.pop(self, None)

    def MessageClass(self, *_arguments: Any) -> Any:  # noqa: N802  gevent's name
        """The headers, read from the connection."""
        return pywsgi.headers_factory(_Head(self.rfile), 0)  # type: ignore[attr-defined, unused-ignore]

    def read_request(self, raw_requestline: str) -> Any:
        """Read the head; a ValueError refuses it."""
        if not _REQUEST_LINE.fullmatch(raw_requestline):
            raise ValueError(f"the request line {raw_requestline[:80]!r}")
        super().read_request(raw_requestline)
        hosts, lengths = (self.headers.get_all(name, []) for name in ("host", "content-length"))
        if len(hosts) != 1 and not (self.request_version == "HTTP/1.0" and not hosts):
            raise ValueError(f"{len(hosts)} Host headers")
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,18}", length.strip()) for length in lengths):
            raise ValueError(f"the lengths {lengths!r:.80}")
        return True

    def get_environ(self) -> dict[str, Any]:
        """What the application is told; here for the size of a body."""
        self._read()
        environ: dict[str, Any] = super().get_environ()
        unbounded = "HTTP_TRANSFER_ENCODING" in environ
        length = self.content_length
        if unbounded or (length or 0) > _READ_OUT:
            # Its end may never come: nothing of it is read, and nothing after it.
            self.close_connection = True
            length = 0
            if unbounded:
                # The application refuses it by its length, which is not known: it counts as too large.
                del environ["HTTP_TRANSFER_ENCODING"]
                environ["CONTENT_LENGTH"] = str(_READ_OUT)
        self.wsgi_input = environ["wsgi.input"] = _Body(self, length)
        environ["wsgi.input_terminated"] = True
        return environ

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Begin an answer, with what every answer has."""
        return super().start_response(status, [*headers, *missing(headers)], exc_info)

    def _sendall(self, data: bytes) -> None:
        with self.waited_for():
            # The socket's limit is for all of it.
            super()._sendall(data)  # type: ignore[misc]

    def _handle_client_error(self, ex: Exception) -> Any:
        log.debug("a request that cannot be read: %s", ex)
        if isinstance(ex, _TooLong):
            return "431", b""
        # Of what is neither gevent would print the traceback: the client is gone, or was too slow.
        return ("400", b"") if isinstance(ex, ValueError | http.client.HTTPException) else None

    def _log_error(self, t: type[BaseException], v: BaseException, tb: TracebackType | None) -> None:
        if issubclass(t, OSError):
            log.debug("a client went away: %s", v)
            return
        if issubclass(t, gevent.GreenletExit):
            log.debug("the server ended in the middle of an answer")
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

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        #: Connections whose other end keeps us waiting now, the longest first.
        self.waiting: dict[_Handler, None] = {}

    def handle(self, sock: gevent_socket.socket, address: Any) -> None:
        """Serve one connection; called by gevent."""
        sock.settimeout(PATIENCE)
        if self._free() < SPARE:
            self._make_room()
        try:
            super().handle(sock, address)
        except OSError as fault:
            if fault.errno not in (errno.EPIPE, errno.ECONNRESET):
                log.debug("a client went away: %s", fault)

    def _free(self) -> int:
        return CONNECTIONS if self.pool is None else self.pool.free_count()

    def _make_room(self) -> None:
        longest = next(iter(self.waiting), None)
        if longest is not None:
            del self.waiting[longest]
            log.debug("a connection that waits is closed: %d are open", CONNECTIONS - self._free())
            with contextlib.suppress(OSError, AttributeError):
                longest.socket.shutdown(socket.SHUT_RDWR)


def _refusal(code: HTTPStatus) -> bytes:
    """A whole answer to what never came to the application."""
    error, hint = _REFUSALS[code]
    body = json.dumps({"error": error, "hint": hint}).encode() + b"\n"
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close", **HEADERS}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {code.value} {code.phrase}\r\n{lines}\r\n".encode() + body


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
