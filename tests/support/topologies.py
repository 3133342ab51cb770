"""Vhosts as values, and a target that takes the calls of a plan into such a value as a broker would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from bridge.core.plan import Step
from bridge.core.topology import Arguments, Binding, Exchange, Policy, Queue, Vhost


def queue(
    name: str,
    arguments: Arguments | None = None,
    policy: Arguments | None = None,
    *,
    kind: str = "classic",
    ready: int = 0,
) -> Queue:
    """Return a durable queue."""
    return Queue(name, kind, True, False, False, arguments or {}, policy or {}, ready=ready)


def vhost(
    name: str,
    *queues: Queue,
    version: tuple[int, ...] = (3, 10, 8),
    exchanges: tuple[Exchange, ...] = (),
    bindings: tuple[tuple[str, str, str], ...] = (),
    policies: tuple[Policy, ...] = (),
    default_queue_type: str | None = None,
) -> Vhost:
    """Return a vhost; bindings of queues are (exchange, queue, routing key)."""
    return Vhost(
        name,
        version,
        queues={each.name: each for each in queues},
        exchanges={each.name: each for each in exchanges},
        bindings=tuple(Binding(source, to, "queue", key) for source, to, key in bindings),
        policies=policies,
        default_queue_type=default_queue_type,
    )


def after(target: Vhost, step: Step) -> Vhost:
    """Return the target after a step."""
    return called(target, step.method, step.path, step.body)


def called(target: Vhost, method: str, path: str, body: Mapping[str, object]) -> Vhost:
    """Return the target after a call, its path and body read as RabbitMQ reads them.

    Raises:
        ValueError: no such call.
    """
    kind, name, *rest = map(unquote, path.split("/"))
    assert name == target.name
    given = dict(body)
    match method, kind, rest:
        case "PUT", "vhosts", []:
            return replace(target, default_queue_type=str(given["default_queue_type"]))
        case "PUT", "policies", [policy]:
            made = Policy(
                policy,
                str(given["pattern"]),
                str(given["apply-to"]),
                _table(given["definition"]),
                _whole(given["priority"]),
            )
            return replace(target, policies=(*(p for p in target.policies if p.name != policy), made))
        case "PUT", "queues", [new]:
            arguments = _table(given["arguments"])
            kind = str(arguments.get("x-queue-type", "classic"))
            return replace(target, queues={**target.queues, new: queue(new, arguments, kind=kind)})
        case "PUT", "exchanges", [new]:
            exchange = Exchange(
                new,
                str(given["type"]),
                bool(given["durable"]),
                bool(given["auto_delete"]),
                bool(given["internal"]),
                _table(given["arguments"]),
            )
            return replace(target, exchanges={**target.exchanges, new: exchange})
        case "POST", "bindings", ["e", source, "e" | "q" as place, to]:
            if source not in target.exchanges or to not in (target.exchanges if place == "e" else target.queues):
                raise ValueError(f"404: {path}")
            bound = Binding(
                source,
                to,
                "exchange" if place == "e" else "queue",
                str(given["routing_key"]),
                _table(given["arguments"]),
            )
            return replace(target, bindings=(*target.bindings, bound))
    raise ValueError(f"405: {method} {path}")


def _table(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


@dataclass
class Target:
    """The write side of a target that is only a value; from call `fails_at` (counted from 0) on it raises `fault`.

    Attributes:
        vhost: as it is after the calls made so far.
        calls: how many were made.
    """

    vhost: Vhost
    fails_at: int | None = None
    fault: Exception | None = None
    calls: int = 0

    def put(self, path: str, body: Mapping[str, object]) -> None:
        """Take a call."""
        self._call("PUT", path, body)

    def post(self, path: str, body: Mapping[str, object]) -> None:
        """Take a call."""
        self._call("POST", path, body)

    def delete(self, path: str) -> None:
        """Nothing is ever deleted by a plan."""
        raise AssertionError(f"DELETE {path}")

    def _call(self, method: str, path: str, body: Mapping[str, object]) -> None:
        if self.calls == self.fails_at and self.fault is not None:
            raise self.fault
        self.vhost = called(self.vhost, method, path, body)
        self.calls += 1
