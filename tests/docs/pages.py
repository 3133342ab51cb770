"""Which pages are made from the code, and of what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bridge import config_reference, metrics_reference, route_page
from bridge.core import translate
from bridge.core.check import table
from tests.docs import cli_page, error_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Path under docs/ -> the page as it has to be.
GENERATED: dict[str, Callable[[], str]] = {
    "explanation/routes.md": route_page.page,
    "plan/findings.md": table.page,
    "plan/translation.md": translate.page,
    "reference/cli.md": cli_page.page,
    "reference/config.md": config_reference.reference,
    "reference/errors.md": error_page.page,
    "reference/metrics.md": metrics_reference.reference,
}


def write() -> list[str]:
    """Write the pages that are not current, and return which."""
    changed = []
    for name, made in GENERATED.items():
        file, text = DOCS / name, made()
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            changed.append(name)
    return changed
