"""The page beside a real daemon and real brokers: traffic, a cutover by its button, a refusal, a daemon killed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.pages import Pages, free_port
from tests.support.brokers import Vhosts
from tests.support.daemon import running, takeover
from tests.support.peers import Peer

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

TOKEN = "s3cret-of-many-letters"


def figure(page: Page, name: str) -> str:
    """A figure of the panel, as it is shown."""
    row = page.locator(".numbers > div", has=page.get_by_text(name, exact=True))
    return row.locator("dd").inner_text()


def shows(page: Page, name: str, value: str) -> None:
    row = page.locator(".numbers > div", has=page.get_by_text(name, exact=True))
    expect(row.locator("dd")).to_have_text(value)


def ask(page: Page, verb: str, label: str) -> None:
    """Ask for a verb by its button, and confirm it."""
    page.locator(f'button[data-verb="{verb}"]').click()
    page.get_by_role("dialog").get_by_role("button", name=label, exact=True).click()


def test_the_page_follows_a_night(pages: Pages, vhosts: Vhosts, tmp_path: Path) -> None:
    port = free_port()
    admin = {"socket": str(tmp_path / "admin.sock"), "listen": f"127.0.0.1:{port}", "token": TOKEN}
    config = takeover(vhosts, tmp_path, admin=admin)
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "lost")
        new.quorum("mail")
        old.publish("mail", range(50))
        with running(config, tmp_path) as daemon:
            page = pages.open(f"http://127.0.0.1:{port}/#queue=mail")
            expect(page.locator(".status")).to_contain_text("idle")

            # A cutover by its button: without the token it says what is missing, with it what came of it.
            ask(page, "cutover", "Cut over")
            dialog = page.get_by_role("dialog", name="Cut over to the new side: mail")
            expect(dialog.locator("#token-why")).to_contain_text("a token is needed to change things")
            dialog.get_by_label("Token").fill(TOKEN)
            dialog.get_by_role("button", name="Cut over", exact=True).click()
            expect(dialog.locator(".answer")).to_contain_text("mail done: everything goes to the target")
            dialog.get_by_role("button", name="Close").click()
            expect(page.locator(".status")).to_contain_text("moving")
            shows(page, "Moved", "50")

            # Traffic.
            old.publish("mail", range(50, 350))
            shows(page, "Moved", "350")
            expect(page.locator("svg.flow")).to_have_attribute("aria-label", re.compile(r"new queue 350 ready"))

            # A refused verb shows its reason.
            page.locator("table.queues").get_by_role("link", name="lost").click()
            ask(page, "cutover", "Cut over")
            answer = page.get_by_role("dialog").locator(".answer")
            expect(answer).to_contain_text('lost refused: target queue "lost" does not exist')
            expect(answer.locator(".hint")).not_to_be_empty()
            page.get_by_role("dialog").get_by_role("button", name="Close").click()
            expect(page.locator(".timeline li").first).to_contain_text("lost cutover refused")
            # The daemon is killed: the page says so, and nothing can be asked of it.
            daemon.kill()
            expect(page.locator("#sentence")).to_have_text(re.compile(r"^The daemon does not answer since \d\d:"))
            expect(page.locator('button[data-verb="pause"]')).to_be_disabled()
            expect(page.locator("#pulse")).to_have_text(re.compile(r"^\d+ s old$"))
            old.publish("mail", range(350, 400))

        with running(config, tmp_path):
            expect(page.locator("#pulse")).to_have_text("live")
            expect(page.locator("#sentence")).not_to_contain_text("does not answer")
            expect(page.locator('button[data-verb="pause"]')).to_be_enabled()
            page.locator("table.queues").get_by_role("link", name="mail").click()
            expect(page.locator(".status")).to_contain_text("moving")
            shows(page, "Moved", "400")
            # What it could not be told meanwhile is there as well.
            assert figure(page, "Books") == "balanced"
