"""Pictures of a terminal for the docs."""

from __future__ import annotations

import re

from rich.console import Console

#: Rich's picture asks another host for its font; any monospaced one will do.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def svg(console: Console, title: str) -> str:
    """Return what a recording console printed as an SVG that refers to no other file and no host.

    Raises:
        ValueError: it would.
    """
    drawn = _FONTS.sub("", console.export_svg(title=title, unique_id="terminal"))
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas").replace(" \n", "\n")
    found = re.findall(r"url\([^#][^)]*\)|@import[^;]*|\b(?:href|src)\s*[=:][^;>]*", drawn)
    if found:
        raise ValueError(f"the picture refers to {', '.join(found)}")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
