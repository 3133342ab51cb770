"""The admin door: what the daemon answers over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue


def app(snapshot: Callable[[], dict[str, Any]], duplicates: Callable[[], dict[str, Any]]) -> Flask:
    """The routes of the admin door."""
    flask = Flask("bridge", static_folder=None)

    @flask.get("/api/status")
    def status() -> ResponseReturnValue:
        return jsonify(snapshot())

    @flask.get("/api/duplicates")
    def listed() -> ResponseReturnValue:
        return jsonify(duplicates())

    return flask
