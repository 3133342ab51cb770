from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app.defaults import DEFAULTS

from bridge.core.celery_settings import RELEASES, settings
from bridge.core.pairs import pairs
from bridge.core.topology import Binding, Exchange, Vhost
from bridge.core.wanted import Wanted, wanted
from tests.support.topologies import queue, vhost

SOURCE = vhost(
    "chost",
    queue("celery", {"x-message-ttl": 5}),
    queue('odd "name"\n'),
    queue("heads"),
    exchanges=(Exchange("celery", "direct"), Exchange("fan", "fanout", False, True, False, {"x": [1, None]})),
    bindings=(("celery", "celery", "celery"), ("celery", 'odd "name"\n', 'odd "name"\n'), ("fan", "celery", "")),
)
SOURCE = Vhost(
    SOURCE.name,
    SOURCE.version,
    queues=SOURCE.queues,
    exchanges={**SOURCE.exchanges, "amq.match": Exchange("amq.match", "headers")},
    bindings=(*SOURCE.bindings, Binding("amq.match", "heads", "queue", "h", {"x-match": "all", "a": True})),
)
TARGET = vhost("qhost", version=(4, 3, 6))


def want(source: Vhost = SOURCE) -> Wanted:
    return wanted(
        source, TARGET, pairs(source, lambda _: True, set(), lambda name: f"{name}-v2" if name == "heads" else name)
    )


def read(text: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    exec(compile(text, "settings", "exec"), made)
    return made


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("version", [(3, 10, 8), (4, 3, 6)])
def test_they_declare_what_the_plan_declares(release: str, version: tuple[int, ...]) -> None:
    made = read(settings(want(), "qhost", version, release))
    given = {name: value for name, value in made.items() if name.islower() and not name.startswith("_")}
    app = Celery("app", set_as_current=False)
    app.conf.update(given)
    sisters = {sister.name: sister for sister in want().sisters}
    assert set(app.amqp.queues) == set(sisters)
    for name, declared in app.amqp.queues.items():
        first = sisters[name].bindings[0]
        assert declared.queue_arguments == sisters[name].arguments
        assert (declared.exchange.name, declared.routing_key) == (first.source, first.routing_key)
        assert (declared.binding_arguments or {}) == first.arguments
    assert app.amqp.queues["celery"].exchange.type == "topic"
    assert app.amqp.default_queue.name == "celery"
    assert app.conf.broker_transport_options == {"confirm_publish": True}
    # Every word is one that Celery knows: a misspelt setting would be silently ignored.
    assert [name for name in given if name not in DEFAULTS] == []


def test_exchanges_keep_their_shape() -> None:
    source = Vhost(
        "chost",
        (3, 10),
        queues={"a": queue("a")},
        exchanges=SOURCE.exchanges,
        bindings=(Binding("fan", "a", "queue", "k"),),
    )
    (declared,) = read(settings(want(source), "qhost", (4, 0), "5.6"))["task_queues"]
    exchange = declared.exchange
    assert (exchange.name, exchange.type, exchange.durable, exchange.auto_delete) == ("fan", "fanout", False, True)
    assert exchange.arguments == {"x": [1, None]}


def test_what_an_operator_has_to_do_is_said() -> None:
    text = settings(want(), "qhost", (4, 3, 6))
    assert '# Takes over from "heads": change what routes tasks to that.' in text
    assert '# Also bound to "fan" by "", which Celery need not declare.' in text
    alone = settings(want(vhost("c", queue("mail"))), "qhost", (4, 3, 6))
    assert "# The first of the queues: put in the one that your application has as its default." in alone
    assert 'task_default_queue = "mail"' in alone


def test_celery_5_5_has_no_exclusive_control_queues() -> None:
    new, old = (settings(want(), "qhost", version, "5.5") for version in ((4, 3), (4, 2)))
    assert "worker_enable_remote_control = False" in new
    assert "transient_nonexcl_queues" in new
    assert "remote_control" not in old
    assert "exclusive" not in old


def test_no_queue_in_scope_is_no_queue() -> None:
    made = read(settings(want(vhost("c")), "qhost", (4, 3)))
    assert made["task_queues"] == ()
    assert "task_default_queue" not in made
