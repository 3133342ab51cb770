"""Celery's remote control as bytes: requests are built, answers read, nothing is ever unpickled (semantics.md, 5.2).

1. A request is JSON, which workers of every version take: those of 4.4 take nothing else.
2. An answer comes in the serializer of the worker's tasks from Celery 5 on. JSON and YAML are read as such, a pickle by
   the reader that imports and calls nothing; what else there is stays unread, and is said to be.
3. What an answer says is believed as far as its shape is known, and no further: it may come from any version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A parser of bytes here: the configuration is read elsewhere.
import yaml

from bridge.core import pickles

#: Bytes of an answer that are read: a worker that lists 50 000 revoked ids sends 2 MB of JSON, one that lists as many
#: tasks 30 MB.
MAX_JSON = 64 * 2**20
#: The same for pickles; and for YAML, of which this takes half a second.
MAX_PICKLE = 2**20
MAX_YAML = 2**18
#: libyaml's parser where PyYAML has it, ten times as fast.
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VERSION = re.compile(r"\bcelery:([0-9][\w.+-]*)")


class Unread(Exception):
    """An answer that came and is not read; the text says what it was."""


@dataclass(frozen=True, slots=True)
class QueueOfWorker:
    """A queue that a worker consumes, with how its tasks are published there."""

    name: str
    exchange: str
    routing_keys: frozenset[str]


def request(
    method: str,
    arguments: Mapping[str, object],
    destination: Sequence[str] | None,
    ticket: str,
    reply_to: tuple[str, str] | None,
) -> bytes:
    """Body of a request, as `kombu.pidbox` makes it.

    Args:
        method: what is to be done, such as `cancel_consumer`.
        arguments: its keyword arguments.
        destination: names of the workers it is for; None: all.
        ticket: comes back with every answer.
        reply_to: exchange and routing key for the answers; None: none is wanted.
    """
    body = {
        "method": method,
        "arguments": dict(arguments),
        "destination": None if destination is None else list(destination),
        "pattern": None,
        "matcher": None,
        "ticket": ticket or None,
        "reply_to": None if reply_to is None else {"exchange": reply_to[0], "routing_key": reply_to[1]},
    }
    return json.dumps(body).encode()


def answer(body: bytes, content_type: str) -> dict[str, Any]:
    """What an answer says, by the name of the worker that gave it.

    Raises:
        Unread: it is of a kind or of a size that is not read, or no answer.
    """
    read = _READERS.get(content_type)
    if read is None:
        raise Unread(f"in {content_type or 'no content type'}, which is not read")
    try:
        found = read(body)
    except Unread:
        raise
    except Exception as fault:
        # Whatever the bytes made a parser raise, be it a RecursionError.
        raise Unread(f"in {content_type}, which could not be read ({type(fault).__name__})") from fault
    if not isinstance(found, dict):
        raise Unread(f"in {content_type}, and is no answer of a worker")
    return {str(worker): said for worker, said in found.items()}


def _json(body: bytes) -> object:
    if len(body) > MAX_JSON:
        raise Unread(f"in application/json, {len(body)} bytes: up to {MAX_JSON} are read")
    return json.loads(body)


def _yaml(body: bytes) -> object:
    if len(body) > MAX_YAML:
        raise Unread(f"in application/x-yaml, {len(body)} bytes: up to {MAX_YAML} are read")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(body, Loader=_YAML_LOADER)):
        # They make a small text a large value.
        raise Unread("in application/x-yaml with aliases, which are not read")
    return _YAML_LOADER(body).get_single_data()


def _pickle(body: bytes) -> object:
    if len(body) > MAX_PICKLE:
        raise Unread(f"in application/x-python-serialize, {len(body)} bytes: up to {MAX_PICKLE} are read")
    pairs = pickles.top_level_mapping(body)
    return None if pairs is None else {key: _plain(value) for key, value in pairs if isinstance(key, str)}


def _plain(value: object, depth: int = 20) -> object:
    """What of a pickle is plain data; an object in it is None."""
    if isinstance(value, pickles.Node) and depth:
        if value.kind == "dict":
            pairs = [pair for pair in value.items if isinstance(pair, tuple)]
            return {key: _plain(item, depth - 1) for key, item in pairs if isinstance(key, str)}
        return [_plain(item, depth - 1) for item in value.items]
    return value if isinstance(value, str | int | float) else None


_READERS = {
    "application/json": _json,
    "application/x-yaml": _yaml,
    "application/x-python-serialize": _pickle,
}


# -- what workers say
# -----------------------------------------------------------------------------------------------------------


def error(said: object) -> str:
    """What went wrong in a worker; empty when nothing did."""
    text = said.get("error") if isinstance(said, dict) else None
    return " ".join(str(text).split())[:200] if text else ""


def queues(said: object) -> tuple[QueueOfWorker, ...]:
    """Read `active_queues`."""
    found = []
    for each in _mappings(said):
        name = each.get("name")
        if not isinstance(name, str):
            continue
        exchange = _name(each.get("exchange"))
        bound = [binding.get("routing_key") for binding in _mappings(each.get("bindings"))]
        keys = frozenset(str(key) for key in (each.get("routing_key"), *bound) if key)
        found.append(QueueOfWorker(name, exchange, keys))
    return tuple(found)


def _name(exchange: object) -> str:
    return str(exchange.get("name") or "") if isinstance(exchange, dict) else str(exchange or "")


def tasks(said: object, consumed: Iterable[QueueOfWorker], known: Iterable[str] = ()) -> dict[str, int]:
    """Count the tasks that `scheduled` or `reserved` lists, by queue; under the empty name where that is not told.

    Args:
        said: the answer.
        consumed: what the worker consumes, as far as it said.
        known: names of queues that exist.
    """
    consumed, names = tuple(consumed), frozenset(known)
    counts: dict[str, int] = {}
    for each in _mappings(said):
        # `scheduled` wraps the request, `reserved` does not.
        inner = each.get("request")
        request = inner if isinstance(inner, dict) else each
        queue = _queue_of(request.get("delivery_info"), consumed, names)
        counts[queue] = counts.get(queue, 0) + 1
    return counts


def _queue_of(info: object, consumed: tuple[QueueOfWorker, ...], known: frozenset[str]) -> str:
    if not isinstance(info, dict):
        return ""
    exchange, key = str(info.get("exchange") or ""), str(info.get("routing_key") or "")
    if exchange:
        for queue in consumed:
            if queue.exchange == exchange and key in queue.routing_keys:
                return queue.name
    # The default exchange routes by name (AMQP 0-9-1, 3.1.3.1). So do most applications: the queue is named as its key,
    # and a worker that was told to consume it no longer does not list it.
    if not exchange or key in known:
        return key if not known or key in known else ""
    return consumed[0].name if len(consumed) == 1 else ""


def ids(said: object) -> list[str]:
    """Read `revoked`: task ids, in their order."""
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else []


def version(said: object) -> str:
    """Celery's version in `report`; empty when it is not there."""
    text = said.get("ok") if isinstance(said, dict) else None
    found = _VERSION.search(text) if isinstance(text, str) else None
    return found[1] if found else ""


def _mappings(said: object) -> list[dict[str, Any]]:
    return [each for each in said if isinstance(each, dict)] if isinstance(said, list | tuple) else []
