"""The doors of one daemon: the unix socket, and TCP where the configuration says so."""

from __future__ import annotations

import logging
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from gevent import pywsgi

from bridge.config_sections import Admin
from bridge.web import socket as unix
from bridge.web import tcp

if TYPE_CHECKING:
    from bridge.web.app import Looks, Texts, Verbs
    from bridge.web.events import Events

log = logging.getLogger("bridge.web")


class Doors:
    """Listens from the start, so that a second daemon finds the places taken; answers from `answer` on.

    Raises:
        Refused: one of the places is taken, or cannot be had.
    """

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._servers: list[pywsgi.WSGIServer] = []
        self._events: Events | None = None
        self._listeners = [unix.listen(admin.socket)]
        try:
            if admin.listen is not None:
                self._listeners.append(tcp.listen(admin.listen))
        except BaseException:
            self.close()
            raise

    def answer(self, verbs: Verbs, looks: Looks, texts: Texts = MappingProxyType({})) -> None:
        """Answer requests from now on."""
        # Flask takes a tenth of a second to import: by now the queues are on their way.
        from bridge.web.access import Access
        from bridge.web.app import app
        from bridge.web.events import Events
        from bridge.web.server import serve

        self._events = Events(looks["status"])
        flask = app(verbs, looks, Access(self._admin.listen, self._admin.token), texts, self._events)
        self._servers = [serve(listener, flask) for listener in self._listeners]
        if self._admin.listen is not None:
            may = "the token changes things" if self._admin.token else "to look only, without admin.token"
            log.info("HTTP on %s: %s", self._admin.listen, may)

    def close(self) -> None:
        """Answer no more; the socket's file goes too."""
        if self._events is not None:
            self._events.close()
        for server in self._servers:
            server.stop(timeout=1)
        for listener in self._listeners:
            listener.close()
        Path(self._admin.socket).unlink(missing_ok=True)
