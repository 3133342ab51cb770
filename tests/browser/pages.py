"""Opens the page as somebody would have it: a size, a theme; and serves it from a made-up daemon."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

_REPOSITORY = Path(__file__).parents[2]

#: Width and height of a telephone and of a screen.
SMALL, LARGE = (360, 780), (1920, 1080)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(queues: int) -> Iterator[str]:
    """Serve a fleet in a process of its own; its address."""
    port = free_port()
    command = [sys.executable, "-m", "tests.browser.fleet", "--port", str(port), "--queues", str(queues)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_REPOSITORY, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Pages:
    """Pages of one browser; `faults` is what scripts threw and what the console complained of."""

    def __init__(self, browser: Browser) -> None:
        self.faults: list[str] = []
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def open(self, url: str, size: tuple[int, int] = LARGE, scheme: str = "light", **more: Any) -> Page:
        """Open a page and wait until it shows queues.

        Args:
            url: with what follows the host.
            size: of the window.
            scheme: light or dark, as the system has it.
            more: to the browser's context.
        """
        width, height = size
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, timezone_id="UTC", locale="en-GB", **more
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"{error}"))
        page.on("console", self._said)
        page.goto(url)
        page.locator("#columns").wait_for(state="visible")
        page.locator("table.queues tbody a").first.wait_for(state="attached")
        return page

    def _said(self, said: ConsoleMessage) -> None:
        # Answers that are refusals, and a daemon that is gone, are what some tests are about.
        if said.type == "error" and not said.text.startswith("Failed to load resource: "):
            self.faults.append(said.text)

    def close(self) -> None:
        for context in self._contexts:
            context.close()
