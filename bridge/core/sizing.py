"""How long a backlog takes to be moved, and what that costs: arithmetic over measured rates (docs/plan/sizing.md).

1. **All queues share one limit**, that of the brokers. A message costs a part of a second of it, by its size; what
   comes in meanwhile costs the same. Backlog and inflow make a line:
   time = backlog / (rate - inflow), and never where inflow is not less.
2. **An estimate has a range.** The limit is another on other machines, so each time is told for the rate expected, for
   a slow one and for a fast one; how far they are apart depends on what the rate rests on (`Basis`).
3. **What cannot be seen from outside is an assumption and told as one**: which messages have an ETA, and how far ahead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# -- what was measured: `make bench`, studies sizes, eta, backup; two brokers and the daemon on two cores shared by all,
# -- without network between them and one node on each side; of the worlds 3.10->4.0 and 3.10->4.3 the slower one

#: Bytes of a message on the wire, and messages a second of that size.
SPEEDS: tuple[tuple[int, float], ...] = (
    (300, 12_000.0),
    (1024, 8_000.0),
    (16_384, 3_600.0),
    (1_048_576, 170.0),
)
#: How many times what a due message costs one that goes into the ladder costs when it is moved, by our own entries; a
#: day ahead: 1.3 times on RabbitMQ 3.10, 1.1 times on 4.0, 1.2 times on 4.3. By Celery's 2.8, 2.1 and 1.8 times.
LADDER_COST = 1.3
#: How many times what a message costs it costs with a copy in the backup's stream.
BACKUP_COST = 1.3
#: Microseconds of processor time for a message, and for each KiB of it: of the daemon; of both brokers together, with
#: one node each. The part of the latter that is the new one's, and that each further copy of a queue costs again.
DAEMON_CPU, BROKERS_CPU, TARGET_PART = (16.0, 2.0), (168.0, 6.0), 0.6
#: Bytes on the wire that a task has beside its body: properties and headers of Celery 5 (protocol 2), frames.
ENVELOPE = 640
#: Bytes that a node of the target has on disk and in memory beside what was on the wire, for each message it keeps.
KEPT_ON_DISK, KEPT_IN_MEMORY = 100, 64

# -- what is assumed

#: Bytes of a message on the wire where none is there to be weighed.
TYPICAL = 1024
#: Seconds ahead that tasks with an ETA are taken to be due.
AHEAD = 86_400
#: Copies of each quorum queue that RabbitMQ makes when nobody says how many.
COPIES = 3
#: Bytes of the write-ahead log of a node's quorum queues (`raft.wal_max_size_bytes`, RabbitMQ's default), which is on
#: disk beside what was written out; RabbitMQ's documentation wants three times as much memory for it.
WRITE_AHEAD = 512 * 1024 * 1024


@dataclass(frozen=True)
class Basis:
    """What a rate rests on, and how far it may be off.

    Attributes:
        name: `model`, `given` or `measured`.
        text: the same in words.
        slow: part of the expected rate that is the slow one.
        fast: times the expected rate that is the fast one.
    """

    name: str
    text: str
    slow: float
    fast: float


@dataclass(frozen=True)
class Backlog:
    """A queue of the source as the HTTP API tells of it.

    Attributes:
        name: its name.
        ready: messages that wait.
        unacked: messages that workers hold; they come back when those stop.
        body_bytes: of all of them together.
        arriving: messages a second that come in; None where the broker does not count them.
        worked: messages a second that the workers ack; None the same, or where it is not they alone who do.
    """

    name: str
    ready: int = 0
    unacked: int = 0
    body_bytes: int = 0
    arriving: float | None = None
    worked: float | None = None

    @property
    def messages(self) -> int:
        """All that has to be moved."""
        return self.ready + self.unacked

    @property
    def quiet(self) -> bool:
        """Whether nothing waits and nothing comes in."""
        return not (self.messages or self.arriving)

    @property
    def size(self) -> int | None:
        """Bytes of one message on the wire, on average; None where none is there to be weighed."""
        if not self.messages or not self.body_bytes:
            return None
        return round(self.body_bytes / self.messages) + ENVELOPE


@dataclass(frozen=True)
class Moving:
    """What a running daemon moved in the last seconds, of one queue.

    Attributes:
        queue: its name.
        rate: messages a second.
        eta_share: part of all its messages so far that went into the ladder.
    """

    queue: str
    rate: float
    eta_share: float = 0.0


@dataclass(frozen=True)
class Assumptions:
    """What the estimate is made with.

    Attributes:
        rate: messages a second that all queues together are moved at, whatever their size; None: by the model.
        speed: how many times as fast as the model it goes; of `speed_of`, where it was measured.
        bandwidth: bytes a second that the line to a broker carries, in one direction; None: no bound.
        eta_share: part of the messages with an ETA, 0 to 1, of the queues that `eta_shares` does not name.
        eta_shares: the same by queue.
        ahead: seconds ahead that those are due.
        backup: whether every message is copied to a stream.
        version: of the target's broker; what was measured is nearly the same on all.
        nodes: how many the target has.
    """

    rate: float | None = None
    speed: float = 1.0
    bandwidth: float | None = None
    eta_share: float = 0.0
    eta_shares: tuple[tuple[str, float], ...] = ()
    ahead: int = AHEAD
    backup: bool = False
    version: tuple[int, ...] = (4, 3)
    nodes: int = 1

    def share_of(self, queue: str) -> float:
        """The part of a queue's messages that has an ETA."""
        return dict(self.eta_shares).get(queue, self.eta_share)


