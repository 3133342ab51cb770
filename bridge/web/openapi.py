"""The description of the admin door for programs, as OpenAPI 3.1: made from the routes and keys that the door has.

What the routes and keys mean stands here once; a test holds that none is left out and none is made up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

from bridge import __version__
from bridge.asked import Answer
from bridge.config_sections import Canary
from bridge.web.app import LARGEST_BODY
from bridge.web.bodies import LONGEST, VERBS, keys_of

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_SWITCH: Json = {"type": "boolean"}


def _object(described: str, *required: str, **properties: Json) -> Json:
    """An object that has at least these keys; more may come with a newer version."""
    return {"type": "object", "description": described, "required": list(required), "properties": properties}


def _maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


#: The keys of bodies by their names.
KEYS: dict[str, Json] = {
    "queues": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "minLength": 1},
        "description": "queues by name; this or `all`",
    },
    "all": {"const": True, "description": "all queues in scope; this or `queues`"},
    "reason": {"type": ["string", "null"], "maxLength": LONGEST, "description": "why, for the journal"},
    "by": {
        "type": ["string", "null"],
        "maxLength": LONGEST,
        "description": "on whose behalf; only over the unix socket",
    },
    "dry_run": {**_SWITCH, "default": False, "description": "say what would happen"},
    "force": {**_SWITCH, "default": False, "description": "without workers on the target; only with `queues`"},
    "reverse": {**_SWITCH, "default": False, "description": "bring back what waits on the target"},
    "at": {"type": ["string", "null"], "description": "not before then: ISO 8601, or HH:MM by the daemon's clock"},
    "when_backlog": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "not before at most so many messages are ready in the old queue",
    },
    "canary": {"anyOf": [Canary.model_json_schema(), {"type": "null"}], "description": "how much; else as configured"},
    "rate": {"type": ["string", "null"], "description": 'at most so many a second, such as "500/s"; null: no limit'},
}

_WORDS = {
    "cutover": "everything goes to the target",
    "canary": "a share goes to the target",
    "dual": "everything goes to both sides; in the inline layout",
    "legacy": "the old workers have the queues",
    "rollback": "the old workers have the queues, and with `reverse` what waits on the target too",
    "pause": "nothing moves",
    "resume": "what was paused goes on",
    "rate": "limits how fast the queues move",
    "cancel": "takes back what was postponed",
}

_OUTCOMES = ("done", "unchanged", "planned", "would", "refused")
_ANSWER_KEYS: dict[str, Json] = {
    "queue": {**_TEXT, "description": "its name; `*` is all together"},
    "outcome": {"enum": list(_OUTCOMES)},
    "before": {**_TEXT, "description": "the route before"},
    "route": {**_TEXT, "description": "the route now; in a dry run what it would be"},
    "paused": _SWITCH,
    "text": {**_TEXT, "description": "what happens now, or why nothing was changed"},
    "hint": {**_TEXT, "description": "what to do about a refusal"},
    "next": {"type": "array", "items": _TEXT, "description": "what can be asked next, as it is typed"},
}
_COUNT: Json = {"type": "integer", "minimum": 0}
_SIDE = _object(
    "a broker", "url", "connected", "reason", url=_TEXT, connected=_SWITCH, reason={"type": ["string", "null"]}
)
_QUEUE = _object(
    "a queue in scope",
    *("name", "target", "route", "paused", "state", "why", "since", "in_flight", "moved"),
    name=_TEXT,
    target=_TEXT,
    route=_TEXT,
    paused=_SWITCH,
    state=_TEXT,
    why={**_TEXT, "description": "why it does not move"},
    since={**_TEXT, "format": "date-time"},
    in_flight=_COUNT,
    moved=_COUNT,
)
_PROBE = _object(
    "the bridge's own message",
    *("every_s", "last_ms", "p50_ms", "p99_ms", "at", "fault"),
    every_s={"type": "number"},
    last_ms={"type": ["number", "null"]},
    p50_ms={"type": ["number", "null"]},
    p99_ms={"type": ["number", "null"]},
    at={"type": ["string", "null"]},
    fault={"type": ["string", "null"]},
)

_SCHEMAS: dict[str, Json] = {
    "Error": {**_object("what went wrong", "error", "hint", error=_TEXT, hint=_TEXT), "additionalProperties": False},
    "Answer": {
        **_object("what came of it for a queue", *(field.name for field in fields(Answer)), **_ANSWER_KEYS),
        "additionalProperties": False,
    },
    "Answers": _object(
        "what came of it",
        "answers",
        answers={"type": "array", "items": {"$ref": "#/components/schemas/Answer"}},
    ),
    "status": _object(
        "docs/reference/status.md has every key",
        *("version", "instance", "layout", "state", "standby", "since", "source", "target", "totals", "queues"),
        *("changes", "probe"),
        version=_TEXT,
        instance=_TEXT,
        layout={"enum": ["takeover", "inline"]},
        state={"enum": ["starting", "standby", "active", "stopping"]},
        standby=_TEXT,
        since={**_TEXT, "format": "date-time"},
        source=_SIDE,
        target=_SIDE,
        totals={"type": "object"},
        queues={"type": "array", "items": _QUEUE},
        changes={"type": "array", "items": {"type": "object"}},
        probe=_maybe(_PROBE),
    ),
    "duplicates": _object(
        "tasks that may run twice",
        *("total", "listed"),
        total=_COUNT,
        listed={
            "type": "array",
            "items": _object("a task", "queue", "id", "why", "at", queue=_TEXT, id=_TEXT, why=_TEXT, at=_TEXT),
        },
    ),
    "certify": _object("whether the old vhost can be deleted: each condition with its number and its age"),
    "old-side": _object("who publishes, consumes and holds messages on the old side"),
    "check": _object("what `bridge check` finds, and how old that is", "findings", findings={"type": "array"}),
    "gate": _object(
        "the gate of one queue",
        *("queue", "verb", "ok", "checks"),
        queue=_TEXT,
        verb={**_TEXT, "description": "as it is typed"},
        ok=_SWITCH,
        checks={
            "type": "array",
            "items": _object(
                "one check", "check", "ok", "text", "hint", check=_TEXT, ok=_SWITCH, text=_TEXT, hint=_TEXT
            ),
        },
    ),
    "history": _object(
        "the last hour, for charts",
        *("every_s", "queue", "points"),
        every_s={"type": "number"},
        queue={"type": ["string", "null"]},
        points={"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}},
    ),
    "openapi.json": _object("this description", "openapi", "info", "paths", openapi=_TEXT),
}

#: Looks, by the last part of their path: what they tell, and the words of the query that they take.
LOOKS: dict[str, tuple[str, dict[str, str]]] = {
    "status": ("everything at one moment", {}),
    "duplicates": ("the newest possible duplicates", {}),
    "certify": ("looks at both brokers, and takes as long", {}),
    "old-side": ("from the last look at the old broker", {}),
    "check": ("begins a look in the background where the last one is old", {"again": "whatever it is: look again"}),
    "gate": ("asks the gate of one queue's next verb", {"queue": "the queue"}),
    "history": ("depths, rates and confirm times", {"queue": "one queue; absent: all together"}),
    "openapi.json": ("for programs", {}),
}

#: What is answered in another form: the path, what it is, its content type, the codes beside 200, and the words of the
#: query that it takes.
TEXTS: dict[str, tuple[str, str, tuple[int, ...], dict[str, str]]] = {
    "/": ("the page", "text/html", (), {}),
    "/page/": ("a file of the page", "*/*", (), {}),
    "/api/events": (
        "the status as it changes: server-sent events `status`, then `change`, and `queue` for the one that is named",
        "text/event-stream",
        (503,),
        {"rows": "whatever it is: of each queue what a list shows", "queue": "with rows: everything of this queue"},
    ),
    "/metrics": ("all metrics, for Prometheus", "text/plain", (), {}),
    "/livez": ("whether the daemon lives", "text/plain", (503,), {}),
    "/readyz": ("whether it does its work, or has a reason not to", "text/plain", (503,), {}),
}

_REFUSALS = {
    400: "the body is not JSON, or a key is unknown or of the wrong kind; or this is no HTTP",
    401: "a token is needed",
    403: "the token or the Host is not this daemon's, or no token is configured",
    404: "a queue is not in scope; nothing was changed",
    409: "not possible now",
    413: f"the body is larger than {LARGEST_BODY} bytes",
    502: "a broker does not answer",
    503: "another daemon is the active one, or it is too busy",
}
_JSON = "application/json"
#: Of a request that changes nothing.
_LOOKING = (400, 403, 404, 409, 502, 503)
_CHANGING = (400, 401, 403, 404, 409, 413, 502, 503)


def document(rules: Iterable[tuple[str, Collection[str]]]) -> Json:
    """The description of an admin door with these paths and methods."""
    paths: dict[str, Json] = {}
    for path, methods in sorted((path, sorted(methods)) for path, methods in rules):
        for method in methods:
            if method in ("GET", "POST"):
                paths.setdefault(path, {})[method.lower()] = _verb(path) if method == "POST" else _look(path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "celery-quorum-bridge",
            "version": __version__,
            "description": "The admin door of `bridge run`: docs/reference/http.md.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "admin.token; over TCP"}},
        },
    }


def _look(path: str) -> Json:
    name = path.removeprefix("/api/")
    if name in LOOKS:
        words, query = LOOKS[name]
        found = {"200": _told(words, _JSON, {"$ref": f"#/components/schemas/{name}"}), **_refused(_LOOKING)}
        return {"summary": words, "parameters": _parameters(query), "responses": found}
    words, kind, codes, query = TEXTS["/page/" if path.startswith("/page/") else path]
    found = {"200": _told(words, kind, _TEXT), **_refused((400, 403))}
    for code in codes:
        kinds = {kind: {"schema": _TEXT}, _JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
        found[str(code)] = {"description": "with the reason", "content": kinds}
    return {"summary": words, "parameters": _parameters(query), "responses": found}


def _parameters(query: Mapping[str, str]) -> list[Json]:
    return [
        {"name": key, "in": "query", "required": False, "schema": _TEXT, "description": text}
        for key, text in query.items()
    ]


def _verb(path: str) -> Json:
    name = path.removeprefix("/api/")
    body = {
        "type": "object",
        "properties": {key: KEYS[key] for key in keys_of(name)},
        "required": ["rate"] if name == "rate" else [],
        "oneOf": [{"required": ["queues"]}, {"required": ["all"]}],
        "additionalProperties": False,
    }
    answers: Json = {"$ref": "#/components/schemas/Answers"}
    found = {"200": _told("what came of it, queue by queue", _JSON, answers), **_refused(_CHANGING)}
    either = {"oneOf": [answers, {"$ref": "#/components/schemas/Error"}]}
    found["409"] = _told("at least one queue was refused, or all of it", _JSON, either)
    return {
        "summary": _WORDS[name],
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {_JSON: {"schema": body}}},
        "responses": found,
    }


def _told(words: str, kind: str, schema: Json) -> Json:
    return {"description": words, "content": {kind: {"schema": schema}}}


def _refused(codes: Iterable[int]) -> Json:
    return {str(code): _told(_REFUSALS[code], _JSON, {"$ref": "#/components/schemas/Error"}) for code in codes}


#: Every verb of the door, by the last part of its path.
CHANGES = (*VERBS, "rate", "cancel")
