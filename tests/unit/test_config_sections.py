"""The settings that are more than a number or a word: what is read, what is refused, and that a secret stays one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from bridge import config
from bridge.config import Config
from bridge.config_reference import reference
from bridge.config_sections import Secret
from bridge.core.route import Layout
from bridge.errors import ConfigError

BASE: dict[str, Any] = {
    "source": {"amqp": "amqp://u:p@old/c", "api": "http://old:15672"},
    "target": {"amqp": "amqp://u:p@new/q"},
    "legacy": {"amqp": "amqp://u:p@old/l"},
}
TOKEN = "s3cret-of-many-letters"


def read(**changes: Any) -> Config:
    return config.parse(yaml.safe_dump({**BASE, **changes}), {}, file="bridge.yaml")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"legacy": {"api": "http://old"}}, "legacy.amqp: missing; allowed: amqp://USER"),
        ({"legacy": {"amqp": "amqp://old"}}, "legacy.amqp: found 'amqp://old' (no vhost after the host"),
        ({"dual": {"when_away": "stop"}}, "dual.when_away: found 'stop'; allowed: wait | degrade"),
        (
            {"canary": {"percent": "0%"}},
            "canary.percent: found '0%' (outside of 0 to 100); allowed: a share such as 10%",
        ),
        ({"canary": {"percent": 100.5}}, "canary.percent: found 100.5 (outside of 0 to 100)"),
        ({"canary": {"percent": True}}, "canary.percent: found true; allowed: a share"),
        ({"canary": {"percent": "nan"}}, "canary.percent: found 'nan' (outside of 0 to 100)"),
        ({"canary": {"percent": "a lot"}}, "canary.percent: found 'a lot'"),
        ({"canary": {"tasks": "app.mail"}}, "canary.tasks: found 'app.mail'; allowed: a list, each item the name of a"),
        ({"canary": {"tasks": []}}, "canary: found a mapping (tasks: without any); allowed: the names of tasks"),
        ({"canary": {"tasks": [""]}}, "canary.tasks[0]: found ''; allowed: the name of a task"),
        (
            {"canary": {"tasks": ["a"], "percent": 1}},
            "canary: found a mapping (percent and tasks); allowed: exactly one",
        ),
        ({"throttle": {"depth": 0}}, "throttle.depth: found 0; allowed: a whole number from 1"),
        (
            {"throttle": {"confirm": "500ms"}},
            "throttle.confirm: found '500ms' (not a number of s, m, h or d); allowed: a",
        ),
        ({"throttle": {"confirm": "2h"}}, "throttle.confirm: found '2h' (outside of 1s to 1h)"),
        ({"throttle": {"resume": 100}}, "throttle.resume: found 100; allowed: a whole number from 1 to 99"),
        ({"drained_after": "0s"}, "drained_after: found '0s' (outside of 1s to 7d); allowed: a time such as 5m"),
        ({"drained_after": 300}, "drained_after: found 300; allowed: a time such as 5m"),
        ({"celery": {"control_exchange": ""}}, "celery.control_exchange: found ''; allowed: a queue name"),
        ({"hooks": {"on_cutover": []}}, "hooks.on_cutover: found a list; allowed: a command line, or a list of the"),
        ({"hooks": {"on_cutover": ["tell", 5]}}, "hooks.on_cutover: found a list; allowed: a command line"),
        ({"hooks": {"on_cutover": "tell 'x"}}, 'hooks.on_cutover: found "tell \'x" (no closing quotation); allowed: a'),
        ({"hooks": {"on_lunch": "tell"}}, "hooks.on_lunch: unknown key; allowed: the keys on_cutover, on_canary"),
        ({"hooks": {"timeout": "2h"}}, "hooks.timeout: found '2h' (outside of 1s to 1h)"),
        ({"admin": {"listen": "8642"}}, "admin.listen: found '8642' (not host:port); allowed: HOST:PORT"),
    ],
)
def test_a_fault_of_a_setting_says_what_is_allowed(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**changes)
    (found,) = map(str, caught.value.faults)
    assert found.startswith(fault)


def test_what_the_settings_are_read_as() -> None:
    loaded = read(
        dual={"when_away": "degrade"},
        canary={"percent": "0.5%"},
        throttle={"depth": 5, "confirm": "2s"},
        drained_after="90s",
        hooks={"on_cutover": "tell 'two words' three", "on_drained": ["tell", "two words"]},
        celery={"control_exchange": "ours"},
        admin={"listen": "[::1]:8642", "token": TOKEN},
    )
    assert loaded.layout is Layout.INLINE
    assert loaded.dual.when_away == "degrade"
    assert loaded.canary is not None
    assert loaded.canary.percent == 0.5
    assert (loaded.throttle.depth, loaded.throttle.confirm, loaded.throttle.resume) == (5, 2, 80)
    assert loaded.drained_after == 90
    assert loaded.hooks.on_cutover == ("tell", "two words", "three")
    assert loaded.hooks.on_drained == ("tell", "two words")
    assert (loaded.hooks.on_active, loaded.hooks.timeout) == (None, 10)
    assert loaded.celery.control_exchange == "ours"
    assert str(loaded.admin.listen) == "[::1]:8642"


def test_without_them_nothing_is_throttled_started_or_listened_on() -> None:
    loaded = read(legacy=None)
    assert loaded.layout is Layout.TAKEOVER
    assert (loaded.throttle.depth, loaded.throttle.confirm) == (None, None)
    assert (loaded.admin.listen, loaded.admin.token) == (None, None)
    assert all(getattr(loaded.hooks, name) is None for name in type(loaded.hooks).model_fields if name != "timeout")
    assert (loaded.drained_after, loaded.dual.when_away, loaded.celery.control_exchange) == (300, "wait", "celery")


def test_a_share_may_be_a_number_or_a_text() -> None:
    shares = [read(canary={"percent": given}).canary for given in (10, "10", "10%", " 10 % ")]
    assert {share.percent for share in shares if share is not None} == {10.0}
    tasks = read(canary={"tasks": ["app.mail.*", "app.pay"]}).canary
    assert tasks is not None
    assert tasks.tasks == ("app.mail.*", "app.pay")


def test_a_secret_shows_in_no_text() -> None:
    secret = Secret(TOKEN)
    loaded = read(admin={"token": TOKEN})
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!s:>30}".strip(), f"{[secret]}"]
    shown += [repr(loaded), str(loaded.admin), repr(loaded.model_dump()), loaded.model_dump_json(), reference()]
    shown += [str(config.schema()), repr(copy.deepcopy(loaded).admin)]
    assert all(TOKEN not in text for text in shown)
    assert loaded.admin.token == secret
    assert loaded.admin.token != Secret("another-one-of-many")
    assert hash(secret) == hash(Secret(TOKEN))


@pytest.mark.parametrize(
    "given", ["s3cret", "s3cret of many letters", "s3cret-of-many-lettérs", ["s3cret"], {"s3": "cret"}]
)
def test_a_token_that_is_refused_is_not_shown_either(given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read(admin={"token": given})
    assert str(caught.value) == (
        "bridge.yaml: admin.token: found text that is not shown; "
        "allowed: at least 16 characters: visible ASCII, no space"
    )


def test_a_token_that_is_not_there_is_said_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"admin\.token: found '\$\{T\}' \(T is not set\); allowed: T set in the env"):
        read(admin={"token": "${T}"})
