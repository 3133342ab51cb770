"""Celery settings that declare exactly what the plan declares, as Python text (semantics.md, 1.1, 3.1 and 5.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from bridge.core.topology import Exchange
from bridge.core.wanted import Sister, Wanted

#: Releases of Celery that settings are made for; native delayed delivery begins with 5.5.
RELEASES: tuple[str, ...] = ("5.5", "5.6", "5.7")
NEWEST = RELEASES[-1]
#: Celery's `task_default_queue` where an application names none.
DEFAULT_QUEUE = "celery"
#: From here on RabbitMQ denies transient queues that are not exclusive, which remote control and events have.
DENIES_TRANSIENT = (4, 3)


def settings(wanted: Wanted, target: str, version: tuple[int, ...], release: str = NEWEST) -> str:
    """The text of a settings module.

    Args:
        wanted: what is on the target, or will be.
        target: name of the vhost.
        version: of its broker.
        release: of Celery, one of RELEASES.
    """
    exchanges = {exchange.name: exchange for exchange in wanted.exchanges}
    lines = [
        f'# Celery {release} on vhost "{target}", RabbitMQ {".".join(map(str, version))}: bridge plan --celery',
        "from kombu import Exchange, Queue",
        "",
        *_queues(wanted.sisters, exchanges),
        "",
        *_defaults(wanted.sisters, exchanges),
        "",
        "# Quorum queues: prefetch per consumer, and tasks with an ETA through the broker (native delayed delivery).",
        "worker_detect_quorum_queues = True",
        'broker_native_delayed_delivery_queue_type = "quorum"',
        "# Without confirms a publish that the broker refuses is lost and nobody is told.",
        'broker_transport_options = {"confirm_publish": True}',
        *_control(version, release),
    ]
    return "\n".join(lines) + "\n"


def _queues(sisters: Iterable[Sister], exchanges: dict[str, Exchange]) -> Iterator[str]:
    yield "task_queues = ("
    for sister in sisters:
        first, *others = sister.bindings
        if sister.name != sister.source.name:
            yield f"    # Takes over from {_literal(sister.source.name)}: change what routes tasks to that."
        for binding in others:
            exchange, key = _literal(binding.source), _literal(binding.routing_key)
            yield f"    # Also bound to {exchange} by {key}, which Celery need not declare."
        yield "    Queue("
        yield f"        {_literal(sister.name)},"
        yield f"        {_exchange(exchanges[first.source])},"
        yield f"        routing_key={_literal(first.routing_key)},"
        if first.arguments:
            yield f"        binding_arguments={_literal(first.arguments)},"
        yield f"        queue_arguments={_literal(sister.arguments)},"
        yield "    ),"
    yield ")"


def _exchange(exchange: Exchange) -> str:
    options = [f"type={_literal(exchange.type)}"]
    if not exchange.durable:
        options.append("durable=False")
    if exchange.auto_delete:
        options.append("auto_delete=True")
    if exchange.arguments:
        options.append(f"arguments={_literal(exchange.arguments)}")
    return f"Exchange({_literal(exchange.name)}, {', '.join(options)})"


def _literal(value: object) -> str:
    """A value of arguments as Python text, strings in double quotes."""
    match value:
        case str():
            # A line break or a null byte in a name must not end the line; JSON's escapes are Python's too.
            return json.dumps(value, ensure_ascii=False)
        case Mapping():
            return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in sorted(value.items())) + "}"
        case list():
            return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def _defaults(sisters: tuple[Sister, ...], exchanges: dict[str, Exchange]) -> Iterator[str]:
    by_name = {sister.name: sister for sister in sisters}
    default = by_name.get(DEFAULT_QUEUE) or next(iter(sisters), None)
    if default is None:
        return
    if default.name != DEFAULT_QUEUE:
        yield "# The first of the queues: put in the one that your application has as its default."
    first = default.bindings[0]
    yield f"task_default_queue = {_literal(default.name)}"
    yield f"task_default_exchange = {_literal(first.source)}"
    yield f"task_default_exchange_type = {_literal(exchanges[first.source].type)}"
    yield f"task_default_routing_key = {_literal(first.routing_key)}"
    yield 'task_default_queue_type = "quorum"'


def _control(version: tuple[int, ...], release: str) -> Iterator[str]:
    if release != "5.5":
        yield "# Queues that are made because a task names them."
        yield 'task_create_missing_queue_type = "quorum"'
        yield 'task_create_missing_queue_exchange_type = "topic"'
        yield "# RabbitMQ 4.3 denies queues of remote control and events that are transient and not exclusive."
        yield "control_queue_exclusive = True"
        yield "event_queue_exclusive = True"
    elif version >= DENIES_TRANSIENT:
        yield "# RabbitMQ 4.3 denies the queues of remote control and events of Celery 5.5. Start its workers with"
        yield "# --without-gossip --without-mingle and this, or let the broker permit them (rabbitmq.conf):"
        yield "# deprecated_features.permit.transient_nonexcl_queues = true"
        yield "worker_enable_remote_control = False"
