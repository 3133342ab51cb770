"""What the delay ladder costs the target's broker: for each task over its life, and when many fall due at once.

1. **Straight in.** Tasks are published into the ladder with the bridge's own keys, by Celery's exchanges and without a
   bridge: what is measured is the broker. The bridge's own entry spares the first of these exchanges.
2. **A life made short.** What a task costs depends on how many queues it waits in and how many exchanges look at its
   key, and not on how long it waits: delays of 1, 8 and 15 s have few and many of both, and what is learned from them
   is the cost of any delay. How many queues there were is read from `x-death` on arrival.
3. **Processor time** of the target's brokers, from the first publish until the last arrival, less what they use when
   idle. It is trusted on a busy machine; seconds are not.
4. **Late** is how long after the due second a task was in its queue. It may be up to a second before: the delay is
   rounded down, and the worker waits for the rest.
"""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import amqp
import psutil
import requests
from kombu.connection import Connection
from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues

from bridge.core import frames, ladder
from bridge.errors import LabError
from tests.bench.cost import process_time
from tests.bench.ladder_path import Cost, Path, lateness, mean_bits
from tests.bench.load import CHUNK, QUEUE, Load, connected
from tests.bench.study import BROKER_CPU, RATE, RSS, Column, Sample, Study
from tests.bench.world import fresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.lab.brokers import Side
    from bridge.lab.cluster import Cluster
    from tests.bench.study import Bench
    from tests.support.brokers import World

#: Tasks of a run that measures hops, and of one in which they fall due together.
TASKS, BURST = 10_000, 100_000
#: Tasks a second where they come as live traffic does, and for how many seconds: the broker then works on each alone.
TRICKLE, TRICKLE_SECONDS = 250, 12
#: Seconds from the first publish of a burst until it is due: a hundred thousand are published by then.
AHEAD = 64
#: Seconds over which the due times are spread where a producer does that.
SPREAD = 60
#: The broker's own number of dead-lettered messages that a level has under way, and the one that is tried instead.
PREFETCH, MORE = 32, 1000
#: Seconds of the broker's idle time that are measured, without and with live traffic, and those in which all must
#: arrive after they are due.
IDLE_SECONDS, CALM_SECONDS = 4.0, 10.0
ARRIVE_WITHIN = 300.0
#: Seconds between two looks at the queue, and between two messages of live traffic.
LOOK_EVERY, LIVE_EVERY = 0.05, 0.05
#: The queue of the live traffic.
LIVE = "live"
#: Delays whose life is told, by name, and in seconds.
LIVES = {"10 minutes": 600, "1 hour": 3600, "1 day": 86_400, "30 days": 2_592_000}

_ANSWER = 30.0


@dataclass(frozen=True)
class Burst:
    """Many tasks that fall due together.

    Attributes:
        row: as it is printed.
        spread: seconds over which their due times are spread evenly; 0: all in one second.
        prefetch: messages that a level's dead-letter worker has under way.
        balanced: whether a policy spreads the leaders of the levels over the nodes before they are declared.
    """

    row: str
    spread: int = 0
    prefetch: int = PREFETCH
    balanced: bool = False

    @property
    def alone(self) -> bool:
        """Whether one node is enough to see it."""
        return not self.balanced


BURSTS = (
    Burst("due in one second"),
    Burst(f"due within {SPREAD} s", spread=SPREAD),
    Burst(f"in one second, worker's prefetch {MORE}", prefetch=MORE),
    Burst("in one second, leaders balanced", balanced=True),
)


def hops(bench: Bench, world: World) -> Iterator[Sample]:
    """Measure what a task costs in each round."""
    for number in range(1, bench.rounds + 1):
        yield from _hops(bench, world, number)


def crowds(bench: Bench, world: World) -> Iterator[Sample]:
    """Measure crowds, which take minutes, in every fourth round."""
    for number in range(1, bench.rounds + 1, 4):
        yield from _bursts(bench, world, number)


