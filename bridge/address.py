"""Where brokers and other ends are: URLs that are checked once, and that never show their password.

1. `str()` and `repr()` of every address are fit for logs; the password is only in `password`, `url` and `parameters()`.
2. What pika reads out of an AMQP URL is what counts: options pass through `pika.URLParameters`, its refusal is ours.
3. What pika would misread without a word (a kombu-style `//`, an unencoded password, a second path segment) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

import pika
from pika.exceptions import AMQPError

_AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
_HTTP_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class AmqpAddress:
    """One broker's AMQP address, `amqp[s]://user:password@host:port/vhost?options`, options as pika reads them."""

    url: str = field(repr=False)
    tls: bool
    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> AmqpAddress:
        """Return the address that `url` names.

        Raises:
            ValueError: it names none; the text says why and never holds the password.
        """
        parts = _split(url, _AMQP_PORTS)
        path = parts.path.removeprefix("/")
        if not path:
            raise ValueError("no vhost after the host; the default vhost is /%2F")
        if "/" in path:
            raise ValueError("more than one / after the host; a / inside a vhost is written %2F")
        if parts.username is not None and parts.password is None:
            raise ValueError("a user without a password")
        parameters = _read_by_pika(parts)
        return cls(
            url=url,
            tls=parts.scheme == "amqps",
            host=str(parameters.host),
            port=int(parameters.port),
            vhost=str(parameters.virtual_host),
            user="guest" if parts.username is None else unquote(parts.username),
            password="guest" if parts.password is None else unquote(parts.password),
        )

    def parameters(self) -> pika.URLParameters:
        """Fresh connection parameters as pika reads them from the URL; the caller may change them."""
        return pika.URLParameters(self.url)

    def for_kombu(self) -> dict[str, Any]:
        """The same for kombu's `Connection`, but for TLS."""
        return {
            "hostname": self.host,
            "port": self.port,
            "userid": self.user,
            "password": self.password,
            "virtual_host": self.vhost,
            "transport": "pyamqp",
        }

    @property
    def place(self) -> tuple[str, int, str]:
        """Host, port and vhost: two addresses with the same place are the same vhost of the same broker."""
        return self.host.lower(), self.port, self.vhost

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{quote(self.user)}:***@{_bracketed(self.host)}:{self.port}/{quote(self.vhost, safe='')}"

    __repr__ = __str__


@dataclass(frozen=True)
class HttpAddress:
    """The base URL of an HTTP API; `url` holds no credentials and no trailing slash."""

    url: str
    user: str | None
    password: str | None = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> HttpAddress:
        """Return the address that `url` names.

        Raises:
            ValueError: it names none; the text says why and never holds the password.
        """
        parts = _split(url, _HTTP_PORTS)
        if parts.query:
            raise ValueError("a base URL takes no options after ?")
        if parts.username is not None and parts.password is None:
            raise ValueError("a user without a password")
        host = _bracketed(parts.hostname or "")
        port = "" if parts.port is None else f":{parts.port}"
        return cls(
            url=f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}",
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @property
    def tls(self) -> bool:
        """Whether the API is reached over TLS."""
        return self.url.startswith("https:")

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return self.url if self.user is None else f"{scheme}://{quote(self.user)}:***@{rest}"

    __repr__ = __str__


@dataclass(frozen=True)
class HostPort:
    """A UDP or TCP end without any protocol of its own."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Return what `host:port` or `[v6]:port` names.

        Raises:
            ValueError: it names no such end.
        """
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]]+)):(\d{1,5})", text.strip(), re.ASCII)
        if match is None:
            raise ValueError("not host:port")
        if not 1 <= int(match[3]) <= 65535:
            raise ValueError("port outside of 1 to 65535")
        return cls(match[1] or match[2], int(match[3]))

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


def mask(text: str) -> str:
    """Return `text` fit to be shown in a fault: what may be credentials of a URL in it, however broken, is `***`."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        # A slash too few, or no scheme: what stands before an @ may be credentials where it has a colon.
        before, _, host = text.rpartition("@")
        return f"***@{host}" if ":" in before else text
    if "@" in rest:
        return f"{scheme}://***@{rest.rpartition('@')[2]}"
    host, colon, port = rest.partition(":")
    # Without an @, what stands where the port should be may be a password whose @host was forgotten.
    return text if not colon or re.match(r"\d{1,5}(?:/|$)", port, re.ASCII) else f"{scheme}://{host}:***"


def _split(url: str, schemes: dict[str, int]) -> SplitResult:
    # The messages are our own where urllib's would quote what may be a part of the password.
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("white space inside; in a password it is written %20")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("no such port; are special characters in the password percent-encoded?") from None
    if parts.scheme not in schemes:
        raise ValueError(f"begins with none of {', '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.fragment or "#" in url or "@" in parts.path + parts.query or parts.netloc.count("@") > 1:
        raise ValueError("an unencoded special character; in user and password @ is %40, : is %3A, / is %2F, # is %23")
    if not parts.hostname:
        raise ValueError("no host")
    if port == 0:
        raise ValueError("no such port: 0")
    return parts


def _read_by_pika(parts: SplitResult) -> pika.URLParameters:
    # pika gets the URL without its credentials, so that no refusal of an option can quote them.
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    try:
        return pika.URLParameters(urlunsplit(bare))
    except (ValueError, TypeError, SyntaxError, OSError, AMQPError) as error:
        # Options are literals and file names; ast and ssl refuse them each in its own way.
        raise ValueError(str(error)) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
