from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from bridge.lab.producers import BATCH, Orders, Sure, tasks
from bridge.lab.records import Journal, Reader, Sent

ORDERS = Orders(
    broker="amqp://guest:guest@localhost//",
    folder="/nowhere",
    seed=3,
    count=1000,
    rate=0,
    live=False,
    due_queues=("q1", "a.q1"),
    eta_queues=("q1", "mail"),
    eta_share=0.3,
    eta_from=2.0,
    eta_to=9.0,
    seconds=0.01,
)


def test_orders_travel_as_text() -> None:
    assert Orders.from_json(ORDERS.as_json()) == ORDERS


def test_the_same_seed_sends_the_same_tasks() -> None:
    assert list(tasks(ORDERS)) == list(tasks(ORDERS))
    other = replace(ORDERS, seed=4)
    assert {task.id for task in tasks(ORDERS)}.isdisjoint(task.id for task in tasks(other))


def test_share_queues_and_etas_are_as_ordered() -> None:
    sent = list(tasks(ORDERS))
    assert len({task.id for task in sent}) == 1000
    delayed = [task for task in sent if task.ahead is not None]
    assert 250 < len(delayed) < 350
    assert all(2.0 <= task.ahead <= 9.0 for task in delayed if task.ahead is not None)
    assert {task.queue for task in delayed} == {"q1", "mail"}
    assert {task.queue for task in sent if task.ahead is None} == {"q1", "a.q1"}


def test_without_a_count_it_goes_on() -> None:
    assert len(list(islice(tasks(replace(ORDERS, count=0)), 3000))) == 3000


class PlayedApp:
    """A Celery application with one producer, whose channel answers or does not."""

    class Lost(Exception):
        pass

    def __init__(self) -> None:
        self.link: object = object()
        self.broken = False
        self.channel = self
        self.connection = self
        self.recoverable_connection_errors = (self.Lost,)

    @contextmanager
    def producer_or_acquire(self) -> Iterator[PlayedApp]:
        yield self

    def basic_qos(self, *_: object) -> None:
        if self.broken:
            raise self.Lost


class PlayedChannel:
    def __init__(self, app: PlayedApp) -> None:
        self._app = app
        self.basic_qos = app.basic_qos

    @property
    def connection(self) -> object:
        return self._app.link


def sent(task: str) -> Sent:
    return Sent(task, 0.0, "q1", None, False, "plain", "", "")


@pytest.fixture
def app() -> PlayedApp:
    played = PlayedApp()
    played.channel = PlayedChannel(played)  # type: ignore[assignment]
    return played


def test_a_batch_counts_when_the_broker_answers(app: PlayedApp, tmp_path: Path) -> None:
    sure, reader = Sure(app, Journal(tmp_path, Sent)), Reader(tmp_path, Sent)
    sure.settle()
    for number in range(BATCH):
        assert list(reader.news()) == []
        sure.add(sent(str(number)))
    assert len(list(reader.news())) == BATCH
    sure.add(sent("last"))
    sure.settle()
    assert [record.id for record in reader.news()] == ["last"]


def test_a_batch_that_saw_two_connections_does_not_count(app: PlayedApp, tmp_path: Path) -> None:
    sure, reader = Sure(app, Journal(tmp_path, Sent)), Reader(tmp_path, Sent)
    sure.settle()
    sure.add(sent("unknown"))
    app.link = object()
    sure.settle()
    sure.add(sent("known"))
    sure.settle()
    assert [record.id for record in reader.news()] == ["known"]


def test_nor_one_after_which_the_broker_does_not_answer(app: PlayedApp, tmp_path: Path) -> None:
    sure, reader = Sure(app, Journal(tmp_path, Sent)), Reader(tmp_path, Sent)
    sure.settle()
    sure.add(sent("unknown"))
    app.broken = True
    sure.settle()
    app.broken = False
    sure.add(sent("on whichever connection came next"))
    sure.settle()
    sure.add(sent("known"))
    sure.settle()
    assert [record.id for record in reader.news()] == ["known"]
