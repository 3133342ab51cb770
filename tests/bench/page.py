"""The page of figures that is kept in the documentation, made from reports that were kept with `--out`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tests.bench.report import aims_met, rows
from tests.bench.study import Sample, spread

if TYPE_CHECKING:
    from tests.bench.study import Study

_HEAD = """# Figures

Made by `make bench` ([rows and columns](../reference/bench.md), [what they mean](performance.md)). Medians; where there
was more than one round, the least and the most in parentheses. Brokers, movers and clients share the cores of one
machine: believe ratios and processor time rather than messages a second. `NO` stands where an aim was missed.
"""


def page(reports: Iterable[dict[str, Any]], studies: Iterable[Study]) -> str:
    """Return the page as Markdown: conditions, then a table for each study and world.

    Args:
        reports: what `Report.keep` wrote; where two have the same study in the same world, the later one counts.
        studies: those that are told, in order.
    """
    found: dict[tuple[str, str], tuple[dict[str, Any], list[Sample]]] = {}
    for report in sorted(reports, key=lambda report: str(report["made"])):
        samples = [Sample(**sample) for sample in report["samples"]]
        for key in dict.fromkeys((sample.study, sample.world) for sample in samples):
            found[key] = report, [sample for sample in samples if (sample.study, sample.world) == key]
    parts = [_HEAD]
    for study in studies:
        for (name, world), (report, samples) in found.items():
            if name == study.name:
                parts.append("\n".join(_section(study, world, report, samples)))
    return "\n".join(parts)


def _section(study: Study, world: str, report: dict[str, Any], samples: list[Sample]) -> Iterator[str]:
    machine, versions, about = report["machine"], report["versions"], report["worlds"][world]
    nodes = f", {about['nodes']} nodes" if about["nodes"] > 1 else ""
    scale = f", sizes times {report['scale']:g}" if report["scale"] != 1 else ""
    yield f"## {study.name}, {world}\n"
    yield f"{study.about[0].upper()}{study.about[1:].rstrip('.')}.\n"
    yield (
        f"RabbitMQ {about['old']} and {about['new']}{nodes}; {machine['cores']} cores, {machine['cpu']}, "
        f"Linux {machine['kernel']}; Python {versions['python']}, bridge {versions['bridge']}; {report['made'][:10]}, "
        f"rounds: {report['rounds']}{scale}.\n"
    )
    columns = [column for column in study.columns if spread(samples, column.key)]
    yield "| " + " | ".join(["shape", "who", *(column.title for column in columns), "load"]) + " |"
    yield "|---|---|" + "--:|" * (len(columns) + 1)
    for shape, row in rows(samples):
        mine = [sample for sample in samples if (sample.shape, sample.row) == (shape, row)]
        figures = [(spread(mine, column.key), column.digits) for column in columns]
        cells = [figure.text(digits) if figure else "" for figure, digits in figures]
        yield "| " + " | ".join([shape, row, *cells, f"{max(sample.load for sample in mine):.1f}"]) + " |"
    aims = [f"- {text.strip()}" for text in aims_met(study, world, samples)]
    if aims:
        yield ""
        yield from aims
    yield ""
