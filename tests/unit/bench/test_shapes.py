"""What a further message takes, by two samples, and that every aim names rows and shapes that are measured."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from bridge.lab.brokers import Cluster
from tests.bench import shapes, shapes_beside, shapes_tls
from tests.bench.study import Bench, Sample, Study
from tests.support.brokers import World


def sample(cpu: float, seconds: float) -> Sample:
    return Sample("queues", "3.10->4.3", "200 queues", "bridge", 1, {"cpu_us": cpu, "seconds": seconds}, 0.0)


def test_what_beginning_takes_falls_out_of_a_further_message() -> None:
    # One second to begin, half of it at work; then 10 us of 100 us for each.
    less = sample((500_000 + 1_000 * 10) / 1_000, 1 + 1_000 * 1e-4)
    more = sample((500_000 + 6_000 * 10) / 6_000, 1 + 6_000 * 1e-4)
    found = shapes._further(less, 1_000, more, 6_000)
    assert found == pytest.approx({"more_us": 10.0, "more_rate": 10_000.0})


def test_what_chance_made_negative_is_left_out() -> None:
    assert set(shapes._further(sample(20, 1.0), 1_000, sample(10, 0.9), 6_000)) == {"more_us"}
    assert set(shapes._further(sample(100, 1.0), 1_000, sample(10, 1.1), 6_000)) == {"more_rate"}


class Node:
    name = "310-1@localhost"


class Broker(Cluster):
    """A broker that nothing is asked of."""

    def __init__(self) -> None:
        self.nodes = (Node(),)  # type: ignore[assignment]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(bench: Any, world: World, study: str, shape: str, row: str, number: int, *rest: Any) -> Sample:
        values = {"cpu_us": 10.0, "seconds": float(number), "rate": 1.0, "rss_mib": 1.0}
        return Sample(study, world.name, shape, row, number, values, 0.0)

    def drained(bench: Any, world: World, row: str, number: int, *rest: Any) -> Sample:
        return moved(bench, world, "beside", shapes_beside.BESIDE, row, number)

    def reached(bench: Any, world: World, study: str, shape: str, number: int, kind: str, *rest: Any) -> Sample:
        return moved(bench, world, study, shape, kind, number)

    monkeypatch.setattr(shapes, "moved", moved)
    monkeypatch.setattr(shapes.limit, "reached", reached)
    monkeypatch.setattr(shapes_beside, "moved", moved)
    monkeypatch.setattr(shapes_beside, "_drained", drained)
    monkeypatch.setattr(shapes_tls, "listening", lambda cluster: nullcontext(5671))


STUDIES = (*shapes.SHAPES, shapes_tls.STUDY, shapes_beside.STUDY)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_aim_names_what_is_measured(study: Study) -> None:
    world = World(study.worlds[0], Broker(), Broker())
    samples = list(study.run(Bench(2, 1.0, lambda _: None), world))
    measured = {(found.shape, found.row) for found in samples}
    rows = {row for _, row in measured}
    assert {found.study for found in samples} == {study.name}
    for aim in study.aims:
        assert aim.row in rows
        assert aim.than is None or aim.than in rows
        for shape in filter(None, (aim.shape, aim.than_shape)):
            assert shape in {one for one, _ in measured}
        if aim.shape is not None:
            assert (aim.shape, aim.row) in measured
            assert aim.than is None or (aim.than_shape or aim.shape, aim.than) in measured


@pytest.mark.usefixtures("unmeasured")
def test_two_millions_wait_in_one_round_only() -> None:
    study = next(found for found in STUDIES if found.name == "backlog")
    samples = list(study.run(Bench(3, 1.0, lambda _: None), World("3.10->4.3", Broker(), Broker())))
    assert [found.round for found in samples if found.shape == "2 000 000"] == [1]
    assert [found.round for found in samples if (found.shape, found.row) == ("500 000", shapes.SHOVEL)] == [1]
    assert [found.round for found in samples if (found.shape, found.row) == ("100 000", shapes.BRIDGE)] == [1, 2, 3]
