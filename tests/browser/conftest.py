"""A real browser, a made-up daemon for what needs no broker, and real brokers for the rest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import Pages, serving
from tests.support.brokers import broker_set, new_vhosts, vhosts, world
from tests.support.ci import in_ci

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["broker_set", "new_vhosts", "vhosts", "world"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; absent locally its tests are skipped, absent in CI they fail."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if not in_ci():
            pytest.skip("no chromium here: apt-get install chromium")
        raise RuntimeError("no chromium here: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Opens pages; what goes wrong in one of them fails the test."""
    opened = Pages(browser)
    yield opened
    opened.close()
    assert opened.faults == []


@pytest.fixture(scope="session")
def fleet() -> Iterator[str]:
    """A made-up daemon with sixteen queues."""
    with serving(16) as url:
        yield url


@pytest.fixture(scope="session")
def large_fleet() -> Iterator[str]:
    """The same with a thousand, all of which change every second."""
    with serving(1000) as url:
        yield url
