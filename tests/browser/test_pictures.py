"""The pictures of the page in the docs, of made-up queues: written by `make screenshots` alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser.pages import LARGE, SMALL, Pages

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.skipif(not os.environ.get("BRIDGE_SCREENSHOTS"), reason="`make screenshots` writes them")

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def keep(page: Page, name: str, height: int | None = None) -> None:
    """Write a picture of the window, or of a page as high as this."""
    file = IMAGES / f"{name}.png"
    file.parent.mkdir(exist_ok=True)
    if height is None:
        page.screenshot(path=file)
    else:
        width = page.viewport_size["width"]  # type: ignore[index]
        page.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    if shutil.which("pngquant"):
        # A quarter of the size, and nobody sees it.
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--ext", ".png", file], check=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_pictures_of_the_page(size: tuple[int, int], scheme: str, pages: Pages, fleet: str) -> None:
    page = pages.open(f"{fleet}/#queue=mail.bulk" if size == SMALL else fleet, size, scheme, reduced_motion="reduce")
    expect(page.get_by_text("1 blocker")).to_be_visible()
    # The rate into the ladder is known from the second update on.
    page.locator('svg.flow .band.b-ladder:not([stroke-width="1.5"])').first.wait_for(state="attached")
    expect(page.locator("svg.chart-plot .line").first).to_be_visible()
    keep(page, f"page-{size[0]}-{scheme}", None if size == LARGE else 1500)


def test_a_picture_of_a_confirmation(pages: Pages, fleet: str) -> None:
    page = pages.open(f"{fleet}/#queue=audit", (1280, 800), "light", reduced_motion="reduce")
    expect(page.locator(".gate li")).to_have_count(4)
    page.locator('button[data-verb="cutover"]').click()
    keep(page, "page-dialog")
