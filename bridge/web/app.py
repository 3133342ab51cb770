"""The admin door: what the daemon answers over HTTP.

1. The routes know no verb: bodies are read by `bodies`, carried out by `Control`, and its answers go back as JSON.
2. Over the unix socket the kernel says who asks, and he may change everything. Over TCP everybody may look, and who
   bears the token may change things: `access`.
3. What goes wrong is `{"error": sentence, "hint": what to do}`; the unexpected is in the log, not in the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Protocol

from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from bridge.asked import Answer, Request
from bridge.errors import BridgeError, Refused, Standby, UnknownQueue, Unreachable, redact
from bridge.web.access import Access, Denied
from bridge.web.bodies import VERBS, BadRequest, read_body, read_cancel, read_rate, read_request
from bridge.web.events import Crowded, Events
from bridge.web.files import File, page

log = logging.getLogger("bridge.web")

#: Bytes of a body: every queue name of a large installation, many times over.
LARGEST_BODY = 64 * 1024
#: What is read without changing anything: the name in the path, and what answers.
Looks = Mapping[str, Callable[..., Any]]
#: What is answered in another form than JSON: the path, and what gives the status code, the content type and the text.
Texts = Mapping[str, Callable[[], tuple[int, str, str]]]
#: Looks that are told a word of the query, None where it has none: the name in the path, and the word's.
TOLD = MappingProxyType({"history": "queue", "gate": "queue", "check": "again"})

_STATUS: tuple[tuple[type[BridgeError], HTTPStatus], ...] = (
    (BadRequest, HTTPStatus.BAD_REQUEST),
    (UnknownQueue, HTTPStatus.NOT_FOUND),
    (Standby, HTTPStatus.SERVICE_UNAVAILABLE),
    (Crowded, HTTPStatus.SERVICE_UNAVAILABLE),
    (Refused, HTTPStatus.CONFLICT),
    (Unreachable, HTTPStatus.BAD_GATEWAY),
)


class Verbs(Protocol):
    """What carries the verbs out: `Control`."""

    def ask(self, request: Request) -> list[Answer]: ...

    def set_rate(
        self,
        queues: tuple[str, ...] | None,
        rate: float | None,
        *,
        by: str,
        door: str,
        reason: str = "",
        dry_run: bool = False,
    ) -> list[Answer]: ...

    def cancel(
        self, queues: tuple[str, ...] | None, *, by: str, door: str, reason: str = "", dry_run: bool = False
    ) -> list[Answer]: ...


def app(
    verbs: Verbs, looks: Looks, access: Access, texts: Texts = MappingProxyType({}), events: Events | None = None
) -> Flask:
    """The routes of the admin door.

    Args:
        verbs: carries out what is asked.
        looks: what may be read.
        access: who may do what over TCP.
        texts: what may be read and is not JSON.
        events: the status as it changes.
    """
    flask = Flask("bridge", static_folder=None)
    flask.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    # The order of keys is the order in which people read them.
    flask.json.sort_keys = False  # type: ignore[attr-defined]

    @flask.before_request
    def who() -> None:
        g.asker = access.asker(request)

    for name, look in looks.items():
        flask.add_url_rule(f"/api/{name}", name, _answering(look, TOLD.get(name)), methods=["GET"])
    for path, text in texts.items():
        flask.add_url_rule(path, path, _telling(text), methods=["GET"])
    for path, file in page().items():
        flask.add_url_rule(path, path, _sending(file), methods=["GET"])
    if events is not None:
        flask.add_url_rule("/api/events", "events", _streaming(events), methods=["GET"])
    for name in VERBS:
        flask.add_url_rule(f"/api/{name}", name, _asking(verbs, name), methods=["POST"])

    @flask.post("/api/rate")
    def rate() -> ResponseReturnValue:
        asked = read_rate(_body(), g.asker)
        return _answers(
            verbs.set_rate(
                asked.queues, asked.rate, by=asked.by, door=asked.door, reason=asked.reason, dry_run=asked.dry_run
            )
        )

    @flask.post("/api/cancel")
    def cancel() -> ResponseReturnValue:
        asked = read_cancel(_body(), g.asker)
        return _answers(
            verbs.cancel(asked.queues, by=asked.by, door=asked.door, reason=asked.reason, dry_run=asked.dry_run)
        )

    @flask.get("/api/openapi.json")
    def openapi() -> ResponseReturnValue:
        from bridge.web.openapi import document

        return jsonify(document((rule.rule, rule.methods or set()) for rule in flask.url_map.iter_rules()))

    flask.register_error_handler(Denied, _denied)
    flask.register_error_handler(BridgeError, _refused)
    flask.register_error_handler(HTTPException, _misdirected(flask))
    flask.register_error_handler(Exception, _unexpected)
    return flask


def _answering(look: Callable[..., Any], word: str | None) -> Callable[[], ResponseReturnValue]:
    if word is not None:
        return lambda: jsonify(look(request.args.get(word)))
    return lambda: jsonify(look())


def _telling(give: Callable[[], tuple[int, str, str]]) -> Callable[[], ResponseReturnValue]:
    def tell() -> ResponseReturnValue:
        code, kind, text = give()
        return Response(text, code, content_type=kind)

    return tell


def _sending(file: File) -> Callable[[], ResponseReturnValue]:
    def send() -> ResponseReturnValue:
        answer = Response(file.body, content_type=file.kind)
        answer.set_etag(file.tag)
        # Asked again each time, and answered with 304 while it is the same: a new daemon's page is never an old one.
        answer.headers["Cache-Control"] = "no-cache"
        return answer.make_conditional(request)

    return send


def _streaming(events: Events) -> Callable[[], ResponseReturnValue]:
    def stream() -> ResponseReturnValue:
        # A proxy in between is not to keep events back.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(content_type="text/event-stream", headers=headers)
        opened = events.open(rows="rows" in request.args, queue=request.args.get("queue"))
        return Response(opened, content_type="text/event-stream", headers=headers)

    return stream


def _asking(verbs: Verbs, name: str) -> Callable[[], ResponseReturnValue]:
    def ask() -> ResponseReturnValue:
        return _answers(verbs.ask(read_request(name, _body(), g.asker, datetime.now(UTC))))

    return ask


def _body() -> dict[str, Any]:
    if request.mimetype != "application/json":
        found = request.mimetype or "nothing"
        raise BadRequest(
            f"content-type: found {found}; allowed: application/json", hint="curl -H 'content-type: application/json'"
        )
    return read_body(request.get_data())


def _answers(answers: list[Answer]) -> ResponseReturnValue:
    refused = any(answer.outcome == "refused" for answer in answers)
    return jsonify(answers=[asdict(answer) for answer in answers]), HTTPStatus.CONFLICT if refused else HTTPStatus.OK


# -- what goes wrong
# -----------------------------------------------------------------------------------------------------


def _fault(code: int, error: str, hint: str) -> ResponseReturnValue:
    return jsonify(error=redact(error), hint=redact(hint)), code


def _denied(denied: Denied) -> ResponseReturnValue:
    # A path is what the client made of it, line ends included.
    log.warning("%s %r from %s denied: %s", request.method, request.path, request.remote_addr, denied)
    # RFC 6750, section 3: a request without a token is told which kind is wanted.
    headers = {"WWW-Authenticate": "Bearer"} if denied.code == HTTPStatus.UNAUTHORIZED else {}
    return jsonify(error=str(denied), hint=denied.hint), denied.code, headers


def _refused(fault: BridgeError) -> ResponseReturnValue:
    code = next((code for kind, code in _STATUS if isinstance(fault, kind)), HTTPStatus.CONFLICT)
    return _fault(code, str(fault), fault.hint)


def _misdirected(flask: Flask) -> Callable[[HTTPException], ResponseReturnValue]:
    def answer(error: HTTPException) -> ResponseReturnValue:
        code = error.code or HTTPStatus.BAD_REQUEST
        if code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return _fault(code, f"the body is larger than {LARGEST_BODY} bytes", "name fewer queues, or all")
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(set(getattr(error, "valid_methods", None) or ()) - {"HEAD", "OPTIONS"}))
            return _fault(code, f"{request.path} takes {allowed}, not {request.method}", f"ask again with {allowed}")
        if code == HTTPStatus.NOT_FOUND:
            paths = sorted({rule.rule for rule in flask.url_map.iter_rules() if not rule.rule.startswith("/page/")})
            return _fault(code, f"there is nothing at {request.path}", f"the paths are {', '.join(paths)}")
        return _fault(code, error.name.lower(), "")

    return answer


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.error("%s %r: unexpected error: %s: %s", request.method, request.path, type(error).__name__, error)
    log.debug("traceback", exc_info=error)
    return _fault(HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected error", "see the daemon's log")
