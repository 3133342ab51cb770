"""Who is on the old side, and what workers are asked: on a real broker, with kombu's own mailboxes as workers.

Celery's workers themselves are in `tests/e2e/test_workers.py`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from kombu.connection import Connection

from bridge import remote, sides
from bridge.cli import bridge
from bridge.config import Config, parse
from bridge.config_sections import Broker
from bridge.errors import Refused, Unreachable
from bridge.lab.deadline import until
from bridge.old_side import watch
from bridge.remote import Nobody
from bridge.workers import Workers
from tests.support.mailbox import Mailbox
from tests.support.raw_amqp import Raw, RawAmqp

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.core.old_side import OldSide
    from tests.support.brokers import Vhosts

pytestmark = pytest.mark.functional

#: Seconds for the broker's statistics, every 5 s, to be complete.
STATISTICS_WITHIN = 20.0


@pytest.fixture
def config(vhosts: Vhosts) -> Config:
    return parse(yaml.safe_dump(settings(vhosts)), {})


def settings(vhosts: Vhosts, **source: Any) -> dict[str, Any]:
    return {
        "source": {"amqp": vhosts.old.amqp, "api": vhosts.old.api, **source},
        "target": {"amqp": vhosts.new.amqp, "api": vhosts.new.api},
        "admin": {"socket": "/tmp/no-bridge-listens-here.sock"},
    }


@contextmanager
def queues(vhosts: Vhosts, *names: str) -> Iterator[RawAmqp]:
    with RawAmqp(vhosts.old.amqp) as amqp:
        for name in names:
            amqp.declare(name)
        yield amqp


@contextmanager
def publishing(url: str, queue: str) -> Iterator[None]:
    """Somebody who publishes ten times a second."""
    ending = threading.Event()

    def publish() -> None:
        with Connection(url, transport_options={"client_properties": {"connection_name": "web shop"}}) as connection:
            producer = connection.Producer(auto_declare=False)
            while not ending.wait(0.1):
                producer.publish({}, exchange="", routing_key=queue)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(10)


def seen_with(config: Config, condition: Callable[[OldSide], bool]) -> OldSide:
    found: list[OldSide] = []

    def holds() -> bool:
        looks = watch(config)
        assert looks is not None
        found.append(looks.look())
        return condition(found[-1])

    assert until(holds, STATISTICS_WITHIN), json.dumps(found[-1].as_json(), indent=1)
    return found[-1]


def test_who_is_there_by_name(config: Config, vhosts: Vhosts):
    with (
        queues(vhosts, "q1", "q2") as amqp,
        Mailbox.running(vhosts.old.amqp, "celery@w1", consumes=["q1", "q2"]),
        publishing(vhosts.old.amqp, "q1"),
    ):
        for _ in range(3):
            amqp.publish("", "q2", Raw(b"\0\0"))
        ours = sides.connection("source", config.source, "main")()
        ours.open()
        ours.channel(1).consume("q2", "bridge-1", 1000)

        def whole(found: OldSide) -> bool:
            consumers = {(one.queue, one.ours) for one in found.consumers if one.client}
            held = {one.queue for one in found.holders if one.eta}
            named = any("web shop" in one.client for one in found.of("q1").publishers)
            return consumers == {("q1", False), ("q2", False), ("q2", True)} and held == {"q1", "q2"} and named

        found = seen_with(config, whole)
        ours.close()
    worker = next(one for one in found.consumers if one.queue == "q1")
    assert (worker.worker, worker.user, worker.priority) == ("celery@w1", config.source.amqp[0].user, 0)
    assert worker.host.startswith("127.0.0.1:")
    assert next(one for one in found.consumers if one.ours).priority == 1000
    of_second = next(one for one in found.holders if one.queue == "q2")
    assert (of_second.worker, of_second.unacked, of_second.eta) == ("celery@w1", 3, 3)
    (publisher,) = (one for one in found.of("q1").publishers if "web shop" in one.client)
    assert publisher.rate > 3
    assert not any(one.connection == worker.connection for one in found.publishers)
    assert found.unknown == ()


@contextmanager
def control(config: Config, exchange: str = "celery") -> Iterator[remote.RemoteControl]:
    with remote.opened("source", config.source, exchange, "main") as found:
        yield found


@pytest.mark.long
def test_answers_in_every_serializer_and_who_gives_none(config: Config, vhosts: Vhosts):
    url = vhosts.old.amqp
    with (
        Mailbox.running(url, "celery@json"),
        Mailbox.running(url, "celery@pickle", serializer="pickle"),
        Mailbox.running(url, "celery@yaml", serializer="yaml"),
        Mailbox.running(url, "celery@msgpack", serializer="msgpack"),
        Mailbox.running(url, "celery@other", control_exchange="other"),
        control(config) as asking,
    ):
        # Nobody knows who is there: what comes until it is quiet.
        answers = asking.ask("revoked")
        assert answers.said == {"celery@json": [], "celery@pickle": [], "celery@yaml": []}
        assert answers.unread == {"": "in application/x-msgpack, which is not read"}
        # Who is to answer is known: then whose answer was not read is known, too.
        expected = [f"celery@{name}" for name in ("json", "pickle", "yaml", "msgpack", "gone")]
        answers = asking.ask("revoked", expected=expected, patience=2.0)
        assert answers.unread == {"celery@msgpack": "in application/x-msgpack, which is not read"}
        assert answers.silent == ["celery@gone"]
        with control(config, "other") as others:
            # A version that does not know what it is asked says so.
            assert others.ask("stats").unread == {"celery@other": "with an error: KeyError('stats')"}
            assert list(others.ask("revoked").said) == ["celery@other"]
        with control(config, "nobody") as nobody, pytest.raises(Nobody, match=r'no exchange "nobody\.pidbox"'):
            nobody.ask("revoked")
    assert [queue.name for queue in sides.management("source", config.source).queues(vhosts.old.vhost)] == []


def test_who_says_ok_and_goes_on_consuming_is_found(config: Config, vhosts: Vhosts):
    url = vhosts.old.amqp
    with (
        queues(vhosts, "q1", "q2"),
        Mailbox.running(url, "celery@good", consumes=["q1", "q2"]) as good,
        Mailbox.running(url, "celery@bad", consumes=["q1"], serializer="pickle") as bad,
    ):
        bad.obeys = False
        old = Workers.old(config)
        assert until(lambda: len(old.mailboxes(old._look()[0])) == 2, STATISTICS_WITHIN)
        (result,) = old.cancel(["q1"], wait=1.0)
        assert (result.before, result.left, result.workers) == (2, 1, ("celery@bad", "celery@good"))
        assert result.consumed_by == ("celery@bad", "celery@good")
        assert [one.worker for one in result.consumers] == ["celery@bad"]
        bad.obeys = True
        results = old.cancel(["q1", "q2"], wait=10.0)
        assert [(one.before, one.left, one.consumers) for one in results] == [(1, 0, ()), (1, 0, ())]
        (again,) = old.resume(["q2"], ["celery@good"], wait=5.0)
        assert (again.workers, again.missing) == (("celery@good",), ())
        (never,) = old.resume(["q2"], ["celery@nobody"], wait=1.0)
        assert never.missing == ("celery@nobody",)
        before = len(good.carried_out)
        with pytest.raises(Refused, match='has no queue "q3"; no worker was told anything'):
            old.cancel(["q1", "q3"], wait=1.0)
        assert "cancel_consumer" not in good.carried_out[before:]


@pytest.mark.long  # real workers have theirs carried over with every run
def test_revoked_tasks_are_carried_over_and_proved(config: Config, vhosts: Vhosts):
    with (
        Mailbox.running(vhosts.old.amqp, "celery@old1") as first,
        Mailbox.running(vhosts.old.amqp, "celery@old2", serializer="pickle") as second,
        Mailbox.running(vhosts.new.amqp, "celery@new1", serializer="pickle") as new,
        Mailbox.running(vhosts.new.amqp, "celery@new2", serializer="yaml") as deaf,
    ):
        first.revoked = [f"id-{number}" for number in range(1500)]
        second.revoked = ["id-7", "another"]
        new.revoked = ["id-1"]
        found = Workers.old(config).revoked()
        assert len(found.ids) == 1501
        carried = Workers.new(config).take(found.ids)
        assert (carried.ids, carried.new, carried.missing) == (1501, 1501, {"celery@new1": 0, "celery@new2": 0})
        assert carried.complete
        assert set(new.revoked) == set(found.ids) == set(deaf.revoked)
        # Two messages, not one: 1000 ids in each.
        assert new.carried_out.count("hello") == 2
        assert Workers.new(config).take(found.ids).new == 0


def run(file: Path, *words: str) -> Result:
    return CliRunner().invoke(bridge, ["-c", str(file), "workers", *words], standalone_mode=False)


def test_without_the_api_workers_are_those_that_answer(vhosts: Vhosts, tmp_path: Path):
    bare = {**settings(vhosts), "queues": {"include": ["q1"]}}
    del bare["source"]["api"]
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump(bare))
    with queues(vhosts, "q1"), Mailbox.running(vhosts.old.amqp, "celery@w1", consumes=["q1"]) as worker:
        found = Workers.old(parse(file.read_text(), {})).survey()
        assert [(one.name, one.queues, one.version) for one in found.workers] == [("celery@w1", ("q1",), "5.4.0")]
        assert "source.api is not set" in found.unknown[0]
        said = run(file, "list")
        assert "celery@w1  (Celery 5.4.0)\n  consumes q1\n" in said.output
        assert "who publishes is not known: source.api is not set" in said.output
        worker.obeys = False
        said = CliRunner().invoke(
            bridge, ["-c", str(file), "workers", "cancel", "q1", "--wait", "1s"], standalone_mode=False
        )
        assert said.return_value == 1
        assert "q1: 1 consumer still there after 1s (1 said ok)" in said.output


def test_what_the_user_may_not_do_is_said(vhosts: Vhosts, config: Config):
    address = config.source.amqp[0]
    wrong = Broker.model_validate({"amqp": address.url.replace(address.password, "wrong")})
    with (
        pytest.raises(Refused, match=f'refused user "{address.user}"'),
        remote.opened("source", wrong, "celery", "main"),
    ):
        pass
    nowhere = Broker.model_validate({"amqp": "amqp://u:secret@127.0.0.1:1/v"})
    with (
        pytest.raises(Unreachable, match="source: no broker answers") as caught,
        remote.opened("source", nowhere, "celery", "main"),
    ):
        pass
    assert "secret" not in str(caught.value)
