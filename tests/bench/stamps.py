"""How long messages take: a stream that is published at a fixed rate on one side and consumed on the other.

1. The schedule is kept by the clock, not by answers, and a message carries the moment at which it was to be published:
   whoever holds the publisher back is charged with it, for the messages that wait behind as well.
2. Publisher and consumer are processes of their own (`python -m tests.bench.stamps`), told what to do by a line of
   JSON. Both write and read frames with as little work as can be, since they share the machine with what is measured.
3. The first message is sent alone, until it arrives: by then everything is connected and moves. Those of the first
   seconds do not count either.

The clock is CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.core import frames
from bridge.errors import LabError
from tests.bench import load
from tests.bench.load import Load
from tests.bench.study import P50, P99, RATE, Column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds in which the first message must arrive, and in which the next one must, however slow the way is.
FIRST_WITHIN = 30.0
NEXT_WITHIN = 60.0
#: Seconds of the stream that do not count, unless more are asked for.
WARM_UP = 1.0
#: Seconds between two moments of the schedule at least: a faster stream has several messages in each.
GRID = 0.001

#: Messages that the consumer may have unacked: more than ever wait.
_PREFETCH = 2000
_REPOSITORY = Path(__file__).parents[2]
#: What stands in an id between the number of the message and its moment (in microseconds), both in hexadecimal digits.
_MARK = b"-0000-4000-8000-"


@dataclass(frozen=True)
class Latency:
    """What was measured, from the scheduled moment of the publish to the arrival at the consumer.

    Attributes:
        sent: how many messages were published in all.
        count: how many of them counted.
        p50: the half of them took no longer, in milliseconds; the others likewise.
        rate: how many arrived a second, from the first scheduled moment to the last arrival: less than was published
            says that the way does not carry so much.
    """

    sent: int
    count: int
    p50: float
    p99: float
    most: float
    rate: float

    def values(self) -> dict[str, float]:
        """Return them by the keys of `COLUMNS`."""
        return {
            "p50_ms": self.p50,
            "p99_ms": self.p99,
            "max_ms": self.most,
            "count": self.count,
            "rate": self.rate,
        }


#: What `Latency.values` has.
COLUMNS = (P50, P99, Column("max_ms", "longest ms", 1), Column("count", "messages"), RATE)


def measured(
    source: tuple[str, str],
    target: tuple[str, str],
    rate: float,
    seconds: float,
    begin: Callable[[], None] = lambda: None,
    ready: Callable[[], None] = lambda: None,
    *,
    warm_up: float = WARM_UP,
) -> Latency:
    """Publish at a fixed rate for some seconds and say how long the messages took.

    Args:
        source: URL and queue into which they are published.
        target: URL and queue in which they arrive; nobody else may consume there.
        rate: messages a second.
        seconds: how long.
        begin: called once, before the first message is published, with the consumer there: what makes the way open.
        ready: called once, when the first message has arrived.
        warm_up: seconds before these that do not count.

    Raises:
        LabError: they do not arrive, or a broker fails.
    """
    early = max(1, round(rate * warm_up))
    count = early + max(1, round(rate * seconds))
    with (
        _process("consume", url=target[0], queue=target[1], early=early, count=count) as consumer,
        _process("publish", url=source[0], queue=source[1], rate=rate, count=count) as publisher,
    ):
        _answer(consumer, "there")
        begin()
        _tell(publisher)
        _answer(consumer, "first")
        ready()
        _tell(publisher)
        _answer(publisher, "published")
        return Latency(**_answer(consumer, "latency"))


# -- the two processes as who measures sees them


@contextmanager
def _process(what: str, **orders: Any) -> Iterator[subprocess.Popen[str]]:
    # It ends with us even where we have no time to end it.
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.bench.stamps"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY)
    try:
        _tell(process, do=what, **orders)
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(process: subprocess.Popen[str], **what: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str], name: str) -> Any:
    """Wait for the next line of a process and return what it says by this name; its own limits bound the wait."""
    assert process.stdout is not None
    line = process.stdout.readline()
    said = json.loads(line) if line else {"fault": "a process of the benchmark ended without a word"}
    if "fault" in said:
        raise LabError(said["fault"])
    return said[name]


# -- the publisher


def publish(url: str, queue: str, rate: float, count: int, go: Callable[[], None], say: Callable[..., None]) -> None:
    """Publish one message when told to, and `count` on their schedule when told again.

    Args:
        url: of the broker.
        queue: its name.
        rate: messages a second.
        count: how many, the first one apart.
        go: waits for the word.
        say: tells who measures.
    """
    template = Load(1).template(queue)
    identity = load.ID.encode()
    with load.connected(url) as (connection, _):
        write = connection.transport.write

        def send(first: int, behind: int, moment: float) -> None:
            stamp = b"%b%012x" % (_MARK, round(moment * 1e6))
            write(b"".join([template.replace(identity, b"%08x%b" % (n, stamp)) for n in range(first, behind)]))

        go()
        send(0, 1, time.monotonic())
        go()
        began = time.monotonic() + GRID
        each = max(1, round(rate * GRID))
        for first in range(0, count, each):
            moment = began + first / rate
            if (early := moment - time.monotonic()) > 0:
                time.sleep(early)  # noqa: TID251  the clock is what is waited for
            send(first + 1, min(first + each, count) + 1, moment)
        # The farewell is answered when all before it was read.
    say(published=count)


# -- the consumer


def consume(url: str, queue: str, early: int, count: int, say: Callable[..., None]) -> None:
    """Note when each message of a queue comes, until there were `count` besides the first, and say what they took.

    Args:
        url: of the broker.
        queue: its name.
        early: how many do not count.
        count: how many come, these included.
        say: tells who measures.
    """
    took: dict[int, float] = {}
    began = last = 0.0
    with load.connected(url) as (connection, channel):
        channel.basic_qos(0, _PREFETCH, False)
        # From here on py-amqp reads nothing any more: it costs many times what is needed, and it reads frame by frame,
        # so that nothing was read that it did not ask for.
        channel.basic_consume(queue, callback=_not_called)
        sock = connection.transport.sock
        sock.settimeout(FIRST_WITHIN)
        say(there=True)
        for now, stamps, tag in _arrivals(sock):
            for number, moment in stamps:
                if not number:
                    say(first=True)
                    sock.settimeout(NEXT_WITHIN)
                elif number > early:
                    took.setdefault(number, now - moment)
                    began = began or moment
                    last = now
            connection.transport.write(frames.ack(1, tag, multiple=True))
            if len(took) == count - early:
                break
    milliseconds = sorted(1000 * one for one in took.values())
    say(
        latency={
            "sent": count + 1,
            "count": len(took),
            "p50": share_of(milliseconds, 0.5),
            "p99": share_of(milliseconds, 0.99),
            "most": milliseconds[-1],
            "rate": len(took) / (last - began),
        }
    )


def share_of(figures: list[float], share: float) -> float:
    """Return the least of these sorted figures that so large a share of them does not exceed."""
    return figures[max(0, math.ceil(len(figures) * share) - 1)]


def _not_called(_message: object) -> None:
    raise AssertionError("py-amqp handed a message out")


def _arrivals(sock: Any) -> Iterator[tuple[float, list[tuple[int, float]], int]]:
    """Yield when a chunk came, number and moment of each message in it, and the last delivery tag.

    A delivery counts with its header, and so does its tag: cut between the two, it would be acked twice.
    """
    cutter = frames.Cutter()
    tag = last = 0
    while chunk := sock.recv(frames.LARGEST):
        now = time.monotonic()
        buffer = cutter.feed(chunk)
        stamps = []
        for kind, _, start, stop in cutter.frames():
            if kind == frames.METHOD:
                if not buffer.startswith(frames.DELIVER, start + 7):
                    raise LabError(f"the consumer got another method than a delivery: {buffer[start + 7 : stop]!r}")
                tag = frames.tag_at(buffer, start + 12 + buffer[start + 11])[0]
            elif kind == frames.HEADER:
                at = buffer.index(_MARK, start, stop)
                moment = int(buffer[at + len(_MARK) : at + len(_MARK) + 12], 16) / 1e6
                stamps.append((int(buffer[at - 8 : at], 16), moment))
                last = tag
        if stamps:
            yield now, stamps, last
    raise LabError("the broker closed the consumer's connection")


def main() -> None:
    """Do what the first line of the input says."""

    def say(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    orders = json.loads(sys.stdin.readline())
    what = orders.pop("do")
    try:
        if what == "publish":
            publish(**orders, go=lambda: None if sys.stdin.readline() else sys.exit(), say=say)
        else:
            consume(**orders, say=say)
    except LabError as fault:
        say(fault=str(fault))


if __name__ == "__main__":
    main()
