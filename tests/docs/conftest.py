"""Brokers for the pages that are walked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.lab.brokers import Lab
from bridge.lab.commands import DEFAULT_NAME
from tests.support.brokers import broker_set, need_brokers, new_vhosts, vhosts, world

__all__ = ["broker_set", "new_vhosts", "own_lab", "vhosts", "world"]


@pytest.fixture
def own_lab(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for labs where nobody else has any, and in it the lab that `bridge lab up` without a name finds up.

    It is up before the page asks for it, so that it ends with the test however that ends.
    """
    need_brokers()
    folder = tmp_path_factory.mktemp("labs")
    monkeypatch.setenv("BRIDGE_LAB_STATE", str(folder))
    lab = Lab.up(DEFAULT_NAME, "3.10", "4.3", owner_pid=os.getpid())
    yield folder
    lab.down()
