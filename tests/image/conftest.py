"""Brokers, a Debian to build on and to boot, and the image: once for all tests of this tier."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.base import base_root
from tests.image.build import Image
from tests.support.brokers import broker_set, new_vhosts, vhosts, world
from tests.support.ci import in_ci

__all__ = ["broker_set", "new_vhosts", "vhosts", "world"]

#: Programs, each of the Debian package of its name unless it is given.
_NEEDED = {"debootstrap": "", "buildah": "", "crun": "", "systemd-nspawn": "systemd-container"}


@pytest.fixture(scope="session")
def base() -> Path:
    """The base's root folder; without the programs for it the test is skipped, and in CI it fails."""
    missing = [package or program for program, package in _NEEDED.items() if shutil.which(program) is None]
    why = f"not installed: {', '.join(missing)}" if missing else "" if os.geteuid() == 0 else "this takes root"
    if why and not in_ci():
        pytest.skip(f"{why} (make image)")
    assert not why, why
    return base_root()


@pytest.fixture(scope="session")
def image(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built from the working tree."""
    folder = tmp_path_factory.mktemp("image")
    made = Image(folder, base)
    yield made
    made.remove()
    shutil.rmtree(folder)
