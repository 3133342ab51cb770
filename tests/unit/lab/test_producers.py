from __future__ import annotations

from dataclasses import replace
from itertools import islice

from bridge.lab.producers import Orders, tasks

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
