"""What a POST asks: its body, checked key by key, to what `Control` takes.

1. A key that is not known, or that this verb does not take, is refused by name: nothing is guessed and nothing ignored.
2. Nothing here looks at queues or routes: whether it is possible is for `Control` to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from bridge.asked import Request
from bridge.config import Config
from bridge.config_faults import translate
from bridge.config_file import Tree, show
from bridge.config_sections import Canary
from bridge.core.route import Verb
from bridge.errors import BridgeError, Exit
from bridge.instants import ALLOWED, parse_instant
from bridge.terms import Share
from bridge.units import parse_rate

#: Characters of a reason or a name: they stand in the journal and in the state.
LONGEST = 500
#: The verbs by the names they have in paths. `rollback` with "reverse" is Verb.REVERSE.
VERBS = {verb.value: verb for verb in Verb if verb is not Verb.REVERSE}
_COMMON = ("queues", "all", "reason", "by", "dry_run")
_MORE: dict[str, tuple[str, ...]] = {
    "cutover": ("force", "at", "when_backlog"),
    "canary": ("force", "at", "when_backlog", "canary"),
    "dual": ("force", "at", "when_backlog"),
    "rollback": ("reverse",),
    "rate": ("rate",),
}


class BadRequest(BridgeError):
    """What was asked cannot be read; nothing was changed."""

    exit_code = Exit.USAGE


@dataclass(frozen=True)
class Asker:
    """Who asks, and through which door (cli, http); `trusted`: whether his own word on who he is counts too."""

    by: str
    door: str
    trusted: bool


@dataclass(frozen=True)
class Asked:
    """What `rate` and `cancel` ask. `queues` None is all; `rate` None is no limit."""

    queues: tuple[str, ...] | None
    by: str
    door: str
    reason: str
    dry_run: bool
    rate: float | None = None


def keys_of(name: str) -> tuple[str, ...]:
    """What the body for a verb may have; `name` is that in the path."""
    return _COMMON + _MORE.get(name, ())


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        BadRequest: there is none.
    """
    hint = 'send a JSON object such as {"queues": ["mail"], "reason": "why"}'
    try:
        body = json.loads(raw)
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8", hint=hint) from None
    except RecursionError:
        raise BadRequest("the body is JSON that is nested too deeply", hint=hint) from None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadRequest(f"the body is not JSON{where}" if raw else "the body is empty", hint=hint) from None
    if not isinstance(body, dict):
        raise BadRequest(f"the body is {_kind(body)}, not an object", hint=hint)
    return body


def read_request(name: str, body: Mapping[str, Any], asker: Asker, now: datetime) -> Request:
    """The request for a verb; `name` is one of `VERBS`.

    Args:
        name: the verb in the path.
        body: what came with it.
        asker: who asks.
        now: the time, with its zone, for `at`.

    Raises:
        BadRequest: something in `body` is not known, or not what it should be.
    """
    asked = _read(name, body, asker)
    return Request(
        verb=Verb.REVERSE if _switch(body, "reverse") else VERBS[name],
        queues=asked.queues,
        by=asked.by,
        door=asked.door,
        reason=asked.reason,
        dry_run=asked.dry_run,
        force=_switch(body, "force"),
        share=_share(body),
        at=_instant(body, now),
        when_backlog=_backlog(body),
    )


def read_rate(body: Mapping[str, Any], asker: Asker) -> Asked:
    """What a change of the limit asks.

    Raises:
        BadRequest: as `read_request`.
    """
    asked = _read("rate", body, asker)
    if "rate" not in body:
        raise BadRequest("rate: missing", hint='a rate such as "500/s", or null for no limit')
    given = body["rate"]
    if given is None:
        return asked
    rate = _parsed("rate", given, parse_rate, 'a rate such as "500/s" or "300/m", from 2/m to 1000000/s, or null')
    return Asked(asked.queues, asked.by, asked.door, asked.reason, asked.dry_run, rate)


def read_cancel(body: Mapping[str, Any], asker: Asker) -> Asked:
    """What the taking back of a postponed verb asks.

    Raises:
        BadRequest: as `read_request`.
    """
    return _read("cancel", body, asker)


