"""The states that `bridge check` is shown: a messy pair of vhosts, a clean one, a bare one, and one in a bad night.

`findings_table.py` says what each part of them is for.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from pika import BasicProperties

from bridge.applying import carry_out, survey, target_api
from bridge.config import parse
from bridge.core import ladder
from bridge.lab.deadline import until
from bridge.management import path
from tests.functional.ladders import bind_as_celery, declare_ladder
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, Peer, as_user

#: Seconds in which the brokers must have reported: their statistics come every 5 s, and due messages take a look more.
REPORTED = 40.0
#: Seconds for one check.
CHECKED = 60.0
PASSWORD = "p"
#: Bytes of a message that no target from 4.0 on takes.
LARGE = 17 * 1024**2
_REPOSITORY = Path(__file__).parents[2]


class Stage:
    """A pair of vhosts and who is connected to them until the block ends.

    Attributes:
        pair: the vhosts.
        old: a client of the source.
        new: a client of the target.
        old_api: the source's API.
        new_api: the target's.
        user: of the target, for a scene that makes them.
        newer: whether the target is of 4.0 or later.
        config: sections of the configuration that the scene changes.
        told: what the API must show before the check is run: side, queue, key, least value.
    """

    def __init__(self, pair: Vhosts) -> None:
        self.pair = pair
        self.user = f"user-{secrets.token_hex(4)}"
        self.newer = not pair.new.version.startswith("3.")
        self.config: dict[str, Any] = {}
        self.told: list[tuple[str, str, str, int]] = []
        self._left = ExitStack()

    def __enter__(self) -> Stage:
        self.old = self._left.enter_context(Peer(self.pair.old.amqp))
        self.new = self._left.enter_context(Peer(self.pair.new.amqp))
        self.old_api, self.new_api = Admin(self.pair.old.api), Admin(self.pair.new.api)
        return self

    def __exit__(self, *_fault: object) -> None:
        self._left.close()

    def policy(self, name: str, pattern: str, **definition: Any) -> None:
        """Set a policy of the target."""
        body = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
        self.new_api.call("PUT", path("policies", self.pair.new.vhost, name), body)

    def bound(self, exchange: str, kind: str, *queues: str, key: str | None = None) -> None:
        """Declare quorum queues and bind them to an exchange, by their names unless a key is given."""
        self.new.channel.exchange_declare(exchange, kind, durable=True)
        for queue in queues:
            self.new.quorum(queue)
            self.new.channel.queue_bind(queue, exchange, key or queue)

    def restricted(self) -> str:
        """Make a user of the target who may configure nothing; the vhost's URL for them."""
        self.new_api.make_user(self.user, PASSWORD, self.pair.new.vhost, configure="^$")
        self._left.callback(self.new_api.drop_user, self.user)
        return as_user(self.pair.new.amqp, self.user, PASSWORD)

    def reported(self) -> None:
        """Wait until the API shows what was made."""
        apis = {"old": (self.old_api, self.pair.old.vhost), "new": (self.new_api, self.pair.new.vhost)}

        def behind() -> list[tuple[str, str, str, int]]:
            seen = {side: api.call("GET", path("queues", vhost)) for side, (api, vhost) in apis.items()}
            shown = {(side, queue["name"]): queue for side, queues in seen.items() for queue in queues}
            return [wait for wait in self.told if (shown[wait[:2]].get(wait[2]) or 0) < wait[3]]

        assert until(lambda: not behind(), REPORTED), behind()

    def check(self, folder: Path) -> tuple[int, str]:
        """Run `bridge check --json` on the pair: its exit code, and what it printed."""
        config = {
            "source": {"amqp": self.pair.old.amqp, "api": self.pair.old.api},
            "target": {"amqp": self.pair.new.amqp, "api": self.pair.new.api},
            **self.config,
        }
        file = folder / f"{self.pair.new.vhost}.yaml"
        file.write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "-c", str(file), "check", "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=_REPOSITORY,
            env=os.environ,
            timeout=CHECKED,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout


# -- everything that can be wrong at once ------------------------------------------------------------------------------

#: Old queues with the arguments that raise something.
_OLD: dict[str, dict[str, Any]] = {
    "ttl": {"x-message-ttl": 3_600_000},
    "limit": {"x-max-length": 1000},
    "overflow": {"x-overflow": "reject-publish-dlx"},
    "dead": {"x-dead-letter-exchange": "dlx"},
    "dead-end": {"x-dead-letter-exchange": "nowhere"},
    "single": {"x-single-active-consumer": True},
    "lazy": {"x-queue-mode": "lazy"},
    "odd": {"x-odd": 1},
    "kept": {"x-overflow": "drop-head"},
    "priority": {"x-max-priority": 50},
}
_PLAIN = (
    *("missing", "classic", "filled", "share", "shared", "amq", "high", "exclusive", "large", "celery@host.dq2"),
    *("loose", "expiring", "ignored", "slow", "greedy", "bound", "q1", "a.q1", "equal-1", "equal-2", "straight", "fan"),
    "long" * 50,
)


def messy(stage: Stage) -> None:
    """Whatever can be wrong beside each other."""
    _messy_source(stage)
    _messy_policies(stage)
    _messy_sisters(stage)
    _messy_ladder(stage)
    there = len(stage.new_api.call("GET", path("queues", stage.pair.new.vhost)))
    limit = path("vhost-limits", stage.pair.new.vhost, "max-queues")
    stage.new_api.call("PUT", limit, {"value": there + 1})
    stage.config = {
        "target": {"amqp": stage.restricted(), "api": stage.pair.new.api},
        "queues": {
            "include": ["*", "gone", "temporary"],
            "settings": [{"match": "share", "target": "shared"}, {"match": "amq", "target": "amq.mail"}],
        },
        "probe": {},
    }


