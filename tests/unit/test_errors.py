from __future__ import annotations

import pytest

from bridge.errors import (
    AccessRefused,
    BridgeError,
    ConfigError,
    Exit,
    Fault,
    LabError,
    Refused,
    Unreachable,
    redact,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BridgeError("x"), 1),
        (Refused("x"), 1),
        (LabError("x"), 1),
        (ConfigError("bridge.yaml", [Fault("route", "found 'dual'", "legacy")]), 2),
        (Unreachable("x"), 3),
        (AccessRefused("x"), 3),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: BridgeError, code: int) -> None:
    assert error.exit_code == code
    assert error.exit_code in Exit


def test_a_hint_stands_apart_from_the_sentence() -> None:
    error = Refused('no worker on "mail"', hint="start one")
    assert str(error) == 'no worker on "mail"'
    assert error.hint == "start one"
    assert Refused("x").hint == ""


def test_a_configuration_error_has_one_line_for_each_fault() -> None:
    error = ConfigError("b.yaml", [Fault("relay.window", "found 0", "1 or more"), Fault("", "an empty file", "YAML")])
    assert str(error).splitlines() == [
        "b.yaml: relay.window: found 0; allowed: 1 or more",
        "b.yaml: an empty file; allowed: YAML",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://u:p@host/v", "amqp://u:***@host/v"),
        ("amqps://u:p%40q@host:5671/v?heartbeat=3", "amqps://u:***@host:5671/v?heartbeat=3"),
        ("amqp://u:p@ss/wo:rd@host/v", "amqp://u:***@host/v"),
        ("amqp://:p@host", "amqp://:***@host"),
        ("amqp://u:@host", "amqp://u:***@host"),
        ("from amqp://u:p1@a/v to amqp://u:p2@b/v, lost", "from amqp://u:***@a/v to amqp://u:***@b/v, lost"),
        ("amqp://u:p1@a,amqp://u:p2@b", "amqp://u:***@a,amqp://u:***@b"),
        ("http://host:15672/api and me@example", "http://host:15672/api and me@example"),
        ("amqp://host:5672/v", "amqp://host:5672/v"),
        ("no url at all: a@b", "no url at all: a@b"),
    ],
)
def test_no_password_of_a_url_is_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
