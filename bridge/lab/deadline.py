"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks at a condition.
LOOK_EVERY = 0.1


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look until the condition holds or `seconds` are over; return whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_EVERY)  # noqa: TID251 - the poll of a wait with a deadline
    return True
