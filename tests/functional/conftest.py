"""Real brokers for this tier."""

from __future__ import annotations

import pytest

from tests.support.brokers import broker_set, new_lab, new_vhosts, vhosts, world

__all__ = ["broker_set", "new_lab", "new_vhosts", "vhosts", "world"]

#: Files whose tests run in one world with every run of the tests: what differs between the releases is small there.
#: `make long` runs them in the others.
MOSTLY_IN = {
    "test_backup.py": "3.10->4.3",
    "test_quarantine.py": "3.10->4.3",
    "test_quarantine_commands.py": "3.10->4.0",
    "test_replay.py": "3.10->4.3",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the other worlds to `make long`."""
    for item in items:
        world = MOSTLY_IN.get(item.path.name) if item.path.parent.name == "functional" else None
        callspec = getattr(item, "callspec", None)
        asked = None if callspec is None else callspec.params.get("world")
        if world is not None and asked not in (None, world):
            item.add_marker(pytest.mark.long)
