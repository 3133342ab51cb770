"""The configuration: every setting declared once, a file read into it whole or refused with all its faults.

1. `load` gives a `Config` that can be used, or a `ConfigError` that holds everything that is wrong; nothing in between.
2. No text made from a `Config` shows a password: addresses hide it in `str` and `repr`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError, WithJsonSchema, field_validator, model_validator

from bridge.address import AmqpAddress, HostPort, HttpAddress
from bridge.config_faults import translate
from bridge.config_file import Tree, read_tree
from bridge.config_rules import broken_rules
from bridge.core.route import Route
from bridge.errors import ConfigError, Fault
from bridge.setting import ONE_OR_MORE, SWITCH, Section, Setting, is_pattern, one_of, text_of, unfit, whole
from bridge.units import parse_duration, parse_rate, parse_size, show_duration, show_rate, show_size

#: Where the daemon listens and the commands ask, unless the configuration says otherwise.
DEFAULT_SOCKET = "/run/bridge/admin.sock"


class CapPriority(StrEnum):
    """Whether the priority of ETA messages is capped for targets whose ladder mixes levels up (4.0 to 4.2)."""

    AUTO = "auto"
    NEVER = "never"


class BackupSide(StrEnum):
    """The broker that keeps the backup."""

    SOURCE = "source"
    TARGET = "target"


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
_RATE = text_of("a rate such as 20/s or 300/m, from 2/m to 1000000/s", parse_rate, show=show_rate)
_AGE = text_of("a time such as 7d, 12h or 30m", _parse_age, show=show_duration)
_PATTERN = text_of("a queue name or shell pattern (a number in quotes)", _parse_name)
_QUEUE_NAME = text_of("a queue name (a number in quotes)", _parse_name)
_SOCKET = text_of("an absolute path of at most 107 bytes", _parse_socket)
_FOLDER = text_of("an absolute path", _parse_absolute)
_FILE = text_of("the path of a file", str)
_WORD = text_of("up to 64 letters, digits, and any of _ . -", _matching(_FIT_FOR_NAMES), pattern=f"^{_FIT_FOR_NAMES}$")


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
    """How much of a queue goes to the target on the route `canary`: one of the two."""

    rate: Annotated[float, _RATE] | None = None
    """At most so many messages per second, for as long as the route stands."""
    first: Annotated[int, whole(1, 1_000_000_000)] | None = None
    """So many messages, then no more."""

    @model_validator(mode="after")
    def _one(self) -> Canary:
        if (self.rate is None) == (self.first is None):
            raise unfit("exactly one of rate: and first:", why="none of them" if self.rate is None else "both of them")
        return self


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
    max_age: Annotated[int, _AGE] = 7 * 86400
    """How long copies are kept. In force when the stream is made; later by a policy."""
    max_bytes: Annotated[int, _parse_size(64 * 1024**2, 1024**5)] = 20 * 1024**3
    """How much of them is kept. In force when the stream is made; later by a policy."""
    required: Annotated[bool, SWITCH] = True
    """`true`: a message whose copy is not confirmed stays in its queue. `false`: it moves without, and is counted."""


class Admin(Section):
    """The door for commands."""

    socket: Annotated[str, _SOCKET] = DEFAULT_SOCKET
    """Unix socket on which the daemon answers `bridge status`."""


class Export(Section):
    """Messages that no broker would take."""

    folder: Annotated[str, _FOLDER] = "/var/lib/bridge/export"
    """Folder for messages larger than the target takes: each is on the disk before it is acked."""


class Metrics(Section):
    """Numbers for the outside."""

    statsd: Annotated[HostPort, _HOST_PORT] | None = None
    """Where statsd listens (UDP); absent: no metrics are sent."""
    prefix: Annotated[str, _WORD] = "bridge"
    """First part of every metric's name."""


class Log(Section):
    """What is logged, on standard error."""

    level: Annotated[LogLevel, one_of(LogLevel)] = LogLevel.INFO
    """This and everything graver."""
    format: Annotated[LogFormat, one_of(LogFormat)] = LogFormat.JSON
    """`json` for collectors, `text` for people."""


@dataclass(frozen=True)
class QueueSetting:
    """What holds for one queue: its route, its canary share, and its sister queue's name on the target."""

    route: Route
    canary: Canary | None
    target: str


