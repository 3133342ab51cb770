"""Charts of measured runs: SVG files that stand on light and on dark pages, with nothing in them from elsewhere.

A chart has the medians of one figure of one study. Bars begin at zero; lines may be logarithmic, where figures differ
by more than bars can show.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pygal
from pygal.style import Style

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.bench.study import Sample

# pygal leaves an importer (for maps, which we draw none of) that Python no longer knows how to ask: every later import
# in this process would warn of it.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

#: Readable on white and on black: what is drawn over them is mid grey, and no colour is near either.
_GREY = "#7d8590"
_COLOURS = ("#2f81f7", "#e3762b", "#3fa45b", "#a371f7", "#d0455b", "#a08a1e", "#1f9ea8", "#8b949e")
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground=_GREY,
    foreground_strong=_GREY,
    foreground_subtle="#7d859044",
    guide_stroke_color="#7d859044",
    major_guide_stroke_color="#7d859077",
    colors=_COLOURS,
    value_colors=(_GREY,) * len(_COLOURS),
    opacity=".9",
    font_family="system-ui, sans-serif",
    title_font_size=17,
    label_font_size=13,
    major_label_font_size=13,
    legend_font_size=13,
    value_font_size=11,
    value_label_font_size=11,
)
_CSS = ["file://style.css", "file://graph.css"]
_BESIDE_BARS = "inline:.text-overlay text {text-anchor: start !important}"
#: Pixels, before a page scales it: wide, and as high as its bars need.
_WIDTH, _HEIGHT, _HEIGHT_OF_BAR, _HEIGHT_OF_REST = 900, 420, 13, 150

#: A point: series, place on the axis, figure.
Point = tuple[str, str, float]


@dataclass(frozen=True)
class Chart:
    """One chart of a study.

    Attributes:
        study: its name.
        file: name of the file without `.svg`; with several worlds each has its own, unless `points` puts them in one.
        title: what is shown, with its unit.
        value: key of the figure.
        kind: `across` (bars from left to right, a row each), `bars` or `lines`.
        shapes: only shapes that this takes.
        rows: only rows that this takes.
        logarithmic: whether the axis is.
        worlds: whether a series is a world, and a place on the axis a row; else a row, and a shape.
        digits: of the figures on bars.
        than: divide by this row's figure in the same round, in percent.
    """

    study: str
    file: str
    title: str
    value: str
    kind: str = "bars"
    shapes: Callable[[str], bool] = lambda _: True
    rows: Callable[[str], bool] = lambda _: True
    logarithmic: bool = False
    worlds: bool = False
    digits: int = 0
    than: str | None = None


def _measured_shape(shape: str) -> bool:
    return not shape.endswith("search")


CHARTS = (
    Chart("movers", "movers", "Messages a second, 1 KiB", "rate", "across", _measured_shape, worlds=True),
    Chart(
        "movers",
        "limit",
        "Percent of what the brokers do with nothing between them",
        "rate",
        "across",
        _measured_shape,
        lambda row: row in ("bridge", "Shovel, best prefetch", "pika async"),
        worlds=True,
        than="limit, both at once",
    ),
    Chart(
        "movers",
        "brokers-cpu",
        "Processor time of both brokers, us per message",
        "broker_cpu_us",
        "across",
        _measured_shape,
        worlds=True,
    ),
    Chart("sizes", "sizes", "Messages a second by size", "rate", "across"),
    Chart("eta", "eta", "Messages a second by share and distance of ETA", "rate", "across"),
    Chart("queues", "queues", "Messages a second by number of queues", "rate"),
    Chart(
        "queues", "queues-cpu", "The bridge's processor time, us per message, by number of queues", "cpu_us", digits=1
    ),
    Chart("backlog", "backlog", "Messages a second by backlog", "rate"),
    Chart("backlog", "backlog-cpu", "The bridge's processor time, us per message, by backlog", "cpu_us", digits=1),
    Chart("backlog", "backlog-memory", "The bridge's memory, most MiB, by backlog", "rss_mib"),
    Chart("latency", "latency-p50", "Latency, p50 in ms", "p50_ms", "lines", logarithmic=True, digits=1),
    Chart("latency", "latency-p99", "Latency, p99 in ms", "p99_ms", "lines", logarithmic=True, digits=1),
    Chart("fairness", "fairness", "Latency of a small queue, p99 in ms", "p99_ms", "across", digits=1),
)


def draw(samples: Iterable[Sample], folder: Path) -> list[Path]:
    """Draw the charts of all studies that were measured, and return the files.

    Args:
        samples: every run.
        folder: where the files go; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = list(samples)
    written = []
    for chart in CHARTS:
        for world, title, points in _drawn(chart, runs):
            file = folder / f"{chart.file}{world}.svg"
            file.write_text(_svg(chart, title, points))
            written.append(file)
    return written


