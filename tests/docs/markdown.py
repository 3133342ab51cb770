"""The documentation as Markdown: its pages, their links and anchors, and the blocks of code in them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_ANCHOR = re.compile(r"""<a\s+(?:id|name)=["']([^"']+)["']""")


@dataclass(frozen=True)
class Link:
    """Where it stands, as it is written, and the file and anchor it means (None: another host)."""

    page: Path
    href: str
    file: Path | None
    anchor: str


def pages() -> list[Path]:
    """README and everything under docs/."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@cache
def _tokens(page: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse(page.read_text()))


def _all(page: Path) -> Iterator[Token]:
    for token in _tokens(page):
        yield token
        yield from token.children or ()


def links(page: Path) -> Iterator[Link]:
    """Links and pictures of a page."""
    for token in _all(page):
        href = (
            token.attrGet("href" if token.type == "link_open" else "src")
            if token.type in ("link_open", "image")
            else None
        )
        if not isinstance(href, str):
            continue
        path, _, anchor = href.partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", href):
            yield Link(page, href, None, "")
        else:
            yield Link(page, href, (page.parent / unquote(path)).resolve() if path else page, unquote(anchor))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link to a part of a page may name: its headings, as GitHub spells them, and what HTML names."""
    found: set[str] = set()
    tokens = _tokens(page)
    for token, inner in itertools.pairwise(tokens):
        if token.type == "heading_open":
            text = "".join(child.content for child in inner.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = 0
            while (name := slug if not number else f"{slug}-{number}") in found:
                number += 1
            found.add(name)
    return frozenset(found | set(_ANCHOR.findall(page.read_text())))


def fences(page: Path, before: str = "") -> Iterator[tuple[str, str, str]]:
    """Every fenced block in order, wherever it stands: its language, what follows that, its text.

    Args:
        page: where.
        before: how the heading begins that ends it; empty: the whole page.
    """
    tokens = _tokens(page)
    for token, inner in itertools.pairwise((*tokens, Token("end", "", 0))):
        if before and token.type == "heading_open" and inner.content.startswith(before):
            return
        if token.type == "fence":
            language, _, rest = token.info.strip().partition(" ")
            yield language, rest.strip(), token.content
