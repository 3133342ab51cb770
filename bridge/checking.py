"""`bridge check`: look at both sides, try what only trying can show, judge, print (design, section 5)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from bridge import logs, probe, sides
from bridge.config import Config, load
from bridge.config_sections import Broker
from bridge.core import ladder, rights
from bridge.core.check.finding import Finding
from bridge.core.check.rules import check
from bridge.core.check.world import LegacySide, World
from bridge.core.pairs import Pair
from bridge.core.pairs import pairs as pairs_of
from bridge.core.topology import Probes, Queue, Trial, Vhost
from bridge.errors import ConfigError, Fault
from bridge.management import Management
from bridge.queue_look import QueueLook

#: Bytes that a queue's messages have on average, from which on it is worth 16 MiB to ask for the target's limit.
LARGE = 256 * 1024

#: Says what is being done now.
Say = Callable[[str], None]


def findings(file: str) -> list[Finding]:
    """What there is to find between the brokers of the configuration in `file`, gravest first.

    Raises:
        ConfigError: the configuration cannot be used, or names no HTTP API.
        Unreachable: a broker or its API does not answer, or refuses us.
    """
    config = load(file, os.environ)
    logs.set_up("warning", "text")
    with progress() as say:
        return list(check(look(file, config, say)))


def look(file: str, config: Config, say: Say) -> World:
    """Both sides as they are now, and what trying shows of them. Nothing is changed and no message is taken.

    Args:
        file: the configuration's name, for faults.
        config: what is to be moved.
        say: called with each step.

    Raises:
        ConfigError: a side has no HTTP API, without which there is little to judge.
        Unreachable: a broker or its API does not answer, or refuses us.
    """
    apis = _apis(file, config)
    try:
        vhosts: dict[str, Vhost] = {}
        for name, broker in (("source", config.source), ("target", config.target)):
            say(f"{name}: asking {apis[name].address}")
            vhosts[name] = apis[name].snapshot(broker.amqp[0].vhost, broker.amqp[0].user)
        source, target = vhosts["source"], vhosts["target"]
        named = frozenset(config.explicit_names())
        pairs = tuple(pairs_of(source, config.wants, named, lambda name: config.setting_for(name).target))
        return World(
            source,
            target,
            pairs,
            probes=_probes(config, vhosts, pairs, apis["target"], say),
            moving=frozenset(p.source.name for p in pairs if config.setting_for(p.source.name).route != "legacy"),
            named=named,
            same_broker=bool(_places(config.source) & _places(config.target)),
            instance=config.instance,
            gate_consumers=config.gate.consumers,
            priority=config.relay.priority,
            cap_priority=config.eta.cap_priority == "auto",
            backup=config.backup_side,
            probe=config.probe_queue,
            legacy=None if config.legacy is None else _legacy(config, config.legacy, pairs, say),
        )
    finally:
        for api in apis.values():
            api.close()


def _apis(file: str, config: Config) -> dict[str, Management]:
    apis = {"source": sides.management("source", config.source), "target": sides.management("target", config.target)}
    allowed = "the URL of the management API: `bridge check` sees the broker through it"
    faults = [Fault(f"{name}.api", "missing", allowed) for name, api in apis.items() if api is None]
    if faults:
        raise ConfigError(file, faults)
    return {name: api for name, api in apis.items() if api is not None}


def _places(broker: Broker) -> set[tuple[str, int]]:
    return {(address.host.lower(), address.port) for address in broker.amqp}


# -- what only trying can show
# ------------------------------------------------------------------------------------------


def _probes(config: Config, vhosts: dict[str, Vhost], pairs: tuple[Pair, ...], target: Management, say: Say) -> Probes:
    seen = vhosts["target"]
    names = [(pair.source.name, pair.target) for pair in pairs]
    needed = rights.needed(names, config.instance, config.backup_side, config.probe_queue)
    chosen = rights.to_try(needed, {name: vhost.permissions for name, vhost in vhosts.items()})
    taking = not any(node.memory_alarm or node.disk_alarm for node in seen.nodes)
    tried: list[Trial] = []
    for name, broker in (("source", config.source), ("target", config.target)):
        wanted = [right for right in chosen if right.side == name]
        say(f"{name}: trying {len(wanted)} rights")
        with probe.opened(sides.connection(name, broker, config.instance)()) as connection:
            queue = pairs[0].target if pairs else None
            tried += probe.trials(connection, wanted, taking=taking, queue=queue)
    largest = None
    if taking and max((_average(pair.source) for pair in pairs), default=0.0) >= LARGE:
        say("target: asking for its largest message")
        with probe.opened(sides.connection("target", config.target, config.instance)()) as connection:
            largest = probe.largest_body(connection)
    return Probes(
        trials=tuple(tried),
        max_message_size=largest or probe.default_largest(seen.version),
        max_message_size_tried=largest is not None,
        stuck=_stuck(seen, target, say),
    )


def _legacy(config: Config, broker: Broker, pairs: tuple[Pair, ...], say: Say) -> LegacySide:
    say("legacy: looking for the queues, and trying a right")
    with probe.opened(sides.connection("legacy", broker, config.instance)()) as connection:
        looks = QueueLook(connection)
        missing = tuple(pair.source.name for pair in pairs if looks.ready(pair.source.name) is None)
        tried = probe.trials(connection, [rights.OF_LEGACY], taking=connection.blocked is None)
        return LegacySide(broker.amqp[0].vhost, connection.user, missing, tuple(tried))


def _stuck(seen: Vhost, target: Management, say: Say) -> dict[int, int]:
    queues = {level: seen.queues.get(ladder.level_name(level)) for level in range(ladder.LEVELS)}
    levels = {level: queue.dead_letters for level, queue in queues.items() if queue and queue.dead_letters}
    if levels:
        say(f"target: looking for {probe.LOOKS:.0f} s whether due messages stay in the ladder")
    return probe.staying(target, seen.name, levels)


def _average(queue: Queue) -> float:
    return queue.message_bytes / queue.messages if queue.messages else 0.0


# -- progress
# -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress() -> Iterator[Say]:
    """Show on a terminal's standard error what is being done; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("checking") as shown:
        yield shown.update