def _drawn(chart: Chart, runs: list[Sample]) -> Iterator[tuple[str, str, list[Point]]]:
    """Return what is drawn for a chart: the end of the file's name, the title, the points."""
    found = [
        run
        for run in runs
        if run.study == chart.study and chart.value in run.values and chart.shapes(run.shape) and chart.rows(run.row)
    ]
    if chart.than is not None:
        found = _percent(chart, found, runs)
    worlds = list(dict.fromkeys(run.world for run in found))
    if chart.worlds:
        if found:
            yield "", chart.title, _points(found, chart.value, lambda run: run.world, lambda run: run.row)
        return
    for world in worlds:
        here = [run for run in found if run.world == world]
        # One world needs no name in the name of its file.
        end = "-" + "".join(sign if sign.isalnum() or sign == "." else "-" for sign in world) if len(worlds) > 1 else ""
        points = _points(here, chart.value, lambda run: run.row, lambda run: run.shape)
        yield end.replace("--", "-"), f"{chart.title}, {world.replace('->', ' -> ')}", points


def _percent(chart: Chart, found: list[Sample], runs: list[Sample]) -> list[Sample]:
    """Return the runs with their figure as a percentage of the other row's in the same round."""
    others = {
        (run.world, run.shape, run.round): run.values[chart.value]
        for run in runs
        if run.study == chart.study and run.row == chart.than and run.values.get(chart.value)
    }
    return [
        type(run)(
            run.study,
            run.world,
            run.shape,
            run.row,
            run.round,
            {chart.value: 100 * run.values[chart.value] / others[run.world, run.shape, run.round]},
            run.load,
        )
        for run in found
        if (run.world, run.shape, run.round) in others
    ]


def _points(
    runs: list[Sample], value: str, series: Callable[[Sample], str], place: Callable[[Sample], str]
) -> list[Point]:
    """Return the medians over the rounds."""
    pairs = dict.fromkeys((series(run), place(run)) for run in runs)
    return [
        (one, at, statistics.median(run.values[value] for run in runs if (series(run), place(run)) == (one, at)))
        for one, at in pairs
    ]


def _svg(chart: Chart, title: str, points: list[Point]) -> str:
    names = list(dict.fromkeys(name for name, _, _ in points))
    places = list(dict.fromkeys(place for _, place, _ in points))
    figures = {(name, place): figure for name, place, figure in points}
    across = chart.kind == "across"
    settings: dict[str, Any] = {
        "style": _STYLE,
        "title": title,
        "js": [],
        "css": _CSS + ([_BESIDE_BARS] if across else []),
        "width": _WIDTH,
        "height": _HEIGHT_OF_REST + _HEIGHT_OF_BAR * len(places) * (len(names) + 1) if across else _HEIGHT,
        "legend_at_bottom": True,
        "legend_at_bottom_columns": min(len(names), 5),
        "print_values": True,
        "print_values_position": "top",
        "formatter": lambda figure: "" if figure is None else f"{figure:,.{chart.digits}f}".replace(",", " "),
        "margin": 12,
        # Room for what stands right of the last point.
        "margin_right": 40,
        "show_x_guides": False,
    }
    if chart.logarithmic:
        settings |= {"logarithmic": True, "stroke_style": {"width": 2.5}, "dots_size": 4}
    else:
        settings["min_scale"] = 4
        settings["range"] = (0, max(figures.values()) * (1.08 if across else 1.02))
    # From the top down, as it is read.
    shown = list(reversed(places)) if across else places
    drawn: Any = {"across": pygal.HorizontalBar, "bars": pygal.Bar, "lines": pygal.Line}[chart.kind](**settings)
    drawn.x_labels = shown
    if chart.logarithmic:
        drawn.y_labels = _decades(min(figures.values()), max(figures.values()))
    # By chance otherwise: the file is to stay the same where the figures do.
    drawn.uuid = chart.file
    for name in names:
        drawn.add(name, [figures.get((name, place)) for place in shown])
    return _plain(drawn.render_tree())


def _decades(least: float, most: float) -> list[float]:
    """Return 1, 2 and 5 of each power of ten, from the last one below the least figure to the first above the most."""
    marks = [step * 10.0**power for power in range(-3, 8) for step in (1, 2, 5)]
    first = max((mark for mark in marks if mark <= least), default=marks[0])
    last = min((mark for mark in marks if mark >= most), default=marks[-1])
    return [mark for mark in marks if first <= mark <= last]


def _plain(tree: Any) -> str:
    """Return the SVG without the scripts and the comments (which are no elements) that the library writes."""
    for parent in list(tree.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] == "script":
                parent.remove(child)
    return ET.tostring(tree, encoding="unicode") + "\n"