def _hops(bench: Bench, world: World, number: int) -> Iterator[Sample]:
    count = bench.size(TASKS)

    def sample(row: str, values: dict[str, float], shape: str = f"{count} tasks") -> Sample:
        return Sample("ladder", world.name, shape, row, number, values)

    # One after the other in the same vhost: the ladder's 28 queues take their time to be declared.
    with _ready(world) as side:
        idle = _Meter(side).idle()
        bench.progress(f"round {number}: due")
        yield sample("due, no ladder", _lived(side, None, count, idle))
        seen = []
        for path in (Path.of(1), Path.of(8), Path.of(15), Path.of(8, top=True)):
            row = f"{path.delay} s from level {path.entry}"
            bench.progress(f"round {number}: {row}")
            values = _lived(side, path, count, idle)
            seen.append(values["broker_cpu_us"])
            yield sample(row, values)
        bench.progress(f"round {number}: {TRICKLE} a second")
        alone = _lived(side, Path.of(15), bench.size(TRICKLE * TRICKLE_SECONDS, TRICKLE), idle, rate=TRICKLE)
        yield sample("15 s from level 3", alone, f"{TRICKLE}/s")
    cost = Cost.of(*seen)
    for row, figure in {
        "publish, exit, arrival": cost.once,
        "each queue it waits in": cost.hop,
        "each exchange that looks at it": cost.exchange,
    }.items():
        yield sample(row, {"broker_cpu_us": figure}, "reckoned")
    for name, most in LIVES.items():
        for top in (False, True):
            entry = "celery_delayed_27" if top else "highest bit"
            values = {"hops": mean_bits(most), "broker_cpu_us": cost.of_life(most, top=top)}
            yield sample(f"from {entry}", values, f"due within {name}, reckoned")


def _lived(side: Side, path: Path | None, count: int, idle: float, rate: float | None = None) -> dict[str, float]:
    """Send tasks through the ladder (None: into their queue) until all have arrived; return what that cost.

    Raises:
        LabError: they did not arrive, or waited in other queues than they should.
    """
    word = ladder.exit_word(QUEUE).encode()
    to = (b"", QUEUE.encode())
    if path is not None:
        to = (ladder.level_name(path.entry).encode(), ladder.key_bytes(path.delay) + word)
    with connected(side.amqp) as (_, channel), _Arrivals(side) as arrivals:
        meter = _Meter(side)
        _publish(side.amqp, (to for _ in range(count)), rate)
        looks = arrivals.wait(count, ARRIVE_WITHIN)
        cpu = (meter.used() - idle * meter.seconds()) / count * 1e6
        walked = set() if path is None else {ladder.level_name(level) for level in path.levels}
        if (found := _walked(channel)) != walked:
            raise LabError(f"a task waited in {sorted(found)}, and {sorted(walked)} was expected")
        channel.queue_purge(QUEUE)
    took = looks[-1][0] - next(moment for moment, depth in looks if depth)
    values = {"hops": float(len(walked)), "broker_cpu_us": cpu}
    return values if rate is not None or not took else {**values, "rate": count / took}


def _walked(channel: Any) -> set[str]:
    """Return the queues that the first task of QUEUE has waited in; it goes back.

    Their order in `x-death` is not that of the way on 3.10.8.
    """
    message = channel.basic_get(QUEUE)
    channel.basic_reject(message.delivery_tag, requeue=True)
    return {str(death["queue"]) for death in message.headers.get("x-death", [])}


def _bursts(bench: Bench, world: World, number: int) -> Iterator[Sample]:
    count = bench.size(BURST)
    ahead = max(10, round(AHEAD * min(1.0, bench.scale)))
    for burst in BURSTS:
        if not burst.alone and len(world.new.nodes) == 1:
            continue
        bench.progress(f"round {number}: {count} {burst.row}")
        with _worker_prefetch(world.new, burst.prefetch), _ready(world, balanced=burst.balanced) as side:
            values = _fell_due(side, burst, count, ahead)
        yield Sample("crowd", world.name, f"{count} tasks", burst.row, number, values)


def _fell_due(side: Side, burst: Burst, count: int, ahead: int) -> dict[str, float]:
    word = ladder.exit_word(QUEUE).encode()
    with _Live(side) as live, _Arrivals(side) as arrivals:
        # What the live traffic costs is not the burst's.
        idle = _Meter(side).idle(CALM_SECONDS)
        calm = live.taken()
        meter = _Meter(side)
        due = time.time() + ahead
        dues = [due + (number * burst.spread / count) for number in range(count)]

        def entries() -> Iterator[tuple[bytes, bytes]]:
            for moment in dues:
                delay = int(moment - time.time())
                if delay < 1:
                    raise LabError(f"publishing {count} tasks took longer than {ahead} s: they fall due meanwhile")
                yield ladder.exchange_bytes(delay), ladder.key_bytes(delay) + word

        _publish(side.amqp, entries(), None)
        arrivals.watch_until(due - 1)
        live.taken()
        looks = arrivals.wait(count, burst.spread + ARRIVE_WITHIN)
        during = live.taken()
        used, seconds = meter.used(), meter.seconds()
        leaders = _most_leaders(side)
    values = lateness(looks, dues)
    values["broker_cpu_us"] = (used - idle * seconds) / count * 1e6
    values["rate"] = count / max(LOOK_EVERY, looks[-1][0] - next(moment for moment, depth in looks if depth))
    values["rss_mib"] = arrivals.most_mib
    values["leaders"] = leaders
    for name, found in (("calm", calm), ("during", during)):
        if len(found) > 1:
            values[f"live_{name}_p50"] = statistics.median(found) * 1000
            values[f"live_{name}_p99"] = statistics.quantiles(found, n=100)[98] * 1000
    return values


