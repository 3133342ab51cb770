"""What all commands do alike: the configuration they are given, and JSON for programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.config import Config


def named(file: str | None) -> str:
    """The configuration's file.

    Raises:
        UsageError: none was named.
    """
    if not file:
        raise click.UsageError("no configuration: name it with -c FILE or BRIDGE_CONFIG")
    return file


def loaded(file: str | None) -> Config:
    """The configuration, secrets from the environment.

    Raises:
        UsageError: no file was named.
        ConfigError: it cannot be used.
    """
    from bridge.config import load

    return load(named(file), os.environ)


def admin_socket(file: str | None, given: str | None) -> str:
    """The daemon's admin socket: the one that was given, else the configuration's.

    Raises:
        ConfigError: the configuration's `admin:` cannot be used.
    """
    if given is not None:
        return given
    from bridge.config import admin_socket

    return admin_socket(file)


def print_json(value: Any) -> None:
    """Print for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
