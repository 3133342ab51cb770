"""Log lines on standard error: JSON for collectors, text for people; no line holds a password."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from bridge.errors import redact

#: pika reports each broken connection in a dozen records of its own; ours says it once. They are there at level debug.
_LIBRARIES = ("pika", "amqp", "kombu", "urllib3", "geventwebsocket")


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Text(logging.Formatter):
    """`2026-01-31T02:30:00.123Z info bridge.link: source: connected`"""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return redact(f"{_when(record)} {record.levelname.lower()} {record.name}: {text}")


class Json(logging.Formatter):
    """One object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, ensure_ascii=False))


class _AsDebug(logging.Filter):
    """Lets a library's records pass as what they are to an operator: detail."""

    def __init__(self, shown: bool) -> None:
        super().__init__()
        self._shown = shown

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] in _LIBRARIES:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return self._shown
        return True


def set_up(level: str, form: str) -> None:
    """Send every record of this process to standard error in this form; called again, it changes level and form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    handler.addFilter(_AsDebug(level == "debug"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
