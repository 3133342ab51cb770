"""Who may do what: the kernel's word on the unix socket, a token over TCP.

1. Over TCP no name is believed: the journal says `token@` and where the request came from.
2. A browser must not become a door: a page elsewhere cannot send the token, and a name that was made to point here (DNS
   rebinding) is refused by its Host header, which every browser sends. Who bears the token may use any name.
3. Nor may one that reaches the unix socket through a forwarded port (`ssh -L`), where no token is asked for: a request
   that a page sent bears its Origin, and that must be a local one.
"""

from __future__ import annotations

import hmac
import ipaddress
import pwd
import socket
import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from bridge.address import HostPort
from bridge.config_sections import Secret
from bridge.web.bodies import Asker

if TYPE_CHECKING:
    from flask import Request

#: Where the WSGI environment says who is at the other end of the unix socket; no header can come to this name.
PEER = "bridge.peer"
#: How our own command begins its User-Agent.
CLI = "bridge-cli/"
#: Methods that change nothing.
_LOOKING = frozenset(("GET", "HEAD", "OPTIONS"))
#: pid, uid, gid (unix(7), SO_PEERCRED).
_CREDENTIALS = struct.Struct("3i")


class Denied(Exception):
    """The request is not let in; `code` is the HTTP status."""

    def __init__(self, code: HTTPStatus, text: str, hint: str) -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint


@dataclass(frozen=True)
class Access:
    """What `admin:` allows over TCP."""

    listen: HostPort | None = None
    token: Secret | None = None

    def asker(self, request: Request) -> Asker:
        """Who asks.

        Raises:
            Denied: he may not.
        """
        peer = request.environ.get(PEER)
        if peer is not None:
            origin = request.headers.get("Origin")
            if origin is not None and not self._is_here(origin.partition("://")[2]):
                raise Denied(
                    HTTPStatus.FORBIDDEN,
                    "the request comes from a page of another host",
                    "ask by the command, or by a page whose address is localhost or an IP address",
                )
            door = "cli" if request.user_agent.string.startswith(CLI) else "http"
            return Asker(str(peer), door, trusted=True)
        bears = self._bears_token(request.headers.get("Authorization"))
        if not bears and "Host" in request.headers and not self._is_here(request.host):
            raise Denied(
                HTTPStatus.FORBIDDEN,
                "the host in the request is not this daemon's address",
                f"ask for {self.listen} or an IP address, or bear the token",
            )
        if not bears and request.method not in _LOOKING:
            raise self._denial("Authorization" in request.headers)
        return Asker(f"token@{request.remote_addr}" if bears else str(request.remote_addr), "http", trusted=False)

    def _denial(self, tried: bool) -> Denied:
        if self.token is None:
            return Denied(
                HTTPStatus.FORBIDDEN,
                "no admin.token is configured: only the unix socket may change things",
                "use the command on the daemon's host, or set admin.token and restart the daemon",
            )
        hint = "send the header Authorization: Bearer TOKEN, with admin.token of the daemon's configuration"
        if tried:
            return Denied(HTTPStatus.FORBIDDEN, "the token is not this daemon's", hint)
        return Denied(HTTPStatus.UNAUTHORIZED, "a token is needed to change things", hint)

    def _bears_token(self, header: str | None) -> bool:
        kind, _, given = (header or "").partition(" ")
        if self.token is None or kind.lower() != "bearer":
            return False
        # As bytes: compare_digest takes no other text than ASCII.
        return hmac.compare_digest(given.strip().encode(), self.token.value.encode())

    def _is_here(self, host: str) -> bool:
        name = _without_port(host)
        if name == "localhost" or (self.listen is not None and name == self.listen.host.lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def peer_of(end: socket.socket) -> str:
    """The user at the other end of a unix socket, as `user@host`: the kernel knows him."""
    _, uid, _ = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        # A container's user needs no entry in its passwd.
        name = f"uid {uid}"
    return f"{name}@{socket.gethostname()}"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()
