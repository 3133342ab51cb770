"""The documentation: current, whole, and without a link that leads nowhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.docs.cli_page import EXAMPLES, commands
from tests.docs.error_texts import all_texts, all_words, words
from tests.docs.markdown import DOCS, ROOT, anchors, fences, links, pages
from tests.docs.pages import GENERATED


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", GENERATED)
def test_what_is_made_from_the_code_is_current(page: str) -> None:
    assert (DOCS / page).read_text() == GENERATED[page](), "run: make docs"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = [
        link.href
        for link in links(page)
        if link.file is not None and not (link.file.exists() and (not link.anchor or link.anchor in anchors(link.file)))
    ]
    assert lost == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` (c)\n\n[one](#a-b-c) [two](#no) [three](other.md) ![four](x.png)\n\n"
        "| a |\n|---|\n| [five](page.md#a-b-c) |\n"
    )
    found = list(links(page))
    assert [link.href for link in found] == ["#a-b-c", "#no", "other.md", "x.png", "page.md#a-b-c"]
    assert anchors(page) == {"a-b-c"}


def test_every_page_can_be_reached_from_the_index() -> None:
    seen, waiting = set[Path](), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            waiting += [
                link.file
                for link in links(page)
                if link.file is not None and link.file.suffix == ".md" and link.file.exists()
            ]
    assert [name(page) for page in pages() if page not in seen and page.name != "README.md"] == []


def leaves() -> list[tuple[str, click.Command]]:
    return [(full, command) for full, command in commands() if not isinstance(command, click.Group)]


def test_every_command_has_an_example_and_no_example_is_left_over() -> None:
    assert sorted(EXAMPLES) == sorted(full for full, _ in leaves())


@pytest.mark.parametrize(("full", "command"), leaves(), ids=lambda given: given if isinstance(given, str) else "")
def test_examples_are_what_the_command_takes(full: str, command: click.Command) -> None:
    for example in EXAMPLES.get(full, ()):
        words = shlex.split(example.partition(" >")[0], comments=True)
        command.make_context(full, words[len(full.split()) :]).close()


def shown() -> Iterator[tuple[str, str]]:
    """Every `bridge ...` that a page shows at a prompt."""
    for page in pages():
        for language, _, block in fences(page):
            for line in block.splitlines() if language == "console" else ():
                if found := re.match(r"\$ (?:sudo |sudo -u \S+ )?bridge (.*)", line):
                    yield name(page), found[1]


@pytest.mark.parametrize(("page", "line"), sorted(set(shown())))
def test_what_a_page_shows_at_a_prompt_is_a_command(page: str, line: str) -> None:
    words = shlex.split(re.split(r" [|>&]|;", line)[0], comments=True)
    if words[:1] in (["-c"], ["--config"]):
        words = words[2:]
    found = dict(commands())
    full = next((" ".join(words[:size]) for size in (2, 1) if " ".join(words[:size]) in found), None)
    assert full is not None or words[:1] in (["--help"], ["--version"]), f"{page}: bridge {line}"
    if full is not None and not isinstance(found[full], click.Group):
        found[full].make_context(full, words[len(full.split()) :]).close()


def plain(text: str) -> str:
    """What a reader would search for: without the marks of Markdown and of tables, in one line."""
    return " ".join(text.replace("\\|", "|").replace("`", "").split())


def test_every_error_text_can_be_found() -> None:
    written = plain(
        (DOCS / "reference" / "errors.md").read_text() + (DOCS / "recover" / "troubleshooting.md").read_text()
    )
    assert [text for text in all_texts() if any(plain(part) not in written for part in text.constant)] == []


def test_error_texts_are_found_wherever_they_are_raised() -> None:
    texts = {text.text: text for text in all_texts()}
    gate = texts['queue "{queue}": target queue "{target}" has {there} consumers, {consumers_wanted} are wanted']
    assert gate.code == "1"
    assert "--force" in gate.hint
    assert texts["no daemon answers on {path}"].code == "3"
    assert texts["no configuration: name it with -c FILE or BRIDGE_CONFIG"].code == "2"
    assert texts["{name} is not connected: {reason}"].code == "why"


#: Words of a quoted text that may be a name or a number there and a place-holder in the code.
FILLED = 0.5


def test_what_troubleshooting_quotes_is_what_the_code_says() -> None:
    stale = []
    for line in (DOCS / "recover" / "troubleshooting.md").read_text().splitlines():
        cell = re.match(r"\| (`.*?) \|", line)
        for quoted in re.findall(r"`([^`]+)`", cell[1]) if cell else ():
            wanted = words(quoted)
            if not any(len(wanted - said) <= max(1, FILLED * len(wanted)) for said in all_words()):
                stale.append(quoted)
    assert stale == []
