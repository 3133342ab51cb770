"""What a soak found out, as JSON and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from tests.soak.book import Figures


@dataclass(frozen=True)
class Suffered:
    """A fault that was healed.

    Attributes:
        name: of the fault.
        recovered: seconds from then until new tasks ran on the new side; None: they did not.
        trouble: why it was not as it should be; empty when it was.
    """

    name: str
    recovered: float | None
    trouble: str = ""


@dataclass(frozen=True)
class Report:
    """The book at the end, or where the soak was broken off.

    Attributes:
        versions: of the old and the new broker, as they report them.
        seconds: that it took, drained.
        finished: it came to its end: what has not run is lost.
        counted: totals of all processes of the daemon.
        runs: processes of the daemon.
        memory: resident, in MB: `max`, and medians of the `first_quarter` and the `last_quarter`.
        restarts: workers and producers that ended by themselves.
        tracebacks: in the daemon's log, where none may be.
    """

    versions: tuple[str, str]
    nodes: int
    seed: int
    seconds: float
    finished: bool
    figures: Figures
    counted: dict[str, int]
    runs: int
    memory: dict[str, float | None]
    in_flight: dict[str, int]
    restarts: dict[str, int]
    tracebacks: int
    suffered: tuple[Suffered, ...]

    def kinds(self) -> dict[str, tuple[int, float | None]]:
        """Return by name how often a fault came and the longest time to recover; None: once it did not."""
        found: dict[str, tuple[int, float | None]] = {}
        for one in self.suffered:
            count, longest = found.get(one.name, (0, 0.0))
            worst = None if longest is None or one.recovered is None else max(longest, one.recovered)
            found[one.name] = (count + 1, worst)
        return dict(sorted(found.items()))

    def verdict(self) -> str:
        """Return why the promise was not kept, in one sentence; empty when it was."""
        figures = self.figures
        counts = {"early": figures.early, "changed": figures.changed}
        if self.finished:
            counts["lost"] = figures.lost
        counts["faults with trouble"] = sum(bool(one.trouble) for one in self.suffered)
        counts["tracebacks in the daemon's log"] = self.tracebacks
        untold = figures.doubled_untold
        if untold:
            counts["doubled, and nobody said so"] = untold
        elif untold is None and figures.doubled > self.counted.get("possible_duplicates", 0) + self.counted.get(
            "redelivered", 0
        ):
            counts["doubled, more than the daemon counted"] = figures.doubled
        wrong = [f"{what}: {count}" for what, count in counts.items() if count]
        return "the promise was not kept: " + ", ".join(wrong) if wrong else ""

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            **asdict(self.figures),
            "old": self.versions[0],
            "new": self.versions[1],
            "nodes": self.nodes,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "finished": self.finished,
            "daemon": {
                "processes": self.runs,
                "counted": self.counted,
                "rss_mb": self.memory,
                "in_flight": self.in_flight,
                "tracebacks": self.tracebacks,
            },
            "restarts": self.restarts,
            "faults": {
                name: {"times": count, "longest_recovery_s": None if longest is None else round(longest, 2)}
                for name, (count, longest) in self.kinds().items()
            },
            "trouble": [f"{one.name}: {one.trouble}" for one in self.suffered if one.trouble],
            "verdict": self.verdict(),
        }


def show(report: Report, console: Console) -> None:
    """Print the book for people."""
    figures, counted, memory = report.figures, report.counted, report.memory
    unlisted = (
        ""
        if figures.doubled_unlisted is None
        else (
            f", {figures.doubled_unlisted} of them not listed by the daemon, {figures.doubled_in_ladder} by the ladder "
            f"of a target whose nodes failed, {figures.doubled_untold} said by nobody"
        )
    )
    rows = [
        ("tasks sent", figures.sent, f"confirmed by the old broker; {figures.unsure} more were not answered"),
        ("run", figures.run, f"{figures.run_old} runs on the old side, {figures.run_new} on the new"),
        (
            "lost" if report.finished else "not run yet",
            figures.lost,
            "sent and never run" if report.finished else "the soak was broken off: nobody knows",
        ),
        ("early", figures.early, "run before their ETA"),
        ("changed", figures.changed, "body, properties or header values (types included) not as sent"),
        ("executed twice", figures.twice, "most are handed out again by a broker whose worker lost its connection"),
        ("doubled", figures.doubled, f"two messages where one was sent{unlisted}"),
        (
            "daemon counted",
            counted.get("possible_duplicates", 0),
            f"possible duplicates, and {counted.get('redelivered', 0)} redelivered to it",
        ),
        ("daemon moved", counted.get("moved", 0), f"{counted.get('converted', 0)} into delayed delivery"),
        ("retries", figures.retries_came, f"came to workers, {figures.retries_run} ran"),
        ("daemon RSS", memory.get("max"), _growth(memory)),
        ("in flight", report.in_flight.get("max", 0), f"at most, {report.in_flight.get('last', 0)} at the end"),
        (
            "daemon processes",
            report.runs,
            f"one more for each time it was ended; {report.tracebacks} tracebacks in its log",
        ),
        ("restarts", sum(report.restarts.values()), ", ".join(report.restarts) or "no worker or producer ended"),
    ]
    book = Table(title=_title(report), title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for style in ("", "bold", "dim"):
        book.add_column(style=style, justify="right" if style == "bold" else "left")
    for name, value, note in rows:
        book.add_row(name, f"{value}", note)
    console.print(book)
    faults = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    faults.add_column("fault")
    faults.add_column("times", justify="right")
    faults.add_column("longest time to recover", justify="right")
    for name, (count, longest) in report.kinds().items():
        faults.add_row(name, f"{count}", "never" if longest is None else f"{longest:.1f} s")
    console.print(faults)
    for kind, examples in figures.examples.items():
        for example in examples:
            console.print(f"{kind}: {example}", highlight=False, markup=False)


def _title(report: Report) -> str:
    old, new = report.versions
    nodes = f" ({report.nodes} nodes)" if report.nodes > 1 else ""
    return (
        f"RabbitMQ {old} -> {new}{nodes}, seed {report.seed}, {report.seconds:.0f} s, {len(report.suffered)} faults"
        f"{'' if report.finished else ', broken off'}"
    )


def _growth(memory: dict[str, float | None]) -> str:
    first, last = memory.get("first_quarter"), memory.get("last_quarter")
    return f"MB at most; median of the first quarter {first}, of the last {last}"