def _publish(url: str, entries: Iterator[tuple[bytes, bytes]], rate: float | None) -> None:
    """Publish a task to each exchange and key; `rate`: not more than so many a second, evenly."""
    # The same content each time: the broker looks at none of it.
    wire = Load(1, ahead=AHEAD).template()
    first = frames.frame_at(wire, 0)[2] + frames.OVERHEAD
    content = wire[first:]
    began, sent, parts, size = time.monotonic(), 0, list[bytes](), 0
    with connected(url) as (connection, channel):
        for exchange, key in entries:
            message = frames.publish_head(1, exchange, key) + content
            parts.append(message)
            sent, size = sent + 1, size + len(message)
            if size >= CHUNK or rate is not None:
                connection.transport.write(b"".join(parts))
                parts, size = [], 0
            if rate is not None:
                time.sleep(max(0.0, began + sent / rate - time.monotonic()))  # noqa: TID251  the pace that is asked for
        connection.transport.write(b"".join(parts))
        # What is answered on the same channel comes after all that was published there.
        channel.queue_declare(QUEUE, passive=True)


class _Arrivals:
    """Looks at QUEUE, and at the memory of the brokers meanwhile."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._machines = _machines(side.cluster)
        self.most_mib = 0.0

    def __enter__(self) -> _Arrivals:
        self._open = connected(self._side.amqp)
        _, self._channel = self._open.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._open.__exit__(*fault)

    def look(self) -> tuple[float, int]:
        """Return the moment (epoch seconds) and the depth."""
        before = time.time()
        depth = int(self._channel.queue_declare(QUEUE, passive=True).message_count)
        self.most_mib = max([self.most_mib, *(machine.memory_info().rss / 2**20 for machine in self._machines)])
        return (before + time.time()) / 2, depth

    def watch_until(self, moment: float) -> None:
        """Look at the memory until a moment (epoch seconds)."""
        while time.time() < moment:
            self.look()
            time.sleep(LOOK_EVERY)  # noqa: TID251  the poll of a wait with a deadline

    def wait(self, count: int, seconds: float) -> list[tuple[float, int]]:
        """Look until there are `count`; return all looks.

        Raises:
            LabError: they are not there in time.
        """
        looks, deadline = [self.look()], time.monotonic() + seconds
        while looks[-1][1] < count:
            if time.monotonic() > deadline:
                raise LabError(f"{looks[-1][1]} of {count} tasks arrived within {seconds:g} s")
            time.sleep(LOOK_EVERY)  # noqa: TID251  the poll of a wait with a deadline
            looks.append(self.look())
        return looks


class _Live:
    """A queue with 20 messages a second on the same broker, and how long each takes."""

    def __init__(self, side: Side) -> None:
        self._url = side.amqp
        self._seconds: list[float] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._send, self._receive)]

    def __enter__(self) -> _Live:
        with connected(self._url) as (_, channel):
            channel.queue_declare(LIVE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(_ANSWER)

    def taken(self) -> list[float]:
        """Return the seconds that messages took since the last call."""
        found, self._seconds = self._seconds, []
        return found

    def _send(self) -> None:
        with connected(self._url) as (_, channel):
            while not self._end.wait(LIVE_EVERY):
                channel.basic_publish(amqp.Message(repr(time.monotonic()), delivery_mode=2), routing_key=LIVE)

    def _receive(self) -> None:
        def seen(message: Any) -> None:
            self._seconds.append(time.monotonic() - float(message.body))
            channel.basic_ack(message.delivery_tag)

        with connected(self._url) as (connection, channel):
            channel.basic_qos(0, 100, False)
            channel.basic_consume(LIVE, callback=seen)
            while not self._end.is_set():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1)


class _Meter:
    """The target brokers' processor time from now on."""

    def __init__(self, side: Side) -> None:
        self._machines = _machines(side.cluster)
        self._before = self._now()
        self._began = time.monotonic()

    def used(self) -> float:
        """Seconds of processor time."""
        return self._now() - self._before

    def seconds(self) -> float:
        """Seconds by the clock."""
        return time.monotonic() - self._began

    def idle(self, seconds: float = IDLE_SECONDS) -> float:
        """Wait a while, in which nothing is moved, and return the processor time of one second."""
        time.sleep(seconds)  # noqa: TID251  the time that is measured
        return self.used() / self.seconds()

    def _now(self) -> float:
        return sum(process_time(machine.pid) for machine in self._machines)