@dataclass(frozen=True)
class Seconds:
    """A time with its range: None is never.

    Attributes:
        expected: seconds at the rate expected.
        least: at the fast rate.
        most: at the slow one.
    """

    expected: float | None
    least: float | None
    most: float | None


@dataclass(frozen=True)
class QueueTime:
    """One queue of the estimate.

    Attributes:
        backlog: as it was seen.
        size: bytes of one message on the wire.
        rate: messages a second that are expected while it is moved alone.
        seconds: until it is moved, alone.
        old_workers: seconds until the old workers have worked it down if it is left to them; None: never, or not known.
    """

    backlog: Backlog
    size: int
    rate: float
    seconds: Seconds
    old_workers: float | None

    def as_json(self) -> dict[str, Any]:
        """As `bridge plan --time --json` prints it."""
        backlog = self.backlog
        return {
            "name": backlog.name,
            "messages": backlog.messages,
            "ready": backlog.ready,
            "unacked": backlog.unacked,
            "body_bytes": backlog.body_bytes,
            "message_bytes": self.size,
            "arriving": backlog.arriving,
            "worked": backlog.worked,
            "rate": self.rate,
            "seconds": asdict(self.seconds),
            "old_workers_s": self.old_workers,
        }


@dataclass(frozen=True)
class Cost:
    """What it takes to move the backlog; what comes in meanwhile is not in it.

    Attributes:
        fetched: bytes that go from the source to the daemon.
        sent: bytes that the daemon sends; with a backup each message twice.
        between_nodes: bytes that the target's nodes send each other.
        disk: bytes on each node of the target if no new worker works meanwhile, without its write-ahead log.
        backup_disk: bytes that the backup's stream takes on each node that keeps it, until they are too old.
        memory: bytes on each of them, the same way, without the write-ahead log's.
        hops: levels of the ladder that the tasks with an ETA pass through until they are due, all together.
        daemon_cpu: seconds of processor time of the daemon.
        source_cpu: of the old broker.
        target_cpu: of all nodes of the new one.
    """

    fetched: int
    sent: int
    between_nodes: int
    disk: int
    backup_disk: int
    memory: int
    hops: int
    daemon_cpu: float
    source_cpu: float
    target_cpu: float


