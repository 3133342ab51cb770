"""The daemon's looks on a web server that answers as RabbitMQ does, and workers that answer as asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from bridge import management_old_side
from bridge.config import parse
from bridge.core.old_side import Look
from bridge.errors import Unreachable
from bridge.management import Management
from bridge.old_side import ASK, LOOK, OldSideWatch, watch, workers_side
from bridge.remote import Answers, Nobody
from tests.unit.test_management_old_side import Answers as Said
from tests.unit.test_management_old_side import api, channel, consumer, queue, small


class Workers:
    """Workers that answer; `fault` is why they cannot be asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.fault: Exception | None = None

    @contextmanager
    def opened(self) -> Iterator[Any]:
        if self.fault is not None:
            raise self.fault
        yield self

    def ask(self, method: str, *, of: list[str]) -> Answers:
        self.asked.append((method, of))
        if method == "scheduled":
            info = {"exchange": "", "routing_key": "q1"}
            return Answers(said={"celery@w1": [{"request": {"delivery_info": info}}] * 5})
        return Answers(said={"celery@w1": [{"name": "q1", "exchange": {"name": "q1"}, "routing_key": "q1"}]})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which each look is later than it is."""
    ahead = [0.0]

    def moved(management: Management, vhost: str) -> Look:
        found = look(management, vhost)
        return Look(
            found.at + timedelta(seconds=ahead[0]),
            found.queues,
            found.consumers,
            found.channels,
            found.connections,
            found.crossings,
            found.unknown,
        )

    look = management_old_side.look
    monkeypatch.setattr(management_old_side, "look", moved)
    return ahead


def test_a_look_names_who_is_there_and_what_they_hold(later: list[float]):
    workers = Workers()
    with api(small()) as (management, _):
        watch = OldSideWatch(management, "v", "main", asks=workers.opened)
        assert watch.as_json() == {"at": None, "age_s": None, "fault": "not looked yet"}
        found = watch.look()
        assert watch.last is found
        (holder,) = found.holders
        assert (holder.queue, holder.worker, holder.unacked, holder.eta) == ("q1", "celery@w1", 7, 5)
        assert [(one.queue, one.host, one.rate) for one in found.publishers] == [("q1", "10.0.0.2:4002", 4.0)]
        assert found.workers == {"celery@w1": "10.0.0.1:4001 -> 10.9.9.9:5672"}
        told = watch.as_json()
        assert (told["fault"], told["age_s"] < 5.0, told["unknown"]) == ("", True, [])

        # Workers are asked far less often than the broker is looked at, and only those that hold something.
        asked = [("active_queues", ["celery@w1"]), ("scheduled", ["celery@w1"])]
        for seconds in (LOOK, ASK - 1):
            later[0] = seconds
            assert watch.look().holders[0].eta == 5
            assert workers.asked == asked
        later[0] = ASK + 1
        watch.look()
        assert workers.asked == asked * 2


def test_two_looks_tell_what_came_between_them(later: list[float]):
    answers = small()
    with api(answers) as (management, _):
        watch = OldSideWatch(management, "v", "main")
        watch.look()
        answers["queues/v"] = [queue("q1", 7, 115, 0.0)]
        answers["vhosts/v/channels"] = [channel(2, 1, rate=0.1)]
        answers["vhosts/v/channels"][0]["message_stats"]["publish"] = 1015
        later[0] = 30.0
        (one,) = watch.look().publishers
        assert one.rate == pytest.approx(0.5, rel=0.1)
        # A look right behind another, as for a certificate, is compared with the one before that.
        later[0] = 31.0
        (one,) = watch.look().publishers
        assert one.rate == pytest.approx(0.5, rel=0.1)
        assert len(watch._looks) == 3
        later[0] = 60.0
        assert watch.look().publishers == ()
        assert len(watch._looks) == 2


def test_what_cannot_be_asked_is_said(later: list[float]):
    workers = Workers()
    workers.fault = Nobody('source: no exchange "celery.pidbox"')
    with api(small()) as (management, _):
        watch = OldSideWatch(management, "v", "main", asks=workers.opened)
        found = watch.look()
        assert found.unknown == ('ETA tasks of the workers: source: no exchange "celery.pidbox"',)
        assert found.holders[0].eta is None
        # It is not tried again with each look, and is still said.
        assert watch.look().unknown == found.unknown
        workers.fault = None
        later[0] = ASK + 1
        assert watch.look().unknown == ()
    with pytest.raises(Unreachable):
        watch.look()
    assert "does not answer" in watch.as_json()["fault"]
    assert watch.as_json()["at"]


def test_who_holds_nothing_is_not_asked():
    workers = Workers()
    with api(small(**{"queues/v": [queue("q1")]})) as (management, _):
        assert OldSideWatch(management, "v", "main", asks=workers.opened).look().holders == ()
    assert workers.asked == []


def test_inline_the_workers_are_on_another_side():
    # What consumes the source is ours; the workers consume the legacy vhost, and publish nothing into the source.
    ingress: Said = small(**{"consumers/v": [consumer("q1", 9)] * 5, "vhosts/v/channels": [channel(2, 1, rate=4.0)]})
    with api(ingress) as (source, _), api(small(**{"queues/v": [queue("q1", 3)]})) as (legacy, _):
        found = OldSideWatch(source, "v", "main", legacy=(legacy, "v")).look()
    assert [one.host for one in found.publishers] == ["10.0.0.2:4002"]
    assert [one.host for one in found.consumers] == ["", "10.0.0.1:4001"]
    assert [one.unacked for one in found.holders] == [3]


SOURCE, TARGET = "source: {amqp: 'amqp://u:p@old/v', api: 'http://old:1'}\n", "target: {amqp: 'amqp://u:p@new/v'}\n"


def test_which_side_a_configuration_looks_at():
    assert watch(parse(SOURCE + TARGET, {})) is not None
    assert watch(parse("source: {amqp: 'amqp://u:p@old/v'}\nqueues: {include: [q1]}\n" + TARGET, {})) is None
    inline = "legacy: {amqp: 'amqp://u:p@old/w', api: 'http://old:1'}\n"
    found = watch(parse(SOURCE + TARGET + inline, {}))
    assert found is not None
    assert found._legacy is not None
    assert found._legacy[1] == "w"
    assert watch(parse(SOURCE + TARGET + "legacy: {amqp: 'amqp://u:p@old/w'}\n", {})) is None
    assert workers_side(parse(SOURCE + TARGET, {}))[0] == "source"
    assert workers_side(parse(SOURCE + TARGET + inline, {}))[0] == "legacy"
