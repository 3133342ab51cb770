"""The reference of all error texts, as Markdown."""

from __future__ import annotations

from collections.abc import Callable

from tests.docs.error_texts import Text, all_texts

_HEAD = """\
# Error texts

Every text with which a command, a request or a queue ends, stops or warns, written from the source by `make docs`; do
not edit. `{name}` stands for what is only known when it happens: search for the words around it. What to do about the
frequent ones, by the moment in which people meet them, is in [troubleshooting](../recover/troubleshooting.md); what
`bridge check` finds is in [findings](../plan/findings.md).

A command prints its text on standard error after `error: `, and what to do after `hint: `; the exit code says which
kind it is. Over [HTTP](http.md) the same two stand in `{"error", "hint"}`. A fault of the configuration begins with the
file and the place in it. No text holds a password.

| exit code | kind |
|---|---|
| 1 | refused: nothing was changed, or what was asked cannot be done now |
| 2 | what was typed, or the configuration |
| 3 | a broker, its HTTP API or the daemon does not answer, or does not let the bridge in |
"""
_CONFIGURATION = (
    "config",
    "address.py",
    "units.py",
    "setting.py",
    "discovery.py",
    "sides.py",
    "checking.py",
    "applying.py",
)
_BROKERS = (
    "amqp", "core/state.py", "delayed.py", "ladder_look.py", "management", "reading.py", "state.py", "web/socket.py",
    "web/tcp.py",
)  # fmt: skip
_STEER = (
    "control.py",
    "verbs.py",
    "asked.py",
    "postponed.py",
    "instants.py",
    "core/route.py",
    "core/gate.py",
    "cli_control.py",
)

#: Heading, what stands under it, and which texts; the first that fits takes a text.
_SECTIONS: tuple[tuple[str, str, Callable[[Text], bool]], ...] = (
    ("The lab", "`bridge lab`, for rehearsals.", lambda text: text.room.startswith("bridge/lab/")),
    ("HTTP requests", "[Which status](http.md) goes with which.", lambda text: text.code == "HTTP"),
    ("The log", "Warnings and errors; `{…}` is filled in.", lambda text: text.code == "log"),
    (
        "Why a queue does not move",
        "Under `why` in [the status](status.md), and in the log. It is tried again by itself.",
        lambda text: text.code in ("why", "status"),
    ),
    ("The configuration", "All faults come at once, each with its place.", lambda text: _in(text, _CONFIGURATION)),
    ("Verbs and the gate", "Nothing was changed for the queue.", lambda text: _in(text, _STEER)),
    ("Brokers, and the start of the daemon", "", lambda text: _in(text, _BROKERS)),
    ("Other commands", "", lambda text: True),
)
#: The order on the page.
_ORDER = (4, 6, 5, 3, 2, 7, 1, 0)


def page() -> str:
    """The whole page."""
    under: dict[int, dict[str, tuple[set[str], list[str]]]] = {}
    for text in all_texts():
        place = next(index for index, (_, _, takes) in enumerate(_SECTIONS) if takes(text))
        codes, hints = under.setdefault(place, {}).setdefault(text.text, (set(), []))
        codes.add(text.code)
        if text.hint and text.hint not in hints:
            hints.append(text.hint)
    parts = [_HEAD]
    for place in _ORDER:
        heading, intro, _ = _SECTIONS[place]
        parts.append(f"## {heading}\n")
        if intro:
            parts.append(f"{intro}\n")
        parts.append(_table(under.get(place, {})))
    return "\n".join(parts)


def _table(rows: dict[str, tuple[set[str], list[str]]]) -> str:
    coded = any(code.isdigit() for codes, _ in rows.values() for code in codes)
    lines = ["| text | what to do | exit code |", "|---|---|---|"] if coded else ["| text | what to do |", "|---|---|"]
    for text, (codes, hints) in sorted(rows.items(), key=lambda row: row[0].lower()):
        cells = [_code(text), _plain(" / ".join(hints))]
        if coded:
            cells.append(", ".join(sorted(code for code in codes if code.isdigit())))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"`` {escaped} ``" if "`" in text else f"`{escaped}`"


def _plain(hint: str) -> str:
    """A hint as running text: what Markdown or HTML would take for its own is escaped."""
    parts = hint.split("`")
    parts[::2] = [
        part.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
        for part in parts[::2]
    ]
    return "`".join(parts)


def _in(text: Text, rooms: tuple[str, ...]) -> bool:
    return text.room.removeprefix("bridge/").startswith(rooms)
