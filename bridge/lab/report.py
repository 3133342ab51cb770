"""What a rehearsal found out: computed from the ground truth that producers and workers wrote down, then printed.

What is measured, and how:
1. `lost`: tasks that were sent and never started. `executed_twice`: tasks that started more than once, on whichever
   side. `early`: tasks of which any start came before the ETA, to the microsecond. `changed`: tasks of which any worker
   read another body, other properties or header values (types included), or which came out of another queue than they
   were sent to.
2. `moved`, `converted`: the daemon's own books at its end. `moved_per_s`: how fast it moved the backlog, between 5 %
   and 95 % of what waited at the flip. `cpu_us_per_message`: its CPU time (user and system) over the messages moved,
   from the flip until the backlog was moved.
3. `flip.longest_gap_ms`: the longest time without a start of a live task that was due at once, on either side, from 5 s
   before the flip to 10 s after it. A user of the application would have seen nothing for that long.
4. `latency_ms`: from just before a live, due task is published to its start. `before`: while only the old workers work,
   the daemon connected and idle. `after`: when the backlog is moved and executed and the old workers are gone.
5. `eta_error_ms`: from its ETA to its start, of the tasks that came through the target's ladder. Left out are those
   that had to stand in line, which says how many workers there are: tasks that were due before the backlog was moved,
   and in the queues of the backlog those that were due before the steady state after it.
6. `notify`: what the daemon told its service manager, judged by `notified`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bridge.lab.fingerprint import differences
from bridge.lab.notified import ALLOWED, Protocol
from bridge.lab.records import Received, Sent, Started, Truth, as_bytes

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds around the flip in which gaps are looked for.
GAP_BEFORE, GAP_AFTER = 5.0, 10.0

#: Examples of each kind of fault that are named.
EXAMPLES = 5

#: Exchanges of the ladder: a message that comes to a worker from one of them was converted.
LADDER = "celery_delayed"


@dataclass(frozen=True)
class Moments:
    """When things happened, in epoch seconds: the flip, the end of the move, the steady states around them."""

    before: tuple[float, float]
    flip: float
    moved: float
    after: tuple[float, float]


@dataclass(frozen=True)
class Books:
    """What the daemon says about itself at its end, and how fast it moved the backlog."""

    moved: int
    converted: int
    moved_per_s: float | None
    cpu_us_per_message: float | None


@dataclass(frozen=True)
class Report:
    """The result of a rehearsal; `faults` has examples of what should not have been, by kind."""

    lost: int
    executed_twice: int
    early: int
    changed: int
    books: Books
    longest_gap_ms: float | None
    latency_before: Sequence[float]
    latency_after: Sequence[float]
    eta_error: Sequence[float]
    sent: int
    started_old: int
    started_new: int
    faults: dict[str, list[str]] = field(default_factory=dict)
    protocol: Protocol | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the report with the keys that `--json` prints; what could not be measured is null."""
        return {
            "lost": self.lost,
            "executed_twice": self.executed_twice,
            "early": self.early,
            "changed": self.changed,
            "moved": self.books.moved,
            "converted": self.books.converted,
            "moved_per_s": _rounded(self.books.moved_per_s),
            "cpu_us_per_message": _rounded(self.books.cpu_us_per_message),
            "flip": {"longest_gap_ms": _rounded(self.longest_gap_ms)},
            "latency_ms": {
                "before": {"p50": _ms(self.latency_before, 50), "p99": _ms(self.latency_before, 99)},
                "after": {"p50": _ms(self.latency_after, 50), "p99": _ms(self.latency_after, 99)},
            },
            "eta_error_ms": {
                "p50": _ms(self.eta_error, 50),
                "p99": _ms(self.eta_error, 99),
                "max": _ms(self.eta_error, 100),
            },
            "notify": _protocol(self.protocol),
        }

    def verdict(self) -> str:
        """Return why the rehearsal failed, in one sentence; empty when it did not."""
        counts = {"lost": self.lost, "executed early": self.early, "changed on the way": self.changed}
        wrong = [
            f"{count} {'task was' if count == 1 else 'tasks were'} {what}" for what, count in counts.items() if count
        ]
        if self.protocol is not None and self.protocol.faults:
            wrong.append("the service manager was not told the truth")
        return "the rehearsal failed: " + ", ".join(wrong) if wrong else ""


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that `percent` of all values do not exceed (nearest rank), None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def longest_gap(starts: Iterable[float], begin: float, end: float) -> float | None:
    """Return the longest time in seconds between two starts from `begin` to `end`, the ends of the span included."""
    inside = sorted(start for start in starts if begin <= start <= end)
    return max(later - earlier for earlier, later in pairwise([begin, *inside, end])) if end > begin else None


