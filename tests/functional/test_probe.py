"""What only trying shows, on every version; that trying changes nothing; and that a level that stands still is seen."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from bridge import config, probe, sides
from bridge.amqp import Connection
from bridge.config import Config
from bridge.core import ladder
from bridge.core.rights import DEFAULT_EXCHANGE, Right, judge, needed, to_try
from bridge.core.topology import Trial
from bridge.lab.brokers import Side
from bridge.lab.deadline import until
from bridge.management import Management
from tests.functional.ladders import ask, declare_ladder
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, as_user, connect

pytestmark = pytest.mark.functional

SECRET = "Zk3-secret"
PAIRS = [("mail", "mail"), ("sms", "sms-v2")]
#: Rights on the target as an operator might give them, too narrow here and there.
NARROW = {
    "configure": r"^bridge\.",
    "write": r"^(amq\.default|celery_delayed_\d+|mail)$",
    "read": r"^(mail|celery_delayed_.*|bridge\..*)$",
}


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    """Of each world the new side: 3.10, 4.0, 4.3."""
    return vhosts.new


@pytest.fixture
def admin(side: Side) -> Admin:
    return Admin(side.api)


@pytest.fixture
def user(side: Side, admin: Admin) -> Iterator[str]:
    name = f"user-{secrets.token_hex(4)}"
    admin.make_user(name, SECRET, side.vhost)
    yield name
    admin.drop_user(name)


def configured(side: Side, user: str | None = None) -> Config:
    """A configuration with `side` as the target."""
    amqp = as_user(side.amqp, user, SECRET) if user else side.amqp
    nowhere = "amqp://nobody:none@127.0.0.1/nowhere"
    written = (
        f'source: {{amqp: "{nowhere}"}}\ntarget: {{amqp: "{amqp}", api: "{side.api}"}}\nqueues: {{include: [mail]}}'
    )
    return config.parse(written, {})


def connection(side: Side, user: str | None = None) -> Connection:
    made: Connection = sides.connection("target", configured(side, user).target, "main")(receive=None)
    return made


def of_target() -> list[Right]:
    return [right for right in needed(PAIRS, "main") if right.side == "target"]


def try_as(side: Side, user: str | None, rights: list[Right], *, taking: bool = True) -> list[Trial]:
    with probe.opened(connection(side, user)) as opened:
        return probe.trials(opened, rights, taking=taking, queue="mail")


@pytest.mark.parametrize(
    ("rights", "there"),
    [(NARROW, True), (NARROW, False), ({"configure": "", "write": "", "read": ""}, True), ({}, False)],
    ids=["some, on an old vhost", "some, on an empty vhost", "none", "all"],
)
def test_the_broker_answers_as_its_expressions_say(
    side: Side, admin: Admin, user: str, rights: dict[str, str], there: bool
):
    if there:
        declare_ladder(side, "quorum")
        with connect(side.amqp) as made:
            for name in ("mail", "sms-v2", "bridge.quarantine"):
                made.channel().queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    admin.make_user(user, SECRET, side.vhost, **rights)
    known = sides.management("target", configured(side).target)
    assert known is not None
    permissions = known.snapshot(side.vhost, user).permissions
    known.close()
    asked = of_target()
    tried = try_as(side, user, asked)
    expected = {verdict.right: verdict.granted for verdict in judge(asked, {"target": permissions}, [])}
    for right, trial in zip(asked, tried, strict=True):
        if trial.granted is None:
            # To read an exchange is told only to those who may write to a queue.
            assert (right.right, right.kind, expected[right]) == ("read", "exchange", False), trial
        else:
            assert trial.granted is expected[right], trial
            assert ("access to " in trial.text) is not trial.granted


def test_trying_changes_nothing_and_takes_nothing(side: Side):
    declare_ladder(side, "quorum")
    with connect(side.amqp) as made:
        channel = made.channel()
        channel.queue_declare("mail", durable=True)
        channel.queue_declare("sms", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("mail", ladder.DELIVERY_EXCHANGE, ladder.exit_pattern("mail"))
        channel.confirm_delivery()
        for name in ("mail", "sms"):
            channel.basic_publish("", name, b"task", pika.BasicProperties(delivery_mode=2))
        shown = ("name", "arguments", "type", "source", "destination", "routing_key")
        before = [[{k: o.get(k) for k in shown} for o in ask(side, w)] for w in ("queues", "exchanges", "bindings")]
        reading = [Right("target", "read", "queue", name, "") for name in ("mail", "sms")]
        tried = try_as(side, None, [*reading, *of_target()])
        assert {trial.granted for trial in tried} == {True}
        after = [[{k: o.get(k) for k in shown} for o in ask(side, w)] for w in ("queues", "exchanges", "bindings")]
        assert after == before
        for name in ("mail", "sms"):
            got, _, body = channel.basic_get(name)
            assert (body, got.redelivered) == (b"task", False)


def test_an_exclusive_consumer_elsewhere_is_no_missing_right(side: Side):
    with connect(side.amqp) as made:
        channel = made.channel()
        channel.queue_declare("mail", durable=True)
        channel.basic_consume("mail", lambda *_: None, exclusive=True)
        assert [t.granted for t in try_as(side, None, [Right("target", "read", "queue", "mail", "")])] == [True]


def test_with_an_alarm_nothing_is_published(side: Side):
    asked = [right for right in of_target() if right.name == DEFAULT_EXCHANGE]
    (trial,) = try_as(side, None, asked, taking=False)
    assert (trial.granted, trial.text.partition(":")[0]) == (None, "not tried")


def test_a_thousand_rights_are_tried_in_seconds(side: Side):
    asked = [Right("target", "read", "queue", f"q{number}", "") for number in range(1000)]
    chosen = to_try(asked, {})
    assert len(chosen) == 1000
    assert {trial.granted for trial in try_as(side, None, list(chosen))} == {True}


def test_the_largest_message_is_what_the_broker_says(side: Side):
    def ask_for() -> int | None:
        with probe.opened(connection(side)) as opened:
            return probe.largest_body(opened)

    usual = None if side.version.startswith("3.") else 16 * 1024**2
    assert ask_for() == usual
    (node,) = side.nodes
    default = probe.default_largest(tuple(map(int, side.version.split("."))))
    # From 4.0 on the configured value is kept where every channel finds it quickly.
    kept = (
        "application:set_env(rabbit, max_message_size, {})."
        if usual is None
        else ("persistent_term:put(max_message_size, {}).")
    )
    try:
        node.ctl("eval", kept.format(1_000_000))
        assert ask_for() == 1_000_000
        node.ctl("eval", kept.format(32 * 1024**2))
        assert ask_for() == (None if usual is None else probe.LARGEST)
    finally:
        node.ctl("eval", kept.format(default))
    assert ask_for() == usual


@pytest.fixture
def api(side: Side) -> Iterator[Management]:
    made = sides.management("target", configured(side).target)
    assert made is not None
    yield made
    made.close()


def test_due_messages_that_stay_are_seen_and_those_that_go_are_not(side: Side, api: Management):
    declare_ladder(side, "quorum")
    with connect(side.amqp) as made:
        channel: Any = made.channel()
        channel.queue_declare("mail", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("mail", ladder.DELIVERY_EXCHANGE, ladder.exit_pattern("mail"))
        channel.confirm_delivery()
        for seconds, word, number in ((1, "nowhere", 40), (2, ladder.exit_word("mail"), 5)):
            exchange, key = ladder.entry(seconds, word)
            for _ in range(number):
                channel.basic_publish(exchange, key, b"task")

    def due(level: int) -> int:
        queue = api.queue(side.vhost, ladder.level_name(level))
        return queue.dead_letters if queue else 0

    assert until(lambda: due(0) == 40, 20)
    # What was due in level 1 at the first look has gone since; level 7 is not there at all.
    assert probe.staying(api, side.vhost, {0: due(0), 1: 5, 7: 0}, seconds=2.0) == {0: 40}
    assert probe.staying(api, side.vhost, {}) == {}
