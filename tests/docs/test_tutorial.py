"""The tutorial, every command as it is written, in an empty folder against real brokers and real Celery workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.lab.ports import free
from tests.docs.markdown import DOCS
from tests.docs.walk import Shell, walk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

#: The shell has the path already, and nobody looks at a terminal.
BY_HAND = dict.fromkeys(("make setup", 'export PATH="$PWD/.venv/bin:$PATH"', "bridge status --watch"), "")


@pytest.mark.parametrize("before", ["8.", pytest.param("", marks=pytest.mark.long)], ids=["cut-over", "to-the-end"])
def test_the_tutorial_does_what_it_says(before: str, own_lab: Path, tmp_path: Path) -> None:
    (port,) = free(1, ())
    with Shell(tmp_path, {}, adapt=lambda text: text.replace("8642", str(port))) as shell:
        walk(DOCS / "tutorial.md", shell, BY_HAND, before)
