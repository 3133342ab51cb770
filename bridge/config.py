"""The configuration: every setting declared once, a file read into it whole or refused with all its faults.

1. `load` gives a `Config` that can be used, or a `ConfigError` that holds everything that is wrong; nothing in between.
2. No text made from a `Config` shows a password: addresses hide it in `str` and `repr`.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from bridge.config_faults import translate
from bridge.config_file import Tree, read_tree
from bridge.config_rules import broken_rules
from bridge.config_sections import (
    DEFAULT_SOCKET,
    PATIENCE,
    PERIOD,
    WORD,
    Admin,
    Backup,
    Broker,
    Canary,
    Celery,
    Dual,
    Eta,
    Export,
    Gate,
    Hooks,
    Log,
    Metrics,
    Probe,
    Queues,
    Relay,
    Throttle,
)
from bridge.core.route import Layout, Route
from bridge.errors import ConfigError, Fault
from bridge.setting import Section, is_pattern, one_of


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
    legacy: Broker | None = None
    """The old workers' side, where producers publish into the source: its presence makes the layout inline."""
    instance: Annotated[str, WORD] = "main"
    """Names this bridge where several share a target."""
    queues: Queues = Queues()
    """Which queues are bridged, and how."""
    route: Annotated[Route, one_of(Route)] = Route.LEGACY
    """The route of queues that have no other: `legacy` is the old workers', `canary` a share for the new ones,
    `dual` everything to both, `quorum` everything to the new, `reverse` everything back to the old."""
    canary: Canary | None = None
    """The share on the route `canary`, for every queue that has no other."""
    dual: Dual = Dual()
    """The route `dual`."""
    gate: Gate = Gate()
    """What must be so before messages go to the target."""
    relay: Relay = Relay()
    """How much is on its way at once."""
    throttle: Throttle = Throttle()
    """When to leave the target alone for a while."""
    eta: Eta = Eta()
    """Tasks with an ETA."""
    backup: Backup | None = None
    """A second publish of every message, for going back to."""
    drained_after: Annotated[int, PERIOD] = 300
    """How long nothing may have been published into an old queue until it counts as drained."""
    celery: Celery = Celery()
    """What the old workers were told."""
    hooks: Hooks = Hooks()
    """Commands at transitions."""
    admin: Admin = Admin()
    """The doors for commands."""
    export: Export = Export()
    """Messages that no broker would take."""
    metrics: Metrics = Metrics()
    """Numbers for the outside."""
    probe: Probe | None = None
    """A message of the bridge's own over the whole way, timed; absent: none."""
    watchdog: Annotated[int, PATIENCE] = 30
    """How long the daemon's loop may stand still until the daemon ends itself, to be started anew."""
    log: Log = Log()
    """What is logged."""

    @property
    def layout(self) -> Layout:
        """Whether we sit beside the old workers, or between the producers and both sides."""
        return Layout.TAKEOVER if self.legacy is None else Layout.INLINE

    @property
    def backup_side(self) -> str | None:
        """The side that keeps the backup stream; None without one."""
        return None if self.backup is None else self.backup.on.value

    @property
    def probe_queue(self) -> str:
        """The queue of the probe on both sides; empty without one."""
        if self.probe is None:
            return ""
        return self.probe.queue or ("bridge.probe" if self.instance == "main" else f"bridge.probe.{self.instance}")

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
    tree = read_tree(_read(file), os.environ)
    place = ("admin", "socket")
    if not isinstance(tree.filled, dict) or place in tree.faults:
        raise ConfigError(file, [tree.faults[place]] if place in tree.faults else list(tree.faults.values()))
    given = tree.filled.get("admin") or {}
    if isinstance(given, dict):
        # The rest may stand on secrets that are not here.
        given = {name: given[name] for name in given if name == "socket"}
    try:
        return Admin.model_validate(given).socket
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