def measure(truth: Truth, moments: Moments, books: Books, *, capped: bool, protocol: Protocol | None = None) -> Report:
    """Compute the report.

    Args:
        truth: what producers and workers wrote down.
        moments: when the flip and the steady times were.
        books: the daemon's own figures.
        capped: the target caps the priority of tasks with an ETA (RabbitMQ 4.0 to 4.2).
        protocol: what the daemon told its service manager; None where it had none.
    """
    live = [sent for sent in truth.sent.values() if sent.live and sent.eta is None]
    first = {task: min(start.at for start in starts) for task, starts in truth.started.items()}
    begin = max(moments.before[0], moments.flip - GAP_BEFORE)
    end = min(moments.after[1], moments.flip + GAP_AFTER)
    gap = longest_gap((first[sent.id] for sent in live if sent.id in first), begin, end)
    faults = {
        "lost": [_name(sent) for sent in truth.waiting.values()],
        "executed twice": _twice(truth),
        "early": _early(truth),
        "changed": _changed(truth, capped),
        "notify": [] if protocol is None else protocol.faults,
    }
    starts = [start for task, starts in truth.started.items() if task in truth.sent for start in starts]
    return Report(
        lost=len(faults["lost"]),
        executed_twice=len(faults["executed twice"]),
        early=len(faults["early"]),
        changed=len(faults["changed"]),
        books=books,
        longest_gap_ms=None if gap is None else gap * 1000,
        latency_before=_latencies(live, first, moments.before),
        latency_after=_latencies(live, first, moments.after),
        eta_error=_eta_errors(truth, first, moments),
        sent=len(truth.sent),
        started_old=sum(start.side == "old" for start in starts),
        started_new=sum(start.side == "new" for start in starts),
        faults={kind: found for kind, found in faults.items() if found},
        protocol=protocol,
    )


def _latencies(live: Iterable[Sent], first: dict[str, float], span: tuple[float, float]) -> list[float]:
    return [first[sent.id] - sent.at for sent in live if span[0] <= sent.at < span[1] and sent.id in first]


def _eta_errors(truth: Truth, first: dict[str, float], moments: Moments) -> list[float]:
    lined_up = {sent.queue for sent in truth.sent.values() if not sent.live and sent.eta is None}
    converted = {received.id for received in truth.received if received.exchange.startswith(LADDER)}
    return [
        first[sent.id] - sent.eta
        for sent in truth.sent.values()
        if sent.eta is not None
        and sent.id in converted
        and sent.id in first
        and sent.eta >= (moments.after[0] if sent.queue in lined_up else moments.moved)
    ]


def _name(sent: Sent) -> str:
    when = "due at once" if sent.eta is None else f"due {sent.eta - sent.at:.1f} s after it was sent"
    return f"{sent.id} ({'live' if sent.live else 'backlog'}, {sent.shape}, queue {sent.queue}, {when})"


def _place(start: Started, sent: Sent) -> str:
    return f"on {start.worker} {start.at - sent.at:.3f} s after it was sent"


def _twice(truth: Truth) -> list[str]:
    return [
        f"{_name(truth.sent[task])}: " + ", ".join(_place(start, truth.sent[task]) for start in starts)
        for task, starts in truth.started.items()
        if len(starts) > 1 and task in truth.sent
    ]


