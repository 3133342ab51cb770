"""The page's files: read once, so that nothing else can be asked for, whatever a path looks like."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """One file: its content, its content type, and a tag that changes with the content (RFC 9110, section 8.8.3)."""

    body: bytes
    kind: str
    tag: str


def page() -> dict[str, File]:
    """The files by the path that they are answered at: the page itself at `/`, what it needs below `/page/`."""
    found = {}
    for entry in (resources.files("bridge.web") / "page").iterdir():
        kind = next((kind for ending, kind in _KINDS.items() if entry.name.endswith(ending)), None)
        if kind is not None:
            body = entry.read_bytes()
            path = "/" if entry.name == "index.html" else f"/page/{entry.name}"
            found[path] = File(body, kind, hashlib.sha256(body).hexdigest()[:16])
    return found