def _read(name: str, body: Mapping[str, Any], asker: Asker) -> Asked:
    allowed = keys_of(name)
    unknown = [key for key in body if key not in allowed]
    if unknown:
        keys = ", ".join(show(key) for key in unknown)
        raise BadRequest(f"{keys}: unknown to {name}", hint=f"the keys are {', '.join(allowed)}")
    return Asked(
        queues=_queues(body),
        by=_by(body, asker),
        door=asker.door,
        reason=_words(body, "reason"),
        dry_run=_switch(body, "dry_run"),
    )


def _queues(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    hint = '{"queues": ["mail", ...]} or {"all": true}'
    if ("queues" in body) == ("all" in body):
        found = "both queues and all" if "queues" in body else "neither queues nor all"
        raise BadRequest(f"found {found}; allowed: one of them", hint=hint)
    if "all" in body:
        if body["all"] is not True:
            raise BadRequest(f"all: found {show(body['all'])}; allowed: true", hint=hint)
        return None
    names = body["queues"]
    if not isinstance(names, list) or not names:
        raise BadRequest(f"queues: found {_kind(names)}; allowed: a list of names", hint=hint)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name or not _is_text(name):
            raise BadRequest(f"queues[{index}]: found {show(name)}; allowed: the name of a queue", hint=hint)
    return tuple(dict.fromkeys(names))


def _by(body: Mapping[str, Any], asker: Asker) -> str:
    named = _words(body, "by")
    if named and not asker.trusted:
        raise BadRequest("by: only over the unix socket, where the system says who asks", hint="leave it out")
    return f"{named} ({asker.by})" if named else asker.by


def _words(body: Mapping[str, Any], key: str) -> str:
    given = body.get(key)
    if given is None:
        return ""
    if not isinstance(given, str) or not _is_text(given):
        raise BadRequest(f"{key}: found {_kind(given)}; allowed: text")
    # One line in the log and in the journal, whatever was typed.
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in given).split())
    if len(words) > LONGEST:
        raise BadRequest(f"{key}: found {len(words)} characters; allowed: {LONGEST}")
    return words


def _switch(body: Mapping[str, Any], key: str) -> bool:
    given = body.get(key, False)
    if not isinstance(given, bool):
        raise BadRequest(f"{key}: found {show(given)}; allowed: true or false")
    return given


def _backlog(body: Mapping[str, Any]) -> int | None:
    given = body.get("when_backlog")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise BadRequest(f"when_backlog: found {show(given)}; allowed: a number of messages, 0 or more")
    return given


def _instant(body: Mapping[str, Any], now: datetime) -> datetime | None:
    given = body.get("at")
    return None if given is None else _parsed("at", given, lambda text: parse_instant(text, now), ALLOWED)


def _share(body: Mapping[str, Any]) -> Share | None:
    given = body.get("canary")
    if given is None:
        return None
    try:
        canary = Canary.model_validate(given)
    except ValidationError as error:
        tree = Tree({"canary": given}, None, {})
        faults = "; ".join(str(fault) for _, fault in translate(error, tree, Config, ("canary",)))
        raise BadRequest(faults, hint='{"canary": {"rate": "20/s"}}, first, percent or tasks') from None
    return Share(**{name: value for name in type(canary).model_fields if (value := getattr(canary, name)) is not None})


def _parsed(key: str, given: object, parse: Callable[[str], Any], allowed: str) -> Any:
    if not isinstance(given, str):
        raise BadRequest(f"{key}: found {show(given)}; allowed: {allowed}")
    try:
        return parse(given)
    except ValueError as error:
        raise BadRequest(f"{key}: found {show(given)} ({error}); allowed: {allowed}") from None


def _is_text(given: str) -> bool:
    # JSON can name halves of a surrogate pair, which no log and no broker takes.
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    match value:
        case str():
            return "text" if value else "an empty text"
        case []:
            return "an empty list"
        case bool() | int() | float():
            return show(value)
    return "null" if value is None else show(value)
