"""What every test tier shares."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import hypothesis
import pytest

# Two busy cores make single examples slow now and then: the count of examples bounds the time, not a deadline for each.
hypothesis.settings.register_profile("bridge", deadline=None)
hypothesis.settings.load_profile("bridge")

#: Files whose tests run in one world with every run of the tests: what differs between the releases is small there.
#: `make long` runs them in the others.
MOSTLY_IN = {
    "e2e/test_backup.py": "3.10->4.3",
    "functional/test_apply.py": "3.10->4.3",
    "functional/test_backup.py": "3.10->4.3",
    "functional/test_checking.py": "3.10->4.3",
    "functional/test_permissions.py": "3.10->4.3",
    "functional/test_old_side.py": "3.10->4.3",
    "functional/test_probe.py": "3.10->4.3",
    "functional/test_quarantine.py": "3.10->4.3",
    "functional/test_quarantine_commands.py": "3.10->4.0",
    "functional/test_replay.py": "3.10->4.3",
    "functional/test_retries.py": "3.10->4.3",
    "functional/test_snapshot.py": "3.10->4.3",
    "functional/test_state.py": "3.10->4.3",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the other worlds to `make long`."""
    for item in items:
        world = MOSTLY_IN.get(f"{item.path.parent.name}/{item.path.name}")
        callspec = getattr(item, "callspec", None)
        asked = None if callspec is None else callspec.params.get("world")
        if world is not None and asked not in (None, world):
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A command sets up the log of its process, which in a test is that of all others."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
