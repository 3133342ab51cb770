"""The sections of the configuration: every setting declared once, with what is allowed and what it is.

No text made from a section shows a secret: addresses and `Secret` hide it in `str` and `repr`.
"""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from typing import Annotated, Any

from pydantic import WithJsonSchema, field_validator, model_validator

from bridge.address import AmqpAddress, HostPort, HttpAddress
from bridge.core.route import Route
from bridge.setting import ONE_OR_MORE, SWITCH, Section, Setting, one_of, text_of, unfit, whole
from bridge.units import parse_duration, parse_rate, parse_size, show_duration, show_rate, show_size

#: Where the daemon listens and the commands ask, unless the configuration says otherwise.
DEFAULT_SOCKET = "/run/bridge/admin.sock"


class Secret:
    """Text that is shown nowhere: only `value` has it."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class CapPriority(StrEnum):
    """Whether the priority of ETA messages is capped for targets whose ladder mixes levels up (4.0 to 4.2)."""

    AUTO = "auto"
    NEVER = "never"


class WhenAway(StrEnum):
    """What the route `dual` does while one of its two sides takes nothing."""

    WAIT = "wait"
    DEGRADE = "degrade"


class BackupSide(StrEnum):
    """The broker that keeps the backup."""

    SOURCE = "source"
    TARGET = "target"


class StatsdFormat(StrEnum):
    """How statsd is told which queue a number is of."""

    STATSD = "statsd"
    DOGSTATSD = "dogstatsd"


class LogLevel(StrEnum):
    """What is logged: this and everything graver."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    JSON = "json"
    TEXT = "text"


def _parse_size(low: int, high: int) -> Setting:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        size = parse_size(str(value))
        if not low <= size <= high:
            raise ValueError(f"outside of {show_size(low)} to {show_size(high)}")
        return size

    return Setting(parse, "a number of bytes such as 64MiB or 10MB", {"type": ["integer", "string"]}, show_size)


def _parse_age(value: object) -> int:
    seconds = parse_duration(value) if isinstance(value, str) else 0
    if not 60 <= seconds <= 366 * 86400:
        raise ValueError("outside of 1m to 366d")
    return seconds


def _parse_period(value: str) -> int:
    return _parse_between(value, 1, 7 * 86400, "1s to 7d")


def _parse_wait(value: str) -> int:
    return _parse_between(value, 1, 3600, "1s to 1h")


def _parse_patience(value: str) -> int:
    return _parse_between(value, 5, 3600, "5s to 1h")


def _parse_between(value: str, low: int, high: int, allowed: str) -> int:
    seconds = parse_duration(value)
    if not low <= seconds <= high:
        raise ValueError(f"outside of {allowed}")
    return seconds


def _parse_percent(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    share = float(value.strip().removesuffix("%")) if isinstance(value, str) else float(value)
    if not 0 < share <= 100:
        raise ValueError("outside of 0 to 100")
    return share


def _parse_token(value: str) -> Secret:
    # Visible ASCII: what `Authorization: Bearer` can carry (RFC 6750, section 2.1).
    if not re.fullmatch(r"[!-~]{16,}", value):
        raise ValueError
    return Secret(value)


def _parse_command(value: object) -> tuple[str, ...]:
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(str(error).lower()) from None
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) and word for word in words):
        raise ValueError
    return tuple(words)


def _parse_tags(value: object) -> dict[str, str]:
    # Datadog's tags begin with a letter, are short, and have a colon between name and value.
    if not isinstance(value, dict):
        raise ValueError
    for name, text in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", name):
            raise ValueError(f"the name {name!r}")
        if not isinstance(text, str) or not re.fullmatch(r"[^\s,|#]{1,128}", text):
            raise ValueError(f"the value of {name}")
    return value


def _parse_absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError
    return value


def _parse_socket(value: str) -> str:
    # sun_path of unix(7) has 108 bytes, the last one is null.
    if len(value.encode()) > 107:
        raise ValueError
    return _parse_absolute(value)


def _matching(pattern: str) -> Any:
    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError
        return value

    return parse


def _parse_name(value: str) -> str:
    # A queue name is an AMQP short string (0-9-1, section 4.2.5.3).
    if len(value.encode()) > 255:
        raise ValueError("longer than 255 bytes")
    return value