@dataclass(frozen=True)
class Estimate:
    """How long it takes.

    Attributes:
        queues: each alone, in the order given.
        together: until all are moved, cut over at once.
        rate: messages a second that are expected of all together.
        arriving: messages a second that come in, all together.
        all_eta: `together`, if every message had an ETA; None where the rate was given and does not depend on it.
        cost: what it takes.
    """

    queues: tuple[QueueTime, ...]
    together: Seconds
    rate: float
    arriving: float
    all_eta: Seconds | None
    cost: Cost

    @property
    def messages(self) -> int:
        """All that has to be moved."""
        return sum(queue.backlog.messages for queue in self.queues)

    def as_json(self) -> dict[str, Any]:
        """As `bridge plan --time --json` prints it."""
        return {
            "queues": [queue.as_json() for queue in self.queues],
            "total": {
                "messages": self.messages,
                "bytes": self.cost.fetched,
                "rate": self.rate,
                "arriving": self.arriving,
                "seconds": asdict(self.together),
                "seconds_all_eta": None if self.all_eta is None else asdict(self.all_eta),
            },
            "cost": asdict(self.cost),
        }


def model() -> Basis:
    """The rates of SPEEDS; other machines, disks and networks do half as much or twice as much."""
    return Basis("model", "rates that were measured with both brokers and the bridge on two cores", 0.5, 2.0)


def given(rate: float) -> Basis:
    """A rate that somebody gave, taken to be off by a quarter, as rates differ from hour to hour."""
    return Basis("given", f"the rate that was given, {rate:g} messages a second", 0.8, 1.25)


def measured(queues: int, rate: float, speed: float) -> Basis:
    """What the daemon moves now, of `queues` queues; off by a half, as what waits is not all like what has gone."""
    these = "a queue" if queues == 1 else f"{queues} queues"
    text = f"what the daemon moves now, {rate:.0f} messages a second of {these}, {speed:.2g} times the model"
    return Basis("measured", text, 0.67, 1.5)


def seconds_each(size: int) -> float:
    """Seconds of the limit that a due message of `size` bytes on the wire costs, by the model.

    Between two sizes that were measured, and beyond the largest, cost grows evenly with the bytes.
    """
    sizes = [at for at, _ in SPEEDS]
    # The two that were measured around it, or the last two.
    right = min(bisect_left(sizes, size), len(sizes) - 1)
    if right == 0:
        return 1 / SPEEDS[0][1]
    (low, rate_low), (high, rate_high) = SPEEDS[right - 1], SPEEDS[right]
    return 1 / rate_low + (size - low) * (1 / rate_high - 1 / rate_low) / (high - low)


def speed_of(moving: Iterable[Moving], sizes: dict[str, int], assumed: Assumptions) -> float:
    """How many times as fast as the model a daemon moves, by what it moves at this moment.

    Args:
        moving: the queues that it moves; at least one must have a backlog, else it could do more.
        sizes: bytes of a message on the wire, by queue.
        assumed: whether there is a backup.
    """
    return sum(one.rate * _due_cost(sizes.get(one.queue, TYPICAL), one.eta_share, assumed) for one in moving)


def estimate(backlogs: Sequence[Backlog], basis: Basis, assumed: Assumptions) -> Estimate:
    """How long the backlogs take, each alone and all together, and what that costs."""
    usual = _usual_size(backlogs)
    loads = [_Load(backlog, backlog.size or usual, assumed.share_of(backlog.name)) for backlog in backlogs]
    work = sum(load.backlog.messages * load.each(assumed) for load in loads)
    messages = sum(load.backlog.messages for load in loads)
    every = [_Load(load.backlog, load.size, 1.0) for load in loads]
    return Estimate(
        queues=tuple(_alone(load, basis, assumed) for load in loads),
        together=_range(loads, basis, assumed),
        rate=messages / work if work else 1 / _Load(Backlog(""), usual, assumed.eta_share).each(assumed),
        arriving=sum(load.arriving for load in loads),
        all_eta=None if assumed.rate is not None else _range(every, basis, assumed),
        cost=_cost(loads, assumed),
    )


def hops(ahead: int) -> float:
    """Levels of the ladder in which a task waits that is due within `ahead` seconds: one for each bit that is set, of
    which half are, on average.
    """
    return max(1.0, ahead.bit_length() / 2)