@contextmanager
def _ready(world: World, *, balanced: bool = False) -> Iterator[Side]:
    """Give the target a fresh vhost with the ladder and QUEUE behind its exit; `balanced`: see `Burst`."""
    with fresh(world) as vhosts:
        side = vhosts.new
        if balanced:
            policy = {"pattern": "^celery_delayed_", "definition": {"queue-leader-locator": "balanced"}, "priority": 1}
            _api(side, "PUT", f"policies/{quote(side.vhost, safe='')}/ladder", policy | {"apply-to": "queues"})
        with Connection(side.amqp) as connection:
            declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        with connected(side.amqp) as (_, channel):
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(QUEUE, ladder.DELIVERY_EXCHANGE, ladder.exit_pattern(QUEUE))
        yield side


@contextmanager
def _worker_prefetch(cluster: Cluster, count: int) -> Iterator[None]:
    """Have levels that are declared in the block dead-letter so many messages at once.

    It is the broker's setting `dead_letter_worker_consumer_prefetch`, which a level reads when its leader starts.
    """

    def put(number: int) -> None:
        for node in cluster.nodes:
            node.ctl("eval", f"application:set_env(rabbit, dead_letter_worker_consumer_prefetch, {number}).")

    if count == PREFETCH:
        yield
        return
    put(count)
    try:
        yield
    finally:
        put(PREFETCH)


def _most_leaders(side: Side) -> int:
    """Return how many of the ladder's levels have their leader on the node that has most of them."""
    found = _api(side, "GET", f"queues/{quote(side.vhost, safe='')}?columns=name,node").json()
    nodes = [queue["node"] for queue in found if queue["name"].startswith(ladder.PREFIX)]
    return max(nodes.count(node) for node in set(nodes))


def _api(side: Side, method: str, path: str, value: object = None) -> requests.Response:
    answer = requests.request(method, f"{side.api}/api/{path}", json=value, timeout=_ANSWER)
    if not answer.ok:
        raise LabError(f"the broker answered {answer.status_code} to {method} {path}: {answer.text}")
    return answer


def _machines(cluster: Cluster) -> list[psutil.Process]:
    """Return a broker's Erlang machines, one for each node.

    Raises:
        LabError: they run in containers: their processes are the engine's.
    """
    found = []
    for node in cluster._state().nodes:
        if node.process is not None:
            inside = psutil.Process(node.process.pid).children(recursive=True)
            found += [process for process in inside if process.name() == "beam.smp"]
    if len(found) != len(cluster.nodes):
        raise LabError(f"{len(found)} processes were found of the target's {len(cluster.nodes)} nodes")
    return found


#: One node is where processor time is plainest, three are what a target should have.
_WORLDS = ("3.10->4.3", "3.10->4.3x3")

STUDIES = (
    Study(
        name="ladder",
        about="what the delay ladder costs the broker for a task's whole life, from publish to arrival",
        columns=(Column("hops", "queues", 1), BROKER_CPU, RATE),
        aims=(),
        worlds=_WORLDS,
        run=hops,
    ),
    Study(
        name="crowd",
        about="how late tasks leave the delay ladder that fall due together, and what a live queue beside it feels",
        columns=(
            Column("late_p50", "half, s late", 1),
            Column("late_p99", "99 %, s late", 1),
            Column("late_last", "last, s late", 1),
            RATE,
            BROKER_CPU,
            Column("live_calm_p50", "live p50 before, ms", 1),
            Column("live_during_p50", "p50 during, ms", 1),
            Column("live_calm_p99", "live p99 before, ms", 1),
            Column("live_during_p99", "p99 during, ms", 1),
            RSS,
            Column("leaders", "leaders on one node"),
        ),
        aims=(),
        worlds=_WORLDS,
        run=crowds,
    ),
)
