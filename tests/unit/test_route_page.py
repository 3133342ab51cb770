"""The page of the routes says what the table says."""

from __future__ import annotations

from pathlib import Path

from bridge import route_page
from bridge.core.route import Route

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "routes.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == route_page.page(), "run: python -m bridge.route_page > docs/explanation/routes.md"


def test_it_shows_each_route_in_words_and_in_both_diagrams() -> None:
    page = route_page.page()
    assert page.count("```mermaid") == 2
    assert all(f"| `{route}` |" in page for route in Route)
    takeover, inline = page.split("## Inline")
    assert "--> dual" not in takeover
    assert "legacy --> dual: dual [gate]" in inline
    assert "quorum --> reverse: rollback --reverse [old queue]" in takeover
    assert "| refused |" in inline
