"""RabbitMQ's HTTP API: what the broker knows about a vhost, and the calls that change it.

1. What the user may not see is no failure of a snapshot: it is named in `Vhost.unknown`.
2. What changes a broker goes through `Changes`; a dry run is its second implementation, `Recorder`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote, unquote

import urllib3

from bridge import snapshot
from bridge.address import HttpAddress
from bridge.core.topology import Connection, Consumer, Node, Permissions, Queue, Vhost
from bridge.errors import AccessRefused, Refused, Unreachable

_Read = TypeVar("_Read")

#: Seconds for one answer; a broker with thousands of queues under load needs some.
ANSWER = 20.0
#: Items a page: what the API allows at most is 500.
PAGE = 500
#: Connections that are kept open: more are made when so many ask at the same time, and closed after their answer.
KEPT = 10
_NOTHING: Mapping[str, str] = {}


def path(*parts: str) -> str:
    """Path of a call below `/api/`, each part encoded: `path("queues", "/", "a/b")` is `queues/%2F/a%2Fb`."""
    return "/".join(quote(part, safe="") for part in parts)


class Changes(Protocol):
    """The calls that change a broker; paths as `path` makes them."""

    def put(self, path: str, body: Mapping[str, object]) -> None:
        """Make or replace what the path names.

        Raises:
            CallFailed: the broker refused; nothing was changed by this call.
            Unreachable: the broker does not answer.
        """

    def post(self, path: str, body: Mapping[str, object]) -> None:
        """Add to what the path names; errors as those of `put`."""

    def delete(self, path: str) -> None:
        """Delete what the path names; errors as those of `put`, status 404 when it was not there."""


@dataclass(frozen=True)
class Call:
    """A call that was not made."""

    method: str
    path: str
    body: Mapping[str, object] | None = None


@dataclass
class Recorder:
    """A dry run: keeps the calls in `calls`, in their order, and makes none."""

    calls: list[Call] = field(default_factory=list)

    def put(self, path: str, body: Mapping[str, object]) -> None:
        self.calls.append(Call("PUT", path, body))

    def post(self, path: str, body: Mapping[str, object]) -> None:
        self.calls.append(Call("POST", path, body))

    def delete(self, path: str) -> None:
        self.calls.append(Call("DELETE", path))


class CallFailed(Refused):
    """A call that should have changed the broker was refused: its method, path, status, and RabbitMQ's reason."""

    def __init__(self, name: str, method: str, path: str, status: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{name}: {method} /api/{path} was refused: {reason} ({status})", hint=hint)
        self.method = method
        self.path = path
        self.status = status
        self.reason = reason


class NotTold(Unreachable):
    """The API answered, and not with what was asked for."""


class Management:
    """The API of one broker, one vhost at a time.

    Args:
        name: of the side, `source` or `target`.
        address: base URL.
        user: whose rights count.
        password: theirs.
        verify: whether the certificate is checked, or a file with the authorities that are trusted.
        cert: files with our own certificate and its key.
    """

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
        cert_file, key_file = cert or (None, None)
        # The proxy of the environment is not on the way to a broker.
        self._http = urllib3.PoolManager(
            maxsize=KEPT,
            cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
            ca_certs=verify if isinstance(verify, str) else None,
            cert_file=cert_file,
            key_file=key_file,
            headers={
                # Some calls that change something take no other: with application/json 3.10 answers 406.
                "accept": "*/*",
                "accept-encoding": "gzip",
                "authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}",
            },
            # What failed is asked for again by whoever needs it.
            retries=False,
            timeout=ANSWER,
        )
        self.user = user
        #: The last answers to what is asked again and again, and what was read in them.
        self._read: dict[tuple[str, ...], tuple[bytes, Any]] = {}

    def close(self) -> None:
        """Let the connections go."""
        self._http.clear()

    # -- one call
    # -------------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, **arguments: Any) -> urllib3.BaseHTTPResponse:
        try:
            # A page to log in at is no answer.
            return self._http.request(method, f"{self.address.url}/api/{path}", redirect=False, **arguments)
        except urllib3.exceptions.SSLError as fault:
            raise Unreachable(
                f"{self.name}: TLS with {self.address} failed: {_cause(fault)}",
                hint=f"check {self.name}.tls and the broker's certificate",
            ) from None
        except urllib3.exceptions.HTTPError as fault:
            raise Unreachable(
                f"{self.name}: the HTTP API at {self.address} does not answer: {_cause(fault)}",
                hint=f"check {self.name}.api and that the plugin rabbitmq_management is on",
            ) from None

    def _refused(self, answer: urllib3.BaseHTTPResponse) -> AccessRefused:
        reason = _said(answer)
        return AccessRefused(
            f'{self.name}: the HTTP API at {self.address} refused user "{self.user}" ({answer.status})'
            + (f": {reason}" if reason else ""),
            hint='give the user the tag "management" and permissions on the vhost',
        )

    def _not_told(self, answer: urllib3.BaseHTTPResponse) -> NotTold:
        kind = answer.headers.get("content-type", "no type")
        return NotTold(
            f"{self.name}: {self.address} answered {answer.status} with {kind}, "
            "not with the JSON of RabbitMQ's HTTP API",
            hint=f"check that {self.name}.api is the address of RabbitMQ's management plugin",
        )

    def get(
        self,
        path: str,
        read: Callable[[Any], _Read],
        columns: str = "",
        *,
        also: int = 200,
        more: Mapping[str, str] = _NOTHING,
        again: bool = False,
    ) -> _Read | None:
        """What `read` makes of the JSON that one call answers, None for 404; `also` is a status that has JSON too.

        With `again`, for what is asked every few seconds, an answer that is the same as the last one, byte for byte, is
        not read once more: all who ask for the same columns so must read them the same way, and leave what they get as
        it is.
        """
        answer = self._answer("GET", path, fields={"columns": columns, **more} if columns else dict(more))
        if answer.status == 404:
            return None
        if answer.status in (401, 403):
            raise self._refused(answer)
        try:
            if answer.status >= 400 and answer.status != also:
                raise ValueError
            asked = (path, columns, *more.values())
            if again and (known := self._read.get(asked)) is not None and known[0] == answer.data:
                return cast("_Read", known[1])
            found = read(answer.json())
            if again:
                self._read[asked] = answer.data, found
            return found
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._not_told(answer) from None

    def pages(
        self,
        path: str,
        read: Callable[[Any], _Read],
        columns: str,
        more: Mapping[str, str] = _NOTHING,
        *,
        again: bool = False,
    ) -> Iterator[_Read]:
        """What `read` makes of every item of a paged list; a path that is not there is a vhost that is not there.

        `again` as in `get`.
        """
        page, pages = 1, 1
        while page <= pages:
            asked = {"page": str(page), "page_size": str(PAGE), **more}
            answer = self.get(path, snapshot.page(read), columns, more=asked, again=again)
            if answer is None:
                raise self.no_vhost(unquote(path.rpartition("/")[2]))
            items, pages = answer
            yield from items
            page += 1

    def no_vhost(self, vhost: str) -> Unreachable:
        """The error for a vhost that is not there."""
        return Unreachable(
            f'{self.name}: the HTTP API at {self.address} knows no vhost "{vhost}" that user "{self.user}" may see',
            hint=f"check the vhost in {self.name}.amqp, and the user's permissions on it",
        )

    # -- looking
    # --------------------------------------------------------------------------------------------------------

    def queues(self, vhost: str, columns: str = snapshot.QUEUE, *, again: bool = False) -> Iterator[Queue]:
        """Every queue of a vhost.

        Args:
            vhost: its name.
            columns: what is asked for; the rest of each queue is what it would be without messages or consumers.
            again: as in `get`.

        Raises:
            Unreachable: the API does not answer, or not as RabbitMQ does.
            AccessRefused: it refuses the user.
        """
        return self.pages(path("queues", vhost), snapshot.queue, columns, again=again)

    def queue(self, vhost: str, name: str) -> Queue | None:
        """One queue; None when it does not exist."""
        return self.get(path("queues", vhost, name), snapshot.queue)

    def snapshot(self, vhost: str, user: str | None = None) -> Vhost:
        """Everything that the API tells of a vhost, at this moment; numbers are as old as the broker's statistics, 5 s.

        Args:
            vhost: its name.
            user: whose permissions are asked for; the API's own user by default.

        Raises:
            Unreachable: the API does not answer, or not as RabbitMQ does, or knows no such vhost.
            AccessRefused: it refuses the user.
        """
        return _Look(self, vhost, user or self.user).vhost()

    # -- changing
    # -------------------------------------------------------------------------------------------------------

    def put(self, path: str, body: Mapping[str, object]) -> None:
        self._change("PUT", path, body)

    def post(self, path: str, body: Mapping[str, object]) -> None:
        self._change("POST", path, body)

    def delete(self, path: str) -> None:
        self._change("DELETE", path, None)

    def _change(self, method: str, path: str, body: Mapping[str, object] | None) -> None:
        answer = self._answer(method, path, json=body)
        if answer.status < 300:
            return
        reason = _said(answer)
        if not reason and answer.status not in (401, 403):
            raise self._not_told(answer)
        hint = ""
        if answer.status in (401, 403):
            hint = f'user "{self.user}" lacks the tag or the permission for this call: let someone who has it make it'
        raise CallFailed(self.name, method, path, answer.status, reason or "not authorised", hint=hint)


class _Look:
    """One look at a vhost, call by call; what may not be seen is noted on the way."""

    def __init__(self, api: Management, vhost: str, user: str) -> None:
        self._api = api
        self._vhost = vhost
        self._user = user
        self._unknown: list[str] = []

    def vhost(self) -> Vhost:
        api, vhost = self._api, self._vhost
        overview = self._must("overview", snapshot.overview, snapshot.OVERVIEW)
        me, tags = self._must("whoami", snapshot.whoami)
        totals: dict[str, str] = {}
        if not overview.statistics:
            # With the metrics collector off only this query makes the broker count its messages.
            totals = {"disable_stats": "true", "enable_queue_totals": "true"}
            self._unknown.append("bytes, policies in force and consumers: the broker collects no statistics")
        policies = (
            *self._must(path("policies", vhost), snapshot.listed(snapshot.policy)),
            *self._must(path("operator-policies", vhost), snapshot.listed(snapshot.operator_policy)),
        )
        read = snapshot.in_vhost(Vhost(vhost, overview.version, policies=policies))
        queues = {q.name: q for q in api.pages(path("queues", vhost), read, snapshot.QUEUE, totals)}
        exchanges = api.pages(path("exchanges", vhost), snapshot.exchange, snapshot.EXCHANGE)
        bindings = self._must(path("bindings", vhost), snapshot.bindings, snapshot.BINDING)
        consumers, connections = self._clients(tags)
        nodes = self._nodes(overview.node)
        flags = self._may("feature flags", "feature-flags", snapshot.feature_flags)
        what = "the vhost's default queue type, description and tags"
        about = self._may(what, "vhosts", snapshot.about(vhost), snapshot.VHOST) or snapshot.About()
        limits = self._may("the vhost's limits", path("vhost-limits", vhost), snapshot.limits)
        return Vhost(
            name=vhost,
            version=overview.version,
            nodes=nodes,
            feature_flags=flags,
            queues=queues,
            exchanges={exchange.name: exchange for exchange in exchanges if exchange.name},
            bindings=bindings,
            policies=policies,
            consumers=consumers,
            connections=connections,
            permissions=self._permissions(me, tags),
            limits=limits or {},
            default_queue_type=about.default_queue_type,
            description=about.description,
            tags=about.tags,
            unknown=tuple(self._unknown),
        )

    def _clients(self, tags: tuple[str, ...]) -> tuple[tuple[Consumer, ...], tuple[Connection, ...]]:
        if not {"monitoring", "administrator"} & set(tags):
            # Such a user is shown its own connections and no others, which would look like none.
            self._note("other users' connections and consumers", 'the tag "monitoring"')
            return (), ()
        within = path("vhosts", self._vhost)
        consumers = self._may(
            "consumers",
            path("consumers", self._vhost),
            snapshot.listed(snapshot.consumer),
            snapshot.CONSUMER,
        )
        published = self._may("channels", f"{within}/channels", snapshot.published, snapshot.CHANNEL)
        connections = self._may(
            "connections",
            f"{within}/connections",
            snapshot.connections(published),
            snapshot.CONNECTION,
        )
        return consumers or (), connections or ()

    def _nodes(self, asked: str) -> tuple[Node, ...]:
        nodes = self._may("memory, disk and partitions of the nodes", "nodes", snapshot.nodes, snapshot.NODE)
        if nodes is None:
            # Alarms are told to everyone; 503 is how this check says that there are some.
            nodes = self._may("alarms", "health/checks/alarms", snapshot.alarmed(asked), also=503)
        return nodes or ()

    def _permissions(self, me: str, tags: tuple[str, ...]) -> Permissions | None:
        what = f'permissions of user "{self._user}"'
        if "administrator" not in tags:
            self._note(what, 'the tag "administrator"')
            return None
        theirs: tuple[str, ...] | None = tags
        if self._user != me:
            theirs = self._may(f'tags of user "{self._user}"', path("users", self._user), snapshot.tags)
        where = path("permissions", self._vhost, self._user)
        try:
            found = self._api.get(where, snapshot.permissions(theirs or ()))
        except (AccessRefused, NotTold) as fault:
            self._unknown.append(f"{what}: {fault}")
            return None
        return found or Permissions(self._user, None, None, None, theirs or ())

    def _must(self, path: str, read: Callable[[Any], _Read], columns: str = "") -> _Read:
        """What there is no snapshot without."""
        answer = self._api.get(path, read, columns)
        if answer is None:
            raise self._api.no_vhost(self._vhost)
        return answer

    def _may(
        self, what: str, path: str, read: Callable[[Any], _Read], columns: str = "", *, also: int = 200
    ) -> _Read | None:
        """What a snapshot can be without: None, and a note of why."""
        try:
            answer = self._api.get(path, read, columns, also=also)
        except AccessRefused:
            self._note(what, 'the tag "monitoring" or "administrator"')
            return None
        except NotTold as fault:
            self._unknown.append(f"{what}: {fault}")
            return None
        if answer is None:
            self._unknown.append(f"{what}: this version of RabbitMQ does not tell")
        return answer

    def _note(self, what: str, tag: str) -> None:
        self._unknown.append(f'{what}: user "{self._api.user}" may not see them, that takes {tag}')


def _said(answer: urllib3.BaseHTTPResponse) -> str:
    """RabbitMQ's own reason in the body of a refusal, on one line; empty when there is none."""
    try:
        body = answer.json()
        reason = body.get("reason") or body.get("error") or ""
    except (ValueError, AttributeError):
        return ""
    # A reason can be an Erlang term over several lines.
    return " ".join(str(reason).split())


def _cause(fault: BaseException) -> str:
    """The innermost reason of urllib3's nested exceptions."""
    while True:
        inner = (
            fault.__cause__ or fault.__context__ or next((a for a in fault.args if isinstance(a, BaseException)), None)
        )
        inner = getattr(inner, "reason", None) if isinstance(getattr(inner, "reason", None), BaseException) else inner
        if not isinstance(inner, BaseException) or inner is fault:
            break
        fault = inner
    return (fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)).lower()
