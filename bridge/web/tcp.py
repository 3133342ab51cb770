"""The admin door on a TCP address."""

from __future__ import annotations

import socket

from gevent import socket as gevent_socket

from bridge.address import HostPort
from bridge.errors import Refused

#: Connections that wait to be accepted.
_BACKLOG = 64


def listen(where: HostPort) -> gevent_socket.socket:
    """A listening TCP socket.

    Raises:
        Refused: something else listens there, or the address is not this host's.
    """
    hint = "name another address in admin.listen, or leave it out"
    try:
        found = gevent_socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = gevent_socket.socket(family, kind, protocol)
        try:
            # A daemon that is started again need not wait for the connections of the one before it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as fault:
        why = (fault.strerror or str(fault)).lower()
        raise Refused(f"admin.listen: cannot listen on {where}: {why}", hint=hint) from None
