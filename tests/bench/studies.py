"""All studies, in the order in which they run. A study is a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import contenders, fairness, ladder, latency, many, shapes, shapes_beside, shapes_tls

if TYPE_CHECKING:
    from tests.bench.study import Study

STUDIES: tuple[Study, ...] = (
    contenders.STUDY,
    *shapes.SHAPES,
    shapes_tls.STUDY,
    shapes_beside.STUDY,
    latency.STUDY,
    fairness.STUDY,
    many.STUDY,
    *ladder.STUDIES,
)