@dataclass(frozen=True)
class _Load:
    """A queue with what one of its messages is taken to be."""

    backlog: Backlog
    size: int
    eta_share: float

    @property
    def arriving(self) -> float:
        return self.backlog.arriving or 0.0

    def each(self, assumed: Assumptions, factor: float = 1.0) -> float:
        """Seconds of the limit that a message costs; `factor` is how many times the expected rate it goes."""
        if assumed.rate is not None:
            seconds = 1 / assumed.rate
        else:
            seconds = _due_cost(self.size, self.eta_share, assumed) / assumed.speed
        # A line carries what it carries, however fast the brokers are.
        return max(seconds / factor, self.size / assumed.bandwidth if assumed.bandwidth else 0.0)


def _due_cost(size: int, eta_share: float, assumed: Assumptions) -> float:
    return seconds_each(size) * (1 + eta_share * (LADDER_COST - 1)) * (BACKUP_COST if assumed.backup else 1.0)


def _usual_size(backlogs: Iterable[Backlog]) -> int:
    """Bytes of a message on the wire, on average over all queues that have some."""
    weighed = [(backlog.messages, backlog.size) for backlog in backlogs if backlog.size is not None]
    count = sum(messages for messages, _ in weighed)
    return round(sum(messages * size for messages, size in weighed) / count) if count else TYPICAL


def _alone(load: _Load, basis: Basis, assumed: Assumptions) -> QueueTime:
    return QueueTime(
        backlog=load.backlog,
        size=load.size,
        rate=1 / load.each(assumed),
        seconds=_range([load], basis, assumed),
        old_workers=_left_to_old_workers(load.backlog),
    )


def _range(loads: Sequence[_Load], basis: Basis, assumed: Assumptions) -> Seconds:
    expected, least, most = (_time(loads, assumed, factor) for factor in (1.0, basis.fast, basis.slow))
    return Seconds(expected, least, most)


def _time(loads: Sequence[_Load], assumed: Assumptions, factor: float) -> float | None:
    """Seconds until nothing of `loads` waits; None where as much comes in as can be moved."""
    work = sum(load.backlog.messages * load.each(assumed, factor) for load in loads)
    inflow = sum(load.arriving * load.each(assumed, factor) for load in loads)
    return work / (1 - inflow) if inflow < 1 else None


def _left_to_old_workers(backlog: Backlog) -> float | None:
    if not backlog.ready:
        return 0.0
    if backlog.arriving is None or backlog.worked is None or backlog.worked <= backlog.arriving:
        return None
    return backlog.ready / (backlog.worked - backlog.arriving)


def _cost(loads: Sequence[_Load], assumed: Assumptions) -> Cost:
    copies = min(COPIES, assumed.nodes)
    messages = sum(load.backlog.messages for load in loads)
    wire = sum(load.backlog.messages * load.size for load in loads)
    delayed = sum(load.backlog.messages * load.eta_share for load in loads)
    brokers = _cpu(BROKERS_CPU, messages, wire)
    passed = round(delayed * hops(assumed.ahead))
    return Cost(
        fetched=wire,
        sent=wire * (2 if assumed.backup else 1),
        between_nodes=wire * (copies - 1),
        disk=(wire + messages * KEPT_ON_DISK) * copies // assumed.nodes,
        backup_disk=wire if assumed.backup else 0,
        memory=messages * KEPT_IN_MEMORY * copies // assumed.nodes,
        hops=passed,
        daemon_cpu=_cpu(DAEMON_CPU, messages, wire),
        source_cpu=brokers * (1 - TARGET_PART),
        target_cpu=(brokers + _cpu(BROKERS_CPU, passed, 0)) * TARGET_PART * copies,
    )


def _cpu(each: tuple[float, float], messages: int, size: int) -> float:
    """Seconds of processor time, from microseconds a message and a KiB."""
    return (messages * each[0] + size / 1024 * each[1]) / 1e6
