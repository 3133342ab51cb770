"""What every test tier shares."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import hypothesis
import pytest

# Two busy cores make single examples slow now and then: the count of examples bounds the time, not a deadline for each.
hypothesis.settings.register_profile("bridge", deadline=None)
hypothesis.settings.load_profile("bridge")


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A command sets up the log of its process, which in a test is that of all others."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