_FIT_FOR_NAMES = r"[A-Za-z0-9_.-]{1,64}"
_AMQP_URL = text_of(
    "amqp://USER:PASSWORD@HOST:PORT/VHOST with special characters percent-encoded, or amqps://",
    AmqpAddress.parse,
    format="uri",
)
_HTTP_URL = text_of("http://HOST:PORT, or https://", HttpAddress.parse, format="uri")
_HOST_PORT = text_of("HOST:PORT", HostPort.parse)
RATE = text_of("a rate such as 20/s or 300/m, from 2/m to 1000000/s", parse_rate, show=show_rate)
AGE = text_of("a time such as 7d, 12h or 30m", _parse_age, show=show_duration)
PERIOD = text_of("a time such as 5m or 90s, from 1s to 7d", _parse_period, show=show_duration)
_WAIT = text_of("a time such as 10s or 2m, from 1s to 1h", _parse_wait, show=show_duration)
PATIENCE = text_of("a time such as 30s or 2m, from 5s to 1h", _parse_patience, show=show_duration)
_PROBE = text_of(
    "bridge.probe, or bridge.probe. and letters, digits, and any of _ . - behind it",
    _matching(r"bridge\.probe(\.[A-Za-z0-9_.-]{1,64})?"),
)
_TOKEN = text_of(
    "at least 16 characters: visible ASCII, no space", _parse_token, secret=True, writeOnly=True, format="password"
)
_COMMAND = Setting(
    _parse_command,
    "a command line, or a list of the program and its arguments",
    {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    shlex.join,
)
_TAGS = Setting(
    _parse_tags,
    "names and texts such as {env: prod}, without spaces, commas, | and #",
    {"type": "object", "additionalProperties": {"type": "string"}},
)
_PERCENT = Setting(
    _parse_percent, "a share such as 10% or 0.5%, up to 100%", {"type": ["string", "number"]}, "{:g}%".format
)
_TASK = text_of("the name of a task, or a shell pattern", _parse_name)
_PATTERN = text_of("a queue name or shell pattern (a number in quotes)", _parse_name)
_QUEUE_NAME = text_of("a queue name (a number in quotes)", _parse_name)
_SOCKET = text_of("an absolute path of at most 107 bytes", _parse_socket)
_FOLDER = text_of("an absolute path", _parse_absolute)
_FILE = text_of("the path of a file", str)
WORD = text_of("up to 64 letters, digits, and any of _ . -", _matching(_FIT_FOR_NAMES), pattern=f"^{_FIT_FOR_NAMES}$")


class Tls(Section):
    """How the other end's certificate is checked, and which one we show; for AMQP and the API alike."""

    ca: Annotated[str, _FILE] | None = None
    """PEM file with the authorities we trust; the system's if absent."""
    cert: Annotated[str, _FILE] | None = None
    """PEM file with the certificate we show."""
    key: Annotated[str, _FILE] | None = None
    """PEM file with its private key, where `cert` does not hold it."""
    verify: Annotated[bool, SWITCH] = True
    """Whether the other end's certificate and name are checked. `false` is for rehearsals only."""


class Broker(Section):
    """One side: a vhost of a broker or cluster."""

    amqp: Annotated[
        tuple[Annotated[AmqpAddress, _AMQP_URL], ...],
        ONE_OR_MORE,
        WithJsonSchema({"anyOf": [_AMQP_URL.schema, {"type": "array", "items": _AMQP_URL.schema, "minItems": 1}]}),
    ]
    """AMQP URL of the vhost, or a list of them, one per node, tried in turn. Options after `?` as pika reads them."""
    api: Annotated[HttpAddress, _HTTP_URL] | None = None
    """Base URL of the management API; credentials of the first AMQP URL unless given in it."""
    tls: Tls = Tls()
    """TLS of both; a default context if absent."""

    @field_validator("amqp")
    @classmethod
    def _at_least_one(cls, given: tuple[AmqpAddress, ...]) -> tuple[AmqpAddress, ...]:
        if not given:
            raise unfit(_AMQP_URL.allowed, why="no address")
        return given

    def api_login(self) -> tuple[str, str]:
        """User and password for the management API."""
        if self.api is not None and self.api.user is not None:
            return self.api.user, self.api.password or ""
        return self.amqp[0].user, self.amqp[0].password


class Canary(Section):
    """How much of a queue goes to the target on the route `canary`: one of these."""

    rate: Annotated[float, RATE] | None = None
    """At most so many messages per second, for as long as the route stands."""
    first: Annotated[int, whole(1, 1_000_000_000)] | None = None
    """So many messages, then no more."""
    percent: Annotated[float, _PERCENT] | None = None
    """This share of the messages, exactly. Only with `legacy:`, in the inline layout."""
    tasks: tuple[Annotated[str, _TASK], ...] | None = None
    """The tasks of these names. Only with `legacy:`, in the inline layout."""

    @model_validator(mode="after")
    def _one(self) -> Canary:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise unfit(
                "exactly one of rate:, first:, percent: and tasks:",
                why=" and ".join(given) if given else "none of them",
            )
        if self.tasks == ():
            raise unfit("the names of tasks", why="tasks: without any")
        return self


class Dual(Section):
    """The route `dual`, in the inline layout: every task on both sides."""

    when_away: Annotated[WhenAway, one_of(WhenAway)] = WhenAway.WAIT
    """While one side takes nothing: `wait` until both take, or `degrade` to the living side, and count."""


class QueueSettings(Section):
    """What is different for some queues."""

    match: Annotated[str, _PATTERN]
    """The queues it is for: a name or a shell pattern. The first entry that matches a queue is its only one."""
    route: Annotated[Route, one_of(Route)] | None = None
    """Their route, instead of the top level's."""
    canary: Canary | None = None
    """Their share on the route `canary`, instead of the top level's."""
    target: Annotated[str, _QUEUE_NAME] | None = None
    """The sister queue's name on the target, if it is not the same. Only with one exact name in `match`."""


class Queues(Section):
    """Which queues are bridged, and how."""

    include: tuple[Annotated[str, _PATTERN], ...] = ("*",)
    """Names or shell patterns of the source queues in scope. Patterns need `source.api`."""
    exclude: tuple[Annotated[str, _PATTERN], ...] = ()
    """Names or shell patterns of queues that are left out all the same."""
    settings: tuple[QueueSettings, ...] = ()
    """What is different for some of them; the first entry that matches wins."""


class Gate(Section):
    """What must be so before messages go to the target."""

    consumers: Annotated[int, whole(0, 1_000_000)] = 1
    """At least so many consumers on the target queue; 0 lets messages go where no worker is yet."""


class Relay(Section):
    """How much is on its way at once."""

    window: Annotated[int, whole(1, 65535)] = 500
    """Messages of one queue in flight at most; after a crash no more than these can be doubled. Queues share it, at
    least 100 each, and fewer are in flight where full speed needs fewer."""
    read_ahead: Annotated[int, whole(0, 65535)] = 2000
    """Messages of a backlog that the source hands out beyond the window: they wait in memory, so that the target has
    work while the source reads from disk. Unacked, but not published: a crash gives them back. When the connection to
    the source is lost meanwhile, twice the window can be doubled. Queues share it; fewer where messages are large or
    slow. 0: none."""
    window_bytes: Annotated[int, _parse_size(64 * 1024, 16 * 1024**3)] = 64 * 1024**2
    """Bytes of all queues together in flight at most; with a backup, half of it."""
    priority: Annotated[int, whole(1, 2**31 - 1)] = 1000
    """Our consumer priority on the source queues. Workers have 0; a consumer with as much as ours gets messages too."""


class Eta(Section):
    """Tasks with an ETA."""

    cap_priority: Annotated[CapPriority, one_of(CapPriority)] = CapPriority.AUTO
    """`auto` caps their priority at 4 on a RabbitMQ 4.0 to 4.2 target, where a higher one holds back due tasks."""


class Backup(Section):
    """A second publish of every message, into a RabbitMQ stream; absent: none."""

    on: Annotated[BackupSide, one_of(BackupSide)] = BackupSide.SOURCE
    """The broker whose vhost has the stream `bridge.backup`."""
    max_age: Annotated[int, AGE] = 7 * 86400
    """How long copies are kept. In force when the stream is made; later by a policy."""
    max_bytes: Annotated[int, _parse_size(64 * 1024**2, 1024**5)] = 20 * 1024**3
    """How much of them is kept. In force when the stream is made; later by a policy."""
    required: Annotated[bool, SWITCH] = True
    """`true`: a message whose copy is not confirmed stays in its queue. `false`: it moves without, and is counted."""


class Admin(Section):
    """The doors for commands."""

    socket: Annotated[str, _SOCKET] = DEFAULT_SOCKET
    """Unix socket for the commands of the daemon's user; whoever may open it may change things."""
    listen: Annotated[HostPort, _HOST_PORT] | None = None
    """Where HTTP is answered, such as 127.0.0.1:8642; absent: nowhere."""
    token: Annotated[Secret, _TOKEN] | None = None
    """What a request must bear to change something over HTTP; absent: only the unix socket may. Needed where `listen`
    is more than loopback."""


class Throttle(Section):
    """When to leave the target alone for a while, beside its alarms; a queue that is left alone stays with the old
    workers.
    """

    depth: Annotated[int, whole(1, 1_000_000_000)] | None = None
    """So many messages ready in the target queue; absent: no bound."""
    confirm: Annotated[int, _WAIT] | None = None
    """Seconds until the target confirms; absent: no bound."""
    resume: Annotated[int, whole(1, 99)] = 80
    """Per cent of the bound below which it goes on."""


class Hooks(Section):
    """Commands that are started at transitions; facts are in their environment and, as JSON, on their stdin."""

    on_cutover: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue's route became `quorum`."""
    on_canary: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue's route became `canary`."""
    on_dual: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue's route became `dual`."""
    on_legacy: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue's route became `legacy`."""
    on_reverse: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue's route became `reverse`."""
    on_paused: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue was paused."""
    on_resumed: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue was resumed."""
    on_faulted: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue that should move cannot."""
    on_recovered: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue that was faulted moves again."""
    on_throttled: Annotated[tuple[str, ...], _COMMAND] | None = None
    """A queue is left alone because of its target."""
    on_drained: Annotated[tuple[str, ...], _COMMAND] | None = None
    """The old side of a queue is finished."""
    on_active: Annotated[tuple[str, ...], _COMMAND] | None = None
    """This daemon became the active one."""
    timeout: Annotated[int, _WAIT] = 10
    """Seconds after which a command is ended."""


class Celery(Section):
    """What the old workers were told, where it is not Celery's default."""

    control_exchange: Annotated[str, _QUEUE_NAME] = "celery"
    """Their `control_exchange`: the name by which they are asked and told things."""


class Export(Section):
    """Messages that no broker would take."""

    folder: Annotated[str, _FOLDER] = "/var/lib/bridge/export"
    """Folder for messages larger than the target takes: each is on the disk before it is acked."""


class Metrics(Section):
    """Numbers for the outside."""

    statsd: Annotated[HostPort, _HOST_PORT] | None = None
    """Where statsd listens (UDP); absent: no metrics are sent. Prometheus asks `GET /metrics` in any case."""
    prefix: Annotated[str, WORD] = "bridge"
    """First part of every name that statsd gets."""
    format: Annotated[StatsdFormat, one_of(StatsdFormat)] = StatsdFormat.STATSD
    """`statsd`: the queue is a part of the name; `dogstatsd`: it is a tag, as Datadog's agent wants it."""
    tags: Annotated[dict[str, str], _TAGS] | None = None
    """Further tags of every metric. Only with `format: dogstatsd`."""

    @model_validator(mode="after")
    def _tags_have_a_place(self) -> Metrics:
        if self.tags and self.format is not StatsdFormat.DOGSTATSD:
            raise unfit("tags: together with format: dogstatsd", why="tags: with plain statsd, which has none")
        return self


class Probe(Section):
    """A message of the bridge's own that is sent over the whole way, again and again, and its time taken."""

    every: Annotated[int, _WAIT] = 30
    """Seconds between two of them."""
    queue: Annotated[str, _PROBE] | None = None
    """Its queue on both sides; `bridge.probe` if absent, with the name of an instance other than `main` behind it."""


class Log(Section):
    """What is logged, on standard error."""

    level: Annotated[LogLevel, one_of(LogLevel)] = LogLevel.INFO
    """This and everything graver."""
    format: Annotated[LogFormat, one_of(LogFormat)] = LogFormat.JSON
    """`json` for collectors, `text` for people."""