def _early(truth: Truth) -> list[str]:
    found = []
    for sent in truth.sent.values():
        ahead = [sent.eta - start.at for start in truth.started.get(sent.id, ()) if sent.eta and start.at < sent.eta]
        if ahead:
            found.append(f"{_name(sent)}: started {max(ahead) * 1000:.3f} ms early")
    return found


def _changed(truth: Truth, capped: bool) -> list[str]:
    found: dict[str, str] = {}
    for received in truth.received:
        sent = truth.sent.get(received.id)
        if sent is None or sent.id in found:
            continue
        wrong = _differences(sent, received, capped)
        if wrong:
            found[sent.id] = f"{_name(sent)}: read by {received.worker}: " + "; ".join(wrong)
    return list(found.values())


def _differences(sent: Sent, received: Received, capped: bool) -> list[str]:
    wrong = []
    if received.queue != sent.queue:
        wrong.append(f"it came out of queue {received.queue}")
    if received.body != sent.body:
        wrong.append("the body is another")
    if received.properties != sent.properties:
        wrong += differences(
            as_bytes(sent.properties), as_bytes(received.properties), has_eta=sent.eta is not None, capped=capped
        )
    return wrong


def _protocol(protocol: Protocol | None) -> dict[str, Any] | None:
    if protocol is None:
        return None
    return {
        "ready_s": _rounded(protocol.ready),
        "reload_s": _rounded(protocol.reload),
        "signs": protocol.signs,
        "longest_s": _rounded(protocol.longest),
        "allowed_s": ALLOWED,
        "status": protocol.status,
        "faults": len(protocol.faults),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _ms(seconds: Sequence[float], percent: float) -> float | None:
    value = percentile(seconds, percent)
    return None if value is None else round(value * 1000, 2)


def show(report: Report, title: str, console: Console) -> None:
    """Print the report for people."""
    from rich.table import Table

    figures = report.as_json()
    before, after = figures["latency_ms"]["before"], figures["latency_ms"]["after"]
    eta = figures["eta_error_ms"]
    rows = [
        (
            "tasks sent",
            f"{report.sent}",
            f"{report.started_old} started on the old side, {report.started_new} on the new",
        ),
        ("lost", f"{report.lost}", "sent and never started"),
        ("executed twice", f"{report.executed_twice}", "started more than once"),
        ("early", f"{report.early}", "started before their ETA"),
        ("changed", f"{report.changed}", "body, properties or header values (types included) not as sent"),
        ("moved", f"{report.books.moved}", f"by the bridge, {report.books.converted} of them into delayed delivery"),
        ("moved per second", _text(figures["moved_per_s"]), "while it moved the backlog"),
        (
            "CPU per message",
            _text(figures["cpu_us_per_message"], "us"),
            "user and system, of the daemon, over the same time",
        ),
        (
            "longest gap",
            _text(figures["flip"]["longest_gap_ms"], "ms"),
            "between two starts of live tasks, across the flip",
        ),
        ("latency before", _text(before["p50"], "ms"), f"median, publish to start; p99 {_text(before['p99'], 'ms')}"),
        ("latency after", _text(after["p50"], "ms"), f"median, publish to start; p99 {_text(after['p99'], 'ms')}"),
        (
            "ETA to start",
            _text(eta["p50"], "ms"),
            f"median; p99 {_text(eta['p99'], 'ms')}, longest {_text(eta['max'], 'ms')}",
        ),
    ]
    if (told := report.protocol) is not None:
        reload = "no reload" if told.reload is None else f"reloaded in {told.reload:.1f} s"
        ready = "never ready" if told.ready is None else f"ready after {told.ready:.1f} s"
        away = f"at most {told.longest:.1f} s apart, {ALLOWED:.0f} allowed; {ready}, {reload}"
        rows.append(("signs of life", f"{told.signs}", away))
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="left")
    table.add_column(justify="right", style="bold")
    table.add_column(justify="left", style="dim")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _text(value: float | None, unit: str = "") -> str:
    return "not measured" if value is None else f"{value:,.1f} {unit}".strip()
