"""The admin door on a unix socket that only its owner can open."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from gevent import socket as gevent_socket

from bridge.errors import Refused


def listen(path: str) -> gevent_socket.socket:
    """A listening unix socket, mode 0600.

    A file that a daemon left behind is taken over; one that somebody answers on is not.

    Raises:
        Refused: another daemon listens there, or the socket cannot be made.
    """
    where = Path(path)
    try:
        if where.exists():
            if not stat.S_ISSOCK(where.stat().st_mode):
                raise Refused(
                    f"admin.socket: {path} is there and is not a socket", hint="remove it, or name another path"
                )
            if _answers(path):
                raise Refused(
                    f"admin.socket: another daemon listens on {path}",
                    hint="stop it, or name another path in admin.socket",
                )
            where.unlink()
        where.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        listener = gevent_socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        listener.listen(16)
        return listener
    except OSError as fault:
        raise Refused(
            f"admin.socket: cannot listen on {path}: {(fault.strerror or str(fault)).lower()}",
            hint="name a path in admin.socket whose folder the daemon may write to",
        ) from None


def _answers(path: str) -> bool:
    with contextlib.closing(gevent_socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True
