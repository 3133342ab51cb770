"""What every answer of the admin door tells a browser: run only what is ours, show it in no frame, keep nothing."""

from __future__ import annotations

from collections.abc import Iterable

#: The page's files come from here, and it asks nobody else (Content Security Policy, level 3). An answer that has one
#: of these itself keeps its own.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def missing(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that an answer with these headers lacks."""
    there = {name.lower() for name, _ in given}
    return [(name, value) for name, value in HEADERS.items() if name.lower() not in there]
