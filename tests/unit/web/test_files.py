"""The page's files as they are sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import bridge.web.files
from bridge.web.access import PEER, Access
from bridge.web.app import app
from bridge.web.files import page

FOLDER = Path(bridge.web.files.__file__).parent / "page"


@pytest.fixture
def client() -> FlaskClient:
    made = app(None, {}, Access()).test_client()  # type: ignore[arg-type]
    made.environ_base[PEER] = "alice@h1"
    return made


def test_each_file_has_its_type_and_is_asked_for_again(client: FlaskClient) -> None:
    assert {"/", "/page/style.css", "/page/start.js", "/page/icon.svg"} <= page().keys()
    for path, file in page().items():
        told = client.get(path)
        assert (told.status_code, told.data, told.content_type) == (200, file.body, file.kind), path
        assert told.headers["Cache-Control"] == "no-cache"
        again = client.get(path, headers={"If-None-Match": told.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/index.html", "/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd"],
)
def test_nothing_else_can_be_asked_for(path: str, client: FlaskClient) -> None:
    assert client.get(path).status_code == 404


def test_nothing_in_the_page_is_inline_or_from_elsewhere() -> None:
    for path, file in page().items():
        text = file.body.decode()
        # SVG's name is no address that is asked.
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert addresses == set(), path
    index = page()["/"].body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", index)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", _scripts())


def test_each_file_stays_readable() -> None:
    for file in FOLDER.iterdir():
        assert len(file.read_text().splitlines()) <= 500, file


def test_what_the_modules_import_is_there() -> None:
    known = {path.removeprefix("/page/") for path in page()}
    assert set(re.findall(r"from \"\./([\w.]+)\"", _scripts())) <= known


def _scripts() -> str:
    return "\n".join(file.body.decode() for path, file in page().items() if path.endswith(".js"))
