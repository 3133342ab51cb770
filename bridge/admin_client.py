"""Asks the running daemon, over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from bridge.errors import AccessRefused, Unreachable

#: Seconds until a daemon that does not answer counts as stuck; it answers from memory, in milliseconds.
_PATIENCE = 5.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; the host name is only what stands in the Host header."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("bridge", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch(path: str, what: str = "status", *, patience: float | None = None) -> dict[str, Any]:
    """Return what the daemon that listens on the unix socket `path` answers: its `status`, or `duplicates`.

    Args:
        path: of the socket.
        what: is asked for.
        patience: seconds until a daemon that does not answer counts as stuck, where it has to look at the brokers.

    Raises:
        Unreachable: none listens there, or it does not answer as a daemon does.
        AccessRefused: the socket is there and is not ours to use.
    """
    seconds = _PATIENCE if patience is None else patience
    connection = _UnixConnection(path, seconds)
    try:
        connection.request("GET", f"/api/{what}")
        response = connection.getresponse()
        body = response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(
            f"no daemon answers on {path}", hint="is `bridge run` running, with this admin.socket in its configuration?"
        ) from None
    except PermissionError:
        raise AccessRefused(f"{path}: permission denied", hint="run this as the daemon's user, or as root") from None
    except TimeoutError:
        raise Unreachable(f"the daemon on {path} does not answer within {seconds:g} s", hint="see its log") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"{path}: {str(error) or type(error).__name__}", hint="is it the daemon's admin.socket?"
        ) from None
    finally:
        connection.close()
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if response.status != http.HTTPStatus.OK or not isinstance(status, dict):
        raise Unreachable(f"{path}: the answer is no {what} (HTTP {response.status})", hint="see the daemon's log")
    return status


def fetch_status(path: str) -> dict[str, Any]:
    """Return the status of the daemon that listens on the unix socket `path`; errors as `fetch`."""
    return fetch(path)
