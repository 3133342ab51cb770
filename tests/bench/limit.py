"""What the brokers can do by themselves: a consumer and a publisher that do nothing else, with no link between them.

1. `consume only` takes every message from the old broker with the bridge's window of 500 unacked and acks with
   `multiple`. `publish only` puts the same number of messages of the same size into the new broker's queue with 500
   unconfirmed. `both at once` is the two of them at the same time, each on its own messages: it ends when both have
   ended. No mover that keeps what it has not got confirmed could pass it.
2. The clients cost next to nothing, since they share the machine with the brokers. A message is made once and sent
   again and again; deliveries are all of one length but for the first, so that received bytes tell their number; of the
   confirms only delivery tags are read. Each is a process of its own with a plain socket after py-amqp has opened the
   connection.
3. Time is from the first byte that a client sends or gets until its last ack or confirm; `both at once` from the first
   of either to the last of either.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bridge.core import frames
from bridge.errors import LabError
from tests.bench import cost, load
from tests.bench.load import QUEUE, Load, connected
from tests.bench.movers import Program, started
from tests.bench.study import Sample
from tests.bench.world import fresh

if TYPE_CHECKING:
    from tests.bench.study import Bench
    from tests.support.brokers import World

CONSUME = "limit, consume only"
PUBLISH = "limit, publish only"
BOTH = "limit, both at once"
#: The rows, and which clients each has.
KINDS = {CONSUME: ("consume",), PUBLISH: ("publish",), BOTH: ("consume", "publish")}

#: Messages without an ack or a confirm: the bridge's default window (reference/config.md, `relay.window`).
WINDOW = 500
#: Bytes that are read and written at once.
CHUNK = 262_144
#: Bytes that may be unconfirmed: the bridge's `relay.window_bytes`.
WINDOW_BYTES = 64 * 1024**2

#: One `basic.ack`: type, channel, size, method, delivery tag, bits, end octet.
_ack_frames = struct.Struct(">BHI4sQBB")


def reached(
    bench: Bench, world: World, study: str, shape: str, number: int, kind: str, work: Load, row: str | None = None
) -> Sample:
    """Return how fast the brokers take a load by themselves; `cpu_us` is of the clients.

    Args:
        bench: told what is measured.
        world: the brokers.
        study: name of the study.
        shape: what is moved.
        number: of the round.
        kind: one of KINDS.
        work: due messages in one queue; only their number and their size count.
        row: name of the row; None: the kind.

    Raises:
        LabError: a client did not end in time.
    """
    bench.progress(f"round {number}: {kind}, {shape}")
    with fresh(world) as vhosts, ExitStack() as running:
        load.declare(vhosts.old.amqp, vhosts.new.amqp)
        urls = {"consume": vhosts.old.amqp, "publish": vhosts.new.amqp}
        if "consume" in KINDS[kind]:
            work.publish(vhosts.old.amqp)
        busy = os.getloadavg()[0]
        clients: list[Program] = [
            running.enter_context(started("tests.bench.limit", side, urls[side], str(work.count), str(work.body)))
            for side in KINDS[kind]
        ]
        before, theirs = sum(client.cpu() for client in clients), cost.brokers_time(world)
        for client in clients:
            client.flip()
        for client in clients:
            client.finish(work.count)
        after, since = sum(client.cpu() for client in clients), cost.brokers_time(world)
    spans = [tuple(map(float, client.said)) for client in clients]
    seconds = max(ended for _, ended in spans) - min(began for began, _ in spans)
    values = {"rate": work.count / seconds, "seconds": seconds}
    values["cpu_us"] = (after - before) / work.count * 1e6
    if theirs is not None and since is not None:
        values["broker_cpu_us"] = (since - theirs) / work.count * 1e6
    return Sample(study, world.name, shape, row or kind, number, values, busy)


def _consume(url: str, count: int, size: int) -> tuple[float, float]:
    """Take and ack `count` messages, and return when the first and the last of them came (monotonic seconds)."""
    with connected(url) as (connection, channel):
        channel.basic_qos(0, WINDOW, False)
        _ready()
        sock, chunk = connection.sock, bytearray(CHUNK)
        # basic.consume (AMQP 0-9-1 section 1.8.3.3) without a wish for its answer: nothing but deliveries comes.
        consume = b"\x00\x3c\x00\x14\x00\x00" + frames.shortstr(QUEUE.encode()) + frames.shortstr(b"c") + b"\x08"
        sock.sendall(frames.frame(frames.METHOD, 1, consume + b"\x00\x00\x00\x00"))
        first = b""
        while not (each := _delivery_length(first)):
            first += sock.recv(CHUNK)
        began, taken, acked = time.monotonic(), len(first), 0
        while True:
            if (tag := taken // each) > acked:
                acked = tag
                sock.sendall(frames.ack(1, tag, multiple=True))
                if tag >= count:
                    break
            taken += _whole(sock.recv_into(chunk))
        # Answered in order: the broker has the ack before it.
        channel.queue_declare(QUEUE, passive=True)
        return began, time.monotonic()


def _publish(url: str, count: int, size: int) -> tuple[float, float]:
    """Publish `count` messages, and return when the first left and the last was confirmed (monotonic seconds)."""
    message = Load(count, size).template()
    # As the bridge's window, which is bounded in bytes as well.
    window = max(1, min(WINDOW, WINDOW_BYTES // len(message)))
    block = memoryview(message * window)
    with connected(url) as (connection, channel):
        channel.confirm_select()
        _ready()
        sock = connection.sock
        confirms = _Confirms()
        began, sent, rest = time.monotonic(), 0, b""
        while confirms.count < count:
            if room := min(window - (sent - confirms.count), count - sent):
                sock.sendall(block[: room * len(message)])
                sent += room
            chunk = rest + sock.recv(CHUNK)
            _whole(len(chunk) - len(rest))
            whole = len(chunk) - len(chunk) % _ack_frames.size
            confirms.read(memoryview(chunk)[:whole])
            rest = chunk[whole:]
        return began, time.monotonic()


class _Confirms:
    """How many publishes are confirmed: all up to one tag, and some beyond it."""

    def __init__(self) -> None:
        self._low = 0
        self._beyond: set[int] = set()

    @property
    def count(self) -> int:
        return self._low + len(self._beyond)

    def read(self, acks: memoryview) -> None:
        """Read `basic.ack` frames.

        Raises:
            LabError: there is something else: a nack or a message that came back.
        """
        for kind, _, size, method, tag, multiple, _ in _ack_frames.iter_unpack(acks):
            if (kind, size, method) != (frames.METHOD, 13, frames.ACK):
                raise LabError(f"the new broker sent {method.hex()} where only confirms were expected")
            if multiple:
                self._low = max(self._low, tag)
            else:
                self._beyond.add(tag)
        if self._beyond:
            while self._low + 1 in self._beyond:
                self._low += 1
            self._beyond = {tag for tag in self._beyond if tag > self._low}


def _delivery_length(received: bytes) -> int:
    """Return the bytes of the first delivery, all its frames; 0 while it is not whole."""
    at, body, found = 0, -1, 0
    while body < 0 or found < body:
        if len(received) < at + frames.CONTENT_HEAD:
            return 0
        kind, _, size = frames.frame_at(received, at)
        if kind == frames.HEADER:
            body = frames.content_at(received, at)[5]
        elif kind == frames.BODY:
            found += size
        at += size + frames.OVERHEAD
    return at if len(received) >= at else 0


def _whole(length: int) -> int:
    """Return a number of bytes that were read.

    Raises:
        LabError: there were none: the broker closed the connection.
    """
    if not length:
        raise LabError("the broker closed the connection")
    return length


def _ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def main(side: str, url: str, count: str, size: str) -> None:
    """Be a client: `consume` or `publish`."""
    began, ended = {"consume": _consume, "publish": _publish}[side](url, int(count), int(size))
    print("done", repr(began), repr(ended), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
