"""The page on a made-up daemon: what it shows, how it is used, who can use it, and what an update costs."""

from __future__ import annotations

import contextlib
import re
import statistics

import pytest
import requests

from bridge.lab.deadline import until
from bridge.web.events import MOST
from tests.browser.fleet import TOKEN
from tests.browser.pages import LARGE, SMALL, Pages

pytest.importorskip("playwright")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

#: Milliseconds of work that an update may cost, in the middle, and of a filter until its rows are laid out.
UPDATE = 5.0
FILTER = 100.0


def names(page: Page) -> list[str]:
    return page.locator("table.queues tbody tr:not([hidden]) a").all_inner_texts()


def grave(page: Page) -> list[str]:
    """What axe finds that keeps somebody out."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:5]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_one_look_answers_what_moves_and_what_waits(pages: Pages, fleet: str) -> None:
    page = pages.open(fleet)
    expect(page.locator("#sentence")).to_have_text(re.compile('^Queue "payments.refund" is faulted: unroutable'))
    expect(page.locator("#figures dd").first).to_have_text(re.compile(r"^\d+(\.\d)?/s$"))
    assert len(names(page)) == 16
    # The one that needs somebody is the first, those that stand still on purpose are the last.
    assert names(page)[0] == "payments.refund"
    expect(page.locator("#panel-title")).to_have_text("All queues")
    for heading in ("Changes", "Findings", "Ladder", "Old side"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    expect(page.get_by_text("1 blocker")).to_be_visible()


def test_a_queue_has_its_flow_gate_and_figures(pages: Pages, fleet: str) -> None:
    page = pages.open(f"{fleet}/#queue=mail.bulk")
    expect(page.locator("#panel-title")).to_have_text("mail.bulk")
    expect(page.locator("svg.flow")).to_have_attribute("aria-label", re.compile(r"^Old queue \d.*; moved \d"))
    expect(page.locator(".gate li")).to_have_count(4)
    expect(page.locator(".numbers")).to_contain_text("Finished in")
    assert page.locator(".chart-plot .line").count() == 5
    page.get_by_role("button", name="All queues").click()
    expect(page.locator("#panel-title")).to_have_text("All queues")
    assert page.url.removesuffix("/") == fleet


def test_keys_alone_are_enough(pages: Pages, fleet: str) -> None:
    page = pages.open(fleet)
    page.keyboard.press("/")
    page.keyboard.type("reports")
    expect(page.locator("#shown")).to_have_text("2 of 16")
    expect(page.locator(".scope")).to_have_text("These ask for the 2 queues that the filter shows.")
    page.keyboard.press("Escape")
    expect(page.locator("#shown")).to_have_text("16")
    page.locator("#rows").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = names(page)[1]
    expect(page.locator("#panel-title")).to_have_text(second)
    assert page.evaluate("document.activeElement.textContent") == second
    page.keyboard.press("Escape")
    expect(page.locator("#panel-title")).to_have_text("All queues")
    # Everything that can be pressed can be reached.
    page.evaluate(
        """() => {
            document.activeElement.blur();
            window.reached = new Set();
            document.addEventListener("focusin", (event) => window.reached.add(event.target.textContent));
        }"""
    )
    wanted = {"Skip to the queues", "Token", "Cut over…", "Check again", "15 min"}
    for _ in range(60):
        page.keyboard.press("Tab")
    assert wanted <= set(page.evaluate("[...window.reached]"))


def test_the_list_is_sorted_and_narrowed(pages: Pages, fleet: str) -> None:
    page = pages.open(fleet)
    page.get_by_role("button", name="Queue", exact=True).click()
    assert names(page) == sorted(names(page))
    page.get_by_role("button", name="Queue", exact=True).click()
    assert names(page) == sorted(names(page), reverse=True)
    page.get_by_role("button", name=re.compile(r"^paused \d+$")).click()
    expect(page.locator("#shown")).to_have_text(re.compile(r"^\d+ of 16$"))
    assert "reports.daily" in names(page)
    page.locator("#filter").fill("nothing like this")
    expect(page.locator(".empty")).to_have_text("No queue fits the filter.")


def test_a_verb_wants_its_token_and_says_what_came_of_it(pages: Pages, fleet: str) -> None:
    page = pages.open(f"{fleet}/#queue=images.thumbnails")
    page.locator('button[data-verb="cutover"]').click()
    dialog = page.get_by_role("dialog", name="Cut over to the new side: images.thumbnails")
    expect(dialog.locator(".checks li")).to_have_count(4)
    dialog.get_by_label("Reason").fill("a try")
    dialog.get_by_role("button", name="Cut over").click()
    expect(dialog.locator("#token-why")).to_have_text(re.compile("^a token is needed to change things: "))
    dialog.get_by_label("Token").fill("not the one that it is")
    dialog.get_by_role("button", name="Cut over").click()
    expect(dialog.locator("#token-why")).to_have_text(re.compile("^the token is not this daemon's: "))
    dialog.get_by_label("Token").fill(TOKEN)
    dialog.get_by_role("button", name="Dry run").click()
    expect(dialog.locator(".answer")).to_contain_text("Dry run, nothing was changed: would be done")
    dialog.get_by_role("button", name="Cut over").click()
    expect(dialog.locator(".answer")).to_contain_text("images.thumbnails done: everything goes to the target")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".status")).to_contain_text("route quorum")
    expect(page.locator(".why")).to_contain_text("a try")
    # The token is in this tab's storage and nowhere that stays.
    assert TOKEN not in page.url
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.locator('button[data-verb="legacy"]').click()
    page.get_by_role("dialog").get_by_role("button", name="Legacy").click()
    expect(page.locator(".status")).to_contain_text("route legacy")


def test_all_queues_want_their_number_typed(pages: Pages, fleet: str) -> None:
    page = pages.open(fleet)
    page.evaluate(f"sessionStorage.setItem('bridge.token', '{TOKEN}')")
    page.locator('button[data-verb="pause"]').click()
    dialog = page.get_by_role("dialog", name="Pause: all 16 queues")
    expect(dialog.locator(".names")).to_contain_text("and 4 more")
    go = dialog.get_by_role("button", name="Pause")
    expect(go).to_be_disabled()
    dialog.get_by_label("Type 16 to confirm").fill("15")
    expect(go).to_be_disabled()
    dialog.get_by_label("Type 16 to confirm").fill("16")
    expect(go).to_be_enabled()
    dialog.get_by_role("button", name="Close").click()
    page.locator("#filter").fill("audit")
    page.locator('button[data-verb="cutover"]').click()
    dialog = page.get_by_role("dialog", name="Cut over to the new side: audit")
    dialog.get_by_role("button", name="Cut over").click()
    expect(dialog.locator(".answer")).to_contain_text("Answer: refused")
    expect(dialog.locator(".answer .hint")).to_have_text("start the new workers, then ask again")


def test_a_ninth_page_looks_now_and_then(pages: Pages, fleet: str) -> None:
    with contextlib.ExitStack() as others:
        streams: list[requests.Response] = []

        def taken() -> bool:
            # Those of the pages before are noticed to be gone when something is written to them.
            stream = others.enter_context(requests.get(f"{fleet}/api/events", stream=True, timeout=10))
            streams.extend([stream] if stream.status_code == 200 else [])
            return len(streams) == MOST

        assert until(taken, 10)
        page = pages.open(fleet)
        expect(page.locator("#pulse")).to_have_text("every 5 s")
        expect(page.locator("#sentence")).to_contain_text("payments.refund")
        assert len(names(page)) == 16
    expect(page.locator("#pulse")).to_have_text("live")


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(SMALL, "dark", id="small-dark"),
        pytest.param(LARGE, "light", id="large-light"),
        pytest.param(SMALL, "light", id="small-light", marks=pytest.mark.long),
        pytest.param(LARGE, "dark", id="large-dark", marks=pytest.mark.long),
    ],
)
def test_nobody_is_kept_out(size: tuple[int, int], scheme: str, pages: Pages, fleet: str) -> None:
    page = pages.open(fleet, size, scheme, reduced_motion="reduce")
    expect(page.get_by_text("1 blocker")).to_be_visible()
    assert grave(page) == []
    # Nothing is wider than the window.
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    page.goto(f"{fleet}/#queue=audit")
    expect(page.locator(".gate li")).to_have_count(4)
    assert grave(page) == []
    page.locator('button[data-verb="cutover"]').click()
    page.get_by_text("Later, or without workers").click()
    assert grave(page) == []


def test_the_theme_is_chosen_and_stays(pages: Pages, fleet: str) -> None:
    page = pages.open(fleet, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.alone
def test_a_thousand_queues_cost_an_update_little(pages: Pages, large_fleet: str) -> None:
    page = pages.open(large_fleet)
    seen: list[float] = []

    def cheap() -> bool:
        # A busy machine makes single updates slow: the last ten have to be quick once.
        seen[:] = page.evaluate("bridgePage.updates")
        return len(seen) >= 12 and statistics.median(seen[-10:]) < UPDATE

    assert until(cheap, 60), seen
    print(f"an update with 1 000 queues: {statistics.median(seen[-10:]):.2f} ms of work")
    assert page.locator("table.queues tbody tr").count() < 60


@pytest.mark.alone
def test_a_thousand_queues_are_filtered_at_once(pages: Pages, large_fleet: str) -> None:
    page = pages.open(large_fleet)
    script = """(text) => {
        const box = document.getElementById("filter"), from = performance.now();
        box.value = text;
        box.dispatchEvent(new Event("input"));
        document.getElementById("rows").getBoundingClientRect();
        return performance.now() - from;
    }"""
    took: list[float] = []

    def quick() -> bool:
        took[:] = [page.evaluate(script, text) for text in ("m", "mail", "mail.bulk.0", "", "0999")]
        return statistics.median(took) < FILTER

    assert until(quick, 30), took
    print(f"a filter over 1 000 queues, with its layout: {statistics.median(took):.0f} ms")
    expect(page.locator("#shown")).to_have_text("1 of 1\u202f000")
    page.locator("#filter").fill("")
    page.locator("#rows").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    expect(page.locator('table.queues tr[aria-rowindex="1001"]')).to_be_visible()
