"""Asks the running daemon, over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from bridge import __version__
from bridge.errors import AccessRefused, BridgeError, Exit, Refused, Unreachable

#: Seconds until a daemon that does not answer counts as stuck; it answers from memory, in milliseconds.
_PATIENCE = 5.0
#: The same for a verb: gates are asked of the broker first.
_PATIENCE_WITH_VERBS = 60.0
#: What the daemon's journal calls us: the door `cli`.
_HEADERS = {"User-Agent": f"bridge-cli/{__version__}"}


class Misunderstood(BridgeError):
    """The daemon could not read what was asked; nothing was changed."""

    exit_code = Exit.USAGE


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; the host name is only what stands in the Host header."""

    def __init__(self, path: str, patience: float) -> None:
        super().__init__("bridge", timeout=patience)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch(path: str, what: str = "status", *, patience: float | None = None) -> dict[str, Any]:
    """Return what the daemon that listens on the unix socket `path` answers: its `status`, `duplicates` and the like.

    Args:
        path: the socket.
        what: what is asked for.
        patience: seconds until a daemon that does not answer counts as stuck, where it has to look at the brokers.

    Raises:
        Unreachable: none listens there, or it does not answer as a daemon does.
        AccessRefused: the socket is there and is not ours to use.
        Refused: it answers that this is not possible now.
    """
    code, told = _ask(path, "GET", what, None, _PATIENCE if patience is None else patience)
    if code != HTTPStatus.OK or told is None:
        raise _refusal(path, what, code, told)
    return told


def fetch_text(path: str, where: str) -> tuple[int, str]:
    """Return the HTTP status and the text of what the daemon answers in another form than JSON, at this path.

    Raises:
        Unreachable, AccessRefused: as `fetch`.
    """
    code, raw = _exchange(path, "GET", where, None, _PATIENCE)
    return code, raw.decode(errors="replace")


def fetch_status(path: str) -> dict[str, Any]:
    """Return the status of the daemon that listens on the unix socket `path`; errors as `fetch`."""
    return fetch(path)


def post(path: str, what: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask the daemon for a verb, `rate` or `cancel`, and return its answers, a queue each; some may be refused.

    Raises:
        Unreachable, AccessRefused: as `fetch`.
        Misunderstood: the daemon cannot read this; its version may be another than ours.
        Refused: it was refused as a whole, and nothing was changed.
    """
    code, told = _ask(path, "POST", what, body, _PATIENCE_WITH_VERBS)
    answers = (told or {}).get("answers")
    if not isinstance(answers, list) or code not in (HTTPStatus.OK, HTTPStatus.CONFLICT):
        raise _refusal(path, what, code, told)
    return answers


def _ask(
    path: str, method: str, what: str, body: Mapping[str, Any] | None, patience: float
) -> tuple[int, dict[str, Any] | None]:
    code, raw = _exchange(path, method, f"/api/{what}", body, patience)
    try:
        told = json.loads(raw)
    except ValueError:
        told = None
    return code, told if isinstance(told, dict) else None


def _exchange(path: str, method: str, where: str, body: Mapping[str, Any] | None, patience: float) -> tuple[int, bytes]:
    connection = _UnixConnection(path, patience)
    content = None if body is None else json.dumps(body).encode()
    headers = _HEADERS if body is None else {**_HEADERS, "Content-Type": "application/json"}
    try:
        connection.request(method, where, content, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(
            f"no daemon answers on {path}",
            hint="is `bridge run` running, with this admin.socket in its configuration (-c FILE, BRIDGE_CONFIG)?",
        ) from None
    except PermissionError:
        raise AccessRefused(f"{path}: permission denied", hint="run this as the daemon's user, or as root") from None
    except TimeoutError:
        what_now = "see its log" if body is None else "see its log, and `bridge changes` for what was done all the same"
        raise Unreachable(f"the daemon on {path} does not answer within {patience:g} s", hint=what_now) from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"{path}: {str(error) or type(error).__name__}", hint="is it the daemon's admin.socket?"
        ) from None
    finally:
        connection.close()


def _refusal(path: str, what: str, code: int, told: Mapping[str, Any] | None) -> BridgeError:
    """What an answer that is not the wished one means."""
    if told is None or "error" not in told:
        return Unreachable(f"{path}: the answer is no {what} (HTTP {code})", hint="see the daemon's log")
    text, hint = str(told["error"]), str(told.get("hint", ""))
    if code in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        return Misunderstood(text, hint=hint)
    return Unreachable(text, hint=hint) if code == HTTPStatus.BAD_GATEWAY else Refused(text, hint=hint)