def _messy_source(stage: Stage) -> None:
    old, channel = stage.old, stage.old.channel
    old.classic(*_PLAIN)
    for name, arguments in _OLD.items():
        old.classic(name, **arguments)
    channel.queue_declare("temporary", durable=True, auto_delete=True)
    channel.queue_declare("worker@host.celery.pidbox", auto_delete=True)
    channel.queue_declare("5a4c2a3e-6b1f-3d59-9c0e-0e6d0a1c7b55", durable=True, auto_delete=True)
    channel.basic_consume("exclusive", _nothing, exclusive=True)
    channel.basic_consume("high", _nothing, arguments={"x-priority": 1000})
    old.classic("celery_delayed_9")
    old.publish("celery_delayed_9", [1])
    channel.confirm_delivery()
    channel.basic_publish("", "large", bytes(LARGE), BasicProperties(delivery_mode=2))
    stage.told += [("old", "celery_delayed_9", "messages", 1), ("old", "large", "message_bytes", LARGE)]


def _messy_policies(stage: Stage) -> None:
    # Before the queues: the API shows a policy that comes later only with the queue's next report.
    stage.policy("short", "^loose$", **{"message-ttl": 60_000})
    stage.policy("expiry", "^expiring$", expires=3_600_000)
    stage.policy("mixed", "^ignored$", **{"max-age": "1D", "max-length": 10})
    stage.policy("posix", "^[[:digit:]]+$", **{"max-length": 10})
    stage.policy("no room", "^celery_delayed_24$", **{"max-length": 10})
    if stage.newer:
        stage.policy("impatient", "^slow$", **{"consumer-timeout": 60_000})


def _messy_sisters(stage: Stage) -> None:
    new, channel = stage.new, stage.new.channel
    new.classic("classic", "bridge.quarantine")
    new.quorum("ttl", "filled", "loose", "slow", "greedy")
    new.publish("filled", [1])
    channel.exchange_declare("dlx", "topic", durable=True)
    stage.bound("tasks", "topic", "bound", "q1", "a.q1")
    stage.bound("tasks", "topic", "equal-1", key="same")
    stage.bound("more tasks", "topic", "equal-2", key="same")
    stage.bound("by name", "direct", "straight")
    stage.bound("to all", "fanout", "fan")
    channel.basic_consume("bound", _nothing)
    stage.told += [("new", "filled", "messages", 1), ("new", "bound", "consumers", 1)]


def _messy_ladder(stage: Stage) -> None:
    channel = stage.new.channel
    declare_ladder(stage.pair.new, "quorum")
    for level in (27, 26, 25):
        channel.queue_delete(ladder.level_name(level))
    classic = {"x-overflow": "reject-publish", "x-message-ttl": 2**27 * 1000}
    stage.new.classic("celery_delayed_27", **classic, **{"x-dead-letter-exchange": "celery_delayed_26"})
    early = {"x-overflow": "reject-publish", "x-message-ttl": 1000, "x-dead-letter-strategy": "at-least-once"}
    stage.new.quorum("celery_delayed_26", **early, **{"x-dead-letter-exchange": "celery_delayed_25"})
    # Of whatever leaves after one second, and of nothing else.
    bits, _, _ = ladder.entry(1, "word").routing_key.rpartition(".")
    channel.queue_bind("greedy", ladder.DELIVERY_EXCHANGE, f"{bits}.*")
    channel.confirm_delivery()
    for number, due, seconds in ((1, 40, 2), (2, 3, 4)):
        exchange, key = ladder.entry(seconds, "nobody")
        for _ in range(due):
            channel.basic_publish(exchange, key, b"", BasicProperties(delivery_mode=2))
        stage.told.append(("new", ladder.level_name(number), "messages_dlx", due))


# -- the others --------------------------------------------------------------------------------------------------------


def clean(stage: Stage) -> None:
    """As it should be before the night: planned and applied, and the new workers are there."""
    stage.old.classic("celery", "mail")
    stage.old.channel.exchange_declare("celery", "direct", durable=True)
    for name in ("celery", "mail"):
        stage.old.channel.queue_bind(name, "celery", name)
    sides = {name: {"amqp": side.amqp, "api": side.api} for name, side in _sides(stage.pair)}
    config = parse(json.dumps(sides), {})
    seen = survey(config)
    outcome = carry_out(seen.plan("main"), target_api(config), seen.target.permissions)
    assert outcome.fault is None, outcome.fault
    for name in ("celery", "mail"):
        bind_as_celery(stage.pair.new, name, "celery")
        stage.new.channel.basic_consume(name, _nothing)
        stage.told.append(("new", name, "consumers", 1))


def _sides(pair: Vhosts) -> tuple[tuple[str, Any], ...]:
    return ("source", pair.old), ("target", pair.new)


def bare(stage: Stage) -> None:
    """A sister that was declared by hand, and nothing else; the old queue has priorities."""
    stage.old.classic("plain", **{"x-max-priority": 10})
    if stage.newer:
        stage.policy("patient", "^plain$", **{"delivery-limit": -1})
    stage.new.quorum("plain")
    stage.config = {"eta": {"cap_priority": "never"}}


def night(stage: Stage) -> None:
    """Something waits; what is bad about the night is done to the brokers."""
    stage.old.classic("mail")
    stage.old.publish("mail", [1])
    stage.new.quorum("mail")
    stage.told.append(("old", "mail", "messages", 1))


SCENES = {"messy": messy, "clean": clean, "bare": bare, "night": night}


def _nothing(*_delivery: object) -> None:
    """A consumer that gets nothing."""
