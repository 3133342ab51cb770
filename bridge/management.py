"""RabbitMQ's HTTP API: what the broker knows about its queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from bridge.address import HttpAddress
from bridge.core.topology import Queue
from bridge.errors import AccessRefused, Unreachable

_Read = TypeVar("_Read")

#: Seconds for one answer; a broker with thousands of queues under load needs some.
ANSWER = 20.0
#: Queues a page: what the API allows at most is 500.
PAGE = 500
_COLUMNS = ",".join(
    (
        *("name", "type", "durable", "exclusive", "auto_delete", "arguments", "effective_policy_definition"),
        *("messages_ready", "messages_unacknowledged", "consumers"),
    )
)


class Management:
    """The API of one broker, one vhost at a time."""

    def __init__(
        self,
        name: str,
        address: HttpAddress,
        user: str,
        password: str,
        verify: bool | str,
        cert: tuple[str, str] | None,
    ) -> None:
        self.name = name
        self.address = address
        self._session = requests.Session()
        # The proxy of the environment is not on the way to a broker, and a .netrc holds none of its passwords.
        self._session.trust_env = False
        self._session.auth = (user, password)
        self._session.verify = verify
        self._session.cert = cert
        self._user = user

    def _get(self, path: str, read: Callable[[Any], _Read], **parameters: str | int) -> _Read | None:
        """One call; what `read` makes of the JSON it answers, None for 404."""
        url = f"{self.address.url}/api/{path}"
        try:
            answer = self._session.get(url, params=parameters, timeout=ANSWER, allow_redirects=False)
        except requests.exceptions.SSLError as fault:
            raise Unreachable(
                f"{self.name}: TLS with {self.address} failed: {_cause(fault)}",
                hint=f"check {self.name}.tls and the broker's certificate",
            ) from None
        except requests.RequestException as fault:
            raise Unreachable(
                f"{self.name}: the HTTP API at {self.address} does not answer: {_cause(fault)}",
                hint=f"check {self.name}.api and that the plugin rabbitmq_management is on",
            ) from None
        if answer.status_code == 404:
            return None
        if answer.status_code in (401, 403):
            raise AccessRefused(
                f'{self.name}: the HTTP API at {self.address} refused user "{self._user}" ({answer.status_code})',
                hint='give the user the tag "management" and permissions on the vhost',
            )
        try:
            if not answer.ok:
                raise ValueError
            return read(answer.json())
        except (ValueError, KeyError, TypeError, AttributeError):
            kind = answer.headers.get("content-type", "no type")
            raise Unreachable(
                f"{self.name}: {self.address} answered {answer.status_code} with {kind}, "
                "not with the JSON of RabbitMQ's HTTP API",
                hint=f"check that {self.name}.api is the address of RabbitMQ's management plugin",
            ) from None

    def queues(self, vhost: str) -> Iterator[Queue]:
        """Every queue of a vhost.

        Raises:
            Unreachable: the API does not answer, or not as RabbitMQ does.
            AccessRefused: it refuses the user.
        """
        page, pages = 1, 1
        while page <= pages:
            answer = self._get(f"queues/{quote(vhost, safe='')}", _page, page=page, page_size=PAGE, columns=_COLUMNS)
            if answer is None:
                raise Unreachable(
                    f'{self.name}: the HTTP API at {self.address} knows no vhost "{vhost}"',
                    hint=f"check the vhost in {self.name}.amqp",
                )
            queues, pages = answer
            yield from queues
            page += 1

    def queue(self, vhost: str, name: str) -> Queue | None:
        """One queue; None when it does not exist."""
        return self._get(f"queues/{quote(vhost, safe='')}/{quote(name, safe='')}", _queue)


def _page(answer: dict[str, Any]) -> tuple[list[Queue], int]:
    """The queues of a page, and how many pages there are."""
    return [_queue(item) for item in answer["items"]], int(answer["page_count"])


def _queue(item: dict[str, Any]) -> Queue:
    return Queue(
        name=item["name"],
        type=item.get("type", "classic"),
        durable=item["durable"],
        exclusive=item.get("exclusive", False),
        auto_delete=item["auto_delete"],
        arguments=item.get("arguments") or {},
        # An empty policy comes as [] from old versions.
        policy=dict(item.get("effective_policy_definition") or {}),
        ready=item.get("messages_ready", 0),
        unacked=item.get("messages_unacknowledged", 0),
        consumers=item.get("consumers", 0),
    )


def _cause(fault: BaseException) -> str:
    """The innermost reason of requests' nested exceptions."""
    while True:
        inner = (
            fault.__cause__ or fault.__context__ or next((a for a in fault.args if isinstance(a, BaseException)), None)
        )
        inner = getattr(inner, "reason", None) if isinstance(getattr(inner, "reason", None), BaseException) else inner
        if not isinstance(inner, BaseException) or inner is fault:
            break
        fault = inner
    return (fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)).lower()