class Config(Section):
    """The whole configuration."""

    source: Broker
    """The old side, where classic queues are read."""
    target: Broker
    """The new side, where quorum queues are written."""
    instance: Annotated[str, _WORD] = "main"
    """Names this bridge where several share a target."""
    queues: Queues = Queues()
    """Which queues are bridged, and how."""
    route: Annotated[Route, one_of(Route)] = Route.LEGACY
    """The route of queues that have no other: `legacy` takes nothing, `canary` a share, `quorum` everything."""
    canary: Canary | None = None
    """The share on the route `canary`, for every queue that has no other."""
    gate: Gate = Gate()
    """What must be so before messages go to the target."""
    relay: Relay = Relay()
    """How much is on its way at once."""
    eta: Eta = Eta()
    """Tasks with an ETA."""
    backup: Backup | None = None
    """A second publish of every message, for going back to."""
    admin: Admin = Admin()
    """The door for commands."""
    export: Export = Export()
    """Messages that no broker would take."""
    metrics: Metrics = Metrics()
    """Numbers for the outside."""
    log: Log = Log()
    """What is logged."""

    @property
    def backup_side(self) -> str | None:
        """The side that keeps the backup stream; None without one."""
        return None if self.backup is None else self.backup.on.value

    def wants(self, queue: str) -> bool:
        """Whether the source queue of that name is in scope: included, and not excluded."""
        return _matches(queue, self.queues.include) and not _matches(queue, self.queues.exclude)

    def explicit_names(self) -> list[str]:
        """The queues in scope that are named, not matched: they are known without the management API."""
        names = [name for name in self.queues.include if not is_pattern(name)]
        return [name for name in dict.fromkeys(names) if not _matches(name, self.queues.exclude)]

    def setting_for(self, queue: str) -> QueueSetting:
        """What holds for a source queue: the first matching entry of `queues.settings`, else the top level."""
        for entry in self.queues.settings:
            if fnmatch.fnmatchcase(queue, entry.match):
                return QueueSetting(entry.route or self.route, entry.canary or self.canary, entry.target or queue)
        return QueueSetting(self.route, self.canary, queue)


def load(file: str, environ: Mapping[str, str]) -> Config:
    """Return the configuration in `file`, secrets taken from `environ` and files.

    Raises:
        ConfigError: it cannot be used; all faults at once.
    """
    return parse(_read(file), environ, file=file)


def parse(text: str | bytes, environ: Mapping[str, str], *, file: str = "configuration") -> Config:
    """Return the configuration that `text` is; `file` is only its name in faults.

    Raises:
        ConfigError: it cannot be used; all faults at once.
    """
    tree = read_tree(text, environ)
    if tree.filled is None:
        raise ConfigError(file, list(tree.faults.values()))
    # A secret that is missing has its own fault already; what its place-holder is read as does not matter.
    faults = dict(tree.faults)
    config: Config | None = None
    try:
        config = Config.model_validate(tree.filled)
        sections: dict[str, Any] = dict(config)
    except ValidationError as error:
        for location, fault in translate(error, tree, Config):
            faults.setdefault(location, fault)
        sections = _sound_sections(tree)
    for location, fault in broken_rules(sections, tree):
        faults.setdefault(location, fault)
    if config is None or faults:
        raise ConfigError(file, list(faults.values()))
    return config


def admin_socket(file: str | None) -> str:
    """Return the path of the daemon's admin socket according to `file`, whatever else is wrong with it.

    An operator asks for the status from a shell that does not have the daemon's secrets.

    Raises:
        ConfigError: the file cannot be read, or its `admin:` cannot be used.
    """
    if file is None:
        return DEFAULT_SOCKET
    tree = read_tree(_read(file), {})
    if not isinstance(tree.written, dict):
        raise ConfigError(file, list(tree.faults.values()))
    try:
        return Admin.model_validate(tree.written.get("admin") or {}).socket
    except ValidationError as error:
        raise ConfigError(file, [fault for _, fault in translate(error, tree, Config, ("admin",))]) from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration, a description with every setting."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _matches(queue: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(queue, pattern) for pattern in patterns)


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        fault = Fault("", (error.strerror or "not readable").lower(), "a readable YAML file")
        raise ConfigError(file, [fault], hint="name the file with -c FILE or BRIDGE_CONFIG") from None


def _sound_sections(tree: Tree) -> dict[str, Any]:
    # What can be read on its own is checked against the rest even where another section is at fault.
    sections: dict[str, Any] = {}
    given: Any = tree.filled
    for name, field in Config.model_fields.items():
        try:
            if given.get(name) is not None:
                sections[name] = TypeAdapter(field.rebuild_annotation()).validate_python(given[name])
            elif not field.is_required():
                sections[name] = field.get_default()
        except ValidationError:
            continue
    return sections
