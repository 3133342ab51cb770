"""Who publishes into the old queues, from two looks at the broker's counts.

With `rates_mode = detailed` the broker tells for each exchange which channels published and which queues got it. In the
default mode `basic` it tells what each connection published, and what each queue got, and no more: then every
connection that publishes may be the one, except

1. ours, which explain their part and are not named;
2. a connection on a worker's host that publishes no more than a worker's own events and replies do, as long as the
   others explain all that came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bridge.core.old_side import (
    ConnectionSeen,
    Crossing,
    Flow,
    Look,
    Publisher,
    is_ours,
    named,
    per_second,
    summed,
)

#: Messages a second of a worker that nobody would call a producer: a heartbeat event every 2 s; or, on the connection
#: of its replies to remote control, the five that `bridge workers list` asks for, in the 5 s of a broker's sample.
HOUSEKEEPING = 1.25
#: What connections must explain of what came: counts of both are up to 5 s apart.
EXPLAINED = 0.8


def flows(
    look: Look, before: Look | None, workers: Mapping[str, str], instance: str, also: frozenset[str] = frozenset()
) -> tuple[Flow, ...]:
    """Who publishes.

    Args:
        look: at the broker, now.
        before: the look before it; None: the broker's own rates of the last seconds count.
        workers: connection to the worker whose mailbox is on it.
        instance: name of this bridge.
        also: hosts that have a worker, where the workers are not on this side.
    """
    elapsed = None if before is None else (look.at - before.at).total_seconds()
    if look.crossings is not None:
        told = {} if before is None else {one.exchange: one for one in before.crossings or ()}
        found = (_crossing(look, one, told.get(one.exchange), elapsed, instance) for one in look.crossings)
        return tuple(flow for flow in found if flow is not None)
    hosts = also | {named(look, connection).address for connection in workers}
    return tuple(_together(look, before, elapsed, hosts, instance))


def _together(
    look: Look, before: Look | None, elapsed: float | None, hosts: frozenset[str] | set[str], instance: str
) -> Iterator[Flow]:
    queues = {}
    for name, queue in look.queues.items():
        was = None if before is None else before.queues.get(name)
        rate = per_second(queue.published, None if was is None else was.published, elapsed, queue.rate)
        if queue.tasks and rate > 0:
            queues[name] = rate
    if not queues:
        return
    rates = []
    for name, channel in look.channels.items():
        seen = None if before is None else before.channels.get(name)
        rate = per_second(channel.published, None if seen is None else seen.published, elapsed, channel.rate)
        rates.append((channel.connection, rate))
    connections = [(named(look, name), rate) for name, rate in summed(rates).items()]
    ours = sum(rate for one, rate in connections if is_ours(one, instance))
    others = [(one, rate) for one, rate in connections if not is_ours(one, instance)]
    kept = [(one, rate) for one, rate in others if rate > HOUSEKEEPING or one.address not in hosts]
    if ours + sum(rate for _, rate in kept) < sum(queues.values()) * EXPLAINED:
        kept = others
    yield _flow(None, queues, kept, ours)


def _crossing(look: Look, now: Crossing, before: Crossing | None, elapsed: float | None, instance: str) -> Flow | None:
    if before is None:
        # It was not looked at before: then only the broker's own rate says what is new.
        before, elapsed = Crossing(now.exchange, {}, {}), None

    def rate(counts: Mapping[str, tuple[int, float]], was: Mapping[str, tuple[int, float]], name: str) -> float:
        return per_second(counts[name][0], was.get(name, (0, 0.0))[0], elapsed, counts[name][1])

    queues = {}
    for name in now.queues:
        queue, each = look.queues.get(name), rate(now.queues, before.queues, name)
        if queue is not None and queue.tasks and each > 0:
            queues[name] = each
    if not queues:
        return None
    rates = []
    for name in now.channels:
        channel = look.channels.get(name)
        # A channel is named after its connection, its number behind it.
        connection = channel.connection if channel else name.rpartition(" (")[0]
        rates.append((connection, rate(now.channels, before.channels, name)))
    connections = [(named(look, name), each) for name, each in summed(rates).items()]
    ours = sum(each for one, each in connections if is_ours(one, instance))
    kept = [(one, each) for one, each in connections if not is_ours(one, instance)]
    return _flow(now.exchange, queues, kept, ours)


def _flow(
    exchange: str | None, queues: Mapping[str, float], kept: Sequence[tuple[ConnectionSeen, float]], ours: float
) -> Flow:
    came = sum(queues.values())
    # One publish can reach several queues, so only where nobody is there at all is it sure that somebody is missing.
    unnamed = came - ours if not kept and ours < came * EXPLAINED else 0.0
    publishers = tuple(
        Publisher("", one.name, one.host, one.client, one.user, rate, exchange, len(kept) == 1 and not ours)
        for one, rate in sorted(kept, key=lambda each: (-each[1], each[0].name))
    )
    return Flow(exchange, queues, publishers, unnamed)
