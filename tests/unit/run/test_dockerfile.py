"""The Dockerfile, read line by line; tests/image builds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bridge.cli import main
from bridge.config_sections import DEFAULT_SOCKET, Export

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "Dockerfile").read_text()

_LINES = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
#: Each instruction with its arguments, in order; comments are left out, and continued lines put together.
INSTRUCTIONS = [tuple(line.split(None, 1)) for line in _LINES.replace("\\\n", " ").splitlines() if line.strip()]


def of(kind: str) -> list[str]:
    return [arguments for word, arguments in INSTRUCTIONS if word == kind]


def final() -> list[tuple[str, ...]]:
    """The instructions of the stage that becomes the image."""
    last = max(at for at, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM")
    return INSTRUCTIONS[last:]


def test_the_base_is_an_argument_and_no_registry_is_named() -> None:
    assert re.fullmatch(r"BASE=python:3\.\d+-slim", of("ARG")[0])
    assert all(image.split()[0] == "${BASE}" for image in of("FROM"))
    # A registry's host has a dot before the first slash.
    code = "\n".join(" ".join(instruction) for instruction in INSTRUCTIONS)
    assert not re.search(r"\bhttps?://|\b[\w-]+\.[\w.-]+/[\w-]+:", code)


def test_what_runs_is_no_root_and_hears_its_signals() -> None:
    (user,) = of("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number, which orchestrators can judge"
    for kind in ("ENTRYPOINT", "CMD"):
        (words,) = of(kind)
        assert all(isinstance(word, str) for word in json.loads(words)), "a shell would not pass signals on"
    check = of("HEALTHCHECK")[0].partition("CMD ")[2]
    assert json.loads(check) == [*json.loads(of("ENTRYPOINT")[0]), "health"]
    assert main(["health", "--help"]) == 0


def test_the_image_is_made_of_copies_alone() -> None:
    """What was needed to build is in another stage, and so is what a secret was needed for."""
    assert not {"RUN", "ADD", "ARG"} & {word for word, _ in final()}
    assert not of("ADD")
    assert all(arguments.startswith("--from=build ") for word, arguments in final() if word == "COPY")
    (run,) = of("RUN")
    assert run.startswith("--mount=type=secret,id=pip,target=/etc/pip.conf")
    assert "-c constraints.txt" in run
    assert not re.search(r"(?i)password|token|_KEY", TEXT)


def test_the_folders_that_are_written_to_are_there_for_the_user() -> None:
    (run,) = of("RUN")
    for folder in (Path(DEFAULT_SOCKET).parent, Path(Export().folder).parent):
        assert re.search(rf"chown -R 10001:10001 .*/made{folder}\b", run)


def test_only_what_is_copied_gets_to_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {word for arguments in of("COPY") if "--from" not in arguments for word in arguments.split()[:-1]}
    assert let_in == copied


@pytest.mark.parametrize("word", ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "bridge"])
def test_what_is_copied_is_there(word: str) -> None:
    assert (ROOT / word).exists()
